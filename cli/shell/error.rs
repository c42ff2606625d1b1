//! How a command fails.

use std::io;

use client::ClientError;
use model::ErrorKind;

/// What commands return.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why a command did not finish.
#[derive(Debug)]
pub enum Failure {
    /// Found here: said as it is.
    Says(String),
    /// The cluster's answer.
    Client(ClientError),
    /// Results cannot be written, for example because the reader has gone.
    Output(io::Error),
    /// Ctrl-C.
    Interrupted,
    /// `exit`.
    Exit(u8),
}

impl Failure {
    /// A failure found here.
    pub fn says(message: impl Into<String>) -> Failure {
        Failure::Says(message.into())
    }

    /// Whether the cluster could not be reached.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Failure::Client(error) if error.kind() == ErrorKind::Unavailable)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

/// Bytes of a message's beginning and of its end that are shown: it may hold what a file gave, of any length.
const SHOWN: (usize, usize) = (2000, 1000);

/// A message, without the middle of a very long one.
pub fn elided(message: String) -> String {
    if message.len() <= SHOWN.0 + SHOWN.1 {
        return message;
    }
    let (head, tail) = (message.floor_char_boundary(SHOWN.0), message.ceil_char_boundary(message.len() - SHOWN.1));
    format!("{} … {}", &message[..head], &message[tail..])
}

/// What is printed behind `ERROR: `. `subject` is the command's first argument.
pub fn message(failure: &Failure, subject: &str) -> String {
    elided(whole_message(failure, subject))
}

fn whole_message(failure: &Failure, subject: &str) -> String {
    let error = match failure {
        Failure::Says(message) => return message.clone(),
        Failure::Output(error) => return error.to_string(),
        Failure::Interrupted => return "interrupted".to_owned(),
        Failure::Exit(_) => return String::new(),
        Failure::Client(error) => error,
    };
    match error.class() {
        "TableNotFoundException" => format!("Unknown table {subject}!"),
        "TableExistsException" => format!("Table already exists: {subject}!"),
        "NamespaceNotFoundException" if !error.message().is_empty() => {
            format!("Unknown namespace {}!", subject.split(':').next().unwrap_or(subject))
        }
        "NamespaceExistException" => format!("Namespace already exists: {subject}!"),
        "TableNotEnabledException" => format!("Table {subject} is disabled!"),
        _ => error.to_string(),
    }
}
