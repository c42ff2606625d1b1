//! The `ferrobase` binary: arguments, configuration, wiring. The only place where concrete back ends are named.

mod arguments;
mod inspect;

use std::process::ExitCode;

use arguments::{Command, UsageError};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code for bad usage or configuration.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = match arguments::parse(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(UsageError::Clap(error)) => {
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            // Printing help into a closed pipe is nobody's problem.
            let _ = error.print();
            return ExitCode::from(code);
        }
        Err(error) => {
            eprintln!("ferrobase: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ferrobase: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = match &arguments.command {
        Command::Version => inspect::version(arguments.global.format),
        Command::Inspect { what } => runtime.block_on(inspect::run(what, arguments.global.format)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ferrobase: {error}");
            ExitCode::FAILURE
        }
    }
}
