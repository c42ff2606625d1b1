//! Takes out of an output what differs from run to run.
//!
//! Always true: a time that a session names itself (before 2024) stays, so that it is compared.

/// Masks times, ports and what is made of them.
pub fn masked(text: &str, port: u16) -> String {
    let text = text.replace(&format!(":{port}"), ":PORT").replace(&format!(",{port},"), ",PORT,");
    text.split_inclusive('\n').map(line).collect()
}

fn line(line: &str) -> String {
    if let Some(rest) = line.strip_prefix("Took ")
        && let Some(number) = rest.strip_suffix(" seconds\n")
    {
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        assert!(digits(whole) && digits(fraction) && fraction.len() == 4, "{line}");
        return "Took N seconds\n".to_owned();
    }
    let mut out = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let word = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len();
        if word == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (token, after) = rest.split_at(word);
        if is_now(token) {
            out.push_str("TIME");
        } else if token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            out.push_str("ENCODED");
        } else if let Some(length) = local_time(rest) {
            out.push_str("TIME");
            rest = &rest[length..];
            continue;
        } else {
            out.push_str(token);
        }
        rest = after;
    }
    out
}

/// Milliseconds since 1970, from 2024 on.
fn is_now(token: &str) -> bool {
    token.len() == 13 && token.parse::<u64>().is_ok_and(|time| time >= 1_704_067_200_000)
}

/// Length of a time such as 2026-11-21T07:46:36.123, from 2024 on.
fn local_time(text: &str) -> Option<usize> {
    let pattern = b"dddd-dd-ddTdd:dd";
    let bytes = text.as_bytes();
    let fits = bytes.len() >= pattern.len()
        && pattern.iter().zip(bytes).all(|(wanted, byte)| match wanted {
            b'd' => byte.is_ascii_digit(),
            other => other == byte,
        });
    if !fits || text[..4].parse::<u32>().ok()? < 2024 {
        return None;
    }
    let tail = text[pattern.len()..].trim_start_matches(|c: char| c.is_ascii_digit() || c == ':' || c == '.');
    Some(text.len() - tail.len())
}

#[test]
fn what_changes_is_masked_and_nothing_else() {
    let text = "Took 0.0123 seconds\n \
        r1 column=f:q, timestamp=2026-11-21T07:46:36.123, value=1\n \
        r1 column=f:q, timestamp=2023-11-14T22:13:20, value=1700000000000\n\
        127.0.0.1,40001,1763712000000 t,a,1763712000000.3820c22bf8b2e8cbd9475ec2b617c347.\n\
        active master:  127.0.0.1:40001 1763712000000\n";
    let expected = "Took N seconds\n \
        r1 column=f:q, timestamp=TIME, value=1\n \
        r1 column=f:q, timestamp=2023-11-14T22:13:20, value=1700000000000\n\
        127.0.0.1,PORT,TIME t,a,TIME.ENCODED.\n\
        active master:  127.0.0.1:PORT TIME\n";
    assert_eq!(masked(text, 40001), expected);
}
