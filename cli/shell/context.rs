//! What every command works with.

use std::cell::RefCell;
use std::rc::Rc;

use client::{Connection, Table};
use model::schema::TableName;

use super::error::{Failure, Result};
use super::input::{Line, Lines};
use super::output::Printer;

/// Who says yes to a destructive command.
pub enum Consent {
    /// Nobody is asked.
    Given,
    /// The next line of the input.
    Asked(Rc<RefCell<dyn Lines>>),
}

/// The connection, the output and the person.
pub struct Context<'a> {
    /// The cluster.
    pub connection: Connection,
    /// Results.
    pub printer: Printer<'a>,
    /// For destructive commands.
    pub consent: Consent,
}

impl Context<'_> {
    /// A table; it need not exist.
    pub fn table(&self, name: &TableName) -> Table {
        self.connection.table(name.clone())
    }

    /// Asks for a yes. Without an answer it is an error.
    pub fn agrees(&mut self, question: &str) -> Result<bool> {
        let Consent::Asked(lines) = &self.consent else { return Ok(true) };
        self.printer.question(&format!("{question} (y/n)?"))?;
        match lines.borrow_mut().next("")? {
            Line::Text(answer) => {
                Ok(answer.trim_ascii_start().first().is_some_and(|byte| byte.eq_ignore_ascii_case(&b'y')))
            }
            Line::Interrupted => Ok(false),
            Line::End => {
                Err(Failure::says(format!("{question}: nobody is there to answer; start the shell with -y to agree")))
            }
        }
    }
}
