//! Standard output, which may be closed or full.

use std::fmt::Display;
use std::io::Write;

use crate::failure::Failure;

/// Prints a line.
///
/// # Errors
/// 1 if nobody takes it: a result that was not told is none.
pub fn say(line: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(unsaid)
}

/// That a result could not be told.
pub fn unsaid(error: std::io::Error) -> Failure {
    Failure::failed(format!("standard output: {error}"))
}
