//! What a peer sends as calls, without a socket: the same steps that a connection takes, up to the point where a call would be carried out.

use super::http;
use super::server::{End, Wire};
use super::settings::{Api, Settings};
use super::{hbase_calls, thbase_calls};

/// A call as the gateway reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedCall {
    /// Its method, whether there is one of this name or not.
    pub name: String,
    /// Nobody waits for an answer.
    pub one_way: bool,
    /// The call written again from what was read of it, unframed and in its own encoding; or the error that answers it.
    pub again: Result<Vec<u8>, String>,
}

/// Reads a connection's bytes as calls, up to its end or up to what ends it; then why is answered too. `None`: it ends behind a whole
/// message. What begins as HTTP is not read.
pub fn parse(api: Api, settings: &Settings, data: &[u8]) -> (Vec<ParsedCall>, Option<String>) {
    let mut calls = Vec::new();
    let end = read(api, settings, data, &mut calls).err().map(|end| end.to_string());
    (calls, end)
}

fn read(api: Api, settings: &Settings, mut data: &[u8], calls: &mut Vec<ParsedCall>) -> Result<(), End> {
    if data.starts_with(http::OPENING) {
        return Err(End::Refused("it is HTTP".to_owned()));
    }
    let Some(wire) = Wire::of(data) else { return if data.is_empty() { Ok(()) } else { Err(End::Gone) } };
    wire.check(settings)?;
    while !data.is_empty() {
        let (from, to) = wire.find(&mut wire.boundary(settings), data)?.ok_or(End::Gone)?;
        let call = wire.call(&data[from..to])?;
        let again = match api {
            Api::One => hbase_calls::again(&call),
            Api::Two => thbase_calls::again(&call),
        };
        let again = again.map_err(|error| error.message);
        calls.push(ParsedCall { name: call.name().to_owned(), one_way: call.one_way, again });
        data = &data[to..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(fields: &[u8]) -> Vec<u8> {
        [&b"\x80\x01\0\x01\0\0\0\x06getRow\0\0\0\0"[..], fields, &[0]].concat()
    }

    /// As in Java. Read as the text that the service declares, the number would be its length.
    #[test]
    fn a_field_of_another_type_is_passed_over() {
        let row = b"\x0b\0\x02\0\0\0\x01r";
        let sent = message(&[&b"\x08\0\x01\x7f\xff\xff\xff"[..], row].concat());
        let (calls, end) = parse(Api::One, &Settings::default(), &sent);
        assert_eq!((calls[0].again.as_deref(), end), (Ok(&message(row)[..]), None));
    }

    /// What a list is made of is not checked, as in Java.
    #[test]
    fn elements_of_another_type_are_not_believed_to_be_long() {
        let sent = message(b"\x0d\0\x03\x08\x08\0\0\0\x01\x7f\xff\xff\xff\0\0\0\0");
        let (calls, end) = parse(Api::One, &Settings::default(), &sent);
        let why = calls[0].again.as_ref().expect_err("no text is so long");
        // The element is a number that says 2 GiB.
        assert!(why.contains("message too long") && end.is_none(), "{why}");
    }

    #[test]
    fn calls_follow_each_other_up_to_what_ends_the_connection() {
        let calls = |data: &[u8]| {
            let (calls, end) = parse(Api::One, &Settings::default(), data);
            (calls.len(), end.unwrap_or_default())
        };
        let one = message(b"");
        assert_eq!(calls(&one.repeat(3)), (3, String::new()));
        assert_eq!(calls(&[&one[..], &one[..9]].concat()), (1, "the peer is gone".to_owned()));
        let framed = [&(one.len() as u32).to_be_bytes()[..], &one].concat();
        assert_eq!(calls(&framed.repeat(2)), (2, String::new()));
        assert_eq!(calls(b"POST / HTTP/1.1").1, "it is HTTP");
        let long = [&[0x7f, 0xff, 0xff, 0xff][..], &one].concat();
        assert!(calls(&long).1.contains("a frame of 2147483647 bytes"), "{:?}", calls(&long));
    }
}
