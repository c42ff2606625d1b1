//! The HTTP door: `/health` (the process lives), `/ready` (it serves), `/metrics` (Prometheus text).
//!
//! Always true: answering takes no lock that serving holds; the door never changes anything.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

/// What the door shows.
pub trait Status: Send + Sync + 'static {
    /// Whether requests are served; else why not.
    fn ready(&self) -> Result<(), String>;
    /// The metrics in Prometheus' text format.
    fn metrics(&self) -> String;
}

async fn ready(State(status): State<Arc<dyn Status>>) -> impl IntoResponse {
    match status.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(status): State<Arc<dyn Status>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], status.metrics())
}

/// The routes.
pub fn router(status: Arc<dyn Status>) -> Router {
    Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(status)
}
