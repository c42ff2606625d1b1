//! The `ferrobase` binary: arguments, configuration, wiring. The only place where concrete back ends are named.

mod arguments;
mod ready;

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
    match arguments.command {
        Command::Version => println!("ferrobase {}", env!("CARGO_PKG_VERSION")),
        Command::Standalone(_) | Command::Shell(_) => {}
    }
    ExitCode::SUCCESS
}
