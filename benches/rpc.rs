//! What a call costs over gRPC on the loopback: calls a second and CPU a call, at both ends, for an echo of some bytes.
//!
//! `cargo run --release -p ferrobase-benches --bin rpc [seconds [bytes,… [callers,…]]]`
//!
//! The server is a process of its own, so that its CPU can be told from the clients'; CPU is what the kernel counts for the
//! process's threads, so a busy machine lowers the rate but hardly the cost.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::grpc::{Connector, ConnectorSettings, Limits, Server, serve};
use protocol::service::{Call, Connect, Reply, RpcError, Service};
use runtime::Runtime;
use runtime::shutdown::Shutdown;

struct Echo;

#[async_trait::async_trait]
impl Service for Echo {
    async fn call(&self, call: Call) -> Result<Reply, RpcError> {
        if call.method == "Later" {
            tokio::task::yield_now().await;
        }
        Ok(Reply { param: Bytes::new(), cells: call.cells })
    }
}

/// Nanoseconds that a process's threads have run.
fn cpu_ns(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("threads");
    let run = |thread: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    threads.filter_map(run).sum()
}

fn numbers(argument: Option<String>, default: &[usize]) -> Vec<usize> {
    argument.map_or(default.to_vec(), |text| text.split(',').map(|part| part.parse().expect("number")).collect())
}

async fn server() {
    let listener = runtime::net::bind("127.0.0.1:0".parse().expect("address")).await.expect("bind");
    println!("{}", listener.local_addr().expect("address"));
    std::io::stdout().flush().expect("stdout");
    let server = Server::new(&Runtime::system(), Arc::new(Echo), Limits::default());
    serve(listener, Arc::new(server), Shutdown::new()).await;
}

async fn measure(server: &Arc<dyn Service>, process: u32, method: &str, bytes: usize, callers: usize, time: Duration) {
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let cells = Bytes::from(vec![7; bytes]);
    let call = Call {
        service: protocol::service::CLIENT.to_owned(),
        method: method.to_owned(),
        cells,
        timeout: Some(Duration::from_secs(60)),
        ..Call::default()
    };
    let running: Vec<_> = (0..callers)
        .map(|_| {
            let (server, stop, calls, call) = (server.clone(), stop.clone(), calls.clone(), call.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let reply = server.call(call.clone()).await.expect("reply");
                    assert_eq!(reply.cells.len(), call.cells.len());
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(time / 5).await;
    let counts = || (calls.load(Ordering::Relaxed), cpu_ns(process), cpu_ns(std::process::id()), Instant::now());
    let from = counts();
    tokio::time::sleep(time).await;
    let to = counts();
    stop.store(true, Ordering::Relaxed);
    for caller in running {
        caller.await.expect("caller");
    }
    let n = (to.0 - from.0) as f64;
    println!(
        "{method:>6} {bytes:>9} {callers:>8} {:>10.0} {:>12.2} {:>12.2}",
        n / (to.3 - from.3).as_secs_f64(),
        (to.1 - from.1) as f64 / 1e3 / n,
        (to.2 - from.2) as f64 / 1e3 / n
    );
}

fn main() {
    let tasks = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("serve") {
        return tasks.block_on(server());
    }
    let time = Duration::from_secs_f64(first.map_or(3.0, |text| text.parse().expect("seconds")));
    let (sizes, callers) = (numbers(arguments.next(), &[100, 1024]), numbers(arguments.next(), &[1, 16, 64]));
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .arg("serve")
        .stdout(Stdio::piped())
        .spawn()
        .expect("server process");
    let mut address = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut address).expect("address");
    tasks.block_on(async {
        let connector = Connector::new(Runtime::system(), ConnectorSettings::default());
        let server = connector.connect(address.trim()).await.expect("connection");
        println!("method     bytes  callers    calls/s  server µs/c  client µs/c");
        for method in ["Now", "Later"] {
            for bytes in &sizes {
                for callers in &callers {
                    measure(&server, child.id(), method, *bytes, *callers, time).await;
                }
            }
        }
    });
    child.kill().expect("server process");
    child.wait().expect("server process");
}
