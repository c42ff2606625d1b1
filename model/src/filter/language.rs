//! HBase's filter language, as the shell and the Thrift gateways take it (hbase-wire.md §5.4).
//!
//! ```text
//! expr    := and ('OR' and)*            and := term ('AND' term)*
//! term    := ('SKIP' | 'WHILE')* ( simple | '(' expr ')' )
//! simple  := Name '(' [ argument (',' argument)* ] ')'
//! argument := 'text' ('' is a quote) | number | true | false | < | <= | = | != | > | >=
//! ```
//!
//! Always true: input of any bytes gives a filter or an error that says where; nesting is bounded.

use bytes::Bytes;

use super::data::{Comparator, CompareOp, Filter, FilterListOp};

/// Deepest nesting of parentheses and SKIP or WHILE.
const DEPTH_MAX: usize = 64;

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at character {at}")]
pub struct LanguageError {
    /// What is wrong and what would be right.
    pub message: String,
    /// Byte offset in the text, from 0.
    pub at: usize,
}

type Result<T> = std::result::Result<T, LanguageError>;

/// The names that can be used, as `show_filters` lists them.
pub const NAMES: [&str; 19] = [
    "ColumnCountGetFilter",
    "ColumnPaginationFilter",
    "ColumnPrefixFilter",
    "ColumnRangeFilter",
    "ColumnValueFilter",
    "DependentColumnFilter",
    "FamilyFilter",
    "FirstKeyOnlyFilter",
    "InclusiveStopFilter",
    "KeyOnlyFilter",
    "MultipleColumnPrefixFilter",
    "PageFilter",
    "PrefixFilter",
    "QualifierFilter",
    "RowFilter",
    "SingleColumnValueExcludeFilter",
    "SingleColumnValueFilter",
    "TimestampsFilter",
    "ValueFilter",
];

/// Parses a filter.
pub fn parse(text: &[u8]) -> Result<Filter> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let filter = parser.any_of()?;
    parser.spaces();
    if parser.at < text.len() { Err(parser.error("AND, OR or the end is expected")) } else { Ok(filter) }
}

#[derive(Debug)]
enum Argument {
    Text(Bytes),
    Word(String),
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn error(&self, message: impl Into<String>) -> LanguageError {
        LanguageError { message: message.into(), at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Takes a word if it stands here, followed by white space or a parenthesis.
    fn keyword(&mut self, word: &str) -> bool {
        self.spaces();
        let end = self.at + word.len();
        let here = self.text.get(self.at..end) == Some(word.as_bytes());
        let ended = self.text.get(end).is_some_and(|byte| byte.is_ascii_whitespace() || *byte == b'(');
        if here && ended {
            self.at = end;
        }
        here && ended
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        self.spaces();
        if self.peek() != Some(byte) {
            return Err(self.error(format!("`{}` is expected", char::from(byte))));
        }
        self.at += 1;
        Ok(())
    }

    fn any_of(&mut self) -> Result<Filter> {
        let mut filters = vec![self.all_of()?];
        while self.keyword("OR") {
            filters.push(self.all_of()?);
        }
        Ok(list(FilterListOp::MustPassOne, filters))
    }

    fn all_of(&mut self) -> Result<Filter> {
        let mut filters = vec![self.term()?];
        while self.keyword("AND") {
            filters.push(self.term()?);
        }
        Ok(list(FilterListOp::MustPassAll, filters))
    }

    fn term(&mut self) -> Result<Filter> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(format!("filters are nested more than {DEPTH_MAX} deep")));
        }
        let filter = if self.keyword("SKIP") {
            Filter::Skip { filter: Box::new(self.term()?) }
        } else if self.keyword("WHILE") {
            Filter::WhileMatch { filter: Box::new(self.term()?) }
        } else if self.peek() == Some(b'(') {
            self.at += 1;
            let filter = self.any_of()?;
            self.expect(b')')?;
            filter
        } else {
            self.simple()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn simple(&mut self) -> Result<Filter> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            self.at += 1;
        }
        let name = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
        if !NAMES.contains(&name.as_str()) {
            self.at = start;
            let what = if name.is_empty() {
                "a filter name is expected".to_owned()
            } else {
                format!("unknown filter `{name}`")
            };
            return Err(self.error(format!("{what}; known are {}", NAMES.join(", "))));
        }
        self.expect(b'(')?;
        let mut arguments = Vec::new();
        self.spaces();
        while self.peek() != Some(b')') {
            if !arguments.is_empty() {
                self.expect(b',')?;
            }
            self.spaces();
            arguments.push(self.argument()?);
            self.spaces();
        }
        self.at += 1;
        make(&name, arguments).map_err(|message| LanguageError { message: format!("{name}: {message}"), at: start })
    }

    fn argument(&mut self) -> Result<Argument> {
        if self.peek() != Some(b'\'') {
            let start = self.at;
            while self
                .peek()
                .is_some_and(|byte| !byte.is_ascii_whitespace() && !matches!(byte, b',' | b')' | b'(' | b'\''))
            {
                self.at += 1;
            }
            if start == self.at {
                return Err(self.error("an argument is expected"));
            }
            return Ok(Argument::Word(String::from_utf8_lossy(&self.text[start..self.at]).into_owned()));
        }
        let start = self.at;
        self.at += 1;
        let mut value = Vec::new();
        loop {
            match (self.peek(), self.text.get(self.at + 1)) {
                (None, _) => {
                    self.at = start;
                    return Err(self.error("the quote is not closed"));
                }
                (Some(b'\''), Some(b'\'')) => {
                    value.push(b'\'');
                    self.at += 2;
                }
                (Some(b'\''), _) => {
                    self.at += 1;
                    return Ok(Argument::Text(value.into()));
                }
                (Some(byte), _) => {
                    value.push(byte);
                    self.at += 1;
                }
            }
        }
    }
}

fn list(op: FilterListOp, mut filters: Vec<Filter>) -> Filter {
    if filters.len() == 1 { filters.remove(0) } else { Filter::List { op, filters } }
}

type Made<T> = std::result::Result<T, String>;

fn text(argument: &Argument) -> Made<Bytes> {
    match argument {
        Argument::Text(value) => Ok(value.clone()),
        Argument::Word(word) => Err(format!("'{word}' in quotes is needed")),
    }
}

fn number<T: std::str::FromStr>(argument: &Argument) -> Made<T> {
    match argument {
        Argument::Word(word) => word.parse().map_err(|_| format!("a whole number is needed, not `{word}`")),
        Argument::Text(_) => Err("a number without quotes is needed".to_owned()),
    }
}

fn flag(argument: &Argument) -> Made<bool> {
    match argument {
        Argument::Word(word) if word.eq_ignore_ascii_case("true") => Ok(true),
        Argument::Word(word) if word.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err("true or false is needed".to_owned()),
    }
}

fn operator(argument: &Argument) -> Made<CompareOp> {
    let Argument::Word(word) = argument else { return Err("an operator without quotes is needed".to_owned()) };
    Ok(match word.as_str() {
        "<" => CompareOp::Less,
        "<=" => CompareOp::LessOrEqual,
        "=" => CompareOp::Equal,
        "!=" => CompareOp::NotEqual,
        ">" => CompareOp::Greater,
        ">=" => CompareOp::GreaterOrEqual,
        other => return Err(format!("one of <, <=, =, !=, >, >= is needed, not `{other}`")),
    })
}

fn comparator(argument: &Argument, op: CompareOp) -> Made<Comparator> {
    const KINDS: &str = "'binary:…', 'binaryprefix:…', 'regexstring:…', 'regexstringnocase:…' or 'substring:…'";
    let value = text(argument)?;
    let colon =
        value.iter().position(|byte| *byte == b':').ok_or_else(|| format!("a comparator is needed: {KINDS}"))?;
    let rest = value.slice(colon + 1..);
    let equal_only = || match op {
        CompareOp::Equal | CompareOp::NotEqual => Ok(()),
        _ => Err("regexstring and substring take = and != only".to_owned()),
    };
    let utf8 =
        |bytes: &Bytes| std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| "the text is not UTF-8".to_owned());
    // Java's DOTALL is 32, CASE_INSENSITIVE 2.
    let regex = |flags| {
        equal_only()?;
        Ok(Comparator::Regex { pattern: utf8(&rest)?, flags, charset: "UTF-8".to_owned(), engine: None })
    };
    match &value[..colon] {
        b"binary" => Ok(Comparator::Binary(rest)),
        b"binaryprefix" => Ok(Comparator::BinaryPrefix(rest)),
        b"regexstring" => regex(32),
        b"regexstringnocase" => regex(32 | 2),
        b"substring" => {
            equal_only()?;
            Ok(Comparator::Substring(utf8(&rest)?.to_lowercase()))
        }
        other => Err(format!("unknown comparator `{}`: {KINDS}", other.escape_ascii())),
    }
}

fn make(name: &str, arguments: Vec<Argument>) -> Made<Filter> {
    let a = &arguments[..];
    let need = |counts: &[usize]| {
        if counts.contains(&a.len()) {
            return Ok(());
        }
        let counts: Vec<_> = counts.iter().map(usize::to_string).collect();
        Err(format!("{} arguments are needed, {} are given", counts.join(" or "), a.len()))
    };
    let bound = |argument: &Argument| text(argument).map(|value| (!value.is_empty()).then_some(value));
    let compare = || -> Made<(CompareOp, Comparator)> {
        need(&[2])?;
        let op = operator(&a[0])?;
        Ok((op, comparator(&a[1], op)?))
    };
    Ok(match name {
        "KeyOnlyFilter" => {
            need(&[0, 1])?;
            Filter::KeyOnly { len_as_val: a.first().map(flag).transpose()?.unwrap_or(false) }
        }
        "FirstKeyOnlyFilter" => {
            need(&[0])?;
            Filter::FirstKeyOnly
        }
        "PrefixFilter" => {
            need(&[1])?;
            Filter::Prefix { prefix: text(&a[0])? }
        }
        "ColumnPrefixFilter" => {
            need(&[1])?;
            Filter::ColumnPrefix { prefix: text(&a[0])? }
        }
        "MultipleColumnPrefixFilter" => {
            Filter::MultipleColumnPrefix { prefixes: a.iter().map(text).collect::<Made<_>>()? }
        }
        "ColumnCountGetFilter" => {
            need(&[1])?;
            Filter::ColumnCountGet { limit: number(&a[0])? }
        }
        "PageFilter" => {
            need(&[1])?;
            Filter::Page { page_size: number(&a[0])? }
        }
        "ColumnPaginationFilter" => {
            need(&[2])?;
            Filter::ColumnPagination { limit: number(&a[0])?, offset: Some(number(&a[1])?), column_offset: None }
        }
        "InclusiveStopFilter" => {
            need(&[1])?;
            Filter::InclusiveStop { stop_row: text(&a[0])? }
        }
        "TimestampsFilter" => {
            let timestamps: Vec<i64> = a.iter().map(number).collect::<Made<_>>()?;
            if let Some(negative) = timestamps.iter().find(|timestamp| **timestamp < 0) {
                return Err(format!("timestamps must not be negative, but {negative} is"));
            }
            Filter::Timestamps { timestamps, can_hint: false }
        }
        "RowFilter" => compare().map(|(op, comparator)| Filter::Row { op, comparator })?,
        "FamilyFilter" => compare().map(|(op, comparator)| Filter::Family { op, comparator })?,
        "QualifierFilter" => compare().map(|(op, comparator)| Filter::Qualifier { op, comparator })?,
        "ValueFilter" => compare().map(|(op, comparator)| Filter::Value { op, comparator })?,
        "ColumnRangeFilter" => {
            need(&[4])?;
            Filter::ColumnRange {
                min: bound(&a[0])?,
                min_inclusive: flag(&a[1])?,
                max: bound(&a[2])?,
                max_inclusive: flag(&a[3])?,
            }
        }
        "SingleColumnValueFilter" | "SingleColumnValueExcludeFilter" => {
            need(&[4, 6])?;
            let (family, qualifier, op) = (text(&a[0])?, text(&a[1])?, operator(&a[2])?);
            let comparator = comparator(&a[3], op)?;
            let filter_if_missing = a.get(4).map(flag).transpose()?.unwrap_or(false);
            let latest_version_only = a.get(5).map(flag).transpose()?.unwrap_or(true);
            if name == "SingleColumnValueFilter" {
                Filter::SingleColumnValue { family, qualifier, op, comparator, filter_if_missing, latest_version_only }
            } else {
                Filter::SingleColumnValueExclude {
                    family,
                    qualifier,
                    op,
                    comparator,
                    filter_if_missing,
                    latest_version_only,
                }
            }
        }
        "ColumnValueFilter" => {
            need(&[4])?;
            let op = operator(&a[2])?;
            Filter::ColumnValue {
                family: text(&a[0])?,
                qualifier: text(&a[1])?,
                op,
                comparator: comparator(&a[3], op)?,
            }
        }
        "DependentColumnFilter" => {
            need(&[2, 3, 5])?;
            let op = a.get(3).map(operator).transpose()?.unwrap_or(CompareOp::NoOp);
            Filter::DependentColumn {
                family: text(&a[0])?,
                qualifier: text(&a[1])?,
                drop_dependent_column: a.get(2).map(flag).transpose()?.unwrap_or(false),
                op,
                comparator: a.get(4).map(|argument| comparator(argument, op)).transpose()?,
            }
        }
        other => return Err(format!("unknown filter `{other}`")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Filter {
        Filter::Prefix { prefix: Bytes::copy_from_slice(text.as_bytes()) }
    }

    fn good(text: &str) -> Filter {
        parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn and_binds_tighter_than_or_and_skip_tightest() {
        let (a, b, c) = (prefix("a"), prefix("b"), prefix("c"));
        let all = |filters: Vec<Filter>| Filter::List { op: FilterListOp::MustPassAll, filters };
        let one = |filters: Vec<Filter>| Filter::List { op: FilterListOp::MustPassOne, filters };
        let skip = |filter: &Filter| Filter::Skip { filter: Box::new(filter.clone()) };
        let (pa, pb, pc) = ("PrefixFilter('a')", "PrefixFilter ( 'b' )", "PrefixFilter('c')");
        assert_eq!(good(&format!("{pa} OR {pb} AND {pc}")), one(vec![a.clone(), all(vec![b.clone(), c.clone()])]));
        assert_eq!(good(&format!("({pa} OR {pb}) AND {pc}")), all(vec![one(vec![a.clone(), b.clone()]), c.clone()]));
        assert_eq!(good(&format!("{pa} AND {pb} AND {pc}")), all(vec![a.clone(), b.clone(), c.clone()]));
        assert_eq!(good(&format!("SKIP {pa} AND {pb}")), all(vec![skip(&a), b.clone()]));
        assert_eq!(good(&format!("WHILE({pa})")), Filter::WhileMatch { filter: Box::new(a) });
    }

    #[test]
    fn arguments_are_what_hbase_takes() {
        assert_eq!(good("PrefixFilter('it''s')"), prefix("it's"));
        assert_eq!(good("KeyOnlyFilter()"), Filter::KeyOnly { len_as_val: false });
        assert_eq!(
            good("ValueFilter(>=, 'binary:a:b')"),
            Filter::Value { op: CompareOp::GreaterOrEqual, comparator: Comparator::Binary("a:b".into()) }
        );
        assert_eq!(
            good("ColumnRangeFilter('', true, 'z', false)"),
            Filter::ColumnRange { min: None, min_inclusive: true, max: Some("z".into()), max_inclusive: false }
        );
        let Filter::SingleColumnValue { filter_if_missing, latest_version_only, comparator, .. } =
            good("SingleColumnValueFilter('f','q',=,'substring:ABC',true,false)")
        else {
            panic!("another filter")
        };
        assert_eq!(
            (filter_if_missing, latest_version_only, comparator),
            (true, false, Comparator::Substring("abc".to_owned()))
        );
        assert_eq!(good("TimestampsFilter(1, 2)"), Filter::Timestamps { timestamps: vec![1, 2], can_hint: false });
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, part) in [
            ("", "a filter name is expected"),
            ("NoFilter()", "unknown filter `NoFilter`"),
            ("PrefixFilter('a'", "`,` is expected"),
            ("PrefixFilter('a", "the quote is not closed at character 13"),
            ("PrefixFilter('a') PrefixFilter('b')", "AND, OR or the end is expected at character 18"),
            ("PageFilter('1')", "a number without quotes"),
            ("RowFilter(>, 'substring:a')", "= and != only"),
            ("RowFilter(=, 'nothing:a')", "unknown comparator"),
            ("ColumnPrefixFilter()", "1 arguments are needed, 0 are given"),
        ] {
            let error = parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let deep = "(".repeat(1000);
        assert!(parse(deep.as_bytes()).expect_err("deep").to_string().contains("nested"));
    }

    proptest! {
        #[test]
        fn any_text_gives_a_filter_or_an_error(text in "[A-Za-z'(),<=! 0-9:]{0,60}|(SKIP |WHILE |\\()*(PrefixFilter|RowFilter|PageFilter)\\(.{0,20}\\)?") {
            if let Err(error) = parse(text.as_bytes()) {
                prop_assert!(error.at <= text.len());
            }
        }
    }
}
