//! The `ferrobase` binary: arguments, configuration, wiring. The only place where concrete back ends are named.

mod arguments;
mod bench;
mod bulk_load;
mod command;
mod connect;
mod export;
mod failure;
mod fsck;
mod http;
mod inspect;
mod logging;
mod logs;
mod memory;
mod output;
mod process;
mod progress;
mod read_cache;
mod ready;
mod roots;
mod shell;
mod sources;
mod standalone;
mod thrift;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use command::{Command, UsageError};
use failure::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let given = thrift::translate(std::env::args_os().collect());
    match run(given.clone()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                // A message about a flag begins with it. Standard error may be closed; the code says enough.
                let origin = command::origin(&failure.message, &given);
                let _ = writeln!(std::io::stderr(), "ferrobase: {}{}", failure.message, origin.trim_end());
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Runs a command that a signal may stop. A thread that reads an input which says nothing is not waited for.
fn stoppable(runtime: tokio::runtime::Runtime, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let done = runtime.block_on(process::until_stopped(work));
    runtime.shutdown_background();
    done
}

fn run(given: Vec<OsString>) -> Result<(), Failure> {
    let arguments = match command::parse(given) {
        Ok(arguments) => arguments,
        Err(UsageError::Clap(error)) => {
            // Printing help into a closed pipe is nobody's problem.
            let _ = error.print();
            return if error.use_stderr() { Err(Failure::usage("")) } else { Ok(()) };
        }
        Err(UsageError::Elsewhere(error, from)) => {
            let _ = error.print();
            let _ = std::io::stderr().write_all(from.as_bytes());
            return Err(Failure::usage(""));
        }
        Err(error) => return Err(Failure::usage(error)),
    };
    logging::start(&arguments.global)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    let format = arguments.global.format;
    match &arguments.command {
        Command::Standalone(flags) => runtime.block_on(standalone::run(flags, &arguments.global)),
        Command::Thrift(flags) => runtime.block_on(thrift::run(flags, &arguments.global)),
        Command::Shell(flags) => shell::run(flags, &arguments.global, &runtime),
        Command::Bulkload(flags) => stoppable(runtime, bulk_load::run(flags, &arguments.global)),
        Command::Completebulkload(flags) => stoppable(runtime, bulk_load::complete(flags, &arguments.global)),
        Command::Export(flags) => stoppable(runtime, export::run(flags, &arguments.global)),
        Command::Version => inspect::version(format),
        Command::Bench { what } => runtime.block_on(bench::run(what, format)),
        Command::Fsck(flags) => runtime.block_on(fsck::run(flags, format)),
        Command::Inspect { what } => runtime.block_on(inspect::run(what, format)),
    }
}
