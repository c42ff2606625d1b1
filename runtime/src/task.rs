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

/// Tasks that end with this value: dropping it stops them at their next await.
#[derive(Debug)]
pub struct Tasks<T>(tokio::task::JoinSet<T>);

impl<T: Send + 'static> Tasks<T> {
    /// None yet.
    pub fn new() -> Tasks<T> {
        Tasks(tokio::task::JoinSet::new())
    }

    /// Starts one more.
    pub fn spawn(&mut self, name: &'static str, future: impl Future<Output = T> + Send + 'static) {
        self.0.spawn(async move {
            let _watch = Watch(name);
            future.await
        });
    }

    /// Those that were started and whose end nobody has seen.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the next one to end comes to; `None`: there is none.
    pub async fn next(&mut self) -> Option<Result<T, TaskError>> {
        let joined = self.0.join_next().await?;
        Some(joined.map_err(|error| TaskError(error.to_string())))
    }

    /// Stops all, and waits until they have stopped.
    pub async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

impl<T: Send + 'static> Default for Tasks<T> {
    fn default() -> Tasks<T> {
        Tasks::new()
    }
}

/// Work that is done where it is awaited and, once begun, comes to its end even if it is dropped: then as a task.
pub struct ToTheEnd<T: Send + 'static> {
    name: &'static str,
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    begun: bool,
}

/// Makes work that comes to its end. Cheaper than a task of its own; but while its future is held and not polled it stands still.
pub fn to_the_end<T: Send>(name: &'static str, work: impl Future<Output = T> + Send + 'static) -> ToTheEnd<T> {
    ToTheEnd { name, work: Some(Box::pin(work)), begun: false }
}

impl<T: Send> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<T> {
        let _watch = Watch(self.name);
        // Taken out, so that work that panics is not resumed.
        let mut work = self.work.take().expect("not polled after its end");
        self.begun = true;
        let polled = work.as_mut().poll(ctx);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<T: Send> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        if let (Some(work), true) = (self.work.take(), self.begun)
            // Without a runtime nothing that it waits for will come.
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let name = self.name;
            drop(runtime.spawn(async move {
                let _watch = Watch(name);
                work.await
            }));
        }
    }
}

/// Runs a blocking call on a thread made for it. A panic inside is passed on.
pub async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(call).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Waits for a future on a thread that [`blocking`] made; anywhere else it panics.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}

/// Starts a named thread, for work that blocks for as long as the process lives.
pub fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// Lets other tasks run.
pub async fn yield_now() {
    tokio::task::yield_now().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn work_that_began_comes_to_its_end() {
        let (steps, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
        let make = || {
            let (steps, gate) = (steps.clone(), gate.clone());
            to_the_end("steps", async move {
                steps.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.expect("open").forget();
                steps.fetch_add(10, Ordering::SeqCst)
            })
        };
        drop(make());
        assert_eq!(steps.load(Ordering::SeqCst), 0, "what never began does not happen");
        let mut begun = make();
        assert!((&mut begun).now_or_never().is_none());
        drop(begun);
        gate.add_permits(1);
        while steps.load(Ordering::SeqCst) < 11 {
            yield_now().await;
        }
        gate.add_permits(1);
        assert_eq!(make().await, 12);
    }
}
