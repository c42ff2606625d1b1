//! The shell as its users meet it: the real binary on a real server, whole sessions compared with what HBase's shell prints.
//!
//! A file of `sessions/` is a list of runs over one fresh server:
//!
//! ```text
//! ## run --format json        flags; standard input follows
//! count 't'
//! ## out                      standard output, times and ports masked
//! 2
//! ## err                      standard error, if any
//! ## exit 1                   the exit code, if it is not 0
//! ```

mod mask;
mod sessions;
mod terminal;
mod ways;
