//! Log lines go to standard error, for people or as JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::arguments::{Color, Global, LogFormat};
use crate::failure::Failure;

/// Starts logging. `quiet` leaves errors only.
///
/// # Errors
/// Usage: the level is no filter.
pub fn start(global: &Global) -> Result<(), Failure> {
    let level = if global.quiet { "error" } else { global.log_level.as_str() };
    let refused = |why: &dyn std::fmt::Display| {
        let hint = "off, error, warn, info, debug, trace or a filter such as storage=debug is needed";
        Failure::usage(format!("--log-level `{level}`: {why}; {hint}"))
    };
    // A word alone would be taken for a part of the program whose lines are all wanted, and the others' not.
    let is_level = |word: &str| word.contains(['=', '[']) || word.parse::<LevelFilter>().is_ok();
    if let Some(word) = level.split(',').map(str::trim).find(|word| !is_level(word)) {
        return Err(refused(&format!("`{word}` is no level")));
    }
    let filter = EnvFilter::try_new(level).map_err(|error| refused(&error))?;
    let colour =
        global.color == Color::Auto && std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal();
    // Nobody may be reading; a line that cannot be written is lost.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .log_internal_errors(false);
    match global.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
