//! What goes wrong, and what was asked: rules and the log of requests.

use serde::{Deserialize, Serialize};

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// Answered with an error; not done.
    Answer {
        /// HTTP status.
        status: u16,
        /// The error's name.
        code: String,
    },
    /// Done, and answered with an error all the same.
    DoneAnswer {
        /// HTTP status.
        status: u16,
        /// The error's name.
        code: String,
    },
    /// Done; the connection is cut instead of an answer.
    LoseAnswer,
    /// Not done; the connection is cut.
    Cut,
    /// Done so many milliseconds later.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The connection is cut, and the request is done when held ones are released.
    Hold,
    /// Done; the answer's body ends in its middle.
    ShortBody,
    /// Done; a byte in the middle of the answer's body is flipped.
    CorruptBody,
    /// Done; the last byte of the answer's body, or all of an empty one, comes so many milliseconds later.
    SlowClose {
        /// Milliseconds.
        ms: u64,
    },
}

/// A fault and the requests it hits: all that is named must match.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// Kind of request, as [`Entry::kind`] names them; `None`: any.
    #[serde(default)]
    pub kind: Option<String>,
    /// Text that the key holds.
    #[serde(default)]
    pub key: String,
    /// Access key id; `None`: any.
    #[serde(default)]
    pub access_key: Option<String>,
    /// So many that match are let through first.
    #[serde(default)]
    pub skip: u64,
    /// So many are hit.
    #[serde(default = "always")]
    pub times: u64,
    /// Of those so many in a hundred, by chance.
    #[serde(default = "all")]
    pub percent: u8,
    /// What becomes of them.
    #[serde(flatten)]
    pub fault: Fault,
}

fn always() -> u64 {
    u64::MAX
}

fn all() -> u8 {
    100
}

impl Rule {
    /// Hits every request of a kind (`""`: any), from now on.
    pub fn every(kind: &str, fault: Fault) -> Rule {
        let kind = (!kind.is_empty()).then(|| kind.to_owned());
        Rule { kind, key: String::new(), access_key: None, skip: 0, times: always(), percent: 100, fault }
    }

    /// Hits the next request of a kind.
    pub fn once(kind: &str, fault: Fault) -> Rule {
        Rule { times: 1, ..Rule::every(kind, fault) }
    }

    /// Narrows it to keys that hold this text.
    pub fn on(mut self, key: &str) -> Rule {
        self.key = key.to_owned();
        self
    }

    pub(crate) fn hits(&mut self, entry: &Entry, chance: impl FnOnce() -> u8) -> bool {
        let matches = self.kind.as_ref().is_none_or(|kind| *kind == entry.kind)
            && entry.key.contains(&self.key)
            && self.access_key.as_ref().is_none_or(|key| *key == entry.access_key);
        if !matches || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.percent < 100 && chance() % 100 >= self.percent {
            return false;
        }
        if self.times != u64::MAX {
            self.times -= 1;
        }
        true
    }
}

/// A request that came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// get, head, put, copy, delete, list, list-uploads, upload-create, upload-part, upload-complete, upload-abort, token
    /// or other.
    pub kind: String,
    /// HTTP method.
    pub method: String,
    /// Bucket.
    pub bucket: String,
    /// Key; of a listing its prefix.
    pub key: String,
    /// Who signed it; empty if nobody did.
    pub access_key: String,
    /// Bytes of the body.
    pub bytes: u64,
    /// Status of the answer; 0 while there is none, or none was given.
    pub status: u16,
    /// What a rule made of it.
    pub fault: Option<Fault>,
}
