//! Keys: relative, made of plain components.

use crate::error::{Error, ErrorKind, Result};

/// Checks a key: components separated by single `/`, none empty, `.`, `..` or starting with `tmp.`, no NUL.
pub fn check_key(path: &str) -> Result<()> {
    let wrong =
        |part: &str| part.is_empty() || part == "." || part == ".." || part.starts_with("tmp.") || part.contains('\0');
    if path.split('/').any(wrong) {
        return Err(Error::new(ErrorKind::Invalid, path, "not a legal key"));
    }
    Ok(())
}
