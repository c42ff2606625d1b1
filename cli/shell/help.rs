//! `help`, `table_help`, `show_filters`, `version`.

use serde_json::{Value as Json, json};

use super::context::Context;
use super::error::{Failure, Result};
use super::options::Arguments;
use super::value::Value;
use super::words::{self, GROUPS, WORDS, Word};

const USAGE: &str = "\
SHELL USAGE:
Text stands in quotes: 't1', or \"\\x00\" where bytes are meant. Arguments are separated by commas, without parentheses.
Options are hashes: {NAME => 'f1', VERSIONS => 5}; the last one needs no braces. Keys such as NAME are constants and are
written without quotes. A statement goes on in the next line while a bracket is open or after a comma.
A table may be kept in a variable: t = get_table 't1'; then t.put 'r', 'f:q', 'v'. This is a small part of Ruby; loops
and calls of Java classes are not understood. docs/SHELL.md has the grammar.";

fn print_word(context: &mut Context<'_>, word: &Word) -> Result<()> {
    context.printer.line(format!("{}: {}", word.name, word.about))?;
    context.printer.line("Examples:")?;
    for example in word.examples.lines() {
        context.printer.line(format!("  {example}"))?;
    }
    context.printer.item(|| word_json(word))?;
    Ok(())
}

fn word_json(word: &Word) -> Json {
    json!({"command": word.name, "group": word.group, "about": word.about, "examples": word.examples.lines().collect::<Vec<_>>()})
}

fn print_group(context: &mut Context<'_>, group: &str) -> Result<()> {
    context.printer.line(format!("  Group name: {group}"))?;
    let names: Vec<_> = WORDS.iter().filter(|word| word.group == group).map(|word| word.name).collect();
    context.printer.line(format!("  Commands: {}", names.join(", ")))?;
    context.printer.line("")?;
    Ok(())
}

/// `help`.
pub fn help(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    if arguments.peek().is_none() {
        context.printer.line(format!("Ferrobase shell {}, with HBase's words", env!("CARGO_PKG_VERSION")))?;
        context
            .printer
            .line("help 'COMMAND' (for example help 'get', the quotes are necessary) explains a command,")?;
        context.printer.line("help 'GROUP' (for example help 'ddl') all of a group.")?;
        context.printer.line("\nCOMMAND GROUPS:")?;
        for group in GROUPS {
            print_group(context, group)?;
        }
        context.printer.line(USAGE)?;
        WORDS.iter().try_for_each(|word| context.printer.item(|| word_json(word)))?;
    }
    while arguments.peek().is_some() {
        let name = arguments.text("a command")?;
        if let Some(word) = words::find(&name) {
            print_word(context, word)?;
        } else if GROUPS.contains(&name.as_str()) {
            for word in WORDS.iter().filter(|word| word.group == name) {
                print_word(context, word)?;
                context.printer.line("")?;
            }
        } else {
            return Err(Failure::says(words::unknown(&name)));
        }
    }
    context.printer.end_items()?;
    Ok(Value::Nil)
}

/// `table_help`.
pub fn table_help(context: &mut Context<'_>, arguments: Arguments) -> Result<Value> {
    arguments.done()?;
    let words: Vec<_> = WORDS.iter().filter(|word| word.takes_table).map(|word| word.name).collect();
    context.printer.line(format!(
        "A table in a variable stands for the first argument of a command:\n  \
         t = create 't', 'f'          or  t = get_table 't'\n  \
         t.put 'r', 'f:q', 'v'        is  put 't', 'r', 'f:q', 'v'\n  \
         t.scan {{LIMIT => 1}}          is  scan 't', {{LIMIT => 1}}\n  \
         t.disable; t.drop\nCommands: {}",
        words.join(", ")
    ))?;
    context.printer.one(|| words.into())?;
    Ok(Value::Nil)
}

/// `show_filters`.
pub fn show_filters(context: &mut Context<'_>, arguments: Arguments) -> Result<Value> {
    arguments.done()?;
    for name in model::filter::language::NAMES {
        context.printer.line(name)?;
        context.printer.item(|| name.into())?;
    }
    context.printer.end_items()?;
    Ok(Value::Nil)
}

/// `version`.
pub fn version(context: &mut Context<'_>, arguments: Arguments) -> Result<Value> {
    arguments.done()?;
    let (version, level) = (env!("CARGO_PKG_VERSION"), crate::ready::HBASE_LEVEL);
    context.printer.line(format!("{version}, with the words and messages of HBase {level}"))?;
    context.printer.one(|| json!({"version": version, "hbase": level}))?;
    Ok(Value::Nil)
}
