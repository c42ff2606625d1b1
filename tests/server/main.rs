//! The real binary, started as a user would start it.

mod bench;
mod bucket;
mod bulk_load;
mod cache;
mod export;
mod fsck;
mod inspect;
mod logs;
mod readme;
mod space;
mod start;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use ferrobase_tests::process::binary;

/// Runs `ferrobase` to its end.
fn ferrobase(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).current_dir(folder).stdin(Stdio::null()).output().expect("ferrobase starts")
}

/// What it said on standard output and on standard error.
fn said(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}
