//! The name of a register's pointer, which is the register's value but for its body (`docs/formats/register.md`).

use std::fmt::Write as _;

use crate::checksum::crc32c;
use crate::path::{is_hex, made_aside};

/// Largest register body that is read, in bytes.
pub(crate) const BODY_LEN_MAX: u64 = 256 << 20;

/// A pointer's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) n: u64,
    pub(crate) btoken: String,
    pub(crate) len: u64,
    pub(crate) crc: u32,
    pub(crate) head: String,
    pub(crate) name: String,
}

impl Pointer {
    pub(crate) fn format(n: u64, token: &str, btoken: &str, len: u64, crc: u32, head: &str) -> String {
        let mut name = format!("h.{n:x}.{token}.{btoken}.{len}.{crc:08x}.");
        let own = name_checksum(&name, head);
        let _ = write!(name, "{own:08x}.{head}"); // into a string, which cannot fail
        name
    }

    pub(crate) fn parse(name: &str) -> Option<Pointer> {
        let mut parts = name.splitn(8, '.');
        if parts.next()? != "h" {
            return None;
        }
        let n = u64::from_str_radix(parts.next()?, 16).ok()?;
        let _token = parts.next()?;
        let btoken = parts.next()?.to_owned();
        let len = parts.next()?.parse().ok()?;
        let crc = u32::from_str_radix(parts.next()?, 16).ok()?;
        let (own, head) = (parts.next()?, parts.next()?);
        let before = &name[..name.len() - head.len() - 1 - own.len()];
        if own != format!("{:08x}", name_checksum(before, head)) {
            return None;
        }
        Some(Pointer { n, btoken, len, crc, head: head.to_owned(), name: name.to_owned() })
    }
}

/// Whether a file is part of a register, `h.<n>.<token>.…` or `b.<token>` with tokens of 32 and 16 hexadecimal digits, or not finished.
pub(crate) fn is_internal(name: &str) -> bool {
    let mut parts = name.split('.');
    match parts.next() {
        Some("b") => parts.next().is_some_and(|token| is_hex(token, 16..17)) && parts.next().is_none(),
        Some("h") => parts.nth(1).is_some_and(|token| is_hex(token, 32..33)),
        _ => made_aside(name).is_some(),
    }
}

/// The name is the value, so it has a checksum of its own.
fn name_checksum(before: &str, head: &str) -> u32 {
    crc32c(format!("{before}{head}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_registers_and_unfinished_files_are_internal() {
        let pointer = Pointer::format(31, &format!("{:032x}", 1), &format!("{:016x}", 2), 5, 7, "live");
        let unfinished = format!("tmp.{:032x}.", 1);
        // HDFS counts its tries to begin a log behind the token.
        let tries = format!("tmp.{:032x}12.0000000000000007", 1);
        for name in [&pointer, "b.00000000000000ff", &unfinished, &format!("{unfinished}x"), &tries] {
            assert!(is_internal(name), "{name}");
        }
        for name in [
            "tmp",
            "tmp.x",
            "tmp.0123.x",
            "b.parquet",
            "b.2024.csv",
            "h.1.csv",
            "h.tsv",
            "b.00000000000000ff.gz",
            "b",
            "part-0",
            "",
        ] {
            assert!(!is_internal(name), "{name}");
        }
    }

    #[test]
    fn a_pointer_is_that_of_the_format_page_and_refuses_damage() {
        let (token, btoken) = (format!("{:032x}", 1), format!("{:016x}", 2));
        let name = Pointer::format(1, &token, &btoken, 5, crc32c(b"hello"), "live");
        assert_eq!(name, "h.1.00000000000000000000000000000001.0000000000000002.5.9a71bb4c.f1166860.live");
        let pointer = Pointer::parse(&name).expect("sound");
        assert_eq!((pointer.n, pointer.len, &pointer.head[..]), (1, 5, "live"));
        for at in 0..name.len() {
            for bit in 0..7 {
                let mut bytes = name.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let damaged = String::from_utf8(bytes).expect("ASCII");
                assert_eq!(Pointer::parse(&damaged), None, "{damaged}");
            }
            assert_eq!(Pointer::parse(&name[..at]), None);
        }
    }
}
