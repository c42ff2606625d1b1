//! The command line: names, flags, environment variables and defaults. `docs/CLI.md` is this file in prose.
//!
//! Always true
//! - Precedence is flag, environment, file, default. The file's values are laid under clap as defaults, so that one
//!   parser sees everything.
//! - Every flag has an environment variable `FERROBASE_<FLAG>`.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// When to use colour.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run master, region server and META in one process over one data folder
    Standalone(Standalone),
    /// Talk to a server in the HBase shell's words
    Shell(Shell),
    /// Print version, formats and the HBase level spoken
    Version,
}

/// Flags of `standalone`.
#[derive(Debug, Args)]
pub struct Standalone {
    /// Folder of the data
    #[arg(long, env = "FERROBASE_DATA", default_value = "./ferrobase-data", value_name = "PATH")]
    pub data: String,
    /// Address to listen on; any but a loopback one needs --insecure
    #[arg(long, env = "FERROBASE_BIND", default_value = "127.0.0.1", value_name = "IP")]
    pub bind: IpAddr,
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
    /// Take the data folder over from a holder that is paused
    #[arg(long, env = "FERROBASE_TAKE_OVER")]
    pub take_over: bool,
}

/// Flags of `shell`.
#[derive(Debug, Args)]
pub struct Shell {
    /// Script to run
    pub file: Option<PathBuf>,
    /// Commands to run; may be repeated
    #[arg(short, value_name = "TEXT")]
    pub commands: Vec<String>,
    /// Do not ask anything; stop at the first error
    #[arg(short, long)]
    pub noninteractive: bool,
    /// Server: host:port[,…], or the path of a data root whose server is running
    #[arg(long, env = "FERROBASE_CONNECT", default_value = "localhost:16000", value_name = "ADDR")]
    pub connect: String,
    /// Deadline of one whole operation
    #[arg(long, env = "FERROBASE_TIMEOUT", default_value = "60s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
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
            let hint = nearest(&long, known.iter().map(String::as_str)).unwrap_or("data");
            return Err(wrong(format!("unknown key `{key}`; did you mean `{hint}`?")));
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            other => return Err(wrong(format!("key `{key}`: text, a number or true/false is needed, not `{other}`"))),
        };
        let set = |part: clap::Command| {
            let ids: Vec<_> = part
                .get_arguments()
                .filter(|argument| argument.get_long() == Some(&long))
                .map(|argument| argument.get_id().clone())
                .collect();
            ids.into_iter().fold(part, |part, id| {
                let text = text.clone();
                part.mut_arg(id, move |argument| argument.default_value(text))
            })
        };
        command = set(command);
        let names: Vec<_> = command.get_subcommands().map(|part| part.get_name().to_owned()).collect();
        for name in names {
            command = command.mut_subcommand(name, set);
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

    fn standalone(arguments: &[&str]) -> Result<Standalone, UsageError> {
        let all = ["ferrobase", "standalone"].iter().chain(arguments).map(OsString::from).collect();
        match parse(all)?.command {
            Command::Standalone(standalone) => Ok(standalone),
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn file_lies_under_flags() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), "port = 17000\nmemory = \"64M\"\nhttp-port = \"off\"\n").expect("write");
        let path = file.path().to_str().expect("path");
        let read = standalone(&["--config", path]).expect("parsed");
        assert_eq!((read.port, read.memory, read.http_port), (17000, Some(64 << 20), OptionalPort::Off));
        assert_eq!(standalone(&["--config", path, "--port", "5"]).expect("parsed").port, 5);
    }

    #[test]
    fn unknown_key_names_the_nearest() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), "prot = 1\n").expect("write");
        let error = standalone(&["--config", file.path().to_str().expect("path")]).expect_err("refused").to_string();
        assert!(error.contains("unknown key `prot`; did you mean `port`?"), "{error}");
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(size("256M"), Ok(256 << 20));
        assert!(size("much").is_err());
    }
}
