//! `standalone`: master, region server and META in one process over one data folder.
//!
//! ```text
//! arguments → ports → root and its lock → log roots → leadership → log stream → region server → master (META, tables) → doors → ready
//! ```
//!
//! Always true
//! - Nothing on the data root is changed before the ports are ours and the root is locked.
//! - The ready file and the greeting appear only when every door answers.
//! - A first SIGTERM or SIGINT closes all regions and exits with 0; a second one ends the process at once.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coordination::LeaderSeen;
use filesystem::{Filesystem, LockOutcome, RootLock};
use gateway::thrift::Metrics;
use master::{Master, MasterContext};
use protocol::direct::Near;
use protocol::grpc::{self, Connector};
use protocol::meta::ServerName;
use protocol::service::{self, Call, Connect, Dispatcher, Service};
use regionserver::{RegionServer, ServerContext, ServerSettings};
use runtime::Runtime;
use runtime::shutdown::Shutdown;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::region::{RegionContext, RegionSettings};
use storage::wal::Log;

use crate::arguments::{Global, OptionalPort, Standalone};
use crate::failure::Failure;
use crate::http::{self, Status};
use crate::logs::{LogPlace, Logs};
use crate::memory;
use crate::process::{Signals, bind, raise_file_handles};
use crate::read_cache;
use crate::ready::{Ready, ReadyFile};
use crate::{connect, thrift};

/// How long a holder of the root is given to answer, before it counts as silent.
const HOLDER_WAIT: Duration = Duration::from_secs(3);
/// A message of this length is taken however small the budget is: it holds the largest cell.
const FRAME_BYTES_LEAST: usize = 16 << 20;
/// How often the log is asked whether another process has taken over.
const FENCE_CHECK: Duration = Duration::from_millis(500);

/// Runs the server until it is told to stop.
pub async fn run(flags: &Standalone, global: &Global) -> Result<(), Failure> {
    let runtime = Runtime::system();
    let begun = runtime.clock.monotonic();
    let folder = flags.roots.folder("--data", &flags.data)?;
    if let Some(wal) = &flags.wal {
        flags.roots.folder("--wal", wal)?;
    }
    let budget = flags.memory.unwrap_or_else(memory::default_budget);
    if budget < memory::BUDGET_MIN {
        return Err(Failure::usage(format!("--memory: at least {}M is needed", memory::BUDGET_MIN >> 20)));
    }
    if !flags.bind.is_loopback() && !flags.insecure {
        let hint = "clients of other machines could do anything, there is no security yet; say --insecure to allow it";
        return Err(Failure::usage(format!("--bind {}: {hint}", flags.bind)));
    }
    let cache = read_cache::settings(flags, folder.is_some(), budget)?;
    if memory::machine().is_some_and(|machine| budget > machine) {
        // Standard error may be closed; the server runs all the same.
        let _ = writeln!(std::io::stderr(), "--memory: {} MiB are more than this process may have", budget >> 20);
    }
    let handles = raise_file_handles();
    let mut signals = Signals::new()?;
    let listener = bind(flags.bind, "--port", flags.port).await?;
    let http_listener = match flags.http_port {
        OptionalPort::Off => None,
        OptionalPort::Port(port) => Some(bind(flags.bind, "--http-port", port).await?),
    };
    let flag_names = ["--thrift-port", "--thrift2-port"];
    let gateway = thrift::Doors::bind(flags.bind, flag_names, [flags.thrift_port, flags.thrift2_port]).await?;
    let [thrift_port, thrift2_port] = gateway.ports()?;
    let port = listener.local_addr()?.port();
    let http_port = http_listener.as_ref().map(|listener| listener.local_addr()).transpose()?.map(|it| it.port());
    let mut ready_file = ReadyFile::prepare(flags.ready_file.as_deref()).map_err(|error| {
        let file = flags.ready_file.as_deref().unwrap_or(std::path::Path::new("")).display();
        Failure::usage(format!("--ready-file {file}: {error}"))
    })?;

    if let Some(folder) = &folder {
        check_outside_of_others("--data", folder, None)?;
    }
    if let Some(wal) = &flags.wal
        && let Some(wal) = flags.roots.folder("--wal", wal)?
    {
        check_outside_of_others("--wal", &wal, folder.as_deref())?;
    }
    let fs = flags.roots.open("--data", &flags.data, &runtime).await?;
    let root_url = flags.roots.canonical("--data", &flags.data)?;
    let address = advertised(flags, port)?;
    let in_root = |failure: Failure| failure.within(&flags.data);
    let (_lock, seen) = lock(&fs, &runtime, flags, folder.is_some(), &address).await.map_err(in_root)?;
    if seen.leader()?.is_none() {
        check_empty(&fs, &flags.data).await.map_err(in_root)?;
        check_outside_of_prefixes(flags, &runtime).await?;
    }
    ready_file.take()?;
    let fs = match cache {
        Some(settings) => read_cache::before(fs, settings, &runtime).await?,
        None => fs,
    };
    let logs = Logs::new(fs.clone(), &flags.data, &flags.roots, &runtime)?;
    let logs = logs.prepare(flags.wal.as_deref()).await.map_err(in_root)?;
    let shutdown = Shutdown::new();
    let node = Node::start(fs, logs, seen, runtime.clone(), budget, &address, root_url).await.map_err(in_root)?;
    let ready = Arc::new(AtomicBool::new(false));
    let gateway_metrics = (!gateway.is_empty()).then(Metrics::new);
    let status = Arc::new(Told { node: node.clone(), gateway: gateway_metrics.clone() });
    let http = http_listener.map(|listener| {
        let door = http::serve(listener, status, ready.clone(), runtime.clock.clone(), shutdown.child());
        runtime::task::spawn("http door", door)
    });
    let dispatcher = Dispatcher::default()
        .with(service::CLIENT, node.server.clone())
        .with(service::ADMIN, node.server.clone())
        .with(service::HOST, node.server.clone())
        .with(service::MASTER, node.master.clone())
        .with(service::REGISTRY, node.master.clone());
    let frame_bytes_max = frame_bytes_of(budget);
    let request_bytes_total = usize::try_from(budget / 10).unwrap_or(usize::MAX).max(frame_bytes_max);
    let limits = grpc::Limits::default();
    let connections_max = limits.connections_max.min(connections_of(handles));
    let limits = grpc::Limits { request_bytes_total, frame_bytes_max, connections_max, ..limits };
    let server = Arc::new(grpc::Server::new(&runtime, Arc::new(dispatcher), limits));
    let direct = server.direct(shutdown.child());
    let door = runtime::task::spawn("rpc door", grpc::serve(listener, server, shutdown.child()));
    let gateway_shutdown = Shutdown::new();
    let gateway = match &gateway_metrics {
        // A client like any other, but that it does not go over the port.
        Some(metrics) => {
            let ip = if flags.bind.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { flags.bind };
            let (here, told) =
                (SocketAddr::new(ip, port).to_string(), ServerName::new(address.0.clone(), address.1, 0));
            let others = Arc::new(Connector::new(runtime.clone(), grpc::ConnectorSettings::default()));
            // Asked for first by the one, then as META names it.
            let near = Near { addresses: vec![here.clone(), told.address()], service: direct.clone(), others };
            let connection = connect::open_near(&here, Arc::new(near)).await?;
            gateway.open(&connection, &thrift_settings(connections_max, budget), metrics, &runtime, &gateway_shutdown)
        }
        None => Vec::new(),
    };

    ready_file.write(&Ready {
        pid: std::process::id(),
        role: "standalone",
        version: env!("CARGO_PKG_VERSION"),
        port,
        http_port,
        thrift_port,
        thrift2_port,
        zookeeper_port: None,
        data: flags.data.clone(),
        wal: flags.wal.clone().unwrap_or_else(|| flags.data.clone()),
    })?;
    ready.store(true, Ordering::Release);
    if !global.quiet {
        greet(flags, &address, [http_port, thrift_port, thrift2_port], runtime.clock.monotonic().saturating_sub(begun));
    }

    let fenced = node.wait_until_fenced(&runtime);
    let taken_over = tokio::select! {
        () = signals.first() => false,
        () = fenced => true,
    };
    ready.store(false, Ordering::Release);
    drop(ready_file);
    if taken_over {
        return Err(Failure::held(format!(
            "{}: another process has taken the data root over, or its files are gone",
            flags.data
        )));
    }
    if !global.quiet {
        // Standard error may be closed by now.
        let _ = writeln!(std::io::stderr(), "stopping; once more to stop at once");
    }
    let stop = async {
        // Its calls under way need the service behind it.
        gateway_shutdown.signal();
        thrift::closed(gateway).await;
        shutdown.signal();
        let _ = door.await;
        direct.drained().await;
        if let Some(http) = http {
            let _ = http.await;
        }
        node.close().await;
    };
    tokio::select! {
        () = stop => Ok(()),
        code = signals.second() => Err(Failure { code, message: "stopped at once; the log holds what was not flushed".to_owned() }),
    }
}

/// A root without a leader's register never had a master, so it holds nothing yet; or it is the rest of something.
async fn check_empty(fs: &Arc<dyn Filesystem>, data: &str) -> Result<(), Failure> {
    for folder in ["data", "ferrobase/log"] {
        if let Some(found) = fs.list(folder).await?.first() {
            return Err(Failure::failed(format!(
                "{data}: `{}` lies here, but the registers of a cluster (ferrobase/cluster) do not: this is no data root, or a \
                 part of one; restore it whole, or name another folder",
                found.path
            )));
        }
    }
    Ok(())
}

/// The parts of the process that serve.
struct Node {
    server: Arc<RegionServer>,
    master: Arc<Master>,
    log: Log,
}

impl Node {
    async fn start(
        fs: Arc<dyn Filesystem>,
        logs: LogPlace,
        seen: LeaderSeen,
        runtime: Runtime,
        budget: u64,
        address: &(String, u16),
        root_url: String,
    ) -> Result<Arc<Node>, Failure> {
        let leadership =
            coordination::take_over_from(seen, &fs, &runtime, &format!("{}:{}", address.0, address.1)).await?;
        let log = logs.begin(&leadership, &runtime).await?;
        let start_code = u64::try_from(runtime.clock.now_ms()).unwrap_or_default();
        let (settings, frame_bytes) = (ServerSettings::default(), frame_bytes_of(budget) as u64);
        let name = ServerName { host: address.0.clone(), port: address.1, start_code };
        let region = RegionContext {
            runtime,
            fs,
            log: log.clone(),
            budget: Budget::of_memory(budget),
            cache: Arc::new(BlockCache::new(budget / 2)),
            settings: RegionSettings::default(),
        };
        let server = RegionServer::new(ServerContext {
            region: region.clone(),
            server: name.clone(),
            settings: ServerSettings {
                root_url: Some(root_url),
                // An answer goes beyond it by one cell.
                result_bytes_max: settings.result_bytes_max.min(frame_bytes / 4),
                row_bytes_max: frame_bytes - frame_bytes / 64,
                ..settings
            },
        });
        let host: Arc<dyn Service> = server.clone();
        let master = Master::start(MasterContext { region, leadership, host, server: name }).await?;
        Ok(Arc::new(Node { server, master, log }))
    }

    /// Whether another process has taken the log or the leadership.
    fn is_fenced(&self) -> bool {
        self.log.is_fenced() || self.master.is_fenced()
    }

    async fn wait_until_fenced(&self, runtime: &Runtime) {
        while !self.is_fenced() {
            runtime.clock.sleep(FENCE_CHECK).await;
        }
    }

    async fn close(&self) {
        // The master first: it would open again what the region server closes.
        if let Err(error) = self.master.close().await {
            tracing::error!(%error, "the master's own region was not closed");
        }
        if let Err(error) = self.server.close().await {
            tracing::error!(%error, "not every region was closed; the log holds what was not flushed");
        }
        if let Err(error) = self.log.end().await {
            tracing::warn!(%error, "the log was closed and not ended; the next start does it");
        }
    }
}

/// What the HTTP door tells.
struct Told {
    node: Arc<Node>,
    gateway: Option<Arc<Metrics>>,
}

impl Status for Told {
    fn failure(&self) -> Option<String> {
        self.node.is_fenced().then(|| "another process has taken the data root over, or its files are gone".to_owned())
    }

    fn metrics(&self) -> String {
        let mut text = self.node.server.metrics();
        if let Some(gateway) = &self.gateway {
            // The end mark of OpenMetrics stands once.
            text.truncate(text.trim_end_matches("# EOF\n").len());
            text += &gateway.text();
        }
        text
    }
}

/// Bytes of rows that scanners of the gateway inside may hold, however small the budget is: some thirty of large rows.
const SCANNER_BYTES_LEAST: usize = 64 << 20;

/// The gateway inside this process may have half of the connections that clients may have, and the scanners of each of its two services an eighth of the memory.
fn thrift_settings(connections_max: usize, budget: u64) -> gateway::thrift::Settings {
    let settings = gateway::thrift::Settings::default();
    let share = usize::try_from(budget / 8).unwrap_or(usize::MAX).max(SCANNER_BYTES_LEAST);
    gateway::thrift::Settings {
        connections_max: settings.connections_max.min(connections_max / 2).max(1),
        scanner_bytes_max: settings.scanner_bytes_max.min(share),
        ..settings
    }
}

/// Bytes of the largest message.
fn frame_bytes_of(budget: u64) -> usize {
    let share = usize::try_from(budget / 10).unwrap_or(usize::MAX);
    share.clamp(FRAME_BYTES_LEAST, grpc::Limits::default().frame_bytes_max)
}

/// Half of the file handles are for clients; the rest is for files and the HTTP door.
fn connections_of(handles: u64) -> usize {
    usize::try_from(handles / 2).unwrap_or(usize::MAX).max(1)
}

/// Host and port that clients are told.
fn advertised(flags: &Standalone, port: u16) -> Result<(String, u16), Failure> {
    let Some(text) = &flags.advertise else {
        if flags.bind.is_unspecified() {
            return Err(Failure::usage("--bind: an address of all interfaces needs --advertise HOST for the clients"));
        }
        return Ok((flags.bind.to_string(), port));
    };
    match text.rsplit_once(':') {
        _ if text.contains(|c: char| c.is_whitespace() || c == '/') => {
            Err(Failure::usage(format!("--advertise `{text}`: HOST or HOST:PORT is needed")))
        }
        None if !text.is_empty() => Ok((text.clone(), port)),
        Some((host, number)) if !host.is_empty() => match number.parse() {
            Ok(port) => Ok((host.to_owned(), port)),
            Err(_) => Err(Failure::usage(format!("--advertise `{text}`: `{number}` is no port"))),
        },
        _ => Err(Failure::usage(format!("--advertise `{text}`: HOST or HOST:PORT is needed"))),
    }
}

/// Refuses to begin a root inside another store's one, where it would lie among that store's files. One that is there already may go on, and so
/// may one inside `own`.
fn check_outside_of_others(flag: &str, folder: &Path, own: Option<&Path>) -> Result<(), Failure> {
    let folder = resolved(folder)?;
    if folder.join("ferrobase").is_dir() {
        return Ok(());
    }
    let own = own.map(resolved).transpose()?;
    let is_root = |root: &&Path| root.join("ferrobase/cluster").is_dir() && own.as_deref() != Some(*root);
    match folder.ancestors().skip(1).find(is_root) {
        Some(root) => Err(Failure::usage(format!(
            "{flag} {}: it lies inside the data root {}; a folder outside of it is needed",
            folder.display(),
            root.display()
        ))),
        None => Ok(()),
    }
}

/// The same of prefixes of a bucket and folders of HDFS. Those that cannot be looked into are nobody's who could be harmed with these keys;
/// where prefixes have keys of their own, none is used elsewhere.
async fn check_outside_of_prefixes(flags: &Standalone, runtime: &Runtime) -> Result<(), Failure> {
    let Some((scheme, path)) = flags.data.split_once("://") else { return Ok(()) };
    if !flags.roots.s3_credentials.is_empty() {
        return Ok(());
    }
    let path = path.trim_end_matches('/');
    for (at, _) in path.match_indices('/').filter(|_| scheme != "file") {
        let outer = format!("{scheme}://{}", &path[..at]);
        let Ok(fs) = flags.roots.open_existing("--data", &outer, runtime).await else { continue };
        if matches!(coordination::read_leader(&fs).await, Ok(Some(_))) {
            let why = format!("it lies inside the data root {outer}; a place outside of it is needed");
            return Err(Failure::usage(format!("--data {}: {why}", flags.data)));
        }
    }
    Ok(())
}

/// A path without links and dots, whether or not it is there.
fn resolved(path: &Path) -> std::io::Result<PathBuf> {
    let mut out = PathBuf::new();
    for part in std::path::absolute(path)?.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            part => out.push(part),
        }
        out = out.canonicalize().unwrap_or(out);
    }
    Ok(out)
}

/// Locks the root, or refuses. A folder has a lock that its holder's death frees; with `--take-over` a holder that does not
/// answer is passed over. Other roots cannot be locked: who led last is asked, and passed over if nobody answers. Either way
/// the log stream and the regions' manifests of whoever is passed over are taken from it, so it can do no harm when it wakes.
async fn lock(
    fs: &Arc<dyn Filesystem>,
    runtime: &Runtime,
    flags: &Standalone,
    is_folder: bool,
    address: &(String, u16),
) -> Result<(Option<RootLock>, LeaderSeen), Failure> {
    let me = format!("process {} at {}:{}", std::process::id(), address.0, address.1);
    let outcome = fs.lock_root(&me).await?;
    let seen = LeaderSeen::read(fs).await?;
    let leader = seen.leader()?.map(|leader| leader.address);
    let holder = match outcome {
        LockOutcome::Locked(lock) if is_folder => return Ok((Some(lock), seen)),
        LockOutcome::Locked(lock) => {
            // At our own address nobody else listens: it was an earlier life of this server.
            let other = leader.filter(|leader| *leader != format!("{}:{}", address.0, address.1));
            return match other {
                Some(leader) if answers(runtime, &leader).await => {
                    let why = format!("{} is held by the server that answers at {leader}; stop it first", flags.data);
                    Err(Failure::held(why))
                }
                _ => Ok((Some(lock), seen)),
            };
        }
        LockOutcome::Held(holder) => holder,
    };
    let held = format!("{} is held by {holder}", flags.data);
    if !flags.take_over {
        return Err(Failure::held(format!("{held}; stop it, or say --take-over if it does not answer")));
    }
    if let Some(address) = leader
        && answers(runtime, &address).await
    {
        return Err(Failure::held(format!("{held}, which answers at {address}; stop it first")));
    }
    Ok((None, seen))
}

async fn answers(runtime: &Runtime, address: &str) -> bool {
    let connector = Connector::new(runtime.clone(), grpc::ConnectorSettings::default());
    let ask = async {
        let server = connector.connect(address).await?;
        let request = protocol::messages::GetClusterIdRequest {};
        let mut call = Call::new(service::REGISTRY, "GetClusterId", &request);
        call.timeout = Some(HOLDER_WAIT);
        server.call(call).await
    };
    matches!(runtime::clock::within(&*runtime.clock, HOLDER_WAIT, ask).await, Some(Ok(_)))
}

/// Says where the process listens. Nobody may be reading: that is no reason to stop.
fn greet(flags: &Standalone, address: &(String, u16), others: [Option<u16>; 3], took: Duration) {
    let [http_port, thrift_port, thrift2_port] = others;
    let mut text = format!("Ferrobase {} is ready after {:.2} s\n", env!("CARGO_PKG_VERSION"), took.as_secs_f64());
    text += &format!("  data     {}\n", flags.data);
    if let Some(wal) = &flags.wal {
        text += &format!("  log      {wal}\n");
    }
    text += &format!("  clients  {}:{}\n", address.0, address.1);
    if let Some(port) = http_port {
        text += &format!("  http     http://{}/health /ready /metrics\n", SocketAddr::new(flags.bind, port));
    }
    for (name, port) in [("thrift 1", thrift_port), ("thrift 2", thrift2_port)] {
        if let Some(port) = port {
            text += &format!("  {name} {}\n", SocketAddr::new(flags.bind, port));
        }
    }
    let connect = if address.1 == 16000 { String::new() } else { format!(" --connect {}:{}", address.0, address.1) };
    text += &format!("Next: ferrobase shell{connect}\n");
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
