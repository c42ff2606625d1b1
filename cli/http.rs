//! The HTTP door: `/health`, `/ready` and `/metrics`.
//!
//! Always true
//! - `/health` answers 200 as long as the process may serve; 503 with the reason when it must be restarted.
//! - `/ready` answers 200 only while every door answers.
//! - A client that sends half a request does not keep the process from stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use runtime::clock::Clock;
use runtime::net::TcpListener;
use runtime::shutdown::Shutdown;

/// How long requests under way may take at a shutdown.
const GRACE: Duration = Duration::from_secs(2);

/// What the door asks of the server behind it.
pub trait Status: Send + Sync {
    /// Why the process can no longer serve, if so.
    fn failure(&self) -> Option<String>;
    /// Metrics in the text format that Prometheus scrapes.
    fn metrics(&self) -> String;
}

/// Shared by the routes.
struct Door {
    ready: Arc<AtomicBool>,
    status: Arc<dyn Status>,
}

/// Serves until the shutdown, and a moment longer what is under way then; a failure is one of the socket.
pub async fn serve(
    listener: TcpListener,
    status: Arc<dyn Status>,
    ready: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/health", get(health))
        .route("/ready", get(is_ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(Door { ready, status }));
    let late = {
        let shutdown = shutdown.clone();
        async move {
            shutdown.wait().await;
            clock.sleep(GRACE).await;
        }
    };
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.wait().await });
    tokio::select! {
        ended = served.into_future() => ended,
        () = late => Ok(()),
    }
}

async fn health(State(door): State<Arc<Door>>) -> impl IntoResponse {
    match door.status.failure() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn is_ready(State(door): State<Arc<Door>>) -> impl IntoResponse {
    if door.ready.load(Ordering::Acquire) && door.status.failure().is_none() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn metrics(State(door): State<Arc<Door>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], door.status.metrics())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct Fine;

    impl Status for Fine {
        fn failure(&self) -> Option<String> {
            None
        }

        fn metrics(&self) -> String {
            String::new()
        }
    }

    #[tokio::test]
    async fn half_a_request_does_not_hold_a_shutdown_up() {
        let (runtime, shutdown) = (runtime::Runtime::system(), Shutdown::new());
        let listener = runtime::net::bind(([127, 0, 0, 1], 0).into()).await.expect("bind");
        let address = listener.local_addr().expect("address");
        let ready = Arc::new(AtomicBool::new(true));
        let door = tokio::spawn(serve(listener, Arc::new(Fine), ready, runtime.clock.clone(), shutdown.clone()));
        let mut client = tokio::net::TcpStream::connect(address).await.expect("connect");
        // A whole request first: the connection is surely in the server's hands, and busy with the next one.
        client.write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\nGET /hea").await.expect("write");
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.expect("answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
        shutdown.signal();
        let ended = tokio::time::timeout(Duration::from_secs(30), door).await.expect("the door ends");
        ended.expect("no panic").expect("no failure");
    }
}
