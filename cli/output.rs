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
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    said.map_err(|error| Failure::failed(format!("standard output: {error}")))
}
