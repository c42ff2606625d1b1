//! Tokens of the shell's language, a small part of Ruby. The grammar is in `docs/SHELL.md`.
//!
//! Always true
//! - Any bytes give tokens or an error with a place; nothing panics, nothing recurses.
//! - Text that ends too early (an open string) is told apart from text that is wrong, so that a prompt can ask for more.

use bytes::Bytes;

/// A place in the input, for people: both count from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Character in the line.
    pub column: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why text is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct SyntaxError {
    /// Where.
    pub place: Place,
    /// What, and what would be right.
    pub message: String,
    /// More input could make it right.
    pub incomplete: bool,
}

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A lower-case word: a command, a variable, `true`.
    Word(String),
    /// A word that starts with a capital.
    Constant(String),
    /// Either form of string.
    Text(Bytes),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// One of `( ) [ ] { } , . = =>`.
    Sign(&'static str),
    /// The end of a statement: a line's end or `;`.
    End,
}

impl Token {
    /// The token as one would name it in a message.
    pub fn name(&self) -> String {
        match self {
            Token::Word(word) | Token::Constant(word) => format!("`{word}`"),
            Token::Text(_) => "a string".to_owned(),
            Token::Int(number) => format!("`{number}`"),
            Token::Float(number) => format!("`{number}`"),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end of the line".to_owned(),
        }
    }
}

/// A token and where it starts and ends.
#[derive(Clone, Debug)]
pub struct Located {
    /// The token.
    pub token: Token,
    /// Where it starts, for people.
    pub place: Place,
    /// Its bytes in the input.
    pub span: (usize, usize),
}

/// Cuts input into tokens.
pub struct Lexer<'a> {
    input: &'a [u8],
    at: usize,
    place: Place,
}

type Result<T> = std::result::Result<T, SyntaxError>;

impl<'a> Lexer<'a> {
    /// Starts at the beginning of the input, which is at `place` of a larger text.
    pub fn new(input: &'a [u8], place: Place) -> Lexer<'a> {
        Lexer { input, at: 0, place }
    }

    /// Where the lexer is, in bytes.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Where the lexer is, for people.
    pub fn place(&self) -> Place {
        self.place
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.input.get(self.at + ahead).copied()
    }

    fn step(&mut self) -> Option<u8> {
        let byte = self.peek(0)?;
        self.at += 1;
        if byte == b'\n' {
            self.place = Place { line: self.place.line.saturating_add(1), column: 1 };
        } else if byte & 0xc0 != 0x80 {
            // Continuation bytes of UTF-8 belong to the character before.
            self.place.column = self.place.column.saturating_add(1);
        }
        Some(byte)
    }

    fn error(&self, place: Place, message: impl Into<String>) -> SyntaxError {
        SyntaxError { place, message: message.into(), incomplete: false }
    }

    fn incomplete(&self, place: Place, message: &str) -> SyntaxError {
        SyntaxError { place, message: message.to_owned(), incomplete: true }
    }

    /// The next token, or `None` at the end of the input.
    pub fn next_token(&mut self) -> Result<Option<Located>> {
        loop {
            match self.peek(0) {
                None => return Ok(None),
                Some(b' ' | b'\t' | b'\r') => {
                    self.step();
                }
                Some(b'\\') if self.peek(1) == Some(b'\n') => {
                    self.step();
                    self.step();
                }
                Some(b'\\') if self.peek(1) == Some(b'\r') && self.peek(2) == Some(b'\n') => {
                    self.step();
                    self.step();
                    self.step();
                }
                Some(b'#') => {
                    while self.peek(0).is_some_and(|byte| byte != b'\n') {
                        self.step();
                    }
                }
                Some(byte) => {
                    let (place, start) = (self.place, self.at);
                    let token = self.token(byte)?;
                    return Ok(Some(Located { token, place, span: (start, self.at) }));
                }
            }
        }
    }

    /// Goes behind the `)` that closes the `(` just read; quotes are those of the filter language.
    pub fn skip_balanced(&mut self, start: Place) -> Result<()> {
        let (mut depth, mut quoted) = (1_usize, false);
        while depth > 0 {
            match self.step() {
                None => return Err(self.incomplete(start, "the filter that starts here has no end")),
                Some(b'\'') => quoted = !quoted,
                Some(b'(') if !quoted => depth += 1,
                Some(b')') if !quoted => depth -= 1,
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn token(&mut self, byte: u8) -> Result<Token> {
        let place = self.place;
        let sign = |sign| Ok(Token::Sign(sign));
        match byte {
            b'\n' | b';' => {
                self.step();
                Ok(Token::End)
            }
            b'\'' => self.single(),
            b'"' => self.double(),
            b'0'..=b'9' => self.number(),
            b'-' | b'+' if self.peek(1).is_some_and(|next| next.is_ascii_digit()) => self.number(),
            b'a'..=b'z' | b'_' => Ok(Token::Word(self.word())),
            b'A'..=b'Z' => Ok(Token::Constant(self.word())),
            b'=' if self.peek(1) == Some(b'>') => {
                self.step();
                self.step();
                sign("=>")
            }
            b'=' if self.peek(1) != Some(b'=') => {
                self.step();
                sign("=")
            }
            b'(' | b')' | b'[' | b']' | b'{' | b'}' | b',' | b'.' => {
                self.step();
                sign(match byte {
                    b'(' => "(",
                    b')' => ")",
                    b'[' => "[",
                    b']' => "]",
                    b'{' => "{",
                    b'}' => "}",
                    b',' => ",",
                    _ => ".",
                })
            }
            b':' if self.peek(1) == Some(b':') => {
                Err(self.error(place, "`::` is not understood: write class names as text"))
            }
            b':' => Err(self.error(
                place,
                "symbols are not understood: write `'name'` or a constant such as NAME, and `=>` after a key",
            )),
            b'@' | b'$' => Err(self.error(place, "only plain variables are understood, such as `t = get_table 't1'`")),
            b'%' => Err(self.error(place, "`%` literals are not understood: write ['a', 'b'] or \"text\"")),
            b'`' => Err(self.error(place, "commands of the system cannot be run from here")),
            b'&' | b'|' | b'!' | b'<' | b'>' | b'*' | b'/' | b'+' | b'-' | b'?' | b'=' | b'~' | b'^' => {
                Err(self.error(place, format!("the operator `{}` is not understood", char::from(byte))))
            }
            0x20..=0x7e => Err(self.error(place, format!("`{}` is not understood here", char::from(byte)))),
            0x80.. => Err(self.error(place, "characters outside ASCII are understood inside strings only")),
            _ => Err(self.error(place, format!("the control character {byte:#04x} is not understood here"))),
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(byte) = self.peek(0).filter(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
            word.push(char::from(byte));
            self.step();
        }
        if let Some(byte @ (b'?' | b'!')) = self.peek(0).filter(|_| self.peek(1) != Some(b'=')) {
            word.push(char::from(byte));
            self.step();
        }
        word
    }

    fn number(&mut self) -> Result<Token> {
        let place = self.place;
        let mut text = String::new();
        if let Some(sign @ (b'-' | b'+')) = self.peek(0) {
            if sign == b'-' {
                text.push('-');
            }
            self.step();
        }
        let radix = match (self.peek(0), self.peek(1)) {
            (Some(b'0'), Some(b'x' | b'X')) => 16,
            (Some(b'0'), Some(b'b' | b'B')) => 2,
            (Some(b'0'), Some(b'o' | b'O')) => 8,
            _ => 10,
        };
        if radix != 10 {
            self.step();
            self.step();
        }
        let mut fraction = false;
        let mut octal = radix == 10 && self.peek(0) == Some(b'0');
        while let Some(byte) = self.peek(0) {
            let next_is_digit = self.peek(1).is_some_and(|next| next.is_ascii_digit());
            match byte {
                b'_' => {}
                b'.' if radix == 10 && !fraction && next_is_digit => {
                    fraction = true;
                    octal = false;
                    text.push('.');
                }
                b'e' | b'E' if radix == 10 && !text.contains(['e', 'E']) => {
                    let signed = matches!(self.peek(1), Some(b'-' | b'+'));
                    if !(next_is_digit || signed && self.peek(2).is_some_and(|next| next.is_ascii_digit())) {
                        break;
                    }
                    fraction = true;
                    text.push('e');
                    if signed {
                        self.step();
                        text.push(char::from(self.peek(0).unwrap_or(b'+')));
                    }
                }
                _ if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
                _ => break,
            }
            self.step();
        }
        let wrong = |text: &str| self.error(place, format!("`{text}` is no number"));
        if fraction {
            return text.parse().map(Token::Float).map_err(|_| wrong(&text));
        }
        let radix = if octal && text.trim_start_matches('-').len() > 1 { 8 } else { radix };
        i64::from_str_radix(&text, radix).map(Token::Int).map_err(|error| match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                self.error(place, format!("`{text}` does not fit into 64 bits"))
            }
            _ => wrong(&text),
        })
    }

    fn single(&mut self) -> Result<Token> {
        let place = self.place;
        self.step();
        let mut text = Vec::new();
        loop {
            match self.step() {
                None => return Err(self.incomplete(place, "the string that starts here has no end")),
                Some(b'\'') => return Ok(Token::Text(text.into())),
                Some(b'\\') => match self.peek(0) {
                    Some(byte @ (b'\\' | b'\'')) => {
                        self.step();
                        text.push(byte);
                    }
                    _ => text.push(b'\\'),
                },
                Some(byte) => text.push(byte),
            }
        }
    }

    fn double(&mut self) -> Result<Token> {
        let place = self.place;
        self.step();
        let mut text = Vec::new();
        loop {
            let here = self.place;
            match self.step() {
                None => return Err(self.incomplete(place, "the string that starts here has no end")),
                Some(b'"') => return Ok(Token::Text(text.into())),
                Some(b'#') if matches!(self.peek(0), Some(b'{' | b'$' | b'@')) => {
                    return Err(
                        self.error(here, "values inside strings (`#{…}`) are not understood; write `\\#` for a `#`")
                    );
                }
                Some(b'\\') => self.escape(here, place, &mut text)?,
                Some(byte) => text.push(byte),
            }
        }
    }

    fn escape(&mut self, here: Place, start: Place, text: &mut Vec<u8>) -> Result<()> {
        let Some(byte) = self.step() else {
            return Err(self.incomplete(start, "the string that starts here has no end"));
        };
        match byte {
            b'\n' => {}
            b'n' => text.push(b'\n'),
            b't' => text.push(b'\t'),
            b's' => text.push(b' '),
            b'r' => text.push(b'\r'),
            b'a' => text.push(7),
            b'b' => text.push(8),
            b'v' => text.push(11),
            b'f' => text.push(12),
            b'e' => text.push(27),
            b'0'..=b'7' => {
                let mut number = u32::from(byte - b'0');
                for _ in 0..2 {
                    let Some(digit) = self.peek(0).filter(|byte| (b'0'..=b'7').contains(byte)) else { break };
                    number = number * 8 + u32::from(digit - b'0');
                    self.step();
                }
                // Ruby keeps the low eight bits of `\777`.
                text.push(number.to_le_bytes()[0]);
            }
            b'x' => {
                let digits = self.hex_digits(2);
                match u8::from_str_radix(&digits, 16) {
                    Ok(byte) => text.push(byte),
                    Err(_) => return Err(self.error(here, "`\\x` needs one or two hexadecimal digits")),
                }
            }
            b'u' => self.unicode(here, text)?,
            b'c' | b'C' | b'M' => {
                return Err(
                    self.error(here, format!("the escape `\\{}` is not understood; write `\\xNN`", char::from(byte)))
                );
            }
            other => text.push(other),
        }
        Ok(())
    }

    fn hex_digits(&mut self, most: usize) -> String {
        let mut digits = String::new();
        while let Some(digit) = self.peek(0).filter(|byte| byte.is_ascii_hexdigit() && digits.len() < most) {
            digits.push(char::from(digit));
            self.step();
        }
        digits
    }

    fn unicode(&mut self, here: Place, text: &mut Vec<u8>) -> Result<()> {
        let wrong = "`\\u` needs four hexadecimal digits, or `{…}` around code points";
        let mut push = |digits: &str| {
            let character = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
            character.map(|character| text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()))
        };
        if self.peek(0) != Some(b'{') {
            let digits = self.hex_digits(4);
            let done = if digits.len() == 4 { push(&digits) } else { None };
            return done.ok_or_else(|| self.error(here, wrong));
        }
        self.step();
        loop {
            while self.peek(0) == Some(b' ') {
                self.step();
            }
            if self.peek(0) == Some(b'}') {
                self.step();
                return Ok(());
            }
            let digits = self.hex_digits(6);
            push(&digits).ok_or_else(|| self.error(here, wrong))?;
        }
    }
}
