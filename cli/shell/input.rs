//! Where statements come from: a terminal, a pipe, a file, or `-c`.
//!
//! Always true: a pipe is read line by line, so that a program can write a command and wait for its answer.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Editor, Helper};

use super::words;

/// Longest line, and longest statement over several lines.
pub const STATEMENT_MAX: usize = 64 << 20;
/// Lines that the history file keeps.
const HISTORY_MAX: usize = 2000;

/// What a source gives.
#[derive(Debug)]
pub enum Line {
    /// A line without its end.
    Text(Vec<u8>),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// Nothing more will come.
    End,
}

/// A source of lines.
pub trait Lines {
    /// The next line, asked for with `prompt` on a terminal.
    fn next(&mut self, prompt: &str) -> io::Result<Line>;
    /// A statement that was understood, for the history.
    fn remember(&mut self, _statement: &str) {}
}

/// A text that is there already; it has no lines left to answer questions with.
pub struct Nobody;

impl Lines for Nobody {
    fn next(&mut self, _prompt: &str) -> io::Result<Line> {
        Ok(Line::End)
    }
}

/// Anything that is read: standard input.
pub struct Piped<R>(pub R);

impl<R: BufRead> Lines for Piped<R> {
    fn next(&mut self, _prompt: &str) -> io::Result<Line> {
        let mut line = Vec::new();
        let most = STATEMENT_MAX as u64 + 1;
        if self.0.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
            return Ok(Line::End);
        }
        if line.len() > STATEMENT_MAX {
            return Err(io::Error::other(format!("a line is longer than {STATEMENT_MAX} bytes")));
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Ok(Line::Text(line))
    }
}

/// A person at a terminal: editing, history, completion.
pub struct Terminal {
    editor: Editor<Words, DefaultHistory>,
    history: Option<PathBuf>,
}

impl Terminal {
    /// The terminal of this process.
    pub fn open() -> io::Result<Terminal> {
        let config = Config::builder().max_history_size(HISTORY_MAX).map_err(other)?.auto_add_history(false).build();
        let mut editor = Editor::with_config(config).map_err(other)?;
        editor.set_helper(Some(Words));
        let history = history_file();
        if let Some(file) = &history
            && file.exists()
            && let Err(error) = editor.load_history(file)
        {
            eprintln!("ferrobase: {}: {error}; the history starts empty", file.display());
        }
        Ok(Terminal { editor, history })
    }
}

fn other(error: ReadlineError) -> io::Error {
    match error {
        ReadlineError::Io(error) => error,
        error => io::Error::other(error),
    }
}

/// `FERROBASE_HISTORY`, else `.ferrobase_history` in the home folder; empty means none.
fn history_file() -> Option<PathBuf> {
    match std::env::var_os("FERROBASE_HISTORY") {
        Some(file) if file.is_empty() => None,
        Some(file) => Some(file.into()),
        None => std::env::home_dir().map(|home| home.join(".ferrobase_history")),
    }
}

impl Lines for Terminal {
    fn next(&mut self, prompt: &str) -> io::Result<Line> {
        match self.editor.readline(prompt) {
            Ok(line) => Ok(Line::Text(line.into_bytes())),
            Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(other(error)),
        }
    }

    fn remember(&mut self, statement: &str) {
        let added = self.editor.add_history_entry(statement);
        // A history that cannot be kept must not stop the work; the next start says so when it cannot be read.
        if let (Ok(true), Some(file)) = (added, &self.history) {
            let _ = self.editor.append_history(file);
        }
    }
}

/// Completes commands, constants and filters.
struct Words;

impl Helper for Words {}
impl Highlighter for Words {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _default: bool) -> Cow<'b, str> {
        Cow::Borrowed(prompt)
    }
}
impl Hinter for Words {
    type Hint = String;
}
impl Validator for Words {}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &rustyline::Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(line, at))
    }
}

/// Where the word before the cursor starts, and what it may become.
fn complete(line: &str, at: usize) -> (usize, Vec<String>) {
    let before = line.get(..at).unwrap_or_default();
    let word_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let start = before
        .rfind(|c: char| !word_part(c))
        .map_or(0, |last| last + before[last..].chars().next().map_or(1, char::len_utf8));
    let word = &before[start..];
    let head = before[..start].trim_end();
    let quoted = head.ends_with(['\'', '"']);
    let is_command =
        head.is_empty() || head.ends_with([';', '.']) || head.ends_with('=') || head == "help" || head == "help '";
    let mut found: Vec<String> = if is_command {
        words::names().filter(|name| name.starts_with(word)).map(str::to_owned).collect()
    } else if word.is_empty() {
        Vec::new()
    } else if quoted {
        filters(word).collect()
    } else {
        let constants = words::CONSTANTS.iter().filter(|name| name.starts_with(word)).map(|name| (*name).to_owned());
        constants.chain(filters(word)).collect()
    };
    found.sort();
    (start, found)
}

fn filters(word: &str) -> impl Iterator<Item = String> {
    model::filter::language::NAMES.iter().filter(move |name| name.starts_with(word)).map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_complete_where_they_may_stand() {
        let words = |line: &str| complete(line, line.len());
        assert_eq!(words("desc"), (0, vec!["desc".to_owned(), "describe".to_owned(), "describe_namespace".to_owned()]));
        assert_eq!(words("t.coun").1, ["count"]);
        assert_eq!(words("t = get_t").1, ["get_table"]);
        assert_eq!(words("scan 't', {ROWP"), (11, vec!["ROWPREFIXFILTER".to_owned()]));
        assert_eq!(words("scan 't', FILTER => \"PrefixF").1, ["PrefixFilter"]);
        assert!(words("put 'sc").1.is_empty() && words("put 't', ").1.is_empty());
        assert_eq!(complete("é", 1).0, 0);
    }

    #[test]
    fn pipes_are_read_by_lines() {
        let mut piped = Piped(&b"a\n\nb"[..]);
        let mut all = Vec::new();
        while let Line::Text(line) = piped.next("").expect("read") {
            all.push(line);
        }
        assert_eq!(all, [&b"a"[..], b"", b"b"]);
    }
}
