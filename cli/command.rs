//! The commands, and how a command line, the environment and a configuration file become one of them.
//!
//! Always true
//! - Precedence is flag, environment, file, default. The file's values are laid under clap as defaults, so that one
//!   parser sees everything.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::arguments::{Fsck, Global, Inspect, Standalone};

/// Bad usage or configuration: exit code 2, nothing touched.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// clap's own message, ready to print (help and version come this way too).
    #[error("{0}")]
    Clap(Box<clap::Error>),
    /// clap's own message about a value that does not stand on the command line, and where that comes from.
    #[error("{0}{1}")]
    Elsewhere(Box<clap::Error>, String),
    /// The configuration file cannot be used.
    #[error("configuration file `{file}`: {why}")]
    File {
        /// The file.
        file: String,
        /// What is wrong and what would be right.
        why: String,
    },
}

/// A wide-column database with HBase's data model and store files.
#[derive(Debug, Parser)]
#[command(name = "ferrobase", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Arguments {
    /// What holds everywhere.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run master, region server and META in one process over one data folder
    Standalone(Standalone),
    /// Serve HBase's Thrift 1 and Thrift 2 clients
    Thrift(crate::thrift::Flags),
    /// HBase's shell: tables, rows, administration
    Shell(crate::shell::Flags),
    /// Load files in bulk: text is made into store files, and regions take store files as they are
    Bulkload(Box<crate::bulk_load::Bulkload>),
    /// HBase's name for `bulkload --input hfile`
    Completebulkload(Box<crate::bulk_load::Complete>),
    /// Write a table's cells to files: JSON Lines, CSV, Parquet or store files
    Export(Box<crate::export::Flags>),
    /// Look into files, without changing anything
    Inspect {
        /// What to look into
        #[command(subcommand)]
        what: Inspect,
    },
    /// Compare what the registers of a data root say with the files that lie there
    Fsck(Fsck),
    /// Measure a known load
    Bench {
        /// Which load
        #[command(subcommand)]
        what: Box<crate::bench::Bench>,
    },
    /// Print the version
    Version,
}

fn file_of(arguments: &[OsString]) -> Option<PathBuf> {
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy();
        if text == "--" {
            break;
        }
        if text == "--config" {
            return rest.next().map(PathBuf::from);
        }
        if let Some(value) = text.strip_prefix("--config=") {
            return Some(PathBuf::from(value));
        }
    }
    std::env::var_os("FERROBASE_CONFIG").filter(|file| !file.is_empty()).map(PathBuf::from)
}

fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.min_by_key(|name| strsim::damerau_levenshtein(key, name))
}

/// Where the value of a flag (`--name`) comes from, if not from the command line; empty if it was said there, or nowhere.
pub fn origin(flag: &str, given: &[OsString]) -> String {
    let Some(long) = flag.strip_prefix("--").and_then(|flag| flag.split([' ', '=', ':']).next()) else {
        return String::new();
    };
    let said = |text: &OsString| {
        let rest = text.to_str().and_then(|text| text.strip_prefix("--")?.strip_prefix(long));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let short = |text: &OsString| {
        let command = Arguments::command();
        let all = std::iter::once(&command).chain(command.get_subcommands()).flat_map(|part| part.get_arguments());
        let mut named = all.filter(|argument| argument.get_long() == Some(long)).filter_map(|it| it.get_short());
        named.any(|letter| {
            text.to_str().is_some_and(|text| text.strip_prefix('-').is_some_and(|it| it.starts_with(letter)))
        })
    };
    let variable = format!("FERROBASE_{}", long.replace('-', "_").to_uppercase());
    if given.iter().any(|text| said(text) || short(text)) {
        String::new()
    } else if std::env::var_os(&variable).is_some() {
        format!("\nthe value is that of the environment variable {variable}\n")
    } else if let Some(file) = file_of(given).filter(|file| is_key(file, long)) {
        format!("\nthe value is that of the configuration file {}\n", file.display())
    } else {
        String::new()
    }
}

fn is_key(file: &Path, long: &str) -> bool {
    let table = std::fs::read_to_string(file).ok().and_then(|text| text.parse::<toml::Table>().ok());
    table.is_some_and(|table| table.keys().any(|key| key.replace('_', "-") == long))
}

/// Where a refused value comes from, if not from the command line.
fn sources(error: &clap::Error, given: &[OsString]) -> String {
    let variables = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FERROBASE_"));
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) => origin(flag, given),
        _ if error.kind() == ErrorKind::InvalidUtf8 => variables
            .filter(|(_, value)| value.to_str().is_none())
            .map(|(name, _)| format!("\nthe environment variable {} is not UTF-8\n", name.display()))
            .collect(),
        _ => String::new(),
    }
}

/// Gives a flag of a command, if it has it, another default.
fn set_default(part: clap::Command, long: &str, text: &str) -> clap::Command {
    let has = |argument: &&clap::Arg| argument.get_long() == Some(long);
    let id = part.get_arguments().find(has).map(|argument| argument.get_id().clone());
    match id {
        Some(id) => part.mut_arg(id, |argument| argument.default_value(text.to_owned())),
        None => part,
    }
}

/// Lays the file's values under the command as defaults.
fn with_file(mut command: clap::Command, file: &Path) -> Result<clap::Command, UsageError> {
    let name = file.display().to_string();
    let wrong = |why: String| UsageError::File { file: name.clone(), why };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    let known: Vec<String> = std::iter::once(&command)
        .chain(command.get_subcommands())
        .flat_map(|part| part.get_arguments())
        .filter_map(|argument| argument.get_long())
        .filter(|long| !["config", "help", "version"].contains(long))
        .map(str::to_owned)
        .collect();
    for (key, value) in table {
        let long = key.replace('_', "-");
        if !known.contains(&long) {
            let hint = nearest(&long, known.iter().map(String::as_str)).unwrap_or("format");
            return Err(wrong(format!("unknown key `{key}`; did you mean `{hint}`?")));
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            other => return Err(wrong(format!("key `{key}`: text, a number or true/false is needed, not `{other}`"))),
        };
        command = set_default(command, &long, &text);
        let names: Vec<_> = command.get_subcommands().map(|part| part.get_name().to_owned()).collect();
        for name in names {
            command = command.mut_subcommand(name, |part| set_default(part, &long, &text));
        }
    }
    Ok(command)
}

/// Reads arguments, environment and file.
pub fn parse(arguments: Vec<OsString>) -> Result<Arguments, UsageError> {
    let mut command = Arguments::command();
    if std::env::var_os("FERROBASE_CONFIG").is_some_and(|file| file.is_empty()) {
        command = command.mut_arg("config", |argument| argument.env(Resettable::Reset));
    }
    if let Some(file) = file_of(&arguments) {
        command = with_file(command, &file)?;
    }
    let wrap = |error| UsageError::Clap(Box::new(error));
    let given = arguments.clone();
    let mut matches = command.try_get_matches_from(arguments).map_err(|error| {
        let from = sources(&error, &given);
        if from.is_empty() { wrap(error) } else { UsageError::Elsewhere(Box::new(error), from) }
    })?;
    Arguments::from_arg_matches_mut(&mut matches).map_err(wrap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Format;

    fn global(arguments: &[&str]) -> Result<Global, UsageError> {
        let all = ["ferrobase", "version"].iter().chain(arguments).map(OsString::from).collect();
        Ok(parse(all)?.global)
    }

    #[test]
    fn file_lies_under_flags() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), "format = \"json\"\nlog_level = \"debug\"\n").expect("write");
        let path = file.path().to_str().expect("path");
        let read = global(&["--config", path]).expect("parsed");
        assert_eq!((read.format, read.log_level.as_str()), (Format::Json, "debug"));
        assert_eq!(global(&["--config", path, "--format", "table"]).expect("parsed").format, Format::Table);
    }

    #[test]
    fn unknown_key_names_the_nearest() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), "log-levle = 1\n").expect("write");
        let error = global(&["--config", file.path().to_str().expect("path")]).expect_err("refused").to_string();
        assert!(error.contains("unknown key `log-levle`; did you mean `log-level`?"), "{error}");
    }
}
