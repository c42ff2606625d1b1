//! An S3 server for tests: honest about conditions, safe against kill -9, and wrong when it is told to be.
//!
//! [`Server`] runs inside a test, [`Process`] as a process of its own, ruled through [`Control`]. Data lies in a folder and
//! stays there. Addresses are path-style on 127.0.0.1. The token service answers at the same
//! address, and so does a machine's metadata service (role `machine`).

mod control;
mod door;
mod moto;
mod plan;
mod store;
mod token;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use control::{Control, Process};
pub use moto::Moto;
pub use plan::{Entry, Fault, Rule};

/// The key that is always known.
pub const KEY: (&str, &str) = ("test", "testsecret");

/// A server inside this process, on the runtime that started it; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    state: Arc<door::State>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves the folder on a free port.
    pub async fn start(folder: &Path) -> io::Result<Server> {
        Server::start_on(folder, 0).await
    }

    /// Stands before another server on a free port: logs what is asked of it, and does what the rules say. The folder stays empty.
    pub async fn before(upstream: SocketAddr, folder: &Path) -> io::Result<Server> {
        Server::start_at(folder, 0, Some(upstream)).await
    }

    /// Serves the folder on a port.
    pub async fn start_on(folder: &Path, port: u16) -> io::Result<Server> {
        Server::start_at(folder, port, None).await
    }

    async fn start_at(folder: &Path, port: u16, upstream: Option<SocketAddr>) -> io::Result<Server> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        let (address, state) = (listener.local_addr()?, Arc::new(door::State::new(folder, upstream)?));
        let task = tokio::spawn(door::serve(listener, state.clone()));
        Ok(Server { address, state, task })
    }

    /// Ends when the server does, which it does not by itself.
    pub async fn wait(mut self) {
        drop((&mut self.task).await);
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a bucket; there already is fine.
    pub fn make_bucket(&self, bucket: &str) -> io::Result<()> {
        self.state.store.make_bucket(bucket)
    }

    /// From now on these rules hold, and no others. The first that hits decides.
    pub fn set_rules(&self, rules: Vec<Rule>) {
        *self.state.rules.lock() = rules;
    }

    /// Does the requests that are held, in their order; how many.
    pub async fn release(&self) -> usize {
        self.state.release().await
    }

    /// How many requests are held.
    pub fn held(&self) -> usize {
        self.state.held.lock().len()
    }

    /// Takes the log.
    pub fn take_log(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.state.log.lock())
    }

    /// Whether conditions are ignored.
    pub fn ignore_conditions(&self, ignore: bool) {
        self.state.store.ignores_conditions.store(ignore, Ordering::SeqCst);
    }

    /// The encryption that an object was made with.
    pub fn encryption_of(&self, bucket: &str, key: &str) -> Option<String> {
        self.state.store.encryption_of(bucket, key)
    }

    /// Adds a key.
    pub fn add_key(&self, id: &str, secret: &str) {
        self.state.keys.add(id, secret);
    }

    /// Lets a key, or a role by its ARN, use only keys that begin so. Without any such line everybody may everything.
    pub fn grant(&self, who: &str, prefix: &str) {
        self.state.grants.lock().push((who.to_owned(), prefix.to_owned()));
    }

    /// Longest life of the keys of roles taken from now on.
    pub fn limit_role_life(&self, life: Duration) {
        *self.state.keys.life.lock() = Some(life);
    }

    /// Ends the keys of roles that were taken.
    pub fn expire_roles(&self) {
        self.state.keys.expire_roles();
    }
}
