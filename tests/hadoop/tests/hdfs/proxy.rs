//! A proxy before the NameNode that loses answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to the next request that is to lose its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The connection is cut instead of the answer.
    Cut,
    /// The answer is swallowed, and the connection stays open and mute.
    Mute,
}

/// Between clients and a NameNode.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The method whose answer is lost, and how.
    plan: std::sync::Mutex<Option<(String, Loss)>>,
    lost: AtomicU32,
    /// One in so many answers to [`DECIDED`] is cut; 0: none.
    every: AtomicU32,
    seen: AtomicU32,
}

/// Methods whose lost answers no caller is to hear of. The others belong to a file's writer, which may fail with them.
const DECIDED: [&str; 6] = ["rename2", "delete", "mkdirs", "getFileInfo", "getListing", "getBlockLocations"];

impl Proxy {
    pub(crate) async fn start(namenode: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared::default());
        let for_task = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = for_task.clone();
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", namenode)).await {
                        relay(client, server, shared).await;
                    }
                });
            }
        });
        Proxy { port, shared }
    }

    /// The answer to the next call of the method is lost; the call reaches the NameNode.
    pub(crate) fn lose(&self, method: &str, loss: Loss) {
        *self.shared.plan.lock().expect("no panic") = Some((method.to_owned(), loss));
    }

    /// One in `n` answers to [`DECIDED`] is lost.
    pub(crate) fn lose_every(&self, n: u32) {
        self.shared.every.store(n, Ordering::SeqCst);
    }

    /// Answers lost so far.
    pub(crate) fn lost(&self) -> u32 {
        self.shared.lost.load(Ordering::SeqCst)
    }
}

async fn relay(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (losing, mut lost) = watch::channel(None);
    let mute = Arc::new(AtomicBool::new(false));
    let up = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
            {
                // The request's header has the method's name behind its length.
                let calls = |method: &str| {
                    let name = [&[method.len() as u8], method.as_bytes()].concat();
                    buffer[..n].windows(name.len()).any(|window| window == name)
                };
                let mut plan = shared.plan.lock().expect("no panic");
                let mut loss = None;
                if plan.as_ref().is_some_and(|(method, _)| calls(method)) {
                    loss = plan.take().map(|(_, loss)| loss);
                }
                let every = shared.every.load(Ordering::SeqCst);
                if every > 0
                    && DECIDED.iter().any(|method| calls(method))
                    && shared.seen.fetch_add(1, Ordering::SeqCst) % every == every - 1
                {
                    loss = Some(Loss::Cut);
                }
                if loss.is_some() {
                    mute.store(true, Ordering::SeqCst);
                    let _ = losing.send(loss);
                }
            }
            if to_server.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
            if mute.load(Ordering::SeqCst) {
                // The NameNode has answered, so that it is done.
                let loss = lost.wait_for(Option::is_some).await.map(|loss| *loss).unwrap_or(None);
                shared.lost.fetch_add(1, Ordering::SeqCst);
                if loss == Some(Loss::Cut) {
                    return;
                }
                std::future::pending::<()>().await;
            }
            if to_client.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
