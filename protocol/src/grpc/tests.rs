use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::ErrorKind;
use runtime::Runtime;
use runtime::shutdown::Shutdown;
use tokio::task::JoinHandle;

use super::*;
use crate::service::{Call, Connect, MovedTo, Reply, RpcError, Service};

/// Answers `Echo` with what it got, and fails `Moved` with an address.
struct Echo;

#[async_trait]
impl Service for Echo {
    async fn call(&self, call: Call) -> Result<Reply, RpcError> {
        match call.method.as_str() {
            "Echo" => Ok(Reply { param: call.param, cells: call.cells }),
            "Moved" => Err(RpcError {
                moved_to: Some(MovedTo { host: "there".to_owned(), port: 16020 }),
                ..RpcError::new(ErrorKind::Moved, "gone")
            }),
            _ => Err(call.unknown()),
        }
    }
}

struct Served {
    address: String,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

async fn served(service: Arc<dyn Service>, limits: Limits) -> Served {
    let listener = runtime::net::bind("127.0.0.1:0".parse().expect("address")).await.expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    let shutdown = Shutdown::new();
    let task = tokio::spawn(serve(listener, service, shutdown.clone(), limits));
    Served { address, shutdown, task }
}

fn connector() -> Connector {
    Connector::new(Runtime::system(), ConnectorSettings::default())
}

fn call(method: &str, param: &'static [u8]) -> Call {
    Call {
        service: "ClientService".to_owned(),
        method: method.to_owned(),
        param: Bytes::from_static(param),
        cells: Bytes::new(),
        timeout: Some(Duration::from_secs(20)),
    }
}

#[tokio::test]
async fn a_call_comes_back() {
    let served = served(Arc::new(Echo), Limits::default()).await;
    let server = connector().connect(&served.address).await.expect("connection");
    let reply =
        server.call(Call { cells: Bytes::from_static(b"cells"), ..call("Echo", b"hello") }).await.expect("reply");
    assert_eq!((&reply.param[..], &reply.cells[..]), (&b"hello"[..], &b"cells"[..]));
    let error = server.call(call("Moved", b"")).await.expect_err("moved");
    assert_eq!(error.kind, ErrorKind::Moved);
    assert_eq!(error.moved_to, Some(MovedTo { host: "there".to_owned(), port: 16020 }));
    assert_eq!(server.call(call("No", b"")).await.expect_err("unknown").kind, ErrorKind::Invalid);
    served.shutdown.signal();
    served.task.await.expect("the server ends");
}
