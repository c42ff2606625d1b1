//! Connections that wait cost a socket and little memory, and those that work hardly notice them.
//!
//! Always true: times are printed, never asserted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ferrobase_tests::process::{Server, status};
use ferrobase_tests::setting;
use tokio::net::TcpSocket;

use crate::gateway::{Gateway, WAIT, call, list_of_one, string};

const CLIENTS: usize = 50;
/// Connections from one address of this machine, which has ports for some 28,000.
const FROM_ONE_ADDRESS: usize = 5_000;
/// What a waiting connection may add to the gateway's resident memory, and all of them besides.
const KIB_EACH_MAX: u64 = 16;
const KIB_MAX: u64 = 8 << 10;
/// Files of a process beside its connections.
const FILES_BESIDE: usize = 200;

/// Lets this process, and those that it starts, have so many files.
fn allow_files(wanted: usize) {
    let wanted = wanted as libc::rlim_t;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write the one structure, which lives on this stack.
    let allowed = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_cur.max(wanted.min(limit.rlim_max));
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
        }
    };
    assert!(allowed && limit.rlim_cur >= wanted, "{wanted} files are needed; raise `ulimit -Hn` ({})", limit.rlim_max);
}

async fn connect(at: usize, port: u16) -> std::net::TcpStream {
    let from = Ipv4Addr::new(127, 0, 0, u8::try_from(1 + at / FROM_ONE_ADDRESS).expect("few addresses"));
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((from, 0))).expect("a port");
    let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.expect("a connection");
    let stream = stream.into_std().expect("a socket");
    stream.set_nonblocking(false).expect("a blocking socket");
    stream.set_read_timeout(Some(WAIT)).expect("a time-out");
    stream
}

fn get_row() -> [Vec<u8>; 2] {
    [string(1, b"t"), string(2, b"r")]
}

/// Half, and ninety-nine of a hundred calls of all clients are as fast as this, and their number.
fn work(gateway: &Gateway, time: Duration) -> (Duration, Duration, usize) {
    let over = AtomicBool::new(false);
    let client = || {
        let (mut stream, mut times) = (gateway.connect(), Vec::new());
        while !over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let answer = call(&mut stream, "getRow", &get_row());
            times.push(begun.elapsed());
            assert!(answer.windows(5).any(|part| part == b"value"), "{answer:?}");
        }
        times
    };
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        std::thread::sleep(time);
        over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("every call succeeds")).collect()
    });
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100], times.len())
}

#[test]
fn active_clients_go_on_beside_idle_ones() {
    let idle = usize::try_from(setting("IDLE_CONNECTIONS", 500)).expect("a number");
    let time = Duration::from_secs(setting("IDLE_SECONDS", 1));
    allow_files(idle + CLIENTS + FILES_BESIDE);
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    // Two doors would have half of the files each, which are 20,000 on some machines.
    let gateway = Gateway::start(folder.path(), server.port, &["-q", "20000", "--thrift2-port", "off"]);
    let mut first = gateway.connect();
    call(&mut first, "createTable", &[string(1, b"t"), list_of_one(2, &[string(1, b"f:")])]);
    let put = list_of_one(3, &[string(2, b"f:q"), string(3, b"value")]);
    call(&mut first, "mutateRow", &[string(1, b"t"), string(2, b"r"), put]);
    work(&gateway, time);

    let state = || (status(gateway.pid(), "Threads"), status(gateway.pid(), "VmRSS"));
    let before = work(&gateway, time);
    let (threads, kib) = state();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut waiting = Vec::new();
    for at in 0..idle {
        waiting.push(runtime.block_on(connect(at, gateway.ports[0])));
    }
    // Some have never said a word, some have asked once, as those in clients' pools have.
    for stream in waiting.iter_mut().step_by(2) {
        call(stream, "getRow", &get_row());
    }
    let open = "ferrobase_thrift_connections{service=\"Hbase\"}";
    gateway.wait_for(open, |open| open == idle as u64 + 1);
    let during = work(&gateway, time);
    let (threads_during, kib_during) = state();
    gateway.wait_for(open, |open| open == idle as u64 + 1);

    println!("{CLIENTS} clients beside {idle} idle connections, {time:?} each:");
    for (what, (half, most, calls), threads, kib) in
        [("before", before, threads, kib), ("during", during, threads_during, kib_during)]
    {
        println!("  {what}: p50 {half:?}, p99 {most:?}, {calls} calls, {threads} threads, {kib} KiB");
    }
    assert!(threads_during <= threads, "{threads} threads, then {threads_during}");
    let most = kib + KIB_MAX + KIB_EACH_MAX * idle as u64;
    assert!(kib_during <= most, "{kib} KiB, then {kib_during}, and {most} were allowed");
    for stream in &mut waiting {
        call(stream, "getRow", &get_row());
    }
}
