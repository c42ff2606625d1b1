//! The one envelope of the cluster's objects: magic, version, checksum, the writer's epoch, a token, a payload.
//!
//! Always true
//! - A write whose answer was lost is read back: the token tells whether it is ours. Only the same bytes are repeated.
//! - Nobody writes over a value of a higher master epoch.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use filesystem::{CreateOutcome, Filesystem, RegisterValue, SwapOutcome, Version, crc32c};
use runtime::random::Random;

use crate::error::{CoordinationError, Result};

const HEADER_LEN: usize = 8 + 4 + 4 + 4 + 16;
/// How often one call repeats a write whose answer was lost.
const REPEATS_MAX: usize = 3;

/// One kind of object.
#[derive(Debug)]
pub struct Format {
    /// First bytes.
    pub magic: &'static [u8; 8],
    /// The version written, and the newest read.
    pub version: u32,
    /// What it is, for messages.
    pub what: &'static str,
}

/// A body taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The writer's master epoch.
    pub master_epoch: u32,
    /// Random, new in every value.
    pub token: u128,
    /// The rest.
    pub payload: Bytes,
}

/// A register's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Which value; handed to the next write.
    pub version: Version,
    /// The head.
    pub head: String,
    /// The body.
    pub body: Body,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Our value stands.
    Done(Stored),
    /// Another value stands than the one expected; ours may have stood in between.
    Superseded(Option<Stored>),
}

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The data root.
    pub fs: &'a Arc<dyn Filesystem>,
    /// For tokens.
    pub random: &'a dyn Random,
    /// The writer's master epoch.
    pub master_epoch: u32,
}

impl Format {
    /// Puts a body together.
    pub fn encode(&self, body: &Body) -> Bytes {
        let mut rest = BytesMut::with_capacity(20 + body.payload.len());
        rest.put_u32(body.master_epoch);
        rest.put_u128(body.token);
        rest.put_slice(&body.payload);
        let mut out = BytesMut::with_capacity(16 + rest.len());
        out.put_slice(self.magic);
        out.put_u32(self.version);
        out.put_u32(crc32c(&rest));
        out.put_slice(&rest);
        out.freeze()
    }

    /// Takes a body apart.
    pub fn decode(&self, mut bytes: Bytes, path: &str) -> Result<Body> {
        let bad =
            |why: &str| CoordinationError::Corrupt { what: self.what, why: why.to_owned(), path: path.to_owned() };
        if bytes.len() < 12 || bytes.split_to(8)[..] != self.magic[..] {
            return Err(bad("the magic is wrong"));
        }
        let found = bytes.get_u32();
        if found == 0 {
            return Err(bad("the version is 0"));
        }
        if found > self.version {
            let (what, known, path) = (self.what, self.version, path.to_owned());
            return Err(CoordinationError::Newer { what, found, known, path });
        }
        if bytes.len() < HEADER_LEN - 12 {
            return Err(bad("it is too short"));
        }
        if bytes.get_u32() != crc32c(&bytes) {
            return Err(bad("the checksum is wrong"));
        }
        let (master_epoch, token) = (bytes.get_u32(), bytes.get_u128());
        Ok(Body { master_epoch, token, payload: bytes })
    }

    fn stored(&self, value: RegisterValue, path: &str) -> Result<Stored> {
        Ok(Stored { version: value.version, head: value.head, body: self.decode(value.body, path)? })
    }

    /// Reads a register.
    pub async fn read(&self, fs: &Arc<dyn Filesystem>, path: &str) -> Result<Option<Stored>> {
        match fs.register_read(path).await? {
            Some(value) => self.stored(value, path).map(Some),
            None => Ok(None),
        }
    }

    /// Writes a register if it still holds `expected`; `None` means that it does not exist. The head gets the epoch.
    ///
    /// # Errors
    /// Fenced if the expected value was written by a higher epoch; else nothing is known to stand, and reading tells.
    pub async fn write(
        &self,
        writer: Writer<'_>,
        path: &str,
        expected: Option<&Stored>,
        head: &str,
        payload: Bytes,
    ) -> Result<Written> {
        let own = writer.master_epoch;
        if let Some(found) = expected.map(|stored| stored.body.master_epoch).filter(|found| *found > own) {
            return Err(CoordinationError::Fenced { path: path.to_owned(), found, own });
        }
        let body = Body { master_epoch: own, token: writer.random.next_u128(), payload };
        let head = format!("{head}.{own:x}");
        let bytes = self.encode(&body);
        let mut repeats = 0;
        loop {
            let answer = match expected {
                Some(stored) => {
                    writer.fs.register_swap(path, &stored.version, &head, Some(bytes.clone())).await.map(|outcome| {
                        match outcome {
                            SwapOutcome::Swapped(version) => Ok(version),
                            SwapOutcome::Superseded(now) => Err(now),
                        }
                    })
                }
                None => writer.fs.register_create(path, &head, bytes.clone()).await.map(|outcome| match outcome {
                    CreateOutcome::Created(version) => Ok(version),
                    CreateOutcome::Exists(now) => Err(Some(now)),
                }),
            };
            let (now, failure) = match answer {
                Ok(Ok(version)) => return Ok(Written::Done(Stored { version, head, body })),
                Ok(Err(now)) => (now, None),
                Err(error) if error.kind() == filesystem::ErrorKind::Unknown => {
                    (writer.fs.register_read(path).await?, Some(error))
                }
                Err(error) => return Err(error.into()),
            };
            let now = now.map(|value| self.stored(value, path)).transpose()?;
            if let Some(stored) = now.as_ref().filter(|stored| stored.body.token == body.token) {
                return Ok(Written::Done(stored.clone()));
            }
            match failure {
                Some(error) if now.as_ref().map(|now| &now.version) == expected.map(|stored| &stored.version) => {
                    repeats += 1;
                    if repeats > REPEATS_MAX {
                        return Err(error.into());
                    }
                }
                _ => return Ok(Written::Superseded(now)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filesystem::faulty::{Effect, Fault, FaultyFilesystem};
    use filesystem::memory::MemoryFilesystem;
    use model::ErrorKind;
    use runtime::random::SeededRandom;

    const FORMAT: Format = Format { magic: b"FBTEST01", version: 1, what: "test object" };

    #[test]
    fn damage_and_newer_versions_are_told_apart() {
        let body = Body { master_epoch: 3, token: 4, payload: Bytes::from_static(b"payload") };
        let good = FORMAT.encode(&body);
        assert_eq!(FORMAT.decode(good.clone(), "x").expect("good"), body);
        for len in 0..good.len() {
            assert_eq!(FORMAT.decode(good.slice(..len), "x").expect_err("short").kind(), ErrorKind::Corrupt, "{len}");
        }
        for bit in 0..good.len() * 8 {
            let mut bytes = good.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(FORMAT.decode(bytes.into(), "x").is_err(), "bit {bit}");
        }
        let newer = Format { version: 2, ..FORMAT }.encode(&body);
        let error = FORMAT.decode(newer, "some/key").expect_err("newer").to_string();
        assert_eq!(
            error,
            "test object has format version 2, this build reads up to 1: use a newer build. file=`some/key`"
        );
    }

    async fn write(
        fs: &Arc<dyn Filesystem>,
        epoch: u32,
        expected: Option<&Stored>,
        text: &'static str,
    ) -> Result<Written> {
        let random = SeededRandom::new(u64::from(epoch) << 8 | text.len() as u64);
        let writer = Writer { fs, random: &random, master_epoch: epoch };
        FORMAT.write(writer, "r", expected, "test", Bytes::from_static(text.as_bytes())).await
    }

    #[tokio::test]
    async fn one_of_two_writers_wins_and_a_lower_epoch_never_does() {
        let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
        let Written::Done(first) = write(&fs, 1, None, "a").await.expect("create") else {
            panic!("nobody else is there")
        };
        let Written::Done(second) = write(&fs, 2, Some(&first), "bb").await.expect("swap") else { panic!("nobody") };
        let late = write(&fs, 1, Some(&first), "ccc").await.expect("swap");
        assert_eq!(late, Written::Superseded(Some(second.clone())));
        let lower = write(&fs, 1, Some(&second), "ccc").await.expect_err("lower epoch");
        assert_eq!(lower.kind(), ErrorKind::Fenced);
        let again = write(&fs, 3, None, "dddd").await.expect("create");
        assert_eq!(again, Written::Superseded(Some(second.clone())));
        assert_eq!(second.head, "test.2");
    }

    #[tokio::test]
    async fn a_lost_answer_is_settled_by_reading() {
        for (effect, create) in
            [(Effect::After, true), (Effect::Torn, true), (Effect::After, false), (Effect::Torn, false)]
        {
            let faulty = FaultyFilesystem::new();
            let fs: Arc<dyn Filesystem> = Arc::new(faulty.clone());
            let expected = match create {
                true => None,
                false => match write(&fs, 1, None, "a").await.expect("create") {
                    Written::Done(stored) => Some(stored),
                    Written::Superseded(_) => panic!("nobody else is there"),
                },
            };
            faulty.plan(Fault { step: faulty.steps(), effect, stop: false });
            let written = write(&fs, 2, expected.as_ref(), "bb").await.expect("settled");
            let now = FORMAT.read(&fs, "r").await.expect("read").expect("exists");
            assert_eq!(written, Written::Done(now.clone()));
            assert_eq!(now.body.payload, "bb");
        }
    }
}
