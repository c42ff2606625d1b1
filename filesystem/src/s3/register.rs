//! The object that holds a register: `docs/formats/register.md`, "On S3".

use bytes::{BufMut, Bytes, BytesMut};

use crate::checksum::crc32c_of;
use crate::{HEAD_LEN_MAX, Version};

const MAGIC: &[u8; 4] = b"FBRG";
const FORMAT: u8 = 1;
const FIXED: usize = 40;

/// A register's value as it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// 1 at creation, one more with each swap.
    pub(super) number: u64,
    /// Random, new in every value.
    pub(super) token: u128,
    pub(super) head: String,
    pub(super) body: Bytes,
}

impl Value {
    /// ```text
    /// 0   4  "FBRG"
    /// 4   1  format, 1
    /// 5   1  length of the head
    /// 6   2  0
    /// 8   8  number, big endian
    /// 16 16  token
    /// 32  4  length of the body, big endian
    /// 36  4  CRC-32C of everything else, big endian
    /// 40  …  head, body
    /// ```
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(FIXED + self.head.len() + self.body.len());
        out.put_slice(MAGIC);
        out.put_u8(FORMAT);
        out.put_u8(self.head.len() as u8);
        out.put_u16(0);
        out.put_u64(self.number);
        out.put_u128(self.token);
        out.put_u32(self.body.len() as u32);
        let crc = crc32c_of(&[&out, self.head.as_bytes(), &self.body]);
        out.put_u32(crc);
        out.put_slice(self.head.as_bytes());
        out.put_slice(&self.body);
        out.freeze()
    }

    /// Why it is none otherwise.
    pub(super) fn decode(data: &Bytes) -> Result<Value, &'static str> {
        let fixed: &[u8; FIXED] = data.first_chunk().ok_or("shorter than a register's header")?;
        if &fixed[..4] != MAGIC {
            return Err("not a register");
        }
        if fixed[4] != FORMAT {
            return Err("a register of a later format");
        }
        let number = u64::from_be_bytes(fixed[8..16].try_into().expect("8 bytes"));
        let token = u128::from_be_bytes(fixed[16..32].try_into().expect("16 bytes"));
        let body_len = u32::from_be_bytes(fixed[32..36].try_into().expect("4 bytes")) as usize;
        let crc = u32::from_be_bytes(fixed[36..].try_into().expect("4 bytes"));
        let head_len = usize::from(fixed[5]);
        if head_len > HEAD_LEN_MAX || data.len() != FIXED + head_len + body_len {
            return Err("a register's lengths do not fit its size");
        }
        if crc32c_of(&[&fixed[..36], &data[FIXED..]]) != crc {
            return Err("a register's checksum does not match");
        }
        let head = std::str::from_utf8(&data[FIXED..FIXED + head_len]).map_err(|_| "a register's head is no text")?;
        Ok(Value { number, token, head: head.to_owned(), body: data.slice(FIXED + head_len..) })
    }

    /// The version of this value, stored under that etag.
    pub(super) fn version(&self, etag: &str) -> Version {
        Version(format!("{:x}.{:032x}.{etag}", self.number, self.token))
    }
}

/// Number, token and etag of a version.
pub(super) fn parse_version(version: &Version) -> Option<(u64, u128, &str)> {
    let mut parts = version.0.splitn(3, '.');
    let number = u64::from_str_radix(parts.next()?, 16).ok()?;
    let token = u128::from_str_radix(parts.next()?, 16).ok()?;
    Some((number, token, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_format_page() {
        let value = Value { number: 1, token: 1, head: "live".into(), body: "hello".into() };
        let data = value.encode();
        assert_eq!(
            hex::encode(&data),
            "464252470104000000000000000000010000000000000000000000000000000100000005316c7a176c69766568656c6c6f"
        );
        assert_eq!(Value::decode(&data).expect("decodes"), value);
        let version = value.version("\"e.t\"");
        assert_eq!(parse_version(&version), Some((1, 1, "\"e.t\"")));
    }

    proptest! {
        #[test]
        fn damage_is_seen(number: u64, token: u128, head in "[!-.;-~]{0,160}", body: Vec<u8>, at: usize, flip in 1u8..) {
            let value = Value { number, token, head, body: body.into() };
            let data = value.encode();
            prop_assert_eq!(&Value::decode(&data).expect("decodes"), &value);
            let mut hurt = data.to_vec();
            let at = at % hurt.len();
            hurt[at] ^= flip;
            // The two reserved bytes are covered by the checksum as well.
            prop_assert!(Value::decode(&hurt.into()).is_err());
            prop_assert!(Value::decode(&data.slice(..at)).is_err());
        }
    }
}
