//! One HBase over a local folder, master and region server and ZooKeeper in one process, and its Thrift servers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cluster::{free_port, write_site};
use crate::process::{Java, Jvm, java};

const CLASS_PATH: &str = ".cache/hbase-classpath.txt";
const CODECS: &str = "org.apache.hadoop.hbase.io.compress.aircompressor";
const MASTER: &str = "org.apache.hadoop.hbase.master.HMaster";
const MASTER_READY: &str = "Master has completed initialization";
/// How long a start may take before the test fails.
const WAIT_MAX: Duration = Duration::from_secs(180);

/// Which of HBase's Thrift servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThriftApi {
    /// `Hbase`.
    One,
    /// `THBaseService`.
    Two,
}

/// A running HBase; killed when dropped.
#[derive(Debug)]
pub struct HBase {
    folder: PathBuf,
    master: Java,
    /// For figures: its processes get a whole Java with this heap in MiB.
    heap_mb: Option<u32>,
}

/// A running Thrift server of HBase; killed when dropped.
#[derive(Debug)]
pub struct HBaseThrift {
    /// Where it listens.
    pub port: u16,
    server: Java,
}

impl HBaseThrift {
    /// Process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}

fn wait_for(java: &mut Java, what: &str, ready: impl Fn(&Java) -> bool) {
    let begun = Instant::now();
    while !ready(java) {
        assert!(!java.has_ended() && begun.elapsed() < WAIT_MAX, "{what} is not ready; {}", java.log_end());
        std::thread::sleep(Duration::from_millis(100));
    }
}

impl HBase {
    /// Starts one in a folder, which must be new, and waits until it serves.
    pub fn start(folder: &Path) -> HBase {
        HBase::start_with(folder, None)
    }

    /// The same for figures: each process has a heap of up to `heap_mb` MiB, and collector and compilers as Java chooses them.
    pub fn start_for_figures(folder: &Path, heap_mb: u32) -> HBase {
        HBase::start_with(folder, Some(heap_mb))
    }

    fn start_with(folder: &Path, heap_mb: Option<u32>) -> HBase {
        let conf = folder.join("conf");
        std::fs::create_dir_all(&conf).expect("a folder for the configuration");
        let log = "log4j.rootLogger=INFO,console\nlog4j.appender.console=org.apache.log4j.ConsoleAppender\n\
            log4j.appender.console.layout=org.apache.log4j.PatternLayout\n\
            log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %-5p %c{1}: %m%n\n";
        std::fs::write(conf.join("log4j.properties"), log).expect("a configuration file");
        let data = folder.join("data");
        let port = || free_port().to_string();
        let settings = [
            ("hbase.cluster.distributed", "false".to_owned()),
            ("hbase.rootdir", format!("file://{}/root", data.display())),
            ("hbase.tmp.dir", format!("{}/tmp", data.display())),
            ("hbase.unsafe.stream.capability.enforce", "false".to_owned()),
            ("hbase.wal.provider", "filesystem".to_owned()),
            ("hbase.zookeeper.quorum", "127.0.0.1".to_owned()),
            ("hbase.zookeeper.property.clientPort", port()),
            ("hbase.zookeeper.property.dataDir", format!("{}/zk", data.display())),
            ("hbase.localcluster.assign.random.ports", "false".to_owned()),
            ("hbase.master.port", port()),
            ("hbase.regionserver.port", port()),
            ("hbase.master.info.port", "-1".to_owned()),
            ("hbase.regionserver.info.port", "-1".to_owned()),
            ("hbase.thrift.info.port", "-1".to_owned()),
            ("hbase.master.ipc.address", "127.0.0.1".to_owned()),
            ("hbase.regionserver.ipc.address", "127.0.0.1".to_owned()),
            ("hbase.master.hostname", "localhost".to_owned()),
            ("hbase.unsafe.regionserver.hostname", "localhost".to_owned()),
            // Pure Java: the default codecs need native libraries.
            ("hbase.io.compress.snappy.codec", format!("{CODECS}.SnappyCodec")),
            ("hbase.io.compress.lz4.codec", format!("{CODECS}.Lz4Codec")),
            ("hbase.io.compress.zstd.codec", format!("{CODECS}.ZstdCodec")),
        ];
        let settings: Vec<_> = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        write_site(&conf.join("hbase-site.xml"), &settings);
        let jvm = heap_mb.map_or(Jvm::Small(512), Jvm::Whole);
        let master = Java::spawn(java(CLASS_PATH, MASTER, jvm, &conf, &["start"]), &folder.join("master.log"));
        let mut hbase = HBase { folder: folder.to_owned(), master, heap_mb };
        wait_for(&mut hbase.master, "HBase", |java| java.has_logged(MASTER_READY));
        hbase
    }

    /// Starts one of its Thrift servers with more flags, such as `-f`, and waits until it accepts.
    pub fn thrift(&self, api: ThriftApi, flags: &[&str]) -> HBaseThrift {
        let main = match api {
            ThriftApi::One => "org.apache.hadoop.hbase.thrift.ThriftServer",
            ThriftApi::Two => "org.apache.hadoop.hbase.thrift2.ThriftServer",
        };
        let port = free_port();
        let log = self.folder.join(format!("thrift-{port}.log"));
        let text = port.to_string();
        let own = ["-b", "127.0.0.1", "-p", &text, "--infoport", "-1"];
        let arguments = [&own[..], flags, &["start"]].concat();
        let jvm = self.heap_mb.map_or(Jvm::Small(256), Jvm::Whole);
        let mut server = Java::spawn(java(CLASS_PATH, main, jvm, &self.folder.join("conf"), &arguments), &log);
        wait_for(&mut server, "HBase's Thrift server", |_| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        HBaseThrift { port, server }
    }

    /// Process id of master and region server, which are one.
    pub fn pid(&self) -> u32 {
        self.master.pid()
    }

    /// A command that runs one of HBase's tools against it, with a heap of up to `heap_mb` MiB.
    pub fn tool(&self, main: &str, heap_mb: u32, arguments: &[&str]) -> Command {
        java(CLASS_PATH, main, Jvm::Whole(heap_mb), &self.folder.join("conf"), arguments)
    }

    /// Runs a client of it to its end: a main class of its jars, or a source file, which Java compiles. Panics unless it succeeds.
    pub fn run(&self, main: &str, arguments: &[&str]) {
        let log = self.folder.join("clients.log");
        Java::spawn(java(CLASS_PATH, main, Jvm::Small(256), &self.folder.join("conf"), arguments), &log).end_well();
    }
}
