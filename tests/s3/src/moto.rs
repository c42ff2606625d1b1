//! moto, an S3 store and token service of somebody else, as a process. What it keeps it keeps in memory.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Ends with its standard input, so that it does not outlive its starter.
const PROGRAM: &str = "import sys, os, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', '0'])";

/// A running moto; killed when it is dropped.
#[derive(Debug)]
pub struct Moto {
    child: Child,
    address: SocketAddr,
}

impl Moto {
    /// Starts what `tests/setup` has fetched, on a free port.
    pub fn start() -> io::Result<Moto> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/s3 lies in the root");
        let packages = root.join(".cache/moto");
        if !packages.is_dir() {
            return Err(io::Error::other(format!("{} is not there; run tests/setup first", packages.display())));
        }
        let mut command = Command::new("python3");
        command.args(["-c", PROGRAM]).env("PYTHONPATH", packages).current_dir(root);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = String::new();
        let address = loop {
            let Some(line) = lines.next().transpose()? else {
                drop(child.kill());
                return Err(io::Error::other(format!("moto ended: {said}")));
            };
            if let Some((_, address)) = line.split_once("Running on http://") {
                break address.trim().parse().map_err(io::Error::other)?;
            }
            said = line;
        };
        // It logs every request; nobody reading would stop it.
        std::thread::spawn(move || lines.take_while(Result::is_ok).for_each(drop));
        Ok(Moto { child, address })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a bucket.
    pub async fn make_bucket(&self, bucket: &str) -> io::Result<()> {
        crate::control::exchange(self.address, "PUT", &format!("/{bucket}"), "").await.map(drop)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
