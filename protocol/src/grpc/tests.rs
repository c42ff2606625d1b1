use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use model::ErrorKind;
use runtime::Runtime;
use runtime::shutdown::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::*;
use crate::service::{Call, Connect, MovedTo, Reply, RpcError, Service};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// A service whose methods say what they do.
struct Scripted {
    begun: AtomicUsize,
    ended: AtomicUsize,
    /// `Wait` takes one permit.
    gate: Semaphore,
}

#[async_trait]
impl Service for Scripted {
    async fn call(&self, call: Call) -> Result<Reply, RpcError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let echo = Reply { param: call.param.clone(), cells: call.cells.clone() };
        let result = match call.method.as_str() {
            "Echo" => Ok(echo),
            "Wait" => {
                self.gate.acquire().await.expect("gate").forget();
                Ok(echo)
            }
            "Yield" => {
                for _ in 0..call.param.first().copied().unwrap_or(1) {
                    tokio::task::yield_now().await;
                }
                Ok(echo)
            }
            "Big" => Ok(Reply { param: Bytes::new(), cells: Bytes::from(vec![7; 1 << 20]) }),
            "BigLater" => {
                tokio::task::yield_now().await;
                Ok(Reply { param: Bytes::new(), cells: Bytes::from(vec![7; 1 << 20]) })
            }
            "Panic" => panic!("now"),
            "PanicLater" => {
                tokio::task::yield_now().await;
                panic!("later")
            }
            "Moved" => Err(RpcError {
                moved_to: Some(MovedTo { host: "there".to_owned(), port: 16020 }),
                ..RpcError::new(ErrorKind::Moved, "gone")
            }),
            _ => Err(call.unknown()),
        };
        self.ended.fetch_add(1, Ordering::SeqCst);
        result
    }
}

struct Served {
    address: String,
    service: Arc<Scripted>,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Served {
    async fn ends(self) {
        tokio::time::timeout(LONG, self.task).await.expect("in time").expect("no panic");
    }
}

async fn served_at(address: &str, limits: Limits) -> Served {
    let listener = runtime::net::bind(address.parse().expect("address")).await.expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    let (shutdown, service) =
        (Shutdown::new(), Arc::new(Scripted { begun: 0.into(), ended: 0.into(), gate: Semaphore::new(0) }));
    let server = Arc::new(Server::new(&Runtime::system(), service.clone(), limits));
    let task = tokio::spawn(serve(listener, server, shutdown.clone()));
    Served { address, service, shutdown, task }
}

async fn served(limits: Limits) -> Served {
    served_at("127.0.0.1:0", limits).await
}

fn connector() -> Connector {
    Connector::new(Runtime::system(), ConnectorSettings::default())
}

fn impatient() -> Connector {
    let settings = ConnectorSettings { keep_alive: Duration::from_millis(200), ..ConnectorSettings::default() };
    Connector::new(Runtime::system(), settings)
}

fn call(method: &str, param: &[u8]) -> Call {
    Call {
        service: "ClientService".to_owned(),
        method: method.to_owned(),
        param: Bytes::copy_from_slice(param),
        cells: Bytes::new(),
        timeout: Some(LONG),
    }
}

/// Waits for a condition, at most half a minute.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Starts a call beside the test.
fn begin(server: &Arc<dyn Service>, call: Call) -> JoinHandle<Result<Reply, RpcError>> {
    let server = server.clone();
    tokio::spawn(async move { server.call(call).await })
}

#[derive(Clone, Copy, PartialEq)]
enum Wire {
    Up,
    /// Nothing more of the server's reaches the client.
    AnswersHeld,
    /// Nothing passes, either way, and nobody is told.
    Silent,
    Cut,
}

/// A wire that a test can hold or cut.
async fn wire(to: &str) -> (String, watch::Sender<Wire>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    let (state, seen) = watch::channel(Wire::Up);
    let to = to.to_owned();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.expect("accept");
            let Ok(far) = TcpStream::connect(&to).await else { continue };
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(pump(near_in, far_out, seen.clone(), Wire::Silent));
            tokio::spawn(pump(far_in, near_out, seen.clone(), Wire::AnswersHeld));
        }
    });
    (address, state)
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut state: watch::Receiver<Wire>,
    held_at: Wire,
) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let passes = |now: &Wire| *now == Wire::Cut || *now != Wire::Silent && *now != held_at;
        if *state.wait_for(passes).await.expect("test runs") == Wire::Cut {
            return;
        }
        let read = tokio::select! { read = from.read(&mut buffer) => read, _ = state.changed() => continue };
        match read {
            Ok(length) if length > 0 => {
                if to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

#[tokio::test]
async fn a_call_comes_back() {
    let served = served(Limits::default()).await;
    let server = connector().connect(&served.address).await.expect("connection");
    let sent = Call { cells: Bytes::from_static(b"cells"), ..call("Echo", b"hello") };
    let reply = server.call(sent).await.expect("reply");
    assert_eq!((&reply.param[..], &reply.cells[..]), (&b"hello"[..], &b"cells"[..]));
    let error = server.call(call("Moved", b"")).await.expect_err("moved");
    assert_eq!(error.kind, ErrorKind::Moved);
    assert_eq!(error.moved_to, Some(MovedTo { host: "there".to_owned(), port: 16020 }));
    assert_eq!(server.call(call("No", b"")).await.expect_err("unknown").kind, ErrorKind::Invalid);
    served.shutdown.signal();
    served.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_caller_gets_its_own_answer_in_any_order() {
    let served = served(Limits::default()).await;
    let server = connector().connect(&served.address).await.expect("connection");
    let first = begin(&server, call("Wait", b"first"));
    let callers = (0..2000u32).map(|number| {
        let server = server.clone();
        async move {
            let method = ["Echo", "Yield"][number as usize % 2];
            let mut param = number.to_le_bytes().to_vec();
            param.resize(4 + number as usize % 3000, 1);
            let reply = server.call(call(method, &param)).await.expect("reply");
            assert_eq!(reply.param, param, "{number}");
        }
    });
    join_all(callers.map(tokio::spawn)).await.into_iter().for_each(|done| done.expect("caller"));
    assert!(!first.is_finished(), "the first call waits while others are answered");
    served.service.gate.add_permits(1);
    assert_eq!(first.await.expect("caller").expect("reply").param, &b"first"[..]);
}

#[tokio::test]
async fn a_broken_wire_leaves_open_calls_unknown_and_the_next_call_connects_anew() {
    let served = served(Limits::default()).await;
    let (address, state) = wire(&served.address).await;
    let server = connector().connect(&address).await.expect("connection");
    let open = begin(&server, call("Wait", b""));
    until("the call begins", || served.service.begun.load(Ordering::SeqCst) == 1).await;
    state.send_replace(Wire::Cut);
    assert_eq!(open.await.expect("caller").expect_err("broken").kind, ErrorKind::Unknown);
    state.send_replace(Wire::Up);
    assert_eq!(server.call(call("Echo", b"again")).await.expect("reply").param, &b"again"[..]);
    // The server's call went on without its connection.
    served.service.gate.add_permits(1);
    until("the first call ends", || served.service.ended.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test]
async fn a_silent_wire_is_given_up() {
    let served = served(Limits::default()).await;
    let (address, state) = wire(&served.address).await;
    let server = impatient().connect(&address).await.expect("connection");
    let open = begin(&server, call("Wait", b""));
    until("the call begins", || served.service.begun.load(Ordering::SeqCst) == 1).await;
    let start = Instant::now();
    state.send_replace(Wire::Silent);
    assert_eq!(open.await.expect("caller").expect_err("silent").kind, ErrorKind::Unknown);
    assert!(start.elapsed() < Duration::from_secs(15), "long before the call's own time");
}

#[tokio::test]
async fn foreign_and_silent_connections_are_closed_and_harm_nobody() {
    let limits = Limits { first_call_wait: Duration::from_millis(300), ..Limits::default() };
    let served = served(limits).await;
    let server = connector().connect(&served.address).await.expect("connection");
    let mut garbage: Vec<Vec<u8>> = [
        &b""[..],
        b"P",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * nonsense nonsense nonsense nonsense",
        b"GET / HTTP/1.1\r\n\r\n",
        b"HBas\0P",
        b"\x16\x03\x01\0\0\0",
    ]
    .map(<[u8]>::to_vec)
    .into();
    // A right preface with frames that make no sense behind it.
    garbage.push([&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0xff; 4096]].concat());
    for bytes in garbage {
        let mut stream = TcpStream::connect(&served.address).await.expect("connect");
        stream.write_all(&bytes).await.expect("write");
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "stays open: {:?}", String::from_utf8_lossy(&bytes));
    }
    server.call(call("Echo", b"")).await.expect("the other connection goes on");
}

#[tokio::test]
async fn too_long_messages_are_refused_one_by_one() {
    let limits = Limits { frame_bytes_max: 512 << 10, ..Limits::default() };
    let served = served(limits).await;
    let settings = ConnectorSettings { frame_bytes_max: 64 << 10, ..ConnectorSettings::default() };
    let server = Connector::new(Runtime::system(), settings).connect(&served.address).await.expect("connection");
    let error = server.call(call("Echo", &[0; 64 << 10])).await.expect_err("client's limit");
    assert_eq!(error.short_class(), "exceptions.RequestTooBigException");
    assert_eq!(served.service.begun.load(Ordering::SeqCst), 0);
    // The server's own limits, met by a client that has none.
    let server = connector().connect(&served.address).await.expect("connection");
    let error = server.call(call("Big", b"")).await.expect_err("answer too big");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.message.contains("answer is too big"), "{error}");
    let begun = served.service.begun.load(Ordering::SeqCst);
    let error = server.call(call("Echo", &[0; 600 << 10])).await.expect_err("server's limit");
    assert_eq!((error.kind, error.short_class()), (ErrorKind::Invalid, "exceptions.RequestTooBigException"));
    assert_eq!(served.service.begun.load(Ordering::SeqCst), begun);
    server.call(call("Echo", b"")).await.expect("the connection stands");
}

#[tokio::test]
async fn a_slow_reader_stops_its_own_calls_only() {
    let served = served(Limits::default()).await;
    let (address, state) = wire(&served.address).await;
    let slow = connector().connect(&address).await.expect("connection");
    slow.call(call("Echo", b"")).await.expect("reply");
    state.send_replace(Wire::AnswersHeld);
    let open: Vec<_> = (0..200).map(|_| begin(&slow, call("Big", b""))).collect();
    // 4 MiB of window and what the sockets hold, of 200 MiB asked for.
    let bound = 30;
    let other = connector().connect(&served.address).await.expect("connection");
    for n in 0..200 {
        other.call(call("Echo", b"")).await.expect("others go on");
        tokio::time::sleep(Duration::from_millis(1)).await;
        let begun = served.service.begun.load(Ordering::SeqCst) - 2 - n;
        assert!(begun <= bound, "the server began {begun} calls whose answers nobody reads");
    }
    state.send_replace(Wire::Up);
    for reply in join_all(open).await {
        assert_eq!(reply.expect("caller").expect("reply").cells.len(), 1 << 20);
    }
}

#[tokio::test]
async fn bounds_answer_busy() {
    let limits = Limits { calls_max: 4, request_bytes_total: 1 << 20, ..Limits::default() };
    let served = served(limits).await;
    let server = connector().connect(&served.address).await.expect("connection");
    let open: Vec<_> = (0..4).map(|_| begin(&server, call("Wait", b""))).collect();
    until("four calls are open", || served.service.begun.load(Ordering::SeqCst) == 4).await;
    let error = server.call(call("Echo", b"")).await.expect_err("one too many");
    assert_eq!((error.kind, error.short_class()), (ErrorKind::Busy, "CallQueueTooBigException"));
    served.service.gate.add_permits(4);
    join_all(open).await.into_iter().for_each(|reply| drop(reply.expect("caller").expect("reply")));

    let open = begin(&server, call("Wait", &[0; 600 << 10]));
    until("the long call is open", || served.service.begun.load(Ordering::SeqCst) == 5).await;
    // Another connection shares the bytes.
    let other = connector().connect(&served.address).await.expect("connection");
    let error = other.call(call("Echo", &[0; 600 << 10])).await.expect_err("too many bytes");
    assert_eq!(error.kind, ErrorKind::Busy);
    other.call(call("Echo", &[0; 200 << 10])).await.expect("room for a shorter one");
    let error = other.call(call("Echo", &[0; 2 << 20])).await.expect_err("never fits");
    assert_eq!(error.kind, ErrorKind::Invalid);
    served.service.gate.add_permits(1);
    open.await.expect("caller").expect("reply");
    other.call(call("Echo", &[0; 600 << 10])).await.expect("there is room again");
}

#[tokio::test]
async fn a_panic_ends_its_own_call() {
    let served = served(Limits { calls_max: 2, ..Limits::default() }).await;
    let server = connector().connect(&served.address).await.expect("connection");
    for round in 0..4 {
        for method in ["Panic", "PanicLater"] {
            let error = server.call(call(method, b"")).await.expect_err("panic");
            assert_eq!(error.kind, ErrorKind::Invalid, "DoNotRetryIOException as it arrives: {error} {round}");
            assert!(error.message.contains("panic="), "{error}");
        }
    }
    server.call(call("Echo", b"")).await.expect("the connection goes on, and no room was lost");
}

#[tokio::test]
async fn shutdown_finishes_open_calls_and_refuses_new_ones() {
    let served = served(Limits::default()).await;
    let server = connector().connect(&served.address).await.expect("connection");
    let open = begin(&server, call("Wait", b"open"));
    until("the call begins", || served.service.begun.load(Ordering::SeqCst) == 1).await;
    served.shutdown.signal();
    let error = server.call(call("Echo", b"")).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::NotServing, "{error}");
    let unreachable = async || connector().connect(&served.address).await.is_err();
    let start = Instant::now();
    while !unreachable().await {
        assert!(start.elapsed() < LONG, "still listens");
    }
    assert_eq!(served.service.begun.load(Ordering::SeqCst), 1);
    served.service.gate.add_permits(1);
    assert_eq!(open.await.expect("caller").expect("reply").param, &b"open"[..]);
    let address = served.address.clone();
    served.ends().await;
    let error = server.call(call("Echo", b"")).await.expect_err("gone");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains(&address), "{error}");
}

#[tokio::test]
async fn shutdown_waits_no_longer_than_the_grace_time() {
    let served = served(Limits { grace: Duration::from_millis(100), ..Limits::default() }).await;
    let server = connector().connect(&served.address).await.expect("connection");
    let open = begin(&server, call("Wait", b""));
    until("the call begins", || served.service.begun.load(Ordering::SeqCst) == 1).await;
    served.shutdown.signal();
    served.ends().await;
    assert_eq!(open.await.expect("caller").expect_err("cut").kind, ErrorKind::Unknown);
}

#[tokio::test]
async fn a_call_out_of_time_is_unknown_and_runs_to_its_end() {
    let served = served(Limits::default()).await;
    let connector = connector();
    let server = connector.connect(&served.address).await.expect("connection");
    let short = Call { timeout: Some(Duration::from_millis(100)), ..call("Wait", b"") };
    let error = server.call(short.clone()).await.expect_err("client's clock");
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
    // The server's clock, for a client that waits longer than it says.
    let link = connector.peer(&served.address).expect("peer").link().await.expect("link");
    let error = link.send(short).await.expect_err("server's clock");
    assert_eq!((error.kind, error.short_class()), (ErrorKind::Unknown, "exceptions.TimeoutIOException"));
    assert!(error.message.contains("goes on"), "{error}");
    assert_eq!(served.service.ended.load(Ordering::SeqCst), 0);
    served.service.gate.add_permits(2);
    until("both run to their ends", || served.service.ended.load(Ordering::SeqCst) == 2).await;
    assert_eq!(link.open_calls(), 0, "calls given up are forgotten");
}

#[tokio::test]
async fn callers_beyond_the_clients_bound_wait_for_their_turn() {
    let served = served(Limits::default()).await;
    let settings = ConnectorSettings { calls_max: 2, ..ConnectorSettings::default() };
    let server = Connector::new(Runtime::system(), settings).connect(&served.address).await.expect("connection");
    let open: Vec<_> = (0..5).map(|_| begin(&server, call("Wait", b""))).collect();
    until("two calls are open", || served.service.begun.load(Ordering::SeqCst) == 2).await;
    let waiting = Call { timeout: Some(Duration::from_millis(100)), ..call("Echo", b"") };
    let error = server.call(waiting).await.expect_err("no turn in time");
    assert_eq!(error.kind, ErrorKind::Unavailable, "it was never sent: {error}");
    assert_eq!(served.service.begun.load(Ordering::SeqCst), 2);
    served.service.gate.add_permits(5);
    join_all(open).await.into_iter().for_each(|reply| drop(reply.expect("caller").expect("reply")));
}

#[tokio::test]
async fn an_unreachable_server_is_named_and_found_when_it_comes() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address").to_string();
    let settings = ConnectorSettings { pause: Duration::from_millis(100), ..ConnectorSettings::default() };
    let connector = Connector::new(Runtime::system(), settings);
    let error = connector.connect(&free).await.expect_err("nobody listens");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains(&free), "{error}");
    assert!(connector.connect("no address").await.is_err());
    let served = served_at(&free, Limits::default()).await;
    // The pause after the failure first.
    let start = Instant::now();
    let server = loop {
        match connector.connect(&free).await {
            Ok(server) => break server,
            Err(error) => assert!(start.elapsed() < LONG, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    server.call(call("Echo", b"")).await.expect("reply");
    drop(served);
}

#[tokio::test]
async fn connections_are_bounded() {
    let served = served(Limits { connections_max: 1, ..Limits::default() }).await;
    let first = connector();
    let server = first.connect(&served.address).await.expect("connection");
    let error = connector().connect(&served.address).await.expect_err("one too many");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    server.call(call("Echo", b"")).await.expect("the first goes on");
    drop((first, server));
    let start = Instant::now();
    while let Err(error) = connector().connect(&served.address).await {
        assert!(start.elapsed() < LONG, "a closed connection makes room: {error}");
    }
}
