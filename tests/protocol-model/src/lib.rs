//! Ferrobase's protocols as models, searched through every interleaving. They stand beside `docs/PROTOCOLS.md`: a model
//! names its section there, and each step of a model is named after the step of the page.
//!
//! | module | section | what moves |
//! | --- | --- | --- |
//! | [`log`] | 4, 5, 6, 9, 10 | servers, their numbered streams, fencers, regions, files, collection |
//! | [`appended`] | 4 | a log of appended files: a folder, HDFS |
//! | [`register`] | 3 | compare-and-set by renaming a pointer |
//! | [`lease`] | 7, 8 | two leaders, leased reads, discrete time |
//! | [`split`] | 9, 10 | a split under two masters |
//! | [`merge`] | 9, 10 | a merge under two masters |
//! | [`pins`] | 9, 10 | snapshot and clone under two masters |
//! | [`load`] | 9, 10 | a bulk load under an owner and its successor |
//!
//! A model is given its sizes and, for the proof that it sees anything at all, one planted mistake; each mistake must
//! break a claim (`tests/models.rs`). Whoever changes the protocol changes the model first.

pub mod appended;
pub mod lease;
pub mod load;
pub mod log;
pub mod merge;
pub mod pins;
pub mod register;
pub mod search;
pub mod split;
