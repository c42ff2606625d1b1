//! The HTTP door: `/health`, `/ready` and `/metrics`.
//!
//! Always true
//! - `/health` answers 200 as long as the process may serve; 503 with the reason when it must be restarted.
//! - `/ready` answers 200 only while every door answers.
//! - Connections are few and short: whoever opens many and says nothing keeps nobody else out for long.
//! - A client that sends half a request does not keep the process from stopping.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::FutureExt;
use futures::future::BoxFuture;
use runtime::clock::Clock;
use runtime::net::{TcpListener, TcpStream};
use runtime::shutdown::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at a time; the next ones wait.
const CONNECTIONS_MAX: usize = 256;
/// How long a connection may last; what is asked here is short.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);
/// How long requests under way may take at a shutdown.
const GRACE: Duration = Duration::from_secs(2);
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    let listener = Bounded { listener, clock: clock.clone(), room: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
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

/// A listener that gives out few connections at a time.
struct Bounded {
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    room: Arc<Semaphore>,
}

impl axum::serve::Listener for Bounded {
    type Io = Brief;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Brief, SocketAddr) {
        let place = self.room.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    return (Brief { stream, end: self.clock.sleep(CONNECTION_WAIT), _place: place }, peer);
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    self.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails after its time.
struct Brief {
    stream: TcpStream,
    end: BoxFuture<'static, ()>,
    _place: OwnedSemaphorePermit,
}

impl Brief {
    fn is_over(&mut self, ctx: &mut Context<'_>) -> bool {
        let over = self.end.poll_unpin(ctx).is_ready();
        if over {
            self.end = std::future::ready(()).boxed();
        }
        over
    }
}

fn over<T>() -> Poll<std::io::Result<T>> {
    Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()))
}

impl AsyncRead for Brief {
    fn poll_read(mut self: Pin<&mut Self>, ctx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.is_over(ctx) { over() } else { Pin::new(&mut self.stream).poll_read(ctx, buf) }
    }
}

impl AsyncWrite for Brief {
    fn poll_write(mut self: Pin<&mut Self>, ctx: &mut Context<'_>, data: &[u8]) -> Poll<std::io::Result<usize>> {
        if self.is_over(ctx) { over() } else { Pin::new(&mut self.stream).poll_write(ctx, data) }
    }

    fn poll_flush(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.is_over(ctx) { over() } else { Pin::new(&mut self.stream).poll_flush(ctx) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.is_over(ctx) { over() } else { Pin::new(&mut self.stream).poll_shutdown(ctx) }
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
    use runtime::clock::ManualClock;
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
    async fn idle_connections_are_few_and_end() {
        let listener = runtime::net::bind("127.0.0.1:0".parse().expect("address")).await.expect("listener");
        let address = listener.local_addr().expect("address").to_string();
        let (clock, shutdown) = (Arc::new(ManualClock::new(0)), Shutdown::new());
        let door = serve(listener, Arc::new(Fine), Arc::default(), clock.clone(), shutdown.child());
        let door = tokio::spawn(door);
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS_MAX + 3 {
            idle.push(runtime::net::connect(&address).await.expect("connection"));
        }
        let ended = async {
            for stream in &mut idle {
                // Refused, reset or ended: it is over.
                let _ = stream.read(&mut [0]).await;
            }
        };
        let time = async {
            loop {
                clock.advance_ms(i64::try_from(CONNECTION_WAIT.as_millis()).expect("short"));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = ended => {}
            () = time => {}
            () = tokio::time::sleep(Duration::from_secs(30)) => panic!("an idle connection stays"),
        }
        let mut asking = runtime::net::connect(&address).await.expect("connection");
        asking.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("request");
        let mut answer = String::new();
        asking.read_to_string(&mut answer).await.expect("answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
        shutdown.signal();
        door.await.expect("joined").expect("served");
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
