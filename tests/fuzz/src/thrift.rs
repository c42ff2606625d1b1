use gateway::thrift::{Api, Settings, parse};

/// Names and types of both services.
pub(crate) const WORDS: &[&[u8]] = &[
    b"\x80\x01\0\x01",
    b"\x80\x01\0\x04",
    b"\x82\x21",
    b"\x82\x81",
    b"\x0b\0\x01",
    b"\x0c\0\x02",
    b"\x0f\0\x03",
    b"\x0d\0\x04",
    b"\x0e\0\x01",
    b"\x18",
    b"\x19",
    b"\x1b",
    b"\x1c",
    b"\xff\xff\xff\xff\x0f",
    b"mutateRow",
    b"getRow",
    b"scannerOpenWithScan",
    b"putMultiple",
    b"mutateRow",
    b"getScannerResults",
    b"createTable",
    b"POST ",
];

/// Bytes of a connection to the Thrift gateway, for both services, with small limits.
///
/// No panic; memory is bounded by the input's length. A call that is read is a message that holds the limits, and written again it is read as
/// the same call.
pub fn thrift(data: &[u8]) {
    let settings = Settings { message_bytes_max: 32 << 10, elements_max: 2_000, ..Settings::default() };
    for api in [Api::One, Api::Two] {
        let (calls, _) = parse(api, &settings, data);
        for call in calls {
            assert!(call.name.len() <= settings.message_bytes_max, "a name of {} bytes", call.name.len());
            let Ok(again) = &call.again else { continue };
            let (same, end) = parse(api, &Settings::default(), again);
            assert_eq!(end, None, "{call:?} cannot be read again");
            assert_eq!(same, [call], "it is another one when it is read again");
        }
    }
}
