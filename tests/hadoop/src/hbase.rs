//! One HBase over a local folder, master and region server and ZooKeeper in one process, and its Thrift servers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cluster::{free_port, write_site};
use crate::process::Java;

const CLASS_PATH: &str = ".cache/hbase-classpath.txt";
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
}

/// A running Thrift server of HBase; killed when dropped.
#[derive(Debug)]
pub struct HBaseThrift {
    /// Where it listens.
    pub port: u16,
    _server: Java,
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
        ];
        let settings: Vec<_> = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        write_site(&conf.join("hbase-site.xml"), &settings);
        let master = Java::start_with(CLASS_PATH, MASTER, 512, &conf, &folder.join("master.log"), &["start"]);
        let mut hbase = HBase { folder: folder.to_owned(), master };
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
        let mut server = Java::start_with(CLASS_PATH, main, 256, &self.folder.join("conf"), &log, &arguments);
        wait_for(&mut server, "HBase's Thrift server", |_| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        HBaseThrift { port, _server: server }
    }
}
