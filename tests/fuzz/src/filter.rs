use bytes::Bytes;
use model::filter::{Comparator, CompareOp, Filter, FilterListOp, FilterRun, language};
use model::{Cell, SeqNo};
use protocol::filter::{filter_from, filter_to};

/// Names and arguments of the language.
pub(crate) const WORDS: &[&[u8]] = &[
    b"ColumnCountGetFilter(",
    b"ColumnPaginationFilter(",
    b"ColumnPrefixFilter(",
    b"ColumnRangeFilter(",
    b"ColumnValueFilter(",
    b"DependentColumnFilter(",
    b"FamilyFilter(",
    b"FirstKeyOnlyFilter()",
    b"InclusiveStopFilter(",
    b"KeyOnlyFilter(",
    b"MultipleColumnPrefixFilter(",
    b"PageFilter(",
    b"PrefixFilter(",
    b"QualifierFilter(",
    b"RowFilter(",
    b"SingleColumnValueExcludeFilter(",
    b"SingleColumnValueFilter(",
    b"TimestampsFilter(",
    b"ValueFilter(",
    b" AND ",
    b" OR ",
    b"SKIP ",
    b"WHILE ",
    b"(",
    b")",
    b"'",
    b"''",
    b", ",
    b"=",
    b"!=",
    b"<=",
    b">",
    b"true",
    b"false",
    b"'binary:",
    b"'binaryprefix:",
    b"'regexstring:",
    b"'regexstringnocase:",
    b"'substring:",
    b"9223372036854775807",
    b"-1",
    b"2147483647",
    b"(a+)+$",
    b"[^",
    b"\\p{L}",
    b"(?=",
    b"{1000}",
    b"\\1",
];
/// Qualifier, timestamp and value.
type Column = (&'static [u8], i64, &'static [u8]);
/// Rows with their cells, as a scan would show them.
const ROWS: [(&[u8], &[Column]); 3] = [
    (b"a", &[(b"", 3, b""), (b"q", 9, b"value"), (b"q", 1, b"old"), (b"r", 0, b"\x80\0\0\0\0\0\0\x01")]),
    (b"aa\xff", &[(b"q1", 1, b"aaaaaaaaaaaaaaaaaaaaaaaaaaaa!"), (b"q2", i64::MAX - 1, b"it''s")]),
    (b"zz", &[(b"\xff\xfe", 7, b"\xff\xfe")]),
];

/// A text of the filter language.
///
/// No panic. An error says where in the text it is. What is a filter is the same filter when it is printed and parsed again, and when it is
/// sent as HBase's message; and a scan asks it of every cell without a panic.
pub fn filter(data: &[u8]) {
    let filter = match language::parse(data) {
        Ok(filter) => filter,
        Err(error) => return assert!(error.at <= data.len() && !error.message.is_empty(), "{error}"),
    };
    let text = printed(&filter);
    let again = language::parse(&text);
    assert!(again.as_ref() == Ok(&filter), "{filter:?} is printed as {} and read as {again:?}", text.escape_ascii());
    let sent = filter_from(&filter_to(&filter));
    assert!(sent.as_ref().is_ok_and(|sent| *sent == filter), "{filter:?} is sent as {sent:?}");
    for reversed in [false, true] {
        if let Ok(mut run) = FilterRun::new(&filter, reversed, 1) {
            scan(&mut run, reversed);
        }
    }
}

/// Asks a filter as a scan does. An error ends the scan.
fn scan(run: &mut FilterRun, reversed: bool) {
    let mut rows = ROWS;
    if reversed {
        rows.reverse();
    }
    for (row, cells) in rows {
        let cells: Vec<Cell> = cells
            .iter()
            .map(|(qualifier, time, value)| {
                Cell::put(row, b"f", qualifier, *time, value).expect("a cell").with_seqno(SeqNo(1))
            })
            .collect();
        if run.filter_all_remaining() {
            return;
        }
        let Ok(unwanted) = run.filter_row_key(cells[0].as_ref()) else { return };
        run.is_family_essential(b"f");
        let mut included = Vec::new();
        for cell in cells.iter().filter(|_| !unwanted) {
            let Ok(code) = run.filter_cell(cell.as_ref()) else { return };
            if code.includes() {
                included.push(run.transform_cell(cell.clone()));
            } else if let Some(hint) = run.next_cell_hint(cell.as_ref()) {
                assert!(
                    Cell::parse(hint.bytes().clone(), SeqNo::ZERO).is_ok()
                        || hint.row().len() <= model::cell::ROW_LEN_MAX
                );
            }
        }
        if run.has_filter_row() {
            run.filter_row_cells(&mut included);
        }
        run.filter_row();
        run.reset();
    }
}

fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    text.iter().for_each(|byte| out.extend(std::iter::repeat_n(*byte, 1 + usize::from(*byte == b'\''))));
    out.push(b'\'');
}

/// A filter in the language, as short as it can be said: no more parentheses than its text had.
fn printed(filter: &Filter) -> Vec<u8> {
    let mut out = Vec::new();
    print(filter, &mut out);
    out
}

fn print(filter: &Filter, out: &mut Vec<u8>) {
    match filter {
        Filter::List { op, filters } => {
            for (at, member) in filters.iter().enumerate() {
                let word: &[u8] = if *op == FilterListOp::MustPassAll { b" AND " } else { b" OR " };
                out.extend_from_slice(if at > 0 { word } else { b"" });
                // AND binds tighter than OR.
                let bare = *op == FilterListOp::MustPassOne
                    && matches!(member, Filter::List { op: FilterListOp::MustPassAll, .. });
                if bare { print(member, out) } else { term(member, out) }
            }
        }
        other => term(other, out),
    }
}

fn term(filter: &Filter, out: &mut Vec<u8>) {
    match filter {
        Filter::List { .. } => {
            out.push(b'(');
            print(filter, out);
            out.push(b')');
        }
        Filter::Skip { filter } => {
            out.extend_from_slice(b"SKIP ");
            term(filter, out);
        }
        Filter::WhileMatch { filter } => {
            out.extend_from_slice(b"WHILE ");
            term(filter, out);
        }
        simple => print_simple(simple, out),
    }
}

fn bound(bound: &Option<Bytes>) -> Argument<'_> {
    Argument::Text(bound.as_deref().unwrap_or_default())
}

/// One argument.
enum Argument<'a> {
    Text(&'a [u8]),
    Number(i64),
    Flag(bool),
    Op(CompareOp),
    Comparator(&'a Comparator),
}

fn print_simple(filter: &Filter, out: &mut Vec<u8>) {
    use Argument::{Comparator as Compared, Flag, Number, Op, Text};
    let (name, arguments): (&str, Vec<Argument<'_>>) = match filter {
        Filter::KeyOnly { len_as_val } => ("KeyOnlyFilter", vec![Flag(*len_as_val)]),
        Filter::FirstKeyOnly => ("FirstKeyOnlyFilter", vec![]),
        Filter::Prefix { prefix } => ("PrefixFilter", vec![Text(prefix)]),
        Filter::ColumnPrefix { prefix } => ("ColumnPrefixFilter", vec![Text(prefix)]),
        Filter::MultipleColumnPrefix { prefixes } => {
            ("MultipleColumnPrefixFilter", prefixes.iter().map(|prefix| Text(prefix)).collect())
        }
        Filter::ColumnCountGet { limit } => ("ColumnCountGetFilter", vec![Number((*limit).into())]),
        Filter::Page { page_size } => ("PageFilter", vec![Number(*page_size)]),
        Filter::ColumnPagination { limit, offset, column_offset: None } => {
            let offset = offset.expect("the language gives one");
            ("ColumnPaginationFilter", vec![Number((*limit).into()), Number(offset.into())])
        }
        Filter::InclusiveStop { stop_row } => ("InclusiveStopFilter", vec![Text(stop_row)]),
        Filter::Timestamps { timestamps, can_hint: false } => {
            ("TimestampsFilter", timestamps.iter().map(|timestamp| Number(*timestamp)).collect())
        }
        Filter::Row { op, comparator } => ("RowFilter", vec![Op(*op), Compared(comparator)]),
        Filter::Family { op, comparator } => ("FamilyFilter", vec![Op(*op), Compared(comparator)]),
        Filter::Qualifier { op, comparator } => ("QualifierFilter", vec![Op(*op), Compared(comparator)]),
        Filter::Value { op, comparator } => ("ValueFilter", vec![Op(*op), Compared(comparator)]),
        Filter::ColumnRange { min, min_inclusive, max, max_inclusive } => {
            ("ColumnRangeFilter", vec![bound(min), Flag(*min_inclusive), bound(max), Flag(*max_inclusive)])
        }
        Filter::SingleColumnValue { family, qualifier, op, comparator, filter_if_missing, latest_version_only }
        | Filter::SingleColumnValueExclude {
            family,
            qualifier,
            op,
            comparator,
            filter_if_missing,
            latest_version_only,
        } => {
            let name = match filter {
                Filter::SingleColumnValue { .. } => "SingleColumnValueFilter",
                _ => "SingleColumnValueExcludeFilter",
            };
            let (missing, latest) = (Flag(*filter_if_missing), Flag(*latest_version_only));
            (name, vec![Text(family), Text(qualifier), Op(*op), Compared(comparator), missing, latest])
        }
        Filter::ColumnValue { family, qualifier, op, comparator } => {
            ("ColumnValueFilter", vec![Text(family), Text(qualifier), Op(*op), Compared(comparator)])
        }
        Filter::DependentColumn { family, qualifier, drop_dependent_column, op, comparator } => {
            let mut arguments = vec![Text(family), Text(qualifier), Flag(*drop_dependent_column)];
            if let Some(comparator) = comparator {
                arguments.extend([Op(*op), Compared(comparator)]);
            }
            ("DependentColumnFilter", arguments)
        }
        other => panic!("the language has no {other:?}"),
    };
    out.extend_from_slice(name.as_bytes());
    out.push(b'(');
    for (at, argument) in arguments.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b", " } else { b"" });
        match argument {
            Text(text) => quoted(text, out),
            Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Flag(flag) => out.extend_from_slice(flag.to_string().as_bytes()),
            Op(op) => out.extend_from_slice(match op {
                CompareOp::Less => b"<",
                CompareOp::LessOrEqual => b"<=",
                CompareOp::Equal => b"=",
                CompareOp::NotEqual => b"!=",
                CompareOp::GreaterOrEqual => b">=",
                CompareOp::Greater => b">",
                CompareOp::NoOp => panic!("the language has no such operator"),
            }),
            Compared(comparator) => {
                let (kind, value): (&[u8], &[u8]) = match comparator {
                    Comparator::Binary(value) => (b"binary:", value),
                    Comparator::BinaryPrefix(value) => (b"binaryprefix:", value),
                    Comparator::Regex { pattern, flags: 32, .. } => (b"regexstring:", pattern.as_bytes()),
                    Comparator::Regex { pattern, flags: 34, .. } => (b"regexstringnocase:", pattern.as_bytes()),
                    Comparator::Substring(text) => (b"substring:", text.as_bytes()),
                    other => panic!("the language has no {other:?}"),
                };
                quoted(&[kind, value].concat(), out);
            }
        }
    }
    out.push(b')');
}
