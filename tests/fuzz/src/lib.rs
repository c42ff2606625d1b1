//! What must hold of the parsers for any bytes: one plain function each, that panics only on a fault.
//!
//! Three ways to run them
//! - `cargo test -p ferrobase-fuzz`: the corpus and all that was found once, then [mutations](mutate) of it for `FUZZ_SECONDS` a target (20), on
//!   stable Rust. Each input may take 20 s and the memory that its [`Target`] says.
//! - `tests/run long fuzz [TARGET] [SECONDS]`: libFuzzer, guided by what the code covers (`libfuzzer/`, a package outside the workspace).
//! - A failing input is written to a file; put into `corpus/TARGET/` it is tried for ever.
//!
//! A new target is a function, a line in [`TARGETS`], a folder in `corpus/` and a file in `libfuzzer/src/bin/`; a test asks for the latter two.
//! Where a format has checksums the functions try the input as it is and with its checksums computed anew, or nothing would come past them.
//! `cargo test -p ferrobase-fuzz --test fuzz -- --ignored` makes the corpora anew that programs write (Thrift, store files, logs, manifests).

#![warn(missing_docs)]

use std::path::{Path, PathBuf};

pub mod allocation;
mod binary;
mod filter;
mod log;
mod manifest;
pub mod mutate;
mod store_file;
mod text;
mod thrift;

pub use binary::{parquet, seqfile};
pub use filter::filter;
pub use log::log;
pub use manifest::manifest;
pub use store_file::hfile;
pub use text::{csv, json};
pub use thrift::thrift;

/// A function with what its inputs are made of, and what it may take.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]),
    /// Words that inputs are made of.
    pub words: &'static [&'static [u8]],
    /// Most bytes that it may hold at a time, whatever its input is.
    pub memory_fixed: usize,
    /// And besides for each byte of input.
    pub memory_per_byte: usize,
}

const fn target(name: &'static str, run: fn(&[u8]), words: &'static [&'static [u8]], memory: (usize, usize)) -> Target {
    Target { name, run, words, memory_fixed: memory.0, memory_per_byte: memory.1 }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target("thrift", thrift, thrift::WORDS, (1 << 20, 200)),
    target("csv", csv, text::CSV_WORDS, (2 << 20, 400)),
    target("json", json, text::JSON_WORDS, (2 << 20, 200)),
    target("filter", filter, filter::WORDS, (16 << 20, 2000)),
    target("hfile", hfile, store_file::WORDS, (24 << 20, 2_500)),
    target("log", log, log::WORDS, (1 << 20, 100)),
    target("seqfile", seqfile, binary::SEQUENCE_WORDS, (2 << 20, 20_000)),
    target("parquet", parquet, binary::PARQUET_WORDS, (24 << 20, 2_000)),
    target("manifest", manifest, manifest::WORDS, (1 << 20, 200)),
];

impl Target {
    /// The folder of its examples.
    pub fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }
}

/// The answer of a future that waits for nothing, because all it asks is in memory.
fn now<T>(future: impl Future<Output = T>) -> T {
    futures::FutureExt::now_or_never(future).expect("memory is never waited for")
}
