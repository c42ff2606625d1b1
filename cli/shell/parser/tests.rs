use proptest::prelude::*;

use super::*;

struct Known;

impl Names for Known {
    fn is_constant(&self, name: &str) -> bool {
        ["NAME", "VERSIONS", "FILTER", "LIMIT", "SPLITS"].contains(&name)
    }

    fn is_filter(&self, name: &str) -> bool {
        ["PrefixFilter", "KeyOnlyFilter"].contains(&name)
    }

    fn nearest_constant(&self, _: &str) -> Option<String> {
        Some("VERSIONS".to_owned())
    }
}

const START: Place = Place { line: 1, column: 1 };

/// Statements written back in one notation.
fn show(expression: &Expression) -> String {
    match expression {
        Expression::Value(value) => value.inspect(),
        Expression::Variable(name, _) => format!("<{name}>"),
        Expression::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Expression::Hash(pairs) => {
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{}=>{}", show(key), show(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

fn all(input: &[u8]) -> Result<Vec<String>> {
    let (mut rest, mut place, mut out) = (input, START, Vec::new());
    while !rest.is_empty() {
        let parsed = parse(rest, place, true, &Known)?;
        assert!(parsed.consumed > 0);
        rest = &rest[parsed.consumed..];
        place = parsed.place;
        let Some(statement) = parsed.statement else { continue };
        let assigned = statement.assign_to.map(|name| format!("{name} = ")).unwrap_or_default();
        out.push(match statement.action {
            Action::Literal(value) => format!("{assigned}{}", show(&value)),
            Action::Call { receiver, name, arguments, .. } => {
                let receiver = receiver.map(|name| format!("{name}.")).unwrap_or_default();
                let arguments: Vec<_> = arguments.iter().map(show).collect();
                format!("{assigned}{receiver}{name}({})", arguments.join(", "))
            }
        });
    }
    Ok(out)
}

#[test]
fn statements_are_read_as_ruby_reads_them() {
    let table: &[(&str, &[&str])] = &[
        ("list", &["list()"]),
        ("list()", &["list()"]),
        ("  list ; list # and so on\n\n# nothing\nlist", &["list()", "list()", "list()"]),
        ("create 't1', 'f1'", &[r#"create("t1", "f1")"#]),
        ("create('t1', 'f1')", &[r#"create("t1", "f1")"#]),
        ("create ('t1')", &[r#"create("t1")"#]),
        ("create 't1', {NAME => 'f1', VERSIONS => 5}", &[r#"create("t1", {"NAME"=>"f1", "VERSIONS"=>5})"#]),
        (
            "create 't1', {NAME=>'f1'},\n  {NAME=>'f2'}\nlist",
            &[r#"create("t1", {"NAME"=>"f1"}, {"NAME"=>"f2"})"#, "list()"],
        ),
        ("scan 't1', LIMIT => 5, 'x' => [1,\n 2]", &[r#"scan("t1", {"LIMIT"=>5, "x"=>[1, 2]})"#]),
        ("scan 't1', {\n LIMIT =>\n 5,\n }", &[r#"scan("t1", {"LIMIT"=>5})"#]),
        ("t = get_table 't1'\nt.put 'r', 'f:q', 'v'", &[r#"t = get_table("t1")"#, r#"t.put("r", "f:q", "v")"#]),
        ("t.scan {LIMIT => 1}", &[r#"t.scan({"LIMIT"=>1})"#]),
        ("t.\n scan", &["t.scan()"]),
        ("x = 5\nput t, x", &["x = 5", "put(<t>, <x>)"]),
        ("put 't', 'r', \\\n 'f:q', 'v'", &[r#"put("t", "r", "f:q", "v")"#]),
        ("put 't',\r\n 'r'\r\n", &[r#"put("t", "r")"#]),
        (
            "a 1, -2, +3, 1_000, 0x1f, 0b101, 0o17, 017, 0, 1.5, -2.5e3, 1e3",
            &["a(1, -2, 3, 1000, 31, 5, 15, 15, 0, 1.5, -2500.0, 1000.0)"],
        ),
        ("a -9223372036854775808, 9223372036854775807", &["a(-9223372036854775808, 9223372036854775807)"]),
        ("a true, false, nil, [], {}", &["a(true, false, nil, [], {})"]),
        (r"a 'it\'s', 'a\\b', 'a\nb'", &[r#"a("it's", "a\\b", "a\\nb")"#]),
        (r#"a "\x00\x7fz\xffq\t\e\101\u00e9\u{41 42}\q\"\#{x}#""#, &[r##"a("\x00\x7Fz\xFFq\t\eAéABq\"#{x}#")"##]),
        ("a 'two\nlines'", &[r#"a("two\nlines")"#]),
        (
            "scan 't', FILTER => PrefixFilter('a)b') AND KeyOnlyFilter()",
            &[r#"scan("t", {"FILTER"=>"PrefixFilter('a)b') AND KeyOnlyFilter()"})"#],
        ),
        (
            "scan 't', {FILTER => PrefixFilter(>=, 'x'), LIMIT => 1}",
            &[r#"scan("t", {"FILTER"=>"PrefixFilter(>=, 'x')", "LIMIT"=>1})"#],
        ),
        ("'only a value'", &[r#""only a value""#]),
        ("x = nil", &["x = nil"]),
        ("is_it? 't'", &[r#"is_it?("t")"#]),
    ];
    for (input, expected) in table {
        assert_eq!(all(input.as_bytes()).unwrap_or_else(|error| panic!("{input}: {error}")), *expected, "{input}");
    }
}

#[test]
fn other_ruby_is_refused_with_its_place() {
    let table = [
        (
            "put 't1' 'r1'",
            "line 1, column 10: a string is not understood here; a comma or the end of the line is expected",
        ),
        ("list\n  for x in [1]", "line 2, column 3: `for` is Ruby that this shell does not understand; try `help`"),
        ("a VERSION => 1", "line 1, column 3: the constant VERSION is not known; did you mean VERSIONS?"),
        ("é = 1", "line 1, column 1: characters outside ASCII are understood inside strings only"),
        (
            "a 'é', :x",
            "line 1, column 8: symbols are not understood: write `'name'` or a constant such as NAME, and `=>` after a key",
        ),
        ("a \"#{x}\"", "line 1, column 4: values inside strings (`#{…}`) are not understood; write `\\#` for a `#`"),
        ("a 99999999999999999999", "line 1, column 3: `99999999999999999999` does not fit into 64 bits"),
        ("a 1 + 2", "line 1, column 5: the operator `+` is not understood"),
        ("a 12abc", "line 1, column 3: `12abc` is no number"),
        ("a Time.now", "line 1, column 3: `Time.`: calls on classes are not understood"),
        ("a x.y", "line 1, column 3: `x`: calls inside arguments are not understood; a value is expected"),
        ("a {1}", "line 1, column 5: `=>` is expected after a hash's key, not `}`"),
        ("a [1 2]", "line 1, column 6: `]` or a comma is expected, not `2`"),
        ("list.each do", "line 1, column 11: `do`: Ruby's control flow and blocks are not understood"),
        ("list 't' if true", "line 1, column 10: `if`: Ruby's control flow and blocks are not understood"),
        (
            "a LIMIT => 1, 2",
            "line 1, column 16: a plain argument may not follow `KEY => value`; put the pairs in braces",
        ),
        ("a \"\\xg\"", "line 1, column 4: `\\x` needs one or two hexadecimal digits"),
        ("a \"\\ud800\"", "line 1, column 4: `\\u` needs four hexadecimal digits, or `{…}` around code points"),
    ];
    for (input, expected) in table {
        let error = all(input.as_bytes()).expect_err(input);
        assert!(!error.incomplete, "{input}");
        assert_eq!(error.to_string(), expected, "{input}");
    }
}

#[test]
fn an_open_statement_asks_for_more() {
    for input in [
        "a 'x",
        "a \"x",
        "a [",
        "a [1,",
        "a {",
        "a {LIMIT =>",
        "a {LIMIT",
        "a 1,",
        "a(",
        "a(1",
        "t.",
        "x =",
        "a LIMIT =>",
        "a PrefixFilter('x'",
        "a \"\\",
    ] {
        for last in [true, false] {
            let error = parse(input.as_bytes(), START, last, &Known).expect_err(input);
            assert!(error.incomplete, "{input}: {error}");
        }
    }
    assert!(parse(b"list", START, false, &Known).expect_err("the line goes on").incomplete);
    assert!(parse(b"list", START, true, &Known).is_ok());
}

#[test]
fn nesting_is_bounded() {
    let deep = "[".repeat(100_000);
    let error = all(format!("a {deep}").as_bytes()).expect_err("too deep");
    assert!(error.to_string().contains("nested deeper than 64"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_give_statements_or_an_error(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = all(&input);
    }

    #[test]
    fn pieces_of_the_language_in_any_order_never_panic(pieces in proptest::collection::vec(prop::sample::select(vec![
        "a", "'x'", "\"y\\", "\"", "'", "[", "]", "{", "}", "(", ")", ",", "=>", "=", ".", "\n", ";", " ", "NAME", "PrefixFilter", "AND", "1", "-", "0x", "1e", "\\", "#", "\u{e9}",
    ]), 0..40)) {
        let _ = all(pieces.concat().as_bytes());
    }

    #[test]
    fn written_text_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        // `#` before `{` would open an interpolation; the writer does not hide it.
        prop_assume!(!bytes.windows(2).any(|pair| pair[0] == b'#' && matches!(pair[1], b'{' | b'$' | b'@')));
        let value = Value::Text(bytes.into());
        prop_assert_eq!(all(format!("a {}", value.inspect()).as_bytes()).expect("read"), vec![format!("a({})", value.inspect())]);
    }
}
