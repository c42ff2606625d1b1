//! Peers that mean harm, or are broken: each gets a clear end, and the others go on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use ferrobase_tests::process::{Server, peak_mib};

use crate::gateway::{Gateway, WAIT, call, connect, framed, int, list_of_one, message, metric, string, try_call};

/// Peak memory of a gateway in all of this, in MiB: the largest answers here have 4 MiB.
const PEAK_MIB_MAX: u64 = 250;

fn make_table(stream: &mut TcpStream, value: &[u8]) {
    let family = list_of_one(2, &[string(1, b"f:")]);
    assert_eq!(call(stream, "createTable", &[string(1, b"t"), family]), [0]);
    let put = list_of_one(3, &[string(2, b"f:q"), string(3, value)]);
    assert_eq!(call(stream, "mutateRow", &[string(1, b"t"), string(2, b"r"), put]), [0]);
}

fn get_row() -> [Vec<u8>; 2] {
    [string(1, b"t"), string(2, b"r")]
}

/// Reads until the other side ends the connection, and answers what came.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // Ended or reset: it is over.
    let _ = stream.read_to_end(&mut all);
    all
}

#[test]
fn broken_and_hostile_peers_get_a_clear_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let limits = ["--read-timeout", "2", "--scanner-timeout", "2", "-w", "20", "-q", "100"];
    let gateway = Gateway::start(folder.path(), server.port, &limits);
    let mut good = gateway.connect();
    make_table(&mut good, &vec![b'v'; 4 << 20]);

    // What is no message, or too much of one, ends its connection before it has come whole.
    let head = &message("getRow", &[])[..];
    let head = &head[..head.len() - 1];
    let deep: Vec<u8> = [12, 0, 1].repeat(100);
    let refused: [(&str, Vec<u8>); 8] = [
        ("no Thrift", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        ("a frame of 2 GB", [&0x7fff_ffff_u32.to_be_bytes()[..], head].concat()),
        ("a frame of less than nothing", [&0xffff_ff00_u32.to_be_bytes()[..], head].concat()),
        ("a string of 2 GB", [head, &[11, 0, 1, 0x7f, 0xff, 0xff, 0xff]].concat()),
        ("a list of two billion", [head, &[15, 0, 1, 12, 0x7f, 0xff, 0xff, 0xff]].concat()),
        ("nesting", [head, &deep[..]].concat()),
        ("a frame that ends before its message", framed(&[head, &[11, 0, 1, 0, 0, 1, 0, 1, 2]].concat())),
        ("an answer in place of a call", framed(&[&[0x80, 1, 0, 2][..], &head[4..], &[0]].concat())),
    ];
    for (what, bytes) in &refused {
        let before = gateway.metric("ferrobase_thrift_connections_closed_total{service=\"Hbase\",reason=\"refused\"}");
        let mut bad = gateway.connect();
        bad.write_all(bytes).expect(what);
        assert_eq!(rest(&mut bad), b"", "{what}");
        let after = gateway.metric("ferrobase_thrift_connections_closed_total{service=\"Hbase\",reason=\"refused\"}");
        assert_eq!(after, before + 1, "{what}\n{}", gateway.log_text());
        assert!(call(&mut good, "getTableNames", &[]).ends_with(b"\x01t\x00"), "{what}");
    }
    let log = gateway.log_text();
    assert!(log.contains("a frame of 2147483647 bytes; up to 104857600 are allowed"), "{log}");
    assert!(log.contains("nested deeper than 64"), "{log}");

    // Half a message, however it speaks, is waited for as long as a message may take, and whoever sends none is not.
    let idle: Vec<TcpStream> = (0..50).map(|_| gateway.connect()).collect();
    let whole = message("getRow", &get_row());
    let halves: [(&str, &[u8], &str); 8] = [
        ("half a frame's length", &[0, 0], ""),
        ("a frame's length", &framed(&whole)[..4], ""),
        ("half a frame", &framed(&whole)[..30], ""),
        ("half a bare message", &whole[..30], ""),
        ("half a compact message", &[0x82, 0x21, 7], ""),
        ("half a message as they once were", &[0, 0, 0, 6, b'g', b'e'], ""),
        ("half a body over HTTP", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\nhalf", "HTTP/1.1 408"),
        ("half a head over HTTP", b"POST / HTTP/1.1\r\nhost", ""),
    ];
    let mut waiting: Vec<TcpStream> = halves.iter().map(|_| gateway.connect()).collect();
    for (stream, (what, half, _)) in waiting.iter_mut().zip(&halves) {
        stream.write_all(half).expect(what);
    }
    for (stream, (what, _, told)) in waiting.iter_mut().zip(&halves) {
        let told_us = rest(stream);
        let told_us = String::from_utf8_lossy(&told_us);
        assert!(told_us.starts_with(told) && told_us.is_empty() == told.is_empty(), "{what}: {told_us}");
    }
    // A connection over HTTP on which nothing is under way just ends.
    let late = gateway.metric("ferrobase_thrift_connections_closed_total{service=\"Hbase\",reason=\"late\"}");
    assert_eq!(late, halves.len() as u64 - 1, "{}", gateway.log_text());
    for mut stream in idle {
        call(&mut stream, "getTableNames", &[]);
    }

    // A peer that asks and never reads: its answers wait for it no longer than a message may take.
    let mut deaf = gateway.connect();
    let asked = framed(&message("getRow", &get_row()));
    for _ in 0..100 {
        deaf.write_all(&asked).expect("asked");
    }
    gateway.wait_for("ferrobase_thrift_connections_closed_total{service=\"Hbase\",reason=\"not-taken\"}", |n| n == 1);
    assert!(rest(&mut deaf).len() < 100 * (4 << 20));

    // A call that nobody has, arguments that make no sense, a filter that is none: the connection goes on.
    let unknown = try_call(&mut good, "no such call", &[]).expect_err("refused").to_string();
    assert!(unknown.contains("there is no method `no such call`"), "{unknown}");
    assert_eq!(gateway.metric("ferrobase_thrift_calls_total{service=\"Hbase\",call=\"unknown\",result=\"failed\"}"), 1);
    let scan = [&[12, 0, 2][..], &string(6, b"NoSuchFilter('x')"), &[0]].concat();
    let raised = call(&mut good, "scannerOpenWithScan", &[string(1, b"t"), scan]);
    let text = String::from_utf8_lossy(&raised);
    assert!(text.contains("NoSuchFilter"), "{text}");
    let raised = "ferrobase_thrift_calls_total{service=\"Hbase\",call=\"scannerOpenWithScan\",result=\"raised\"}";
    assert_eq!(gateway.metric(raised), 1);

    // Scanners that nobody closes are closed for them, and say so.
    let columns = [&[15, 0, 3, 11][..], &[0; 4]].concat();
    let mut ids: Vec<i32> = (0..100)
        .map(|_| {
            let opened = call(&mut good, "scannerOpen", &[string(1, b"t"), string(2, b""), columns.clone()]);
            assert_eq!(opened[..3], [8, 0, 0], "an i32");
            i32::from_be_bytes(opened[3..7].try_into().expect("four bytes"))
        })
        .collect();
    let id = ids.pop().expect("a hundred");
    assert!(!ids.contains(&id), "each has a number of its own");
    gateway.wait_for("ferrobase_thrift_scanners_open{service=\"Hbase\"}", |open| open == 0);
    let raised = call(&mut good, "scannerGet", &[int(1, id)]);
    let text = String::from_utf8_lossy(&raised);
    assert!(text.contains("scanner"), "{text}");

    // Beyond the bound new connections are closed, old ones go on; room that is free again is used again.
    let mut many: Vec<TcpStream> = (0..130).map(|_| gateway.connect()).collect();
    let mut over = many.split_off(125);
    for stream in &mut over {
        assert_eq!(rest(stream), b"");
    }
    call(&mut good, "getTableNames", &[]);
    assert!(gateway.log_text().contains("too many connections"));
    drop((many, over));
    gateway.wait_for("ferrobase_thrift_connections{service=\"Hbase\"}", |open| open == 1);
    call(&mut gateway.connect(), "getTableNames", &[]);
    let peak = peak_mib(gateway.pid());
    assert!(peak <= PEAK_MIB_MAX, "{peak} MiB");
}

fn post(stream: &mut TcpStream, body: &[u8]) -> (String, Vec<u8>) {
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).expect("posted");
    answer(stream)
}

/// Head and body of an answer.
fn answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_lowercase();
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; len.parse().expect("a number")];
    stream.read_exact(&mut body).expect("a body");
    (head, body)
}

/// The same port speaks HTTP with those that do; the gateway may live inside the server.
#[test]
fn calls_come_over_http_too_and_inside_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let flags = ["--thrift-port", "0", "--thrift2-port", "0", "--http-port", "0"];
    let server = Server::start(&folder.path().join("data"), &flags);
    let port = |name: &str| server.told[name].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
    let (one, two, http_port) = (port("thrift_port"), port("thrift2_port"), port("http_port"));
    make_table(&mut connect(one), b"v");
    let mut stream = connect(one);
    for _ in 0..3 {
        let (head, body) = post(&mut stream, &message("getTableNames", &[]));
        assert!(head.starts_with("http/1.1 200") && head.contains("application/x-thrift"), "{head}");
        assert!(body.ends_with(b"\x01t\x00"), "{body:?}");
    }
    let (head, body) = post(&mut connect(two), &message("tableExists", &[]));
    assert!(head.starts_with("http/1.1 200"), "{head} {body:?}");
    for (body, why) in [
        (&b"no message"[..], "more than"),
        (&message("getTableNames", &[])[..20], "ends before its message"),
        (&framed(&message("getTableNames", &[])), "no thrift message"),
    ] {
        let (head, body) = post(&mut connect(one), body);
        assert!(head.starts_with("http/1.1 400"), "{head}");
        assert!(String::from_utf8_lossy(&body).to_lowercase().contains(why), "{body:?}");
    }
    let mut wrong = connect(one);
    wrong.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000000\r\n\r\n").expect("written");
    // 100 MiB are too much, whatever was promised.
    let begun = Instant::now();
    while wrong.write_all(&[b'x'; 64 << 10]).is_ok() {
        assert!(begun.elapsed() < WAIT, "it takes anything");
    }
    let calls = "ferrobase_thrift_calls_total{service=\"Hbase\",call=\"getTableNames\",result=\"ok\"}";
    assert_eq!(metric(http_port, calls), 3);
    assert!(metric(http_port, "ferrobase_regions") > 0, "the server's own numbers stand beside");
    // It ends in order, with a connection open.
    assert_eq!(server.stop(), Some(0));
}

/// Scanners that nobody reads on hold rows, but not without end: others wait for their turn, and those that have begun go on.
#[test]
fn scanners_that_are_left_hold_a_part_of_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--thrift-port", "0", "--memory", "64M"]);
    let port = server.told["thrift_port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
    let mut stream = connect(port);
    let value = vec![b'v'; 1 << 20];
    make_table(&mut stream, &value);
    for row in 0..12 {
        let put = list_of_one(3, &[string(2, b"f:q"), string(3, &value)]);
        let row = format!("s{row:02}");
        assert_eq!(call(&mut stream, "mutateRow", &[string(1, b"t"), string(2, row.as_bytes()), put]), [0]);
    }
    let read = |stream: &mut TcpStream, id: i32| {
        let answer = call(stream, "scannerGet", &[int(1, id)]);
        // A list of rows, or an IOError.
        if answer[..4] == [15, 0, 0, 12] { Ok(answer) } else { Err(String::from_utf8_lossy(&answer).into_owned()) }
    };
    // All at once; a thread answers its scanner, and why it could not begin.
    let begin = || {
        let mut stream = connect(port);
        let opened = call(&mut stream, "scannerOpen", &[string(1, b"t"), string(2, b"r")]);
        let id = i32::from_be_bytes(opened[3..7].try_into().expect("a number"));
        (id, read(&mut stream, id).err())
    };
    let scanners: Vec<(i32, Option<String>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..80).map(|_| scope.spawn(begin)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    let (refused, begun): (Vec<_>, Vec<_>) = scanners.into_iter().partition(|(_, why)| why.is_some());
    for (_, why) in &refused {
        let why = why.as_deref().expect("these were refused");
        assert!(why.contains("take all the space there is for them, 67108864 bytes"), "{why}");
    }
    // 2 MiB each, and as much ahead where there is space.
    assert!((12..=32).contains(&begun.len()), "{} scanners have begun", begun.len());
    let peak = peak_mib(server.pid());
    assert!(peak <= 64 + 300, "{peak} MiB");
    for (id, _) in begun {
        for _ in 1..13 {
            let row = read(&mut stream, id).expect("it goes on");
            assert!(row.len() > value.len(), "a row");
        }
        assert_eq!(read(&mut stream, id).expect("the end").len(), 9, "a list of none");
    }
    assert!(read(&mut stream, refused[0].0).expect("there is space").len() > value.len());
}
