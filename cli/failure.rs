//! How a command ends: the exit codes that scripts rely on (docs/CLI.md).

use std::fmt;

/// A command that failed: its exit code and what to print.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What happened and what to do; empty if it was said already.
    pub message: String,
}

impl Failure {
    /// Exit code 1: failed, or a check found something.
    pub fn failed(message: impl fmt::Display) -> Failure {
        Failure { code: 1, message: message.to_string() }
    }

    /// Exit code 2: usage or configuration; nothing was touched.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure { code: 2, message: message.to_string() }
    }

    /// Says where it happened, if the message does not.
    pub fn within(self, place: &str) -> Failure {
        if self.message.contains(place) {
            return self;
        }
        Failure { message: format!("{place}: {}", self.message), ..self }
    }

    /// Exit code 5: the data root is held by another process.
    pub fn held(message: impl fmt::Display) -> Failure {
        Failure { code: 5, message: message.to_string() }
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::failed(error.into())
    }
}
