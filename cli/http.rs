//! The HTTP door: `/health`, `/ready` and `/metrics`.
//!
//! Always true
//! - `/health` answers 200 as long as the process may serve; 503 with the reason when it must be restarted.
//! - `/ready` answers 200 only while every door answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use runtime::net::TcpListener;
use runtime::shutdown::Shutdown;

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

/// Serves until the shutdown; a failure is one of the socket.
pub async fn serve(
    listener: TcpListener,
    status: Arc<dyn Status>,
    ready: Arc<AtomicBool>,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/health", get(health))
        .route("/ready", get(is_ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(Door { ready, status }));
    axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.wait().await }).await
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
