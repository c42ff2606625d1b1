//! The catalog and the table heads, as they stand on storage and as this master knows them.
//!
//! Always true
//! - What readers of this module see stood on storage; a value whose write is in doubt is read again before it is
//!   changed again.
//! - A table is known here exactly as long as the catalog lists it.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordination::CoordinationError;
use coordination::register::{Stored, Writer, Written};
use filesystem::Filesystem;
use futures::StreamExt;
use model::ErrorKind;
use model::schema::TableName;
use parking_lot::RwLock;
use runtime::random::Random;

use crate::catalog::{self, Catalog};
use crate::error::Result;
use crate::head::{self, HeadState, TableHead};

/// Small storage calls in flight for one piece of work.
pub(crate) const PARALLEL: usize = 64;
/// How often a swap is tried again because another value of our own epoch stands.
const TRIES_MAX: usize = 8;

/// A table as the catalog and its head say.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub id: String,
    pub head: TableHead,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Tables {
    fs: Arc<dyn Filesystem>,
    random: Arc<dyn Random>,
    master_epoch: u32,
    /// The catalog's value; `None` when it must be read again.
    stored: tokio::sync::Mutex<Option<Stored>>,
    catalog: RwLock<Arc<Catalog>>,
    tables: RwLock<BTreeMap<TableName, Arc<Table>>>,
    /// Tables whose head cannot be read, and why.
    broken: RwLock<BTreeMap<TableName, String>>,
}

impl Tables {
    /// Reads the catalog, or creates it, and all heads. A damaged head leaves its table out.
    pub async fn load(fs: Arc<dyn Filesystem>, random: Arc<dyn Random>, master_epoch: u32) -> Result<Tables> {
        let tables = Tables {
            fs,
            random,
            master_epoch,
            stored: tokio::sync::Mutex::default(),
            catalog: RwLock::new(Arc::new(Catalog::new())),
            tables: RwLock::default(),
            broken: RwLock::default(),
        };
        // An unchanged catalog is written only if there is none.
        tables.change_catalog(|_| Ok(())).await?;
        let listed: Vec<(TableName, String)> =
            tables.catalog().tables.iter().map(|(name, id)| (name.clone(), id.clone())).collect();
        let mut heads = futures::stream::iter(listed)
            .map(|(name, id)| {
                let tables = &tables;
                async move {
                    let head = tables.read_head(&id).await;
                    (name, id, head)
                }
            })
            .buffer_unordered(PARALLEL);
        while let Some((name, id, head)) = heads.next().await {
            let why = match head {
                Ok(Some((_, head))) if *head.name() == name => {
                    tables.tables.write().insert(name, Arc::new(Table { id, head }));
                    continue;
                }
                Ok(Some((_, head))) => format!("head of table id {id} is of table {}", head.name()),
                Ok(None) => format!("table id {id} has no head"),
                Err(error) if error.kind() == ErrorKind::Corrupt => error.to_string(),
                Err(error) => return Err(error),
            };
            tracing::error!(table = %name, why, "table is left out");
            tables.broken.write().insert(name, why);
        }
        drop(heads);
        Ok(tables)
    }

    /// The catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.read().clone()
    }

    /// A table that is not on its way out for ever.
    pub fn get(&self, name: &TableName) -> Option<Arc<Table>> {
        self.tables.read().get(name).filter(|table| table.head.state != HeadState::Dropped).cloned()
    }

    /// All such tables.
    pub fn all(&self) -> Vec<Arc<Table>> {
        let tables = self.tables.read();
        tables.values().filter(|table| table.head.state != HeadState::Dropped).cloned().collect()
    }

    /// Listed tables that are unknown here.
    pub fn broken(&self) -> Vec<TableName> {
        self.broken.read().keys().cloned().collect()
    }

    /// Why a listed table is unknown here.
    pub fn why_broken(&self, name: &TableName) -> Option<String> {
        self.broken.read().get(name).cloned()
    }

    fn writer(&self) -> Writer<'_> {
        Writer { fs: &self.fs, random: &*self.random, master_epoch: self.master_epoch }
    }

    fn fenced(&self, path: &str, stored: &Option<Stored>) -> Result<()> {
        match stored.as_ref().map(|stored| stored.body.master_epoch).filter(|found| *found > self.master_epoch) {
            None => Ok(()),
            Some(found) => {
                Err(CoordinationError::Fenced { path: path.to_owned(), found, own: self.master_epoch }.into())
            }
        }
    }

    /// Swaps the catalog for what `change` makes of it; a refusal of `change` is passed on and nothing is written.
    /// `change` runs again if another value turns up.
    pub async fn change_catalog<T>(&self, change: impl Fn(&mut Catalog) -> Result<T>) -> Result<T> {
        let mut stored = self.stored.lock().await;
        for _ in 0..TRIES_MAX {
            if stored.is_none() {
                *stored = catalog::FORMAT.read(&self.fs, catalog::PATH).await?;
                self.fenced(catalog::PATH, &stored)?;
                if let Some(found) = &*stored {
                    *self.catalog.write() = Arc::new(Catalog::decode(found.body.payload.clone())?);
                }
            }
            let mut next = (*self.catalog()).clone();
            let answer = change(&mut next)?;
            if stored.is_some() && next == *self.catalog() {
                return Ok(answer);
            }
            // Until the answer is in, nothing is known.
            let expected = stored.take();
            let payload = next.encode();
            match catalog::FORMAT.write(self.writer(), catalog::PATH, expected.as_ref(), "catalog", payload).await? {
                Written::Done(now) => {
                    *stored = Some(now);
                    *self.catalog.write() = Arc::new(next);
                    return Ok(answer);
                }
                Written::Superseded(now) => self.fenced(catalog::PATH, &now)?,
            }
        }
        Err(CoordinationError::Contended { path: catalog::PATH.to_owned() }.into())
    }

    /// Reads a head from storage.
    pub async fn read_head(&self, id: &str) -> Result<Option<(Stored, TableHead)>> {
        let path = head::path(id);
        let Some(stored) = head::FORMAT.read(&self.fs, &path).await? else { return Ok(None) };
        let head = TableHead::decode(stored.body.payload.clone(), &path)?;
        Ok(Some((stored, head)))
    }

    /// Whether a table's head is missing or damaged.
    pub async fn is_head_lost(&self, id: &str) -> Result<bool> {
        match self.read_head(id).await {
            Ok(head) => Ok(head.is_none()),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Swaps a head for what `change` makes of the one that stands; `None` leaves it. Answers what stands then, and
    /// makes it known if the catalog lists the table.
    pub async fn change_head(
        &self,
        id: &str,
        change: impl Fn(Option<&TableHead>) -> Result<Option<TableHead>>,
    ) -> Result<TableHead> {
        let path = head::path(id);
        for _ in 0..TRIES_MAX {
            let found = self.read_head(id).await?;
            let (stored, before) = found.unzip();
            self.fenced(&path, &stored)?;
            let now = match change(before.as_ref())? {
                None => before.ok_or_else(|| CoordinationError::Invalid(format!("there is no head. file=`{path}`")))?,
                Some(next) => {
                    let state = next.state.as_str();
                    let payload = next.encode();
                    match head::FORMAT.write(self.writer(), &path, stored.as_ref(), state, payload).await? {
                        Written::Done(_) => next,
                        Written::Superseded(now) => {
                            self.fenced(&path, &now)?;
                            continue;
                        }
                    }
                }
            };
            let mut tables = self.tables.write();
            if let Some(known) = tables.get_mut(now.name()).filter(|known| known.id == id) {
                *known = Arc::new(Table { id: id.to_owned(), head: now.clone() });
            }
            return Ok(now);
        }
        Err(CoordinationError::Contended { path }.into())
    }

    /// Makes a table known that the catalog lists now.
    pub fn publish(&self, table: Table) {
        self.tables.write().insert(table.head.name().clone(), Arc::new(table));
    }

    /// Forgets a table that the catalog does not list any more.
    pub fn forget(&self, name: &TableName, id: &str) {
        self.broken.write().remove(name);
        let mut tables = self.tables.write();
        if tables.get(name).is_some_and(|table| table.id == id) {
            tables.remove(name);
        }
    }
}
