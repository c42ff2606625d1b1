//! `thrift`: HBase's two Thrift services over a cluster that runs elsewhere.
//!
//! Always true
//! - The ports are ours before the cluster is asked, and the ready file appears when both answer.
//! - A first SIGTERM or SIGINT lets calls under way end and exits with 0; a second one ends the process at once.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use gateway::thrift::{Api, Settings, serve};
use runtime::Runtime;
use runtime::shutdown::Shutdown;

use crate::arguments::{Global, OptionalPort, optional_port};
use crate::connect;
use crate::failure::Failure;
use crate::ready::{Ready, ReadyFile};
use crate::standalone::{Signals, bind};

/// Flags of `thrift`. HBase's own are understood; those that choose a threading model change nothing.
#[derive(Debug, Args)]
pub struct Flags {
    /// May be said, as to HBase's gateway
    #[arg(value_parser = ["start"], hide = true)]
    pub start: Option<String>,
    /// The cluster: host:port[,host:port…], or the data folder of a server on this machine
    #[arg(long, env = "FERROBASE_CONNECT", default_value = "localhost:16000", value_name = "ADDRESS")]
    pub connect: String,
    /// Port of Thrift 1; 0 takes a free one, `off` closes it
    #[arg(short, long, env = "FERROBASE_THRIFT_PORT", default_value = "9090", value_name = "N", value_parser = optional_port)]
    pub port: OptionalPort,
    /// Port of Thrift 2; 0 takes a free one, `off` closes it
    #[arg(long, env = "FERROBASE_THRIFT2_PORT", default_value = "9091", value_name = "N", value_parser = optional_port)]
    pub thrift2_port: OptionalPort,
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
    /// Refuse what changes anything
    #[arg(long, env = "FERROBASE_READ_ONLY")]
    pub read_only: bool,
    /// File that tells, as JSON, pid and ports once the gateway is ready
    #[arg(long, env = "FERROBASE_READY_FILE", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

impl Flags {
    fn settings(&self) -> Settings {
        let workers = usize::try_from(self.workers).unwrap_or(usize::MAX);
        let queue = usize::try_from(self.queue).unwrap_or(usize::MAX);
        Settings {
            framed: self.framed,
            compact: self.compact,
            calls_max: workers,
            connections_max: workers.saturating_add(queue),
            read_only: self.read_only,
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

/// Runs the gateway until it is told to stop.
pub async fn run(flags: &Flags, global: &Global) -> Result<(), Failure> {
    let runtime = Runtime::system();
    if !flags.bind.is_loopback() && !flags.insecure {
        let hint = "clients of other machines could do anything, there is no security yet; say --insecure to allow it";
        return Err(Failure::usage(format!("--bind {}: {hint}", flags.bind)));
    }
    let mut signals = Signals::new()?;
    let mut listeners = Vec::new();
    for (api, flag, port) in [(Api::One, "--port", flags.port), (Api::Two, "--thrift2-port", flags.thrift2_port)] {
        if let OptionalPort::Port(port) = port {
            listeners.push((api, bind(flags.bind, flag, port).await?));
        }
    }
    if listeners.is_empty() {
        return Err(Failure::usage("--port and --thrift2-port are both off; one of them is needed"));
    }
    let mut ready_file = ReadyFile::prepare(flags.ready_file.as_deref()).map_err(|error| {
        let file = flags.ready_file.as_deref().unwrap_or(std::path::Path::new("")).display();
        Failure::usage(format!("--ready-file {file}: {error}"))
    })?;
    ready_file.take()?;
    let connection = connect::open(&flags.connect, None).await?;
    let shutdown = Shutdown::new();
    let (mut ports, mut doors) = ([None; 2], Vec::new());
    for (api, listener) in listeners {
        ports[usize::from(api == Api::Two)] = Some(listener.local_addr()?.port());
        let (connection, runtime, shutdown) = (connection.clone(), runtime.clone(), shutdown.child());
        let settings = flags.settings();
        doors.push(runtime::task::spawn("thrift door", async move {
            serve(listener, connection, api, settings, &runtime, shutdown).await;
        }));
    }
    let [thrift_port, thrift2_port] = ports;
    ready_file.write(&Ready {
        pid: std::process::id(),
        role: "thrift",
        version: env!("CARGO_PKG_VERSION"),
        port: thrift_port.or(thrift2_port).unwrap_or(0),
        http_port: None,
        thrift_port,
        thrift2_port,
        zookeeper_port: None,
        data: String::new(),
        wal: String::new(),
    })?;
    if !global.quiet {
        let name = |port: Option<u16>| port.map_or("off".to_owned(), |port| format!("{}:{port}", flags.bind));
        let text = format!(
            "The Thrift gateway is ready\n  cluster   {}\n  Thrift 1  {}\n  Thrift 2  {}\n",
            flags.connect,
            name(thrift_port),
            name(thrift2_port)
        );
        // Nobody may be reading: that is no reason to stop.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
    signals.first().await;
    drop(ready_file);
    shutdown.signal();
    let stop = async {
        for door in doors {
            let _ = door.await;
        }
    };
    tokio::select! {
        () = stop => Ok(()),
        code = signals.second() => Err(Failure { code, message: "stopped at once".to_owned() }),
    }
}
