//! Tasks and threads. A panic of a task is logged with its name and reaches whoever joins it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A running task. Dropping it leaves the task running.
#[derive(Debug)]
pub struct Task<T>(tokio::task::JoinHandle<T>);

/// The task panicked or was aborted.
#[derive(Debug, thiserror::Error)]
#[error("task did not finish: {0}")]
pub struct TaskError(String);

impl<T> Task<T> {
    /// Stops the task at its next await.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(ctx).map(|joined| joined.map_err(|error| TaskError(error.to_string())))
    }
}

/// Logs when a task ends by panic: it is dropped while the thread panics.
struct Watch(&'static str);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "task panicked");
        }
    }
}

/// Starts a named task.
pub fn spawn<F>(name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Task(tokio::spawn(async move {
        let _watch = Watch(name);
        future.await
    }))
}

/// Runs a blocking call on a thread made for it. A panic inside is passed on.
pub async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(call).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Starts a named thread, for work that blocks for as long as the process lives.
pub fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// Lets other tasks run.
pub async fn yield_now() {
    tokio::task::yield_now().await;
}
