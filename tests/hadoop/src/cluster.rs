//! One HDFS cluster: how it is set up, made ready, hurt and mended.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use crate::process::{Java, root};

const NAMENODE: &str = "org.apache.hadoop.hdfs.server.namenode.NameNode";
const DATANODE: &str = "org.apache.hadoop.hdfs.server.datanode.DataNode";
const ADMIN: &str = "org.apache.hadoop.hdfs.tools.DFSAdmin";
const HA_ADMIN: &str = "org.apache.hadoop.hdfs.tools.DFSHAAdmin";
/// How long anything here may take before the test fails.
const WAIT_MAX: Duration = Duration::from_secs(180);
/// The logical name of a pair of NameNodes.
const NAME_SERVICE: &str = "pair";

/// What to start.
#[derive(Clone, Debug)]
pub struct Layout {
    /// DataNodes.
    pub datanodes: usize,
    /// NameNodes: 1, or 2 as an active and a standby one.
    pub namenodes: usize,
    /// More keys of `hdfs-site.xml`, for servers and clients.
    pub settings: Vec<(String, String)>,
}

impl Default for Layout {
    fn default() -> Layout {
        Layout { datanodes: 3, namenodes: 1, settings: Vec::new() }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Hdfs {
    folder: PathBuf,
    layout: Layout,
    namenodes: Vec<NameNode>,
    datanodes: Vec<Option<Java>>,
    /// One folder name for each test.
    next_root: AtomicU32,
}

#[derive(Debug)]
struct NameNode {
    process: Option<Java>,
    rpc: u16,
    http: u16,
}

/// A cluster that one test has to itself.
#[derive(Debug)]
pub struct Exclusive(MutexGuard<'static, Hdfs>);

impl Deref for Exclusive {
    type Target = Hdfs;

    fn deref(&self) -> &Hdfs {
        &self.0
    }
}

impl DerefMut for Exclusive {
    fn deref_mut(&mut self) -> &mut Hdfs {
        &mut self.0
    }
}

/// The cluster that all tests of this process share, for one test at a time; every node runs and is live.
pub fn shared() -> Exclusive {
    static SHARED: OnceLock<Mutex<Hdfs>> = OnceLock::new();
    // A test that panicked may have left it hurt, which is mended.
    let mut hdfs = SHARED
        .get_or_init(|| Mutex::new(Hdfs::start(Layout::default())))
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    hdfs.mend();
    Exclusive(hdfs)
}

/// The folder of this process's clusters; those of processes that are gone are removed.
fn base() -> PathBuf {
    let all = std::env::temp_dir().join("ferrobase-hadoop");
    for entry in std::fs::read_dir(&all).into_iter().flatten().flatten() {
        let alive = entry.file_name().to_str().is_none_or(|pid| Path::new("/proc").join(pid).exists());
        if !alive {
            let _ = std::fs::remove_dir_all(entry.path()); // another process may be quicker
        }
    }
    all.join(std::process::id().to_string())
}

/// A port of loopback that is free now; never given twice by this process.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Below the range that the kernel hands out, so that no client's socket takes it before a restart.
        let at = NEXT.fetch_add(1, Ordering::SeqCst);
        let port = 20_000 + ((std::process::id().wrapping_mul(37)).wrapping_add(at) % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub(crate) fn write_site(path: &Path, settings: &[(String, String)]) {
    let mut text = String::from("<?xml version=\"1.0\"?>\n<configuration>\n");
    for (name, value) in settings {
        text += &format!("<property><name>{name}</name><value>{value}</value></property>\n");
    }
    std::fs::write(path, text + "</configuration>\n").expect("a configuration file");
}

impl Hdfs {
    /// Starts a cluster and waits until every DataNode is live.
    pub fn start(layout: Layout) -> Hdfs {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = base().join(NEXT.fetch_add(1, Ordering::SeqCst).to_string());
        let namenodes =
            (0..layout.namenodes).map(|_| NameNode { process: None, rpc: free_port(), http: free_port() }).collect();
        let datanodes = (0..layout.datanodes).map(|_| None).collect();
        let mut hdfs = Hdfs { folder, layout, namenodes, datanodes, next_root: AtomicU32::new(0) };
        hdfs.configure();
        hdfs.format();
        (0..hdfs.namenodes.len()).for_each(|i| hdfs.spawn_namenode(i));
        (0..hdfs.datanodes.len()).for_each(|i| hdfs.spawn_datanode(i));
        if hdfs.is_pair() {
            hdfs.make_active(0);
        }
        hdfs.wait_live(hdfs.datanodes.len());
        hdfs
    }

    /// What a client names: `hdfs://host:port`, or the logical name of the pair.
    pub fn url(&self) -> String {
        if self.is_pair() {
            format!("hdfs://{NAME_SERVICE}")
        } else {
            format!("hdfs://127.0.0.1:{}", self.namenodes[0].rpc)
        }
    }

    /// A URL of a folder that no other caller was given.
    pub fn fresh_root(&self) -> String {
        format!("{}/roots/{}", self.url(), self.next_root.fetch_add(1, Ordering::SeqCst))
    }

    /// The RPC port of a NameNode.
    pub fn rpc_port(&self, namenode: usize) -> u16 {
        self.namenodes[namenode].rpc
    }

    /// A configuration directory for clients.
    pub fn conf(&self) -> PathBuf {
        self.folder.join("nn0/conf")
    }

    fn is_pair(&self) -> bool {
        self.namenodes.len() > 1
    }

    fn configure(&self) {
        let folder = self.folder.display();
        let own = |settings: &[(&str, String)]| -> Vec<(String, String)> {
            settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        let mut common = own(&[
            ("dfs.namenode.datanode.registration.ip-hostname-check", "false".into()),
            ("dfs.replication", self.layout.datanodes.min(3).to_string()),
            ("dfs.namenode.safemode.extension", "0".into()),
            ("dfs.blockreport.initialDelay", "0".into()),
            ("dfs.namenode.fs-limits.min-block-size", "1024".into()),
            ("dfs.heartbeat.interval", "1".into()),
            ("dfs.namenode.heartbeat.recheck-interval", "1000".into()),
            ("dfs.namenode.stale.datanode.interval", "3000".into()),
            ("dfs.namenode.stale.datanode.minimum.interval", "3".into()),
            ("dfs.namenode.avoid.read.stale.datanode", "true".into()),
            ("dfs.namenode.avoid.write.stale.datanode", "true".into()),
            ("dfs.namenode.redundancy.interval.seconds", "1s".into()),
            ("dfs.client.block.write.replace-datanode-on-failure.best-effort", "true".into()),
            // A DataNode that recovers a block asks the others; one that is gone is to cost little.
            ("ipc.client.connect.max.retries", "1".into()),
            ("dfs.namenode.handler.count", "10".into()),
            // A DataNode sets aside a block for each file begun, and for ten minutes for each given up: small disks run full of them.
            ("dfs.blocksize", (4 << 20).to_string()),
            ("dfs.datanode.du.reserved", "0".into()),
        ]);
        if self.is_pair() {
            common.extend(own(&[
                ("dfs.nameservices", NAME_SERVICE.into()),
                (&format!("dfs.ha.namenodes.{NAME_SERVICE}"), "nn0,nn1".into()),
                ("dfs.namenode.shared.edits.dir", format!("file://{folder}/shared")),
                ("dfs.ha.automatic-failover.enabled", "false".into()),
                ("dfs.ha.fencing.methods", "shell(/bin/true)".into()),
                ("dfs.ha.tail-edits.period", "1s".into()),
                (
                    &format!("dfs.client.failover.proxy.provider.{NAME_SERVICE}"),
                    "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider".into(),
                ),
            ]));
            std::fs::create_dir_all(self.folder.join("shared")).expect("a folder");
        }
        for (i, node) in self.namenodes.iter().enumerate() {
            let suffix = if self.is_pair() { format!(".{NAME_SERVICE}.nn{i}") } else { String::new() };
            common.extend(own(&[
                (&format!("dfs.namenode.rpc-address{suffix}"), format!("127.0.0.1:{}", node.rpc)),
                (&format!("dfs.namenode.http-address{suffix}"), format!("127.0.0.1:{}", node.http)),
            ]));
        }
        common.extend(self.layout.settings.iter().cloned());
        let mut nodes: Vec<(String, Vec<(String, String)>)> = Vec::new();
        for i in 0..self.namenodes.len() {
            let mut site = own(&[("dfs.namenode.name.dir", format!("file://{folder}/nn{i}/name"))]);
            if self.is_pair() {
                site.extend(own(&[("dfs.ha.namenode.id", format!("nn{i}"))]));
            }
            nodes.push((format!("nn{i}"), site));
        }
        for i in 0..self.datanodes.len() {
            nodes.push((
                format!("dn{i}"),
                own(&[
                    ("dfs.datanode.data.dir", format!("file://{folder}/dn{i}/data")),
                    ("dfs.datanode.address", format!("127.0.0.1:{}", free_port())),
                    ("dfs.datanode.http.address", format!("127.0.0.1:{}", free_port())),
                    ("dfs.datanode.ipc.address", format!("127.0.0.1:{}", free_port())),
                    ("dfs.datanode.hostname", "localhost".into()),
                ]),
            ));
        }
        for (name, mut site) in nodes {
            let conf = self.folder.join(&name).join("conf");
            for webapp in ["hdfs", "datanode"] {
                let inside = conf.join("webapps").join(webapp).join("WEB-INF");
                std::fs::create_dir_all(&inside).expect("a folder");
                std::fs::write(inside.join("web.xml"), "<web-app/>").expect("a file");
            }
            site.extend(common.iter().cloned());
            write_site(&conf.join("hdfs-site.xml"), &site);
            write_site(
                &conf.join("core-site.xml"),
                &own(&[
                    ("fs.defaultFS", self.url()),
                    ("hadoop.tmp.dir", format!("{folder}/{name}/tmp")),
                    ("ipc.client.connect.max.retries", "1".into()),
                ]),
            );
            let log = "log4j.rootLogger=INFO,out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n\
                       log4j.appender.out.layout=org.apache.log4j.PatternLayout\n\
                       log4j.appender.out.layout.ConversionPattern=%d{HH:mm:ss.SSS} %p %c{1}: %m%n\n";
            std::fs::write(conf.join("log4j.properties"), log).expect("a file");
        }
    }

    /// An empty name space. Making one takes seconds, so that it is kept between runs; clusters never meet, so that they may share an id.
    fn format(&self) {
        let kept = root().join(".cache/hadoop-name");
        let name = self.folder.join("nn0/name");
        if !kept.join("current/VERSION").exists() || self.is_pair() {
            Java::run(
                NAMENODE,
                &self.conf(),
                &self.folder.join("format.log"),
                &["-format", "-force", "-nonInteractive"],
            );
            if self.is_pair() {
                return;
            }
            let made = root().join(format!(".cache/hadoop-name.{}", std::process::id()));
            copy_folder(&name, &made);
            let _ = std::fs::rename(&made, &kept); // another process may be quicker
            let _ = std::fs::remove_dir_all(&made);
            return;
        }
        copy_folder(&kept, &name);
    }

    fn spawn_namenode(&mut self, i: usize) {
        let folder = self.folder.join(format!("nn{i}"));
        if i > 0 && !folder.join("name").exists() {
            self.wait("the first NameNode answers", |hdfs| hdfs.jmx(0, "NameNodeInfo").is_some());
            Java::run(NAMENODE, &folder.join("conf"), &folder.join("format.log"), &["-bootstrapStandby", "-force"]);
        }
        let java = Java::start(NAMENODE, 128, &folder.join("conf"), &folder.join("log"), &[]);
        self.namenodes[i].process = Some(java);
    }

    fn spawn_datanode(&mut self, i: usize) {
        let folder = self.folder.join(format!("dn{i}"));
        self.datanodes[i] = Some(Java::start(DATANODE, 96, &folder.join("conf"), &folder.join("log"), &[]));
    }

    /// SIGKILL of a DataNode.
    pub fn kill_datanode(&mut self, i: usize) {
        self.datanodes[i] = None;
    }

    /// Starts a killed DataNode on its old ports and folder and waits until all that run are live.
    pub fn restart_datanode(&mut self, i: usize) {
        self.datanodes[i] = None;
        self.spawn_datanode(i);
        self.wait_live(self.running());
    }

    /// Whether every DataNode holds a replica of the newest block that is being written. One that was dead is passed over until the NameNode
    /// has heard of it.
    pub fn newest_block_is_everywhere(&self) -> bool {
        let newest: Vec<Option<u64>> = (0..self.datanodes.len()).map(|i| self.newest_block(i)).collect();
        newest[0].is_some() && newest.iter().all(|other| *other == newest[0])
    }

    /// The greatest number of a block that a DataNode has open.
    fn newest_block(&self, i: usize) -> Option<u64> {
        let pools = std::fs::read_dir(self.folder.join(format!("dn{i}/data/current"))).ok()?;
        let open = pools.flatten().filter_map(|pool| std::fs::read_dir(pool.path().join("current/rbw")).ok());
        let names = open.flatten().flatten().filter_map(|file| file.file_name().into_string().ok());
        names.filter_map(|name| name.strip_prefix("blk_")?.parse().ok()).max()
    }

    /// SIGSTOP of a DataNode; [`Hdfs::resume_datanode`] ends it.
    pub fn pause_datanode(&self, i: usize) {
        self.datanodes[i].as_ref().expect("it runs").freeze();
    }

    /// SIGCONT of a DataNode.
    pub fn resume_datanode(&self, i: usize) {
        self.datanodes[i].as_ref().expect("it runs").signal(libc::SIGCONT);
    }

    /// SIGKILL of a NameNode.
    pub fn kill_namenode(&mut self, i: usize) {
        self.namenodes[i].process = None;
    }

    /// Starts a killed NameNode. Does not wait until it has left safe mode.
    pub fn restart_namenode(&mut self, i: usize) {
        self.namenodes[i].process = None;
        self.spawn_namenode(i);
    }

    /// SIGSTOP of a NameNode; [`Hdfs::resume_namenode`] ends it.
    pub fn pause_namenode(&self, i: usize) {
        self.namenodes[i].process.as_ref().expect("it runs").freeze();
    }

    /// SIGCONT of a NameNode.
    pub fn resume_namenode(&self, i: usize) {
        self.namenodes[i].process.as_ref().expect("it runs").signal(libc::SIGCONT);
    }

    /// Runs `hdfs dfsadmin`.
    pub fn admin(&self, arguments: &[&str]) {
        Java::run(ADMIN, &self.conf(), &self.folder.join("admin.log"), arguments);
    }

    /// Enters or leaves safe mode.
    pub fn safe_mode(&self, on: bool) {
        self.admin(&["-safemode", if on { "enter" } else { "leave" }]);
    }

    /// Makes one NameNode of a pair the active one; the other is dead, standby, or told to be.
    pub fn make_active(&self, i: usize) {
        let name = format!("nn{i}");
        self.wait("the NameNode answers", |hdfs| hdfs.jmx(i, "NameNodeInfo").is_some());
        let arguments = ["-transitionToActive", "--forceactive", &name];
        Java::run(HA_ADMIN, &self.conf(), &self.folder.join("admin.log"), &arguments);
    }

    /// Waits until a NameNode of a pair answers, as a standby and out of safe mode.
    pub fn wait_standby(&self, i: usize) {
        self.wait("the NameNode is a standby out of safe mode", |hdfs| {
            let state = hdfs.jmx(i, "FSNamesystem").is_some_and(|bean| bean.contains("\"tag.HAState\" : \"standby\""));
            state && hdfs.jmx(i, "NameNodeInfo").is_some_and(|info| info.contains("\"Safemode\" : \"\""))
        });
    }

    /// Hands over from the active NameNode of a pair to the other, both alive.
    pub fn fail_over(&self, from: usize, to: usize) {
        let names = [format!("nn{from}"), format!("nn{to}")];
        Java::run(HA_ADMIN, &self.conf(), &self.folder.join("admin.log"), &["-failover", &names[0], &names[1]]);
    }

    /// Live, stale and dead DataNodes, as the first NameNode that answers counts them.
    pub fn counts(&self) -> Option<(u64, u64, u64)> {
        let bean = (0..self.namenodes.len()).find_map(|i| self.jmx(i, "FSNamesystemState"))?;
        let number = |name: &str| {
            let at = bean.find(&format!("\"{name}\""))?;
            let digits = bean[at..].split(':').nth(1)?.trim_start();
            digits[..digits.find(|c: char| !c.is_ascii_digit())?].parse().ok()
        };
        Some((number("NumLiveDataNodes")?, number("NumStaleDataNodes")?, number("NumDeadDataNodes")?))
    }

    /// Waits until so many DataNodes are live and none of them is stale.
    pub fn wait_live(&self, wanted: usize) {
        self.wait(&format!("{wanted} DataNodes are live"), |hdfs| {
            hdfs.counts().is_some_and(|(live, stale, _)| live >= wanted as u64 && stale <= live - wanted as u64)
        });
    }

    fn running(&self) -> usize {
        self.datanodes.iter().flatten().count()
    }

    /// Everything runs again and is live.
    fn mend(&mut self) {
        for i in 0..self.namenodes.len() {
            if self.namenodes[i].process.as_mut().is_none_or(Java::has_ended) {
                self.restart_namenode(i);
            }
            self.resume_namenode(i);
        }
        for i in 0..self.datanodes.len() {
            if self.datanodes[i].as_mut().is_none_or(Java::has_ended) {
                self.spawn_datanode(i);
            }
            self.resume_datanode(i);
        }
        self.wait_live(self.datanodes.len());
        if self.jmx(0, "NameNodeInfo").is_some_and(|info| !info.contains("\"Safemode\" : \"\"")) {
            self.safe_mode(false);
        }
    }

    /// A bean of a NameNode as JSON text; `None` if it does not answer.
    fn jmx(&self, namenode: usize, bean: &str) -> Option<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.namenodes[namenode].http)).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request = format!("GET /jmx?qry=Hadoop:service=NameNode,name={bean} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        socket.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        answer.contains("modelerType").then_some(answer)
    }

    fn wait(&self, what: &str, done: impl Fn(&Hdfs) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            if begun.elapsed() > WAIT_MAX {
                let logs = self.namenodes.iter().filter_map(|node| node.process.as_ref());
                let logs: Vec<String> = logs.chain(self.datanodes.iter().flatten()).map(Java::log_end).collect();
                panic!("not within {WAIT_MAX:?}: {what}\n{}", logs.join("\n\n"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Hdfs {
    fn drop(&mut self) {
        self.datanodes.clear();
        self.namenodes.clear();
        let _ = std::fs::remove_dir_all(&self.folder); // the next process removes what is left
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_killed_and_come_back() {
        let begun = Instant::now();
        let mut hdfs = shared();
        println!("ready after {:?}", begun.elapsed());
        assert_eq!(hdfs.counts(), Some((3, 0, 0)));
        hdfs.kill_datanode(1);
        hdfs.wait("it counts as stale", |hdfs| hdfs.counts().is_some_and(|(_, stale, _)| stale == 1));
        let begun = Instant::now();
        hdfs.restart_datanode(1);
        println!("back after {:?}", begun.elapsed());
        hdfs.kill_namenode(0);
        assert_eq!(hdfs.counts(), None);
        hdfs.restart_namenode(0);
        hdfs.wait_live(3);
    }
}
