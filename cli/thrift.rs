//! `thrift`: HBase's two Thrift services over a cluster that runs elsewhere.
//!
//! Always true
//! - The ports are ours before the cluster is asked, and the ready file appears when both answer.
//! - A first SIGTERM or SIGINT lets calls under way end and exits with 0; a second one ends the process at once.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use client::Connection;
use gateway::thrift::{Api, Metrics, Settings, serve};
use runtime::Runtime;
use runtime::net::TcpListener;
use runtime::shutdown::Shutdown;
use runtime::task::Task;

use crate::arguments::{Global, OptionalPort, optional_port};
use crate::connect;
use crate::failure::Failure;
use crate::http::{self, Status};
use crate::process::{Signals, bind, raise_file_handles};
use crate::ready::{Ready, ReadyFile};
use crate::roots::RootFlags;

/// File handles that are not for a service's connections: those to the cluster, the HTTP door's and the process's own.
const HANDLES_BESIDE: u64 = 128;

/// Flags of `thrift`. HBase's own are understood; those that choose a threading model change nothing.
#[derive(Debug, Args)]
pub struct Flags {
    /// May be said, as to HBase's gateway
    #[arg(value_parser = ["start"], hide = true)]
    pub start: Option<String>,
    /// The cluster: host:port[,host:port…], or the data root of a running server
    #[arg(long, env = "FERROBASE_CONNECT", default_value = "localhost:16000", value_name = "ADDRESS")]
    pub connect: String,
    /// How that root is reached
    #[command(flatten)]
    pub roots: RootFlags,
    /// Port of Thrift 1; 0 takes a free one, `off` closes it
    #[arg(short, long, env = "FERROBASE_THRIFT_PORT", default_value = "9090", value_name = "N", value_parser = optional_port)]
    pub port: OptionalPort,
    /// Port of Thrift 2; 0 takes a free one, `off` closes it
    #[arg(long, env = "FERROBASE_THRIFT2_PORT", default_value = "9091", value_name = "N", value_parser = optional_port)]
    pub thrift2_port: OptionalPort,
    /// Port of /health, /ready and /metrics; 0 takes a free one, `off` closes it
    #[arg(long, alias = "http-port", env = "FERROBASE_INFOPORT", default_value = "9095", value_name = "N", value_parser = optional_port)]
    pub infoport: OptionalPort,
    /// Address to listen on; any but a loopback one needs --insecure
    #[arg(short, long, env = "FERROBASE_BIND", default_value = "127.0.0.1", value_name = "IP")]
    pub bind: IpAddr,
    /// Listen on an address that other machines reach, without any security
    #[arg(long, env = "FERROBASE_INSECURE")]
    pub insecure: bool,
    /// Framed messages only; otherwise a connection's first bytes tell
    #[arg(short, long, env = "FERROBASE_FRAMED")]
    pub framed: bool,
    /// The compact protocol only; otherwise a connection's first bytes tell
    #[arg(short, long, env = "FERROBASE_COMPACT")]
    pub compact: bool,
    /// Understood and without effect: calls need no threads of their own
    #[arg(short, long, hide = true, value_name = "N")]
    pub min_workers: Option<u32>,
    /// Most calls at a time
    #[arg(short, long, env = "FERROBASE_WORKERS", default_value = "1000", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub workers: u32,
    /// Connections beyond the calls at a time, waiting or silent
    #[arg(long, env = "FERROBASE_QUEUE", default_value = "9000", value_name = "N")]
    pub queue: u32,
    /// Seconds that a message may take from its first byte to its last, and an answer to be taken
    #[arg(long, env = "FERROBASE_READ_TIMEOUT", default_value = "60", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub read_timeout: u64,
    /// Seconds after which a scanner is closed that nobody used
    #[arg(long, env = "FERROBASE_SCANNER_TIMEOUT", default_value = "120", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub scanner_timeout: u64,
    /// Refuse what changes anything
    #[arg(long, env = "FERROBASE_READ_ONLY")]
    pub read_only: bool,
    /// File that tells, as JSON, pid and ports once the gateway is ready
    #[arg(long, env = "FERROBASE_READY_FILE", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

impl Flags {
    /// A process that may have `handles` files serves no more connections than fit, half of them at each door if there are two.
    fn settings(&self, handles: u64) -> Settings {
        let workers = usize::try_from(self.workers).unwrap_or(usize::MAX);
        let queue = usize::try_from(self.queue).unwrap_or(usize::MAX);
        let wanted = workers.saturating_add(queue);
        let doors = [self.port, self.thrift2_port].iter().filter(|port| **port != OptionalPort::Off).count().max(1);
        let room = usize::try_from(handles.saturating_sub(HANDLES_BESIDE)).unwrap_or(usize::MAX) / doors;
        let room = room.max(1);
        if room < wanted {
            tracing::warn!(
                "--workers and --queue ask for {wanted} connections, and this process may have {handles} open files: {room} \
                 connections are taken at a port; raise the limit (`ulimit -Hn`, LimitNOFILE= of a unit) or lower --queue"
            );
        }
        Settings {
            framed: self.framed,
            compact: self.compact,
            calls_max: workers,
            connections_max: wanted.min(room),
            read_only: self.read_only,
            message_timeout: Duration::from_secs(self.read_timeout),
            scanner_lease: Duration::from_secs(self.scanner_timeout),
            ..Settings::default()
        }
    }
}

/// HBase's flags that say nothing here, and short ones that mean something else in this program's other commands.
pub fn translate(arguments: Vec<std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    if arguments.iter().skip(1).find(|text| !text.to_string_lossy().starts_with('-')).is_none_or(|it| it != "thrift") {
        return arguments;
    }
    let models = ["-threadpool", "-nonblocking", "-hsha", "-threadedselector"];
    let kept = arguments.into_iter().filter(|text| !models.iter().any(|model| *text == *model));
    kept.map(|text| if text == "-q" { "--queue".into() } else { text }).collect()
}

/// Ports of the gateway: ours, and not served yet.
#[derive(Debug, Default)]
pub struct Doors {
    listeners: Vec<(Api, TcpListener)>,
}

impl Doors {
    /// Listens on the ports of Thrift 1 and Thrift 2 that are not off. `flags` are what they are called.
    ///
    /// # Errors
    /// 2 if one cannot be had.
    pub async fn bind(ip: IpAddr, flags: [&str; 2], ports: [OptionalPort; 2]) -> Result<Doors, Failure> {
        let mut listeners = Vec::new();
        for (api, (flag, port)) in [Api::One, Api::Two].into_iter().zip(flags.into_iter().zip(ports)) {
            if let OptionalPort::Port(port) = port {
                listeners.push((api, bind(ip, flag, port).await?));
            }
        }
        Ok(Doors { listeners })
    }

    /// Whether both are off.
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// The ports of Thrift 1 and Thrift 2.
    pub fn ports(&self) -> std::io::Result<[Option<u16>; 2]> {
        let mut ports = [None; 2];
        for (api, listener) in &self.listeners {
            ports[usize::from(*api == Api::Two)] = Some(listener.local_addr()?.port());
        }
        Ok(ports)
    }

    /// Serves them until `shutdown` and the end of the calls under way.
    pub fn open(
        self,
        connection: &Connection,
        settings: &Settings,
        metrics: &Arc<Metrics>,
        runtime: &Runtime,
        shutdown: &Shutdown,
    ) -> Vec<Task<()>> {
        let door = |(api, listener)| {
            let (connection, settings, metrics) = (connection.clone(), settings.clone(), metrics.clone());
            let (runtime, shutdown) = (runtime.clone(), shutdown.child());
            runtime::task::spawn("thrift door", async move {
                serve(listener, connection, api, settings, metrics, &runtime, shutdown).await;
            })
        };
        self.listeners.into_iter().map(door).collect()
    }
}

/// Waits until all doors are closed.
pub async fn closed(doors: Vec<Task<()>>) {
    for door in doors {
        let _ = door.await;
    }
}

struct Told(Arc<Metrics>);

impl Status for Told {
    /// What is behind the gateway may be away: calls say so, and a restart of the gateway would not help.
    fn failure(&self) -> Option<String> {
        None
    }

    fn metrics(&self) -> String {
        self.0.text()
    }
}

/// Runs the gateway until it is told to stop.
pub async fn run(flags: &Flags, global: &Global) -> Result<(), Failure> {
    let runtime = Runtime::system();
    if !flags.bind.is_loopback() && !flags.insecure {
        let hint = "clients of other machines could do anything, there is no security yet; say --insecure to allow it";
        return Err(Failure::usage(format!("--bind {}: {hint}", flags.bind)));
    }
    let settings = flags.settings(raise_file_handles());
    let mut signals = Signals::new()?;
    let doors = Doors::bind(flags.bind, ["--port", "--thrift2-port"], [flags.port, flags.thrift2_port]).await?;
    if doors.is_empty() {
        return Err(Failure::usage("--port and --thrift2-port are both off; one of them is needed"));
    }
    let info = match flags.infoport {
        OptionalPort::Off => None,
        OptionalPort::Port(port) => Some(bind(flags.bind, "--infoport", port).await?),
    };
    let [thrift_port, thrift2_port] = doors.ports()?;
    let http_port = info.as_ref().map(TcpListener::local_addr).transpose()?.map(|it| it.port());
    let mut ready_file = ReadyFile::prepare(flags.ready_file.as_deref()).map_err(|error| {
        let file = flags.ready_file.as_deref().unwrap_or(std::path::Path::new("")).display();
        Failure::usage(format!("--ready-file {file}: {error}"))
    })?;
    ready_file.take()?;
    let connection = connect::open(&flags.connect, &flags.roots, None).await?;
    let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
    let mut doors = doors.open(&connection, &settings, &metrics, &runtime, &shutdown);
    if let Some(listener) = info {
        let ready = Arc::new(AtomicBool::new(true));
        let door =
            http::serve(listener, Arc::new(Told(metrics.clone())), ready, runtime.clock.clone(), shutdown.child());
        doors.push(runtime::task::spawn("http door", async move {
            if let Err(error) = door.await {
                tracing::warn!(%error, "the http door has ended");
            }
        }));
    }
    ready_file.write(&Ready {
        pid: std::process::id(),
        role: "thrift",
        version: env!("CARGO_PKG_VERSION"),
        port: thrift_port.or(thrift2_port).unwrap_or(0),
        http_port,
        thrift_port,
        thrift2_port,
        zookeeper_port: None,
        data: String::new(),
        wal: String::new(),
    })?;
    if !global.quiet {
        let name = |port: Option<u16>| port.map_or("off".to_owned(), |port| format!("{}:{port}", flags.bind));
        let text = format!(
            "The Thrift gateway is ready\n  cluster   {}\n  Thrift 1  {}\n  Thrift 2  {}\n  http      {}\n",
            flags.connect,
            name(thrift_port),
            name(thrift2_port),
            name(http_port)
        );
        // Nobody may be reading: that is no reason to stop.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
    signals.first().await;
    drop(ready_file);
    shutdown.signal();
    tokio::select! {
        () = closed(doors) => Ok(()),
        code = signals.second() => Err(Failure { code, message: "stopped at once".to_owned() }),
    }
}
