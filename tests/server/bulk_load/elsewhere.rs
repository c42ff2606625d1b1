//! Bulk loads into a root in a bucket and in HDFS, and of files that lie there.

use std::sync::Arc;

use ferrobase_tests::process::binary;
use filesystem::Filesystem;
use filesystem::hdfs::{HdfsFilesystem, HdfsSettings};
use filesystem::s3::{S3Filesystem, S3Settings};
use runtime::Runtime;

use super::inputs::{fields, parquet};
use super::*;
use crate::bucket;

/// A root that is no folder, and how it is reached.
struct Elsewhere {
    url: String,
    flags: Vec<String>,
    environment: Vec<(&'static str, String)>,
    fs: Arc<dyn Filesystem>,
}

impl Elsewhere {
    fn start(&self, beside: &Path) -> Server {
        let flags = self.flags.iter().map(String::as_str).collect::<Vec<_>>();
        let environment: Vec<_> = self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Server::start_over(&self.url, beside, &flags, &environment)
    }

    /// Runs it aside: a bucket lives in this process.
    async fn run(&self, folder: &Path, connect: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).args(&self.flags).args(["--connect", connect, "--format", "json", "--no-progress"]);
        command.envs(self.environment.clone()).env("TMPDIR", folder).current_dir(folder).stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().expect("ferrobase starts")).await.expect("it ran")
    }

    async fn put(&self, key: &str, file: &Path) {
        self.fs.put_if_absent(key, std::fs::read(file).expect("a file").into()).await.expect("put");
    }
}

/// Store files below the root are adopted and leave their folder, at one step in HDFS and by the store's own copies in a bucket; text and
/// Parquet are read where they lie, beside the root, in folders with any names.
async fn loads_are_what_puts_write(root: &Elsewhere) {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let server = root.start(&folder.join("one"));
    let connect = format!("127.0.0.1:{}", server.port);
    let good = async |arguments: &[&str]| {
        let output = root.run(folder, &connect, arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {:?}", said(&output));
        serde_json::from_str::<Value>(&said(&output).0).expect("a summary")
    };
    let connection = open(&server).await;
    let put = create(&connection, "h.puts", &["row5"]).await;
    for chunk in (0..ROWS).collect::<Vec<_>>().chunks(500) {
        let done = put.mutate_all(chunk.iter().copied().map(super::put).collect()).await;
        done.into_iter().for_each(|done| drop(done.expect("put")));
    }
    let wanted = cells(&put).await;

    let columns = ["--columns", "HBASE_ROW_KEY,HBASE_TS_KEY,f:a,g:b"];
    let line = |at: usize| {
        let (row, time, a, b) = record(at);
        format!("{row}\t{time}\t{a}\t{b}")
    };
    write(&folder.join("in.tsv"), (0..ROWS).map(line));
    create(&connection, "here", &["row5"]).await;
    let summary = good(&[&["bulkload", "here", "in.tsv"], &columns[..]].concat()).await;
    assert_eq!((summary["regions"].as_u64(), summary["inputs"].as_u64()), (Some(2), Some(1)), "{summary}");

    // Store files on the root.
    good(&[&["bulkload", "here", "in.tsv", "--hfiles-only", "made"], &columns[..]].concat()).await;
    for family in ["f", "g"] {
        for entry in std::fs::read_dir(folder.join("made").join(family)).expect("a folder") {
            let path = entry.expect("an entry").path();
            root.put(&format!("incoming/{family}/{}", path.file_name().expect("a name").to_string_lossy()), &path)
                .await;
        }
    }
    assert_eq!(root.fs.list("incoming").await.expect("list").len(), 4);
    create(&connection, "tmp.files", &["row5"]).await;
    let summary = good(&["completebulkload", &format!("{}/incoming", root.url), "tmp.files", "--verify"]).await;
    assert_eq!((summary["regions"].as_u64(), summary["copied"].as_u64()), (Some(2), Some(0)), "{summary}");
    for gone in ["incoming", "ferrobase/staging"] {
        assert!(root.fs.list(gone).await.expect("list").is_empty(), "{gone}");
    }

    // Text there, in several files, one of them so long that it is read ahead. The last record of a row's time counts.
    write(&folder.join("b.tsv"), (0..40).flat_map(|_| (0..ROWS / 2).map(line)));
    write(&folder.join("c.tsv"), (ROWS / 2..ROWS).map(line));
    for (key, file) in
        [("in/b.tsv", "b.tsv"), ("in/c d+e%41/h.1.tsv", "c.tsv"), ("in/_SUCCESS", "c.tsv"), ("in/.x/y", "c.tsv")]
    {
        root.put(key, &folder.join(file)).await;
    }
    create(&connection, "b.there", &["row3", "row6"]).await;
    let summary = good(&[&["bulkload", "b.there", &format!("{}/in", root.url)], &columns[..]].concat()).await;
    assert_eq!((summary["inputs"].as_u64(), summary["skipped"].as_u64()), (Some(2), Some(2)), "{summary}");
    create(&connection, "file", &[]).await;
    let both = [format!("{}/in/b.tsv", root.url), format!("{}/in/c d+e%41/h.1.tsv", root.url)];
    let summary = good(&[&["bulkload", "file", &both[0], &both[1]], &columns[..]].concat()).await;
    assert_eq!((summary["inputs"].as_u64(), summary["regions"].as_u64()), (Some(2), Some(1)), "{summary}");

    // Parquet in folders that tell a column.
    parquet(&folder.join("p"), fields(0..ROWS));
    root.put("days/day=1%2F2 3/b.0", &folder.join("p")).await;
    create(&connection, "parquet", &["row5"]).await;
    let columns = ["--columns", "id=HBASE_ROW_KEY,at=HBASE_TS_KEY,a=f:a,b=g:b"];
    good(&[&["bulkload", "parquet", &format!("{}/days/", root.url), "--memory", "16M"], &columns[..]].concat()).await;
    let days = create(&connection, "days", &[]).await;
    let columns = ["--columns", "id=HBASE_ROW_KEY,day=f:day", "--timestamp", "5"];
    good(&[&["bulkload", "days", &format!("{}/days", root.url)], &columns[..]].concat()).await;
    let days = cells(&days).await;
    assert!(days.len() > ROWS / 2 && days.iter().all(|(_, value)| value == b"1/2 3"), "{}", days.len());

    for (source, why) in [("nosuch.tsv", "no such file"), ("_nothing/in/it", "no such file")] {
        let source = format!("{}/{source}", root.url);
        let output = root.run(folder, &connect, &["bulkload", "here", &source, "--columns", "HBASE_ROW_KEY,f:a"]).await;
        assert_eq!(output.status.code(), Some(2), "{:?}", said(&output));
        assert!(said(&output).1.contains(why) && said(&output).1.contains(&source), "{:?}", said(&output));
    }

    server.kill();
    let server = root.start(&folder.join("two"));
    let connection = open(&server).await;
    for name in ["h.puts", "here", "tmp.files", "b.there", "file", "parquet"] {
        assert!(cells(&connection.table(name.parse().expect("a name"))).await == wanted, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn loads_over_a_bucket_are_what_puts_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = bucket::a_bucket(folder.path()).await;
    let environment = bucket::environment(&store).to_vec();
    let variable = |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let settings = S3Settings::from_env(bucket::DATA, true, &variable).expect("settings");
    let fs = Arc::new(S3Filesystem::open_unchecked(settings, Runtime::system()).expect("the root"));
    let url = bucket::DATA.to_owned();
    loads_are_what_puts_write(&Elsewhere { url, flags: Vec::new(), environment, fs }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn loads_over_hdfs_are_what_puts_write() {
    let cluster = ferrobase_hadoop_fixture::shared();
    let (url, conf) = (cluster.fresh_root(), cluster.conf());
    let flags = vec!["--hadoop-conf".to_owned(), conf.to_string_lossy().into_owned()];
    let settings = HdfsSettings { hadoop_conf: Some(conf), ..HdfsSettings::new(&url) };
    let fs = Arc::new(HdfsFilesystem::open_unchecked(settings, &Runtime::system()).expect("the root"));
    loads_are_what_puts_write(&Elsewhere { url, flags, environment: Vec::new(), fs }).await;
}
