//! Statements of the shell's language. The grammar is in `docs/SHELL.md`.
//!
//! Always true
//! - Any bytes give a statement or an error with line and column; nesting is bounded.
//! - A statement ends at a line's end or `;`, unless a bracket is open or the line ends in `,`, `=>`, `=` or `.`.

use bytes::Bytes;

use super::lexer::{Lexer, Located, Place, SyntaxError, Token};
use super::value::Value;

/// Deepest nesting of brackets.
const DEPTH_MAX: usize = 64;

/// What a statement does, before names are looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Variable that takes the result.
    pub assign_to: Option<String>,
    /// What is done.
    pub action: Action,
    /// Where the statement starts.
    pub place: Place,
}

/// The right-hand side.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A value alone.
    Literal(Expression),
    /// `put 't1', …` or `t.put …`; a word alone may also be a variable.
    Call {
        /// The variable before the dot.
        receiver: Option<String>,
        /// The command.
        name: String,
        /// Where the command's word is.
        name_place: Place,
        /// Its arguments.
        arguments: Vec<Expression>,
    },
}

/// An argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A value that needs no look-up.
    Value(Value),
    /// A variable.
    Variable(String, Place),
    /// `[…]`.
    Array(Vec<Expression>),
    /// `{…}`, or pairs at the end of the arguments.
    Hash(Vec<(Expression, Expression)>),
}

/// Names that the caller knows; the parser only asks.
pub trait Names {
    /// Whether a word with a capital may stand for its own name.
    fn is_constant(&self, name: &str) -> bool;
    /// Whether this is a filter that may be written without quotes around it.
    fn is_filter(&self, name: &str) -> bool;
    /// The constant that is most like `name`.
    fn nearest_constant(&self, name: &str) -> Option<String>;
}

/// A statement (or only blank lines and comments) and how much of the input it took.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The statement, if there is one.
    pub statement: Option<Statement>,
    /// Bytes taken from the input, the ending included.
    pub consumed: usize,
    /// Where the rest starts.
    pub place: Place,
}

type Result<T> = std::result::Result<T, SyntaxError>;

/// Reads the first statement of `input`, which starts at `place` of a larger text. `last` says that no more input will
/// come; without it, a statement whose end is not in sight is incomplete.
pub fn parse(input: &[u8], place: Place, last: bool, names: &dyn Names) -> Result<Parsed> {
    let mut parser = Parser { input, lexer: Lexer::new(input, place), ahead: None, depth: 0, names };
    let statement = match parser.peek()? {
        Some(Located { token: Token::End, .. }) | None => None,
        Some(_) => Some(parser.statement()?),
    };
    match parser.next()? {
        Some(Located { token: Token::End, .. }) => {}
        None if last || statement.is_none() => {}
        None => {
            return Err(SyntaxError {
                place: parser.lexer.place(),
                message: "the line has no end".to_owned(),
                incomplete: true,
            });
        }
        Some(found) => {
            let message = match found.token {
                Token::Word(ref word) if BLOCK_WORDS.contains(&word.as_str()) => {
                    format!("`{word}`: Ruby's control flow and blocks are not understood")
                }
                Token::Sign("{") => {
                    "`{` is not understood here; a hash among arguments needs a comma before it".to_owned()
                }
                ref token => {
                    format!("{} is not understood here; a comma or the end of the line is expected", token.name())
                }
            };
            return Err(SyntaxError { place: found.place, message, incomplete: false });
        }
    }
    Ok(Parsed { statement, consumed: parser.lexer.offset(), place: parser.lexer.place() })
}

const BLOCK_WORDS: [&str; 25] = [
    "do", "if", "unless", "while", "until", "for", "each", "def", "end", "begin", "rescue", "class", "module",
    "require", "import", "include", "puts", "print", "case", "when", "then", "else", "and", "or", "not",
];

struct Parser<'a> {
    input: &'a [u8],
    lexer: Lexer<'a>,
    ahead: Option<Option<Located>>,
    depth: usize,
    names: &'a dyn Names,
}

impl Parser<'_> {
    fn peek(&mut self) -> Result<Option<&Located>> {
        if self.ahead.is_none() {
            self.ahead = Some(self.lexer.next_token()?);
        }
        Ok(self.ahead.as_ref().and_then(Option::as_ref))
    }

    fn next(&mut self) -> Result<Option<Located>> {
        match self.ahead.take() {
            Some(token) => Ok(token),
            None => self.lexer.next_token(),
        }
    }

    fn next_is(&mut self, sign: &str) -> Result<bool> {
        Ok(matches!(self.peek()?, Some(Located { token: Token::Sign(found), .. }) if *found == sign))
    }

    /// Takes the sign if it comes next.
    fn take(&mut self, sign: &str) -> Result<bool> {
        let found = self.next_is(sign)?;
        if found {
            self.next()?;
        }
        Ok(found)
    }

    fn skip_ends(&mut self) -> Result<()> {
        while matches!(self.peek()?, Some(Located { token: Token::End, .. })) {
            self.next()?;
        }
        Ok(())
    }

    fn error<T>(&self, place: Place, message: impl Into<String>) -> Result<T> {
        Err(SyntaxError { place, message: message.into(), incomplete: false })
    }

    fn incomplete<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(SyntaxError { place: self.lexer.place(), message: message.into(), incomplete: true })
    }

    fn statement(&mut self) -> Result<Statement> {
        let first = match self.peek()? {
            Some(found) => found.clone(),
            None => return self.incomplete("a command is expected"),
        };
        let place = first.place;
        let Token::Word(word) = first.token else {
            let value = self.expression()?;
            return Ok(Statement { assign_to: None, action: Action::Literal(value), place });
        };
        if is_value_word(&word) {
            let value = self.expression()?;
            return Ok(Statement { assign_to: None, action: Action::Literal(value), place });
        }
        if BLOCK_WORDS.contains(&word.as_str()) {
            return self.error(place, format!("`{word}` is Ruby that this shell does not understand; try `help`"));
        }
        self.next()?;
        if self.take("=")? {
            self.skip_ends()?;
            let right = match self.peek()? {
                Some(found) => found.clone(),
                None => return self.incomplete("a value or a command is expected after `=`"),
            };
            let action = match right.token {
                Token::Word(name) if !is_value_word(&name) => {
                    self.next()?;
                    self.call(name, right.place)?
                }
                _ => Action::Literal(self.expression()?),
            };
            return Ok(Statement { assign_to: Some(word), action, place });
        }
        let action = self.call(word, place)?;
        Ok(Statement { assign_to: None, action, place })
    }

    /// What follows a word at the start of a statement.
    fn call(&mut self, word: String, place: Place) -> Result<Action> {
        let (receiver, name, name_place) = if self.take(".")? {
            self.skip_ends()?;
            match self.next()? {
                Some(Located { token: Token::Word(name), place: name_place, .. }) => (Some(word), name, name_place),
                Some(found) => {
                    return self
                        .error(found.place, format!("a command is expected after `.`, not {}", found.token.name()));
                }
                None => return self.incomplete("a command is expected after `.`"),
            }
        } else {
            (None, word, place)
        };
        let arguments = if self.take("(")? {
            self.skip_ends()?;
            let arguments = self.arguments(Some(")"))?;
            if self.next_is(".")? {
                let place = self.lexer.place();
                return self
                    .error(place, "calls on the result of a call are not understood; give it a name first: `t = …`");
            }
            arguments
        } else {
            match self.peek()? {
                None | Some(Located { token: Token::End, .. }) => Vec::new(),
                Some(_) => self.arguments(None)?,
            }
        };
        Ok(Action::Call { receiver, name, name_place, arguments })
    }

    /// Arguments until `close`, or to the end of the statement. Pairs gather in one hash.
    fn arguments(&mut self, close: Option<&str>) -> Result<Vec<Expression>> {
        let mut arguments = Vec::new();
        let mut pairs: Option<usize> = None;
        loop {
            if let Some(close) = close
                && self.take(close)?
            {
                break;
            }
            let value = self.expression()?;
            if self.take("=>")? {
                self.skip_ends()?;
                let paired = self.expression()?;
                let index = *pairs.get_or_insert_with(|| {
                    arguments.push(Expression::Hash(Vec::new()));
                    arguments.len() - 1
                });
                if let Some(Expression::Hash(hash)) = arguments.get_mut(index) {
                    hash.push((value, paired));
                }
            } else if pairs.is_some() {
                let place = self.lexer.place();
                return self.error(place, "a plain argument may not follow `KEY => value`; put the pairs in braces");
            } else {
                arguments.push(value);
            }
            if close.is_some() {
                self.skip_ends()?;
            }
            if self.take(",")? {
                self.skip_ends()?;
                continue;
            }
            let Some(close) = close else { break };
            self.expect(close)?;
            break;
        }
        Ok(arguments)
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        match self.next()? {
            Some(Located { token: Token::Sign(found), .. }) if found == sign => Ok(()),
            Some(found) => {
                let message = format!("`{sign}` or a comma is expected, not {}", found.token.name());
                self.error(found.place, message)
            }
            None => self.incomplete(format!("`{sign}` is missing")),
        }
    }

    /// What stands, with commas between, up to the closing sign of a bracket that was opened at `place`.
    fn items<T>(&mut self, place: Place, close: &str, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.deeper(place)?;
        let mut items = Vec::new();
        self.skip_ends()?;
        while !self.take(close)? {
            items.push(item(self)?);
            self.skip_ends()?;
            if !self.take(",")? {
                self.expect(close)?;
                break;
            }
            self.skip_ends()?;
        }
        self.depth -= 1;
        Ok(items)
    }

    /// `key => value`.
    fn pair(&mut self) -> Result<(Expression, Expression)> {
        let key = self.expression()?;
        self.skip_ends()?;
        if !self.take("=>")? {
            return match self.peek()? {
                None => self.incomplete("`=>` is expected"),
                Some(found) => {
                    let (place, name) = (found.place, found.token.name());
                    self.error(place, format!("`=>` is expected after a hash's key, not {name}"))
                }
            };
        }
        self.skip_ends()?;
        Ok((key, self.expression()?))
    }

    fn expression(&mut self) -> Result<Expression> {
        let Some(found) = self.next()? else { return self.incomplete("a value is expected") };
        let place = found.place;
        match found.token {
            Token::Text(text) => Ok(Expression::Value(Value::Text(text))),
            Token::Int(number) => Ok(Expression::Value(Value::Int(number))),
            Token::Float(number) => Ok(Expression::Value(Value::Float(number))),
            Token::Word(word) => match word.as_str() {
                "true" => Ok(Expression::Value(Value::Bool(true))),
                "false" => Ok(Expression::Value(Value::Bool(false))),
                "nil" => Ok(Expression::Value(Value::Nil)),
                _ if self.next_is(".")? || self.next_is("(")? => self
                    .error(place, format!("`{word}`: calls inside arguments are not understood; a value is expected")),
                _ if BLOCK_WORDS.contains(&word.as_str()) => {
                    self.error(place, format!("`{word}`: Ruby's control flow and blocks are not understood"))
                }
                _ => Ok(Expression::Variable(word, place)),
            },
            Token::Constant(name) => self.constant(name, place, found.span.0),
            Token::Sign("[") => self.items(place, "]", Parser::expression).map(Expression::Array),
            Token::Sign("{") => self.items(place, "}", Parser::pair).map(Expression::Hash),
            token => self.error(place, format!("a value is expected, not {}", token.name())),
        }
    }

    fn deeper(&mut self, place: Place) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.error(place, format!("brackets are nested deeper than {DEPTH_MAX}"));
        }
        Ok(())
    }

    fn constant(&mut self, name: String, place: Place, start: usize) -> Result<Expression> {
        if self.names.is_filter(&name) && self.next_is("(")? {
            return self.filter(place, start);
        }
        if self.next_is(".")? {
            let hint = if self.names.is_filter(&name) {
                ": write the filter as text, FILTER => \"PrefixFilter('row')\""
            } else {
                ""
            };
            return self.error(place, format!("`{name}.`: calls on classes are not understood{hint}"));
        }
        if !self.names.is_constant(&name) {
            let hint = match self.names.nearest_constant(&name) {
                Some(near) => format!("; did you mean {near}?"),
                None => String::new(),
            };
            return self.error(place, format!("the constant {name} is not known{hint}"));
        }
        Ok(Expression::Value(Value::text(name)))
    }

    /// `PrefixFilter('row') AND …` without quotes around it: its own text.
    fn filter(&mut self, place: Place, start: usize) -> Result<Expression> {
        loop {
            if !self.take("(")? {
                return self.error(place, "`(` is expected after a filter's name");
            }
            self.lexer.skip_balanced(place)?;
            let end = self.lexer.offset();
            let joined = match self.peek()? {
                Some(Located { token: Token::Constant(word), .. }) => word == "AND" || word == "OR",
                _ => false,
            };
            if !joined {
                let text = self.input.get(start..end).unwrap_or_default();
                return Ok(Expression::Value(Value::Text(Bytes::copy_from_slice(text))));
            }
            self.next()?;
            self.skip_ends()?;
            match self.next()? {
                Some(Located { token: Token::Constant(word), .. }) if self.names.is_filter(&word) => {}
                Some(found) => {
                    return self
                        .error(found.place, "a filter's name is expected after AND or OR; longer filters are text");
                }
                None => return self.incomplete("a filter is expected"),
            }
        }
    }
}

fn is_value_word(word: &str) -> bool {
    matches!(word, "true" | "false" | "nil")
}

#[cfg(test)]
mod tests;
