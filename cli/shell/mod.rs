//! The shell: HBase's words and syntax over the Rust client. The grammar is in `docs/SHELL.md`.
//!
//! ```text
//! input → parser (lexer) → session → a command (options, convert) → client → output (show)
//! ```

mod context;
mod convert;
mod error;
mod help;
mod input;
mod lexer;
mod namespaces;
mod options;
mod output;
mod parser;
mod reads;
mod regions;
mod schema;
mod session;
mod show;
mod tables;
mod value;
mod words;
mod writes;

use std::cell::RefCell;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use client::Connection;

use crate::arguments::Global;
use crate::connect;
use crate::failure::Failure;
use crate::roots::RootFlags;
use context::{Consent, Context};
use input::{Lines, Nobody, Piped, Terminal};
use output::Printer;
use session::{End, Session};
pub use show::{binary, from_binary, timestamp};

/// Flags of `shell`.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Script to run; without it, -c or piped input a person is asked
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The cluster: host:port[,host:port…], or the data root of a running server
    #[arg(long, env = "FERROBASE_CONNECT", default_value = "localhost:16000", value_name = "ADDR")]
    pub connect: String,
    /// How that root is reached
    #[command(flatten)]
    pub roots: RootFlags,
    /// Longest time that one operation may take, with all its attempts; default 60s, and 10min for schema changes
    #[arg(long, env = "FERROBASE_TIMEOUT", value_name = "TIME", value_parser = crate::arguments::duration)]
    pub timeout: Option<Duration>,
    /// Commands to run; may be given several times
    #[arg(short, value_name = "TEXT", conflicts_with = "file")]
    pub commands: Vec<String>,
    /// No prompt and no editing: read standard input as a script, stop at the first error
    #[arg(short, long, env = "FERROBASE_NONINTERACTIVE")]
    pub noninteractive: bool,
    /// Agree to what destructive commands ask
    #[arg(short, long, env = "FERROBASE_YES")]
    pub yes: bool,
}

/// Largest script that is read.
const SCRIPT_MAX: u64 = 256 << 20;

/// What a session reads.
enum Input {
    /// Whole texts with what stands before places in messages.
    Texts(Vec<(String, Vec<u8>)>),
    /// Standard input.
    Piped,
    /// A person.
    Terminal,
}

/// `shell`.
///
/// # Errors
/// 1 for the first command that failed, 2 for a script that cannot be read, 4 if the cluster cannot be reached.
pub fn run(flags: &Flags, global: &Global, runtime: &tokio::runtime::Runtime) -> Result<(), Failure> {
    let input = input_of(flags)?;
    let connection = runtime.block_on(connect::open(&flags.connect, &flags.roots, flags.timeout))?;
    let interactive = matches!(input, Input::Terminal);
    let stdout = io::stdout();
    if interactive && !global.quiet {
        let (version, cluster) = (env!("CARGO_PKG_VERSION"), connection.cluster_id());
        eprintln!("Ferrobase shell {version}, cluster {cluster} at {}", flags.connect);
        eprintln!("`help` lists the commands, `exit` leaves.\n");
    }
    // A person sees rows as they come; a pipe gets them in large pieces, and all of them before the next command is read.
    let mut out: Box<dyn Write> = if stdout.is_terminal() {
        Box::new(stdout.lock())
    } else {
        Box::new(BufWriter::with_capacity(1 << 16, stdout.lock()))
    };
    let end = run_input(input, flags, global, connection, runtime, &mut *out)?;
    match end {
        End::Input | End::Exit(0) => Ok(()),
        End::Exit(code) => Err(Failure { code, message: String::new() }),
        End::Failed(message, code) => {
            if !message.is_empty() {
                eprintln!("{message}");
            }
            Err(Failure { code, message: String::new() })
        }
    }
}

fn run_input(
    input: Input,
    flags: &Flags,
    global: &Global,
    connection: Connection,
    runtime: &tokio::runtime::Runtime,
    out: &mut dyn Write,
) -> Result<End, Failure> {
    let interactive = matches!(input, Input::Terminal);
    let lines: Rc<RefCell<dyn Lines>> = match &input {
        Input::Texts(_) => Rc::new(RefCell::new(Nobody)),
        Input::Piped => Rc::new(RefCell::new(Piped(io::stdin().lock()))),
        Input::Terminal => Rc::new(RefCell::new(Terminal::open()?)),
    };
    let consent = if flags.yes { Consent::Given } else { Consent::Asked(lines.clone()) };
    let printer = Printer::new(out, global.format, terminal_width);
    let context = Context { connection, printer, consent };
    let clock = runtime::Runtime::system().clock;
    let mut session = Session::new(context, interactive, global.quiet, clock);
    Ok(runtime.block_on(async {
        let Input::Texts(texts) = &input else { return session.run_lines(lines).await };
        for (name, text) in texts {
            match session.run_text(text, name).await {
                End::Input => {}
                end => return end,
            }
        }
        End::Input
    }))
}

fn input_of(flags: &Flags) -> Result<Input, Failure> {
    if let Some(file) = &flags.file {
        let wrong = |why: &dyn std::fmt::Display| Failure::usage(format!("{}: {why}", file.display()));
        // What is no plain file tells no size.
        let mut text = Vec::new();
        let script = std::fs::File::open(file).map_err(|error| wrong(&error))?;
        script.take(SCRIPT_MAX + 1).read_to_end(&mut text).map_err(|error| wrong(&error))?;
        if text.len() as u64 > SCRIPT_MAX {
            return Err(wrong(&format!("a script may have {SCRIPT_MAX} bytes; send more through a pipe")));
        }
        return Ok(Input::Texts(vec![(format!("{}, ", file.display()), text)]));
    }
    if !flags.commands.is_empty() {
        let several = flags.commands.len() > 1;
        let name = |number: usize| if several { format!("-c number {number}, ") } else { String::new() };
        let texts = flags.commands.iter().zip(1..).map(|(text, number)| (name(number), text.clone().into_bytes()));
        return Ok(Input::Texts(texts.collect()));
    }
    if flags.noninteractive || !io::stdin().is_terminal() { Ok(Input::Piped) } else { Ok(Input::Terminal) }
}

/// Characters in a line of the terminal that standard output is; `None` if it is none.
fn terminal_width() -> Option<usize> {
    // SAFETY: `winsize` is four plain numbers, so zeroes are a value of it; TIOCGWINSZ writes one and keeps no pointer.
    let (done, size) = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        (libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) == 0, size)
    };
    (done && size.ws_col > 0).then(|| size.ws_col.into())
}
