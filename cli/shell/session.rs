//! A session: reads statements, looks names up, runs commands, prints what becomes of them.
//!
//! Always true
//! - Without a person the first error ends the session; with one it is said and the session goes on.
//! - Ctrl-C ends the running command, never an interactive session.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use runtime::clock::Clock;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::context::Context;
use super::error::{Failure, Result, elided, message};
use super::input::{Line, Lines, STATEMENT_MAX};
use super::lexer::Place;
use super::options::{Arguments, table_name};
use super::parser::{Action, Expression, Parsed, Statement, parse};
use super::tables::Change;
use super::value::Value;
use super::words::{self, Known, Word};
use super::{help, namespaces, reads, regions, show, tables, writes};

/// A session.
pub struct Session<'a> {
    /// What commands work with.
    pub context: Context<'a>,
    /// Values by name.
    variables: BTreeMap<String, Value>,
    /// Whether a person is there.
    interactive: bool,
    /// Results only, no times.
    quiet: bool,
    clock: Arc<dyn Clock>,
    /// Ctrl-C while a command runs; only with a person, otherwise it ends the process.
    interrupts: Option<Signal>,
}

/// Why a session ended.
#[derive(Debug)]
pub enum End {
    /// The input ended.
    Input,
    /// `exit`.
    Exit(u8),
    /// An error that nobody was there to see.
    Failed(String, u8),
}

/// A failure and where it belongs.
struct Problem {
    place: Option<Place>,
    failure: Failure,
    /// The command's first argument, for messages.
    subject: String,
    /// The command, if one was run.
    command: Option<&'static str>,
}

impl Problem {
    fn at(place: Place, message: impl Into<String>) -> Problem {
        Problem { place: Some(place), failure: Failure::says(message), subject: String::new(), command: None }
    }
}

const START: Place = Place { line: 1, column: 1 };

impl<'a> Session<'a> {
    /// A session that has not begun.
    pub fn new(context: Context<'a>, interactive: bool, quiet: bool, clock: Arc<dyn Clock>) -> Session<'a> {
        Session { context, variables: BTreeMap::new(), interactive, quiet, clock, interrupts: None }
    }

    /// Runs a whole text. `name` stands before places in messages.
    pub async fn run_text(&mut self, text: &[u8], name: &str) -> End {
        let (mut rest, mut place) = (text, START);
        while !rest.is_empty() {
            let parsed = match parse(rest, place, true, &Known) {
                Ok(parsed) => parsed,
                Err(error) => return End::Failed(elided(format!("ERROR: {name}{error}")), 1),
            };
            if let Some(end) = self.run_parsed(&parsed, name).await {
                return end;
            }
            rest = rest.get(parsed.consumed..).unwrap_or_default();
            place = parsed.place;
        }
        End::Input
    }

    /// Runs statements as their lines come.
    pub async fn run_lines(&mut self, lines: Rc<RefCell<dyn Lines>>) -> End {
        let (mut buffer, mut place, mut number) = (Vec::new(), START, 1_u32);
        if self.interactive {
            // From here on the key ends no more than a command, however early it comes.
            match signal(SignalKind::interrupt()) {
                Ok(signal) => self.interrupts = Some(signal),
                Err(error) => return End::Failed(format!("ERROR: cannot listen for Ctrl-C: {error}"), 1),
            }
        }
        loop {
            if let Some(interrupts) = &mut self.interrupts {
                // A key that came too late for the last command must not end the next one.
                while interrupts.recv().now_or_never() == Some(Some(())) {}
            }
            let prompt = format!("ferrobase:{number:03}{} ", if buffer.is_empty() { ">" } else { "*" });
            let line = match lines.borrow_mut().next(&prompt) {
                Ok(line) => line,
                Err(error) => return End::Failed(format!("ERROR: cannot read the input: {error}"), 1),
            };
            let last = match line {
                Line::Interrupted => {
                    buffer.clear();
                    continue;
                }
                Line::End if buffer.is_empty() => return End::Input,
                Line::End => true,
                Line::Text(text) => {
                    buffer.extend_from_slice(&text);
                    buffer.push(b'\n');
                    false
                }
            };
            if self.interactive && buffer.ends_with(b"\n") {
                place = START;
            }
            if buffer.len() > STATEMENT_MAX {
                return End::Failed(format!("ERROR: {place}: a statement is longer than {STATEMENT_MAX} bytes"), 1);
            }
            let text = String::from_utf8_lossy(&buffer).trim().to_owned();
            match self.run_buffer(&mut buffer, &mut place, last).await {
                Some(end) => return end,
                None if buffer.is_empty() && !text.is_empty() => {
                    lines.borrow_mut().remember(&text);
                    number += 1;
                }
                None => {}
            }
            if last {
                return End::Input;
            }
        }
    }

    /// Runs the whole statements of the buffer and leaves what has no end yet.
    async fn run_buffer(&mut self, buffer: &mut Vec<u8>, place: &mut Place, last: bool) -> Option<End> {
        while !buffer.is_empty() {
            match parse(buffer, *place, last, &Known) {
                Ok(parsed) => {
                    if let Some(end) = self.run_parsed(&parsed, "").await {
                        return Some(end);
                    }
                    buffer.drain(..parsed.consumed.min(buffer.len()));
                    *place = parsed.place;
                }
                Err(error) if error.incomplete && !last => return None,
                Err(error) if self.interactive => {
                    buffer.clear();
                    let said = self.context.printer.line(elided(format!("\nERROR: {error}\n")));
                    return said.and_then(|()| self.context.printer.flush()).err().map(output_ends);
                }
                Err(error) => return Some(End::Failed(elided(format!("ERROR: {error}")), 1)),
            }
        }
        None
    }

    async fn run_parsed(&mut self, parsed: &Parsed, name: &str) -> Option<End> {
        let statement = parsed.statement.as_ref()?;
        let begun = self.clock.monotonic();
        let outcome = self.run_statement(statement).await;
        let took = self.clock.monotonic().saturating_sub(begun);
        let (value, problem) = match outcome {
            Ok(value) => (value, None),
            Err(Problem { failure: Failure::Exit(code), .. }) => {
                return match self.context.printer.flush() {
                    Ok(()) => Some(End::Exit(code)),
                    Err(error) => Some(output_ends(error)),
                };
            }
            Err(Problem { failure: Failure::Output(error), .. }) => return Some(output_ends(error)),
            Err(problem) => (Value::Nil, Some(problem)),
        };
        let command = matches!(statement.action, Action::Call { .. });
        match self.close(command, &value, problem.as_ref(), took) {
            Err(error) => Some(output_ends(error)),
            Ok(()) => problem.filter(|_| !self.interactive).map(|problem| {
                let place = problem.place.unwrap_or(statement.place);
                let code = if problem.failure.is_unreachable() { 4 } else { 1 };
                End::Failed(format!("ERROR: {name}{place}: {}", message(&problem.failure, &problem.subject)), code)
            }),
        }
    }

    /// Prints what stands behind a command's own output.
    fn close(&mut self, command: bool, value: &Value, problem: Option<&Problem>, took: Duration) -> io::Result<()> {
        let printer = &mut self.context.printer;
        if let Some(problem) = problem.filter(|_| self.interactive) {
            let said = message(&problem.failure, &problem.subject);
            let place = problem.place.map_or_else(String::new, |place| format!("{place}: "));
            printer.line(format!("\nERROR: {place}{said}\n"))?;
            if let Some(command) = problem.command.filter(|_| !matches!(problem.failure, Failure::Interrupted)) {
                printer.line(format!("For usage try 'help \"{command}\"'\n"))?;
            }
            if !printer.is_table() {
                eprintln!("ERROR: {place}{said}");
            }
        }
        if command {
            if !self.quiet && problem.is_none_or(|problem| problem.command.is_some()) {
                printer.line(format!("Took {:.4} seconds", took.as_secs_f64()))?;
            }
            printer.end_command()?;
        }
        if self.interactive && *value != Value::Nil {
            printer.line(format!("=> {}", value.inspect()))?;
        }
        printer.flush()
    }

    async fn run_statement(&mut self, statement: &Statement) -> std::result::Result<Value, Problem> {
        if let Some(name) = statement.assign_to.as_ref().filter(|name| words::find(name).is_some()) {
            return Err(Problem::at(statement.place, format!("`{name}` is a command and cannot be a variable")));
        }
        let value = match &statement.action {
            Action::Literal(expression) => self.value(expression)?,
            Action::Call { receiver, name, name_place, arguments } => {
                self.call(receiver.as_deref(), name, *name_place, statement.place, arguments).await?
            }
        };
        if let Some(name) = &statement.assign_to {
            self.variables.insert(name.clone(), value.clone());
        }
        Ok(value)
    }

    async fn call(
        &mut self,
        receiver: Option<&str>,
        name: &str,
        name_place: Place,
        place: Place,
        arguments: &[Expression],
    ) -> std::result::Result<Value, Problem> {
        let mut values = Vec::with_capacity(arguments.len() + 1);
        if let Some(receiver) = receiver {
            let table = match self.variables.get(receiver) {
                Some(table @ Value::Table(_)) => table.clone(),
                Some(other) => {
                    let kind = other.kind();
                    return Err(Problem::at(place, format!("`{receiver}` is a {kind}, not a table; see `table_help`")));
                }
                None => return Err(Problem::at(place, self.no_variable(receiver))),
            };
            values.push(table);
        } else if arguments.is_empty()
            && let Some(value) = self.variables.get(name)
        {
            return Ok(value.clone());
        }
        let Some(word) = words::find(name) else {
            return Err(Problem::at(name_place, words::unknown(name)));
        };
        if receiver.is_some() && !word.takes_table {
            return Err(Problem::at(name_place, format!("`{name}` is no command of a table; see `table_help`")));
        }
        for argument in arguments {
            values.push(self.value(argument)?);
        }
        let subject = values.first().and_then(Value::to_text).unwrap_or_default();
        let arguments = Arguments::new(word.name, values);
        let outcome = match &mut self.interrupts {
            Some(interrupts) => tokio::select! {
                outcome = run(&mut self.context, word, arguments) => outcome,
                _ = interrupts.recv() => Err(Failure::Interrupted),
            },
            None => run(&mut self.context, word, arguments).await,
        };
        match outcome {
            Ok(value) => Ok(value),
            Err(failure) => {
                let failure = self.explained(failure, word, &subject).await;
                Err(Problem { place: None, failure, subject, command: Some(word.name) })
            }
        }
    }

    /// An unknown family is answered with the known ones.
    async fn explained(&self, failure: Failure, word: &Word, table: &str) -> Failure {
        let unknown = matches!(&failure, Failure::Client(error) if error.class() == "NoSuchColumnFamilyException");
        let Some(name) = table_name(table.as_bytes()).ok().filter(|_| unknown && word.takes_table) else {
            return failure;
        };
        let Ok(table) = self.context.connection.admin().descriptor(&name).await else { return failure };
        let families: Vec<_> = table.families.keys().map(|name| format!("{}:*", show::binary(name))).collect();
        Failure::says(format!("Unknown column family! Valid column names: {}", families.join(", ")))
    }

    fn no_variable(&self, name: &str) -> String {
        match words::nearest(name, self.variables.keys().map(String::as_str)) {
            Some(near) => format!("unknown variable `{name}`; did you mean `{near}`?"),
            None => format!("unknown variable `{name}`; text stands in quotes: '{name}'"),
        }
    }

    fn value(&self, expression: &Expression) -> std::result::Result<Value, Problem> {
        match expression {
            Expression::Value(value) => Ok(value.clone()),
            Expression::Variable(name, place) => {
                self.variables.get(name).cloned().ok_or_else(|| Problem::at(*place, self.no_variable(name)))
            }
            Expression::Array(items) => {
                Ok(Value::Array(items.iter().map(|item| self.value(item)).collect::<std::result::Result<_, _>>()?))
            }
            Expression::Hash(pairs) => {
                let mut values: Vec<(Value, Value)> = Vec::with_capacity(pairs.len());
                for (key, value) in pairs {
                    let (key, value) = (self.value(key)?, self.value(value)?);
                    values.retain(|(known, _)| *known != key);
                    values.push((key, value));
                }
                Ok(Value::Hash(values))
            }
        }
    }
}

/// A reader that has gone is no news to anybody; other failures to write are.
fn output_ends(error: io::Error) -> End {
    if error.kind() == io::ErrorKind::BrokenPipe {
        End::Failed(String::new(), 1)
    } else {
        End::Failed(format!("ERROR: cannot write results: {error}"), 1)
    }
}

/// Runs a command.
async fn run(context: &mut Context<'_>, word: &Word, arguments: Arguments) -> Result<Value> {
    match word.name {
        "help" => help::help(context, arguments),
        "table_help" => help::table_help(context, arguments),
        "show_filters" => help::show_filters(context, arguments),
        "version" => help::version(context, arguments),
        "exit" => leave(arguments),
        "status" => regions::status(context, arguments).await,
        "create" => tables::create(context, arguments).await,
        "alter" => tables::alter(context, arguments).await,
        "describe" => tables::describe(context, arguments).await,
        "list" => tables::list(context, arguments).await,
        "list_enabled_tables" => tables::list_by_state(context, arguments, true).await,
        "list_disabled_tables" => tables::list_by_state(context, arguments, false).await,
        "exists" => tables::exists(context, arguments).await,
        "is_enabled" => tables::is_in_state(context, arguments, true).await,
        "is_disabled" => tables::is_in_state(context, arguments, false).await,
        "enable" => tables::set_state(context, arguments, true).await,
        "disable" => tables::set_state(context, arguments, false).await,
        "drop" => tables::drop(context, arguments).await,
        "enable_all" => tables::change_all(context, arguments, Change::Enable).await,
        "disable_all" => tables::change_all(context, arguments, Change::Disable).await,
        "drop_all" => tables::change_all(context, arguments, Change::Drop).await,
        "truncate" => tables::truncate(context, arguments, false).await,
        "truncate_preserve" => tables::truncate(context, arguments, true).await,
        "clone_table_schema" => tables::clone_schema(context, arguments).await,
        "get_table" => tables::get_table(arguments),
        "locate_region" => regions::locate(context, arguments).await,
        "list_regions" => regions::list(context, arguments).await,
        "get_splits" => regions::get_splits(context, arguments).await,
        "flush" => regions::flush(context, arguments).await,
        "compact" => regions::compact(context, arguments, false).await,
        "major_compact" => regions::compact(context, arguments, true).await,
        "create_namespace" => namespaces::create(context, arguments).await,
        "alter_namespace" => namespaces::alter(context, arguments).await,
        "describe_namespace" => namespaces::describe(context, arguments).await,
        "drop_namespace" => namespaces::drop(context, arguments).await,
        "list_namespace" => namespaces::list(context, arguments).await,
        "list_namespace_tables" => namespaces::list_tables(context, arguments).await,
        "put" => writes::put(context, arguments).await,
        "delete" => writes::delete(context, arguments).await,
        "deleteall" => writes::deleteall(context, arguments).await,
        "incr" => writes::incr(context, arguments).await,
        "append" => writes::append(context, arguments).await,
        "get" => reads::get(context, arguments).await,
        "scan" => reads::scan(context, arguments).await,
        "count" => reads::count(context, arguments).await,
        "get_counter" => reads::get_counter(context, arguments).await,
        other => Err(Failure::says(words::unknown(other))),
    }
}

/// `exit`.
fn leave(mut arguments: Arguments) -> Result<Value> {
    let code = arguments.optional_int("the exit code")?.unwrap_or(0);
    arguments.done()?;
    let code = u8::try_from(code).map_err(|_| Failure::says(format!("an exit code is 0 to 255, not {code}")))?;
    Err(Failure::Exit(code))
}
