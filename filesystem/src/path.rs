//! Keys: relative, made of plain components.
//!
//! Always true: a name that is not an unfinished one may be anything's, a table's too (`tmp.x`, `b.orders`), and is never taken for what is not finished.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

/// Checks a key: components separated by single `/`, none empty, `.`, `..` or the name of something unfinished ([`made_aside`]), no NUL.
pub fn check_key(path: &str) -> Result<()> {
    let wrong = |part: &str| {
        part.is_empty() || part == "." || part == ".." || made_aside(part).is_some() || part.contains('\0')
    };
    if path.split('/').any(wrong) {
        return Err(Error::new(ErrorKind::Invalid, path, "not a legal key"));
    }
    Ok(())
}

/// What is being made under this name, `tmp.<token>.<name>` with a token of 32 hexadecimal digits, some more for one of several tries: the name that
/// it will have, which is empty if it was too long. `None`: nothing unfinished is called so.
pub(crate) fn made_aside(name: &str) -> Option<&str> {
    let (token, name) = name.strip_prefix("tmp.")?.split_once('.')?;
    is_hex(token, 32..40).then_some(name)
}

/// Whether a text is so many hexadecimal digits.
pub(crate) fn is_hex(text: &str, len: Range<usize>) -> bool {
    len.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
