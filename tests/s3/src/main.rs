//! The S3 server for tests as a program. It ends when its standard input does, so that it does not outlive its starter.

use std::io::Read;
use std::path::PathBuf;

use clap::Parser;
use ferrobase_s3_fixture::Server;

/// An S3 server for tests.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder of the data.
    #[arg(long)]
    dir: PathBuf,
    /// Written with the address once it answers.
    #[arg(long)]
    ready_file: PathBuf,
    /// Port on 127.0.0.1; 0: a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Buckets to make.
    #[arg(long)]
    bucket: Vec<String>,
    /// Ignores the conditions of conditional puts.
    #[arg(long)]
    ignore_conditions: bool,
    /// Stays when standard input ends.
    #[arg(long)]
    stay: bool,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.dir)?;
    let server = Server::start_on(&arguments.dir, arguments.port).await?;
    server.ignore_conditions(arguments.ignore_conditions);
    for bucket in &arguments.bucket {
        server.make_bucket(bucket)?;
    }
    let new = arguments.ready_file.with_extension("new");
    std::fs::write(&new, server.address().to_string())?;
    std::fs::rename(&new, &arguments.ready_file)?;
    println!("{}", server.endpoint());
    if !arguments.stay {
        std::thread::spawn(|| {
            let mut stdin = std::io::stdin().lock();
            let mut buffer = [0; 64];
            while stdin.read(&mut buffer).is_ok_and(|n| n > 0) {}
            std::process::exit(0);
        });
    }
    server.wait().await;
    Ok(())
}
