//! The command line: names, flags, environment variables and defaults. `docs/CLI.md` is this file in prose.
//!
//! Always true
//! - Precedence is flag, environment, file, default. The file's values are laid under clap as defaults, so that one
//!   parser sees everything.
//! - Every flag has an environment variable `FERROBASE_<FLAG>`.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// Bad usage or configuration: exit code 2, nothing touched.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// clap's own message, ready to print (help and version come this way too).
    #[error("{0}")]
    Clap(Box<clap::Error>),
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

/// Flags that every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// TOML file with settings; its keys are the flags' names
    #[arg(long, global = true, env = "FERROBASE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How much to log: error, warn, info, debug, trace, or a filter such as storage=debug
    #[arg(long, global = true, env = "FERROBASE_LOG_LEVEL", default_value = "warn")]
    pub log_level: String,
    /// How log lines look
    #[arg(long, global = true, env = "FERROBASE_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// How results look
    #[arg(long, global = true, env = "FERROBASE_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
    /// Print results only
    #[arg(short, long, global = true, env = "FERROBASE_QUIET")]
    pub quiet: bool,
    /// Colour on a terminal; NO_COLOR is obeyed
    #[arg(long, global = true, env = "FERROBASE_COLOR", value_enum, default_value = "auto")]
    pub color: Color,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Never.
    Never,
}

/// How results look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run master, region server and META in one process over one data folder
    Standalone(Standalone),
    /// HBase's shell: tables, rows, administration
    Shell(crate::shell::Flags),
    /// Look into files, without changing anything
    Inspect {
        /// What to look into
        #[command(subcommand)]
        what: Inspect,
    },
    /// Measure a known load
    Bench {
        /// Which load
        #[command(subcommand)]
        what: Box<crate::bench::Bench>,
    },
    /// Print the version
    Version,
}

/// Flags of `standalone`.
#[derive(Debug, Args)]
pub struct Standalone {
    /// Folder of the data; made if it is missing
    #[arg(long, env = "FERROBASE_DATA", default_value = "./ferrobase-data", value_name = "PATH")]
    pub data: String,
    /// Address to listen on; any but a loopback one needs --insecure
    #[arg(long, env = "FERROBASE_BIND", default_value = "127.0.0.1", value_name = "IP")]
    pub bind: IpAddr,
    /// Host and port that clients are told to use; default the ones listened on
    #[arg(long, env = "FERROBASE_ADVERTISE", value_name = "HOST[:PORT]")]
    pub advertise: Option<String>,
    /// Listen on an address that other machines reach, without any security
    #[arg(long, env = "FERROBASE_INSECURE")]
    pub insecure: bool,
    /// Port of the service; 0 takes a free one
    #[arg(long, env = "FERROBASE_PORT", default_value = "16000", value_name = "N")]
    pub port: u16,
    /// Port of /health, /ready and /metrics; 0 takes a free one, `off` closes it
    #[arg(long, env = "FERROBASE_HTTP_PORT", default_value = "16010", value_name = "N", value_parser = optional_port)]
    pub http_port: OptionalPort,
    /// Memory for memtables, block cache and requests together; default a quarter of RAM or of the cgroup's limit
    #[arg(long, env = "FERROBASE_MEMORY", value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// File that tells, as JSON, pid and ports once the server is ready
    #[arg(long, env = "FERROBASE_READY_FILE", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Take the data folder over from a holder that does not answer
    #[arg(long, env = "FERROBASE_TAKE_OVER")]
    pub take_over: bool,
}

/// A port that may be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionalPort {
    /// Closed.
    Off,
    /// This one; 0 takes a free one.
    Port(u16),
}

fn optional_port(text: &str) -> Result<OptionalPort, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(OptionalPort::Off);
    }
    text.parse().map(OptionalPort::Port).map_err(|_| "a port number, 0 or `off` is needed".to_owned())
}

/// Bytes, with K, M, G as powers of 1024.
fn size(text: &str) -> Result<u64, String> {
    parse_size::Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|error| format!("a size such as 64M or 2G is needed ({error})"))
}

/// What `inspect` looks into.
#[derive(Debug, Subcommand)]
pub enum Inspect {
    /// A store file: HBase's, or Ferrobase's own
    Hfile(Hfile),
}

/// Flags of `inspect hfile`, with HBase's letters.
#[derive(Debug, Args)]
pub struct Hfile {
    /// The file
    #[arg(value_name = "TARGET")]
    pub target: PathBuf,
    /// Print trailer and file info
    #[arg(short)]
    pub meta: bool,
    /// Print the cells
    #[arg(short)]
    pub pairs: bool,
    /// Check that the cells are in order
    #[arg(short = 'k')]
    pub check: bool,
    /// Print counts and sizes
    #[arg(short)]
    pub stats: bool,
    /// Print the cells of this row only
    #[arg(short = 'w', value_name = "ROW")]
    pub row: Option<String>,
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
    std::env::var_os("FERROBASE_CONFIG").map(PathBuf::from)
}

fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.min_by_key(|name| strsim::damerau_levenshtein(key, name))
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
    if let Some(file) = file_of(&arguments) {
        command = with_file(command, &file)?;
    }
    let wrap = |error| UsageError::Clap(Box::new(error));
    let mut matches = command.try_get_matches_from(arguments).map_err(wrap)?;
    Arguments::from_arg_matches_mut(&mut matches).map_err(wrap)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn sizes_are_binary_and_ports_may_be_off() {
        assert_eq!(size("256M"), Ok(256 << 20));
        assert!(size("much").is_err() && optional_port("70000").is_err());
        assert_eq!((optional_port("off"), optional_port("0")), (Ok(OptionalPort::Off), Ok(OptionalPort::Port(0))));
    }

    #[test]
    fn unknown_key_names_the_nearest() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), "log-levle = 1\n").expect("write");
        let error = global(&["--config", file.path().to_str().expect("path")]).expect_err("refused").to_string();
        assert!(error.contains("unknown key `log-levle`; did you mean `log-level`?"), "{error}");
    }
}
