//! One table: gets, mutations, conditions, scans.

mod load;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use model::mutation::{CheckAndMutate, Mutation, MutationKind};
use model::query::{Get, Scan};
use model::schema::TableName;
use protocol::cell_block::CellBlock;
use protocol::messages as pb;
use protocol::mutation::{condition_to, mutation_to};
use protocol::query::get_to;
use protocol::result::result_from;
use protocol::service::{CLIENT, Call, Reply};
use runtime::clock::Clock;

use crate::Result;
use crate::batch::{Action, ActionResult, Batch, needs_nonce};
use crate::error::{Effect, Subject};
use crate::location::{Cluster, Location, Seek, TableLocations};
use crate::retry::Retry;
use crate::row::Row;
use crate::scan::RowStream;

pub use load::{LoadRoom, RegionFiles, RegionLoaded};

/// A table. Cheap to clone; made by [`Connection::table`](crate::Connection::table).
///
/// Methods that change something answer once the change is as durable as its
/// [`Durability`](model::mutation::Durability) asks.
#[derive(Clone, Debug)]
pub struct Table {
    cluster: Arc<Cluster>,
    name: Arc<TableName>,
    locations: Arc<TableLocations>,
}

impl Table {
    pub(crate) fn new(cluster: Arc<Cluster>, name: TableName) -> Table {
        Table { locations: cluster.locations(&name), cluster, name: Arc::new(name) }
    }

    /// The table's name.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        self.cluster.calls.runtime.clock.clone()
    }

    fn retry(&self, operation: &'static str, effect: Effect, row: &Bytes) -> Retry {
        Retry::new(&self.cluster, Subject::new(operation, effect).of(&self.name).row(row))
    }

    /// Calls the server that holds the row, again and again while that can help.
    async fn call_row(
        &self,
        retry: &mut Retry,
        row: &Bytes,
        build: impl FnMut(pb::RegionSpecifier) -> Call + Send,
    ) -> Result<Reply> {
        self.call_row_for(retry, row, Retry::call_limit, build).await.map(|(_, reply)| reply)
    }

    /// [`Table::call_row`] with each call's time limit; tells where the answer came from.
    async fn call_row_for(
        &self,
        retry: &mut Retry,
        row: &Bytes,
        limit: fn(&Retry) -> Duration,
        mut build: impl FnMut(pb::RegionSpecifier) -> Call + Send,
    ) -> Result<(Arc<Location>, Reply)> {
        let seek = Seek::Row(row.clone());
        let cluster = &self.cluster;
        loop {
            let located = match self.locations.cached(&seek) {
                Some(location) => Ok(location),
                None => cluster.locate(&self.name, &seek, retry.call_limit()).await,
            };
            let cause = match located {
                Ok(location) => {
                    let call = build(location.specifier());
                    match cluster.calls.call(&location.address, call, limit(retry)).await {
                        Ok(reply) => return Ok((location, reply)),
                        Err(cause) => {
                            cluster.heed(&location, &cause);
                            cause
                        }
                    }
                }
                Err(cause) => cause,
            };
            retry.again(cause).await?;
        }
    }

    async fn get_result(&self, operation: &'static str, get: pb::Get, row: &Bytes) -> Result<(Option<bool>, Row)> {
        let mut request = pb::GetRequest { region: pb::RegionSpecifier::default(), get };
        let build = |region| {
            request.region = region;
            Call::new(CLIENT, "Get", &request)
        };
        let mut retry = self.retry(operation, Effect::Read, row);
        let reply = self.call_row(&mut retry, row, build).await?;
        let read = || {
            let result = reply.decode::<pb::GetResponse>()?.result.unwrap_or_default();
            let cells = result_from(&result, &mut CellBlock::new(reply.cells.clone()))?;
            Ok((result.exists, Row::of(cells)))
        };
        read().map_err(|cause| retry.fail(cause))
    }

    /// Reads a row; one that does not exist is empty.
    ///
    /// ```no_run
    /// # use model::query::Get;
    /// # async fn example(table: ferrobase_client::Table) -> ferrobase_client::Result<()> {
    /// let row = table.get(&Get::new("row").with_column("f", "q").with_versions(3)).await?;
    /// for cell in &row.cells {
    ///     println!("{} {:?}", cell.timestamp(), cell.value());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// NotFound for a table or family that does not exist, Conflict for a table out of service; else the cluster did not
    /// answer in time.
    pub async fn get(&self, get: &Get) -> Result<Row> {
        Ok(self.get_result("get", get_to(get), &get.row).await?.1)
    }

    /// Reads rows, those of one server with one call; the answers stand in the order of the gets.
    ///
    /// # Errors
    /// The first get that failed, as of [`Table::get`].
    pub async fn get_all(&self, gets: &[Get]) -> Result<Vec<Row>> {
        let actions = gets.iter().cloned().map(Action::Get).collect();
        let answers = Batch::new(&self.cluster, &self.name, "get", actions).run().await;
        answers.into_iter().map(|answer| answer.map(|answer| answer.row)).collect()
    }

    /// Whether the get would find a cell. No cells travel.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn exists(&self, get: &Get) -> Result<bool> {
        let message = pb::Get { existence_only: Some(true), ..get_to(get) };
        let (exists, row) = self.get_result("exists", message, &get.row).await?;
        Ok(exists.unwrap_or(!row.is_empty()))
    }

    /// Changes a row. Increments and appends give back the new cells if the mutation asks for them.
    ///
    /// ```no_run
    /// # use model::mutation::Mutation;
    /// # async fn example(table: ferrobase_client::Table) -> Result<(), Box<dyn std::error::Error>> {
    /// table.mutate(Mutation::put("row").cell("f", "name", "value")?).await?;
    /// let row = table.mutate(Mutation::increment("row").amount("f", "visits", 1)?).await?;
    /// println!("{:?}", row.value("f", "visits"));
    /// table.mutate(Mutation::delete("row").column("f", "name")?).await?;
    /// table.mutate(Mutation::delete("row")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Table::get`]; Invalid for what a cell or a counter cannot be; Unknown if it may have happened.
    pub async fn mutate(&self, mutation: Mutation) -> Result<Row> {
        let operation = name_of(mutation.kind);
        let mut block = BytesMut::new();
        let once = needs_nonce(&mutation);
        let message = mutation_to(&mutation, once.then(|| self.cluster.calls.nonce()), &mut block);
        let effect = if once { Effect::Once } else { Effect::Repeatable };
        let retry = self.retry(operation, effect, &mutation.row);
        Ok(self.send_mutation(retry, &mutation.row, message, block.freeze(), None).await?.1)
    }

    async fn send_mutation(
        &self,
        mut retry: Retry,
        row: &Bytes,
        mutation: pb::MutationProto,
        cells: Bytes,
        condition: Option<pb::Condition>,
    ) -> Result<(bool, Row)> {
        let nonce_group = Some(self.cluster.calls.nonce_group);
        let mut request =
            pb::MutateRequest { region: pb::RegionSpecifier::default(), mutation, condition, nonce_group };
        let build = |region| {
            request.region = region;
            Call { cells: cells.clone(), ..Call::new(CLIENT, "Mutate", &request) }
        };
        let reply = self.call_row(&mut retry, row, build).await?;
        let read = || {
            let answer: pb::MutateResponse = reply.decode()?;
            let mut block = CellBlock::new(reply.cells.clone());
            let cells = answer.result.map(|result| result_from(&result, &mut block)).transpose()?;
            Ok((answer.processed.unwrap_or(true), Row::of(cells.unwrap_or_default())))
        };
        // It was done, but what was answered cannot be read.
        read().map_err(|cause| retry.fail_in_doubt(cause))
    }

    /// Changes rows, those of one server with one call. Each mutation succeeds or fails by itself, and the answers
    /// stand in their order; mutations of one row happen in their order, unless some of them had to be tried again.
    ///
    /// ```no_run
    /// # use model::mutation::Mutation;
    /// # async fn example(table: ferrobase_client::Table, puts: Vec<Mutation>) {
    /// for (n, answer) in table.mutate_all(puts).await.into_iter().enumerate() {
    ///     if let Err(error) = answer {
    ///         println!("mutation {n}: {error}");
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn mutate_all(&self, mutations: Vec<Mutation>) -> Vec<Result<Row>> {
        let actions = mutations.into_iter().map(Action::Mutation).collect();
        let answers = Batch::new(&self.cluster, &self.name, "batch", actions).run().await;
        answers.into_iter().map(|answer| answer.map(|answer| answer.row)).collect()
    }

    /// Does many things of all kinds as [`Table::mutate_all`] does mutations.
    pub async fn batch(&self, actions: Vec<Action>) -> Vec<Result<ActionResult>> {
        Batch::new(&self.cluster, &self.name, "batch", actions).run().await
    }

    async fn one(&self, operation: &'static str, action: Action) -> Result<ActionResult> {
        let mut answers = Batch::new(&self.cluster, &self.name, operation, vec![action]).run().await;
        answers.pop().expect("a batch answers each of its actions")
    }

    /// Changes one row in several ways, all or none. Gives back the new cells of increments and appends.
    ///
    /// # Errors
    /// Invalid if there are no mutations or they are of several rows; else as the servers say.
    pub async fn mutate_row(&self, mutations: Vec<Mutation>) -> Result<Row> {
        Ok(self.one("mutate row", Action::RowMutations(mutations)).await?.row)
    }

    /// Changes a row if a condition holds. Tells whether it did, and gives back the new cells of increments and appends.
    ///
    /// ```no_run
    /// # use model::mutation::{CheckAndMutate, Condition, Mutation};
    /// # async fn example(table: ferrobase_client::Table) -> Result<(), Box<dyn std::error::Error>> {
    /// let check = CheckAndMutate {
    ///     row: "lock".into(),
    ///     condition: Condition::missing("f", "owner"),
    ///     mutations: vec![Mutation::put("lock").cell("f", "owner", "me")?],
    /// };
    /// let (mine, _) = table.check_and_mutate(check).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Table::mutate_row`].
    pub async fn check_and_mutate(&self, check: CheckAndMutate) -> Result<(bool, Row)> {
        if let [mutation] = &check.mutations[..]
            && mutation.row == check.row
        {
            let mut block = BytesMut::new();
            let message = mutation_to(mutation, Some(self.cluster.calls.nonce()), &mut block);
            let condition = condition_to(check.row.clone(), &check.condition);
            let retry = self.retry("check and mutate", Effect::Once, &check.row);
            return self.send_mutation(retry, &check.row, message, block.freeze(), Some(condition)).await;
        }
        let answer = self.one("check and mutate", Action::CheckAndMutate(check)).await?;
        Ok((answer.processed.unwrap_or(false), answer.row))
    }

    /// Reads a range of rows. Nothing is sent before the first row is asked for.
    ///
    /// ```no_run
    /// # use futures::TryStreamExt;
    /// # use model::query::Scan;
    /// # async fn example(table: ferrobase_client::Table) -> ferrobase_client::Result<()> {
    /// // One by one …
    /// let mut rows = table.scan(Scan::between("a", "m"));
    /// while let Some(row) = rows.next_row().await? {
    ///     println!("{:?}", row.row());
    /// }
    /// // … or as a stream.
    /// let backwards = Scan { reversed: true, limit: Some(10), ..Scan::default() };
    /// let last_ten: Vec<_> = table.scan(backwards).try_collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(&self, scan: Scan) -> RowStream {
        let subject = Subject::new("scan", Effect::Read).of(&self.name);
        RowStream::new(self.cluster.clone(), subject, TableName::clone(&self.name), scan)
    }
}

/// What a mutation is called in errors.
pub(crate) fn name_of(kind: MutationKind) -> &'static str {
    match kind {
        MutationKind::Put => "put",
        MutationKind::Delete => "delete",
        MutationKind::Increment => "increment",
        MutationKind::Append => "append",
    }
}
