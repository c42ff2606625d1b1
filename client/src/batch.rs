//! Many actions at once: grouped by server into `Multi` calls, the failed ones tried again.
//!
//! Always true
//! - Answers stand in the order of the actions, one each.
//! - A call carries at most [`CALL_ACTIONS`] actions and, unless one action alone is larger, [`CALL_BYTES`] bytes of cells.
//! - Calls to one server follow each other in the order of the actions of each region; servers work side by side.
//! - An action keeps its nonce over all attempts.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use model::mutation::{CheckAndMutate, Mutation, MutationKind};
use model::query::Get;
use model::schema::TableName;
use model::{Cell, CellType, ErrorKind, LATEST_TIMESTAMP};
use protocol::cell_block::CellBlock;
use protocol::messages as pb;
use protocol::mutation::{condition_to, mutation_to};
use protocol::query::get_to;
use protocol::result::result_from;
use protocol::service::{CLIENT, Call, Reply, RpcError};

use crate::Result;
use crate::error::{Effect, Subject};
use crate::location::{Cluster, Location, Seek, TableLocations};
use crate::retry::{Doubt, Retry, may_retry};
use crate::row::Row;

/// Most actions in one call.
pub const CALL_ACTIONS: usize = 5_000;
/// Bytes of cells in one call after which another one is begun.
pub const CALL_BYTES: usize = 4 << 20;
/// Servers called at the same time.
const SERVERS_AT_ONCE: usize = 32;

/// One part of a batch.
#[derive(Clone, Debug)]
pub enum Action {
    /// Reads a row.
    Get(Get),
    /// Changes a row.
    Mutation(Mutation),
    /// Changes one row in several ways, all or none.
    RowMutations(Vec<Mutation>),
    /// Changes one row if a condition holds.
    CheckAndMutate(CheckAndMutate),
}

impl Action {
    fn row(&self) -> Result<Bytes, RpcError> {
        match self {
            Action::Get(get) => Ok(get.row.clone()),
            Action::Mutation(mutation) => Ok(mutation.row.clone()),
            Action::RowMutations(mutations) => common_row(mutations),
            Action::CheckAndMutate(check) => match common_row(&check.mutations)? {
                row if row == check.row => Ok(row),
                row => Err(RpcError::invalid(format!(
                    "condition is on row `{}`, mutations are of row `{}`",
                    check.row.escape_ascii(),
                    row.escape_ascii()
                ))),
            },
        }
    }

    fn effect(&self) -> Effect {
        let once = match self {
            Action::Get(_) => return Effect::Read,
            Action::Mutation(mutation) => needs_nonce(mutation),
            Action::RowMutations(mutations) => mutations.iter().any(needs_nonce),
            Action::CheckAndMutate(_) => true,
        };
        if once { Effect::Once } else { Effect::Repeatable }
    }

    /// Whether it fills a region action of its own.
    fn is_alone(&self) -> bool {
        matches!(self, Action::RowMutations(_) | Action::CheckAndMutate(_))
    }

    fn bytes(&self) -> usize {
        let of = |mutation: &Mutation| mutation.cells.iter().map(|cell| cell.bytes().len()).sum::<usize>();
        match self {
            Action::Get(_) => 0,
            Action::Mutation(mutation) => of(mutation),
            Action::RowMutations(mutations) => mutations.iter().map(of).sum(),
            Action::CheckAndMutate(check) => check.mutations.iter().map(of).sum(),
        }
    }
}

/// What became of an action.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActionResult {
    /// What was read, or the new cells of increments and appends.
    pub row: Row,
    /// Of a [`Action::CheckAndMutate`]: whether the condition held.
    pub processed: Option<bool>,
}

struct Entry {
    action: Action,
    row: Bytes,
    effect: Effect,
    nonce: Option<u64>,
    doubt: Doubt,
}

/// A batch under way.
pub(crate) struct Batch<'a> {
    cluster: &'a Arc<Cluster>,
    table: &'a TableName,
    locations: Arc<TableLocations>,
    retry: Retry,
    entries: Vec<Entry>,
    answers: Vec<Option<Result<ActionResult>>>,
}

/// What goes to one server.
struct ServerParts {
    address: String,
    parts: Vec<Part>,
}

/// Actions that share a region action: those of one region, or one that must be alone.
struct Part {
    location: Arc<Location>,
    entries: Vec<usize>,
    alone: bool,
}

/// Why there is no result for an action.
#[derive(Clone)]
enum Failure {
    /// The server, or the way to it, said so.
    Told(RpcError),
    /// The server answered, and nobody can read what: the action may have happened.
    Unreadable(RpcError),
}

type Outcomes = Vec<(usize, Result<ActionResult, Failure>)>;
type Failed = Vec<(usize, RpcError)>;

impl<'a> Batch<'a> {
    pub fn new(
        cluster: &'a Arc<Cluster>,
        table: &'a TableName,
        operation: &'static str,
        actions: Vec<Action>,
    ) -> Batch<'a> {
        let retry = Retry::new(cluster, Subject::new(operation, Effect::Read).table(table));
        let locations = cluster.locations(table);
        let entries = Vec::with_capacity(actions.len());
        let mut batch = Batch { cluster, table, locations, retry, entries, answers: Vec::new() };
        for action in actions {
            let (row, answer) = match action.row() {
                Ok(row) => (row, None),
                Err(cause) => (Bytes::new(), Some(Err(batch.retry.fail(cause)))),
            };
            let effect = action.effect();
            let nonce = (effect == Effect::Once).then(|| cluster.calls.nonce());
            batch.entries.push(Entry { action, row, effect, nonce, doubt: Doubt::default() });
            batch.answers.push(answer);
        }
        batch
    }

    /// Does it.
    pub async fn run(mut self) -> Vec<Result<ActionResult>> {
        let mut pending: Vec<usize> = (0..self.entries.len()).filter(|at| self.answers[*at].is_none()).collect();
        while !pending.is_empty() {
            let (servers, mut failed) = self.plan(&pending).await;
            let outcomes: Vec<Outcomes> = futures::stream::iter(servers)
                .map(|server| self.call_server(server))
                .buffer_unordered(SERVERS_AT_ONCE)
                .collect()
                .await;
            let mut gained = false;
            for (at, outcome) in outcomes.into_iter().flatten() {
                match outcome {
                    Ok(answer) => {
                        gained = true;
                        self.answers[at] = Some(Ok(answer));
                    }
                    Err(Failure::Told(cause)) => failed.push((at, cause)),
                    Err(Failure::Unreadable(cause)) => {
                        self.entries[at].doubt.begin(self.cluster.calls.now());
                        self.give_up(at, cause);
                    }
                }
            }
            if gained {
                self.retry.progress();
            }
            let now = self.cluster.calls.now();
            let mut again = Vec::new();
            for (at, cause) in failed {
                let entry = &mut self.entries[at];
                entry.doubt.note(&cause, now);
                if entry.doubt.allows(entry.effect, &cause, now) {
                    again.push((at, cause));
                } else {
                    self.give_up(at, cause);
                }
            }
            let Some((_, cause)) = again.first() else { break };
            if let Err(end) = self.retry.pause_after(cause.clone()).await {
                for (at, cause) in again {
                    // A table out of service is said of every action; else each has its own cause.
                    self.give_up(at, if end.kind == ErrorKind::Conflict { end.clone() } else { cause });
                }
                break;
            }
            pending.clear();
            pending.extend(again.into_iter().map(|(at, _)| at));
            pending.sort_unstable();
        }
        self.answers.into_iter().map(|answer| answer.expect("every action was answered")).collect()
    }

    fn give_up(&mut self, at: usize, cause: RpcError) {
        let entry = &self.entries[at];
        self.answers[at] = Some(Err(self.retry.fail_for(&entry.row, entry.effect, entry.doubt, cause)));
    }

    /// Locates the pending actions. What cannot be located fails.
    async fn plan(&self, pending: &[usize]) -> (Vec<ServerParts>, Failed) {
        let (mut servers, mut failed): (Vec<ServerParts>, Failed) = (Vec::new(), Vec::new());
        // Where each region's shared part stands: among the servers, among its parts.
        let mut shared: HashMap<Bytes, (usize, usize)> = HashMap::new();
        let mut last: Option<Arc<Location>> = None;
        // Once META gave no answer it is not asked for every row that is left: what is known must do.
        let mut lost: Option<RpcError> = None;
        for at in pending {
            let entry = &self.entries[*at];
            let location = match last.take().filter(|last| last.info.contains(&entry.row)) {
                Some(location) => location,
                None => {
                    let seek = Seek::Row(entry.row.clone());
                    let located = match (self.locations.cached(&seek), &lost) {
                        (Some(location), _) => Ok(location),
                        (None, Some(cause)) => Err(cause.clone()),
                        (None, None) => self.cluster.locate(self.table, &seek, self.retry.call_limit()).await,
                    };
                    match located {
                        Ok(location) => location,
                        Err(cause) => {
                            failed.push((*at, cause.clone()));
                            lost = Some(cause);
                            continue;
                        }
                    }
                }
            };
            let place = shared.get(&location.name).copied();
            match place.filter(|(server, _)| servers[*server].address == location.address) {
                Some((server, part)) if !entry.action.is_alone() => servers[server].parts[part].entries.push(*at),
                _ => {
                    let server =
                        servers.iter().position(|server| server.address == location.address).unwrap_or_else(|| {
                            servers.push(ServerParts { address: location.address.clone(), parts: Vec::new() });
                            servers.len() - 1
                        });
                    let (parts, alone) = (&mut servers[server].parts, entry.action.is_alone());
                    if alone {
                        // Later actions of the region must come behind this one.
                        shared.remove(&location.name);
                    } else {
                        shared.insert(location.name.clone(), (server, parts.len()));
                    }
                    parts.push(Part { location: location.clone(), entries: vec![*at], alone });
                }
            }
            last = Some(location);
        }
        (servers, failed)
    }

    /// Sends a server's parts, one bounded call after the other.
    async fn call_server(&self, server: ServerParts) -> Outcomes {
        let ServerParts { address, parts } = server;
        let mut outcomes = Outcomes::new();
        let mut calls = self.cut(parts).into_iter();
        while let Some(parts) = calls.next() {
            let failure = match self.call(&address, &parts, &mut outcomes).await {
                Ok(()) => continue,
                Err(failure) => failure,
            };
            let mut failed_parts = parts;
            if let Failure::Told(cause) = &failure {
                if may_retry(cause) {
                    // The server would say the same to the rest.
                    failed_parts.extend(calls.by_ref().flatten());
                }
                failed_parts.iter().for_each(|part| self.cluster.heed(&part.location, cause));
            }
            let entries = failed_parts.iter().flat_map(|part| &part.entries);
            outcomes.extend(entries.map(|at| (*at, Err(failure.clone()))));
        }
        outcomes
    }

    /// Cuts parts into calls of bounded size.
    fn cut(&self, parts: Vec<Part>) -> Vec<Vec<Part>> {
        let mut calls: Vec<Vec<Part>> = Vec::new();
        let (mut actions, mut bytes) = (CALL_ACTIONS, CALL_BYTES);
        for part in parts {
            let mut open = false;
            for at in part.entries {
                if actions >= CALL_ACTIONS || bytes >= CALL_BYTES {
                    calls.push(Vec::new());
                    (actions, bytes, open) = (0, 0, false);
                }
                actions += 1;
                bytes += self.entries[at].action.bytes();
                let call = calls.last_mut().expect("a call was begun");
                if open {
                    call.last_mut().expect("a part was begun").entries.push(at);
                } else {
                    call.push(Part { location: part.location.clone(), entries: vec![at], alone: part.alone });
                    open = true;
                }
            }
        }
        calls
    }

    async fn call(&self, address: &str, parts: &[Part], outcomes: &mut Outcomes) -> Result<(), Failure> {
        let mut block = BytesMut::new();
        let request = pb::MultiRequest {
            region_action: parts.iter().map(|part| self.region_action(part, &mut block)).collect(),
            nonce_group: Some(self.cluster.calls.nonce_group),
            condition: None,
        };
        let call = Call { cells: block.freeze(), ..Call::new(CLIENT, "Multi", &request) };
        drop(request);
        let reply = self.cluster.calls.call(address, call, self.retry.call_limit()).await.map_err(Failure::Told)?;
        self.read(parts, &reply, outcomes).map_err(Failure::Unreadable)
    }

    fn read(&self, parts: &[Part], reply: &Reply, outcomes: &mut Outcomes) -> Result<(), RpcError> {
        let answer: pb::MultiResponse = reply.decode()?;
        if answer.region_action_result.len() != parts.len() {
            let (got, want) = (answer.region_action_result.len(), parts.len());
            return Err(broken(format!("{got} region results for {want} regions")));
        }
        let mut cells = CellBlock::new(reply.cells.clone());
        let mut answered = Outcomes::new();
        for (part, result) in parts.iter().zip(&answer.region_action_result) {
            self.read_part(part, result, &mut cells, &mut answered)?;
        }
        outcomes.append(&mut answered);
        Ok(())
    }

    fn region_action(&self, part: &Part, block: &mut BytesMut) -> pb::RegionAction {
        let mut action = pb::RegionAction { region: part.location.specifier(), ..pb::RegionAction::default() };
        let mut mutation = |mutation: &Mutation, nonce: Option<u64>, index: usize| pb::Action {
            index: Some(index as u32),
            mutation: Some(mutation_to(mutation, nonce, block)),
            ..pb::Action::default()
        };
        for (index, at) in part.entries.iter().enumerate() {
            let entry = &self.entries[*at];
            match &entry.action {
                Action::Get(get) => action.action.push(pb::Action {
                    index: Some(index as u32),
                    get: Some(get_to(get)),
                    ..pb::Action::default()
                }),
                Action::Mutation(one) => action.action.push(mutation(one, entry.nonce, index)),
                Action::RowMutations(all) => {
                    action.atomic = Some(true);
                    let each = all.iter().enumerate().map(|(index, one)| mutation(one, entry.nonce, index));
                    action.action.extend(each);
                }
                Action::CheckAndMutate(check) => {
                    action.atomic = Some(true);
                    action.condition = Some(condition_to(check.row.clone(), &check.condition));
                    let each = check.mutations.iter().enumerate();
                    action.action.extend(each.map(|(index, one)| mutation(one, entry.nonce, index)));
                }
            }
        }
        action
    }

    /// What a part, or one of its actions, was answered with; if the region is elsewhere, that is remembered.
    fn failure(&self, part: &Part, exception: &pb::NameBytesPair) -> RpcError {
        let cause = received(exception);
        self.cluster.heed(&part.location, &cause);
        cause
    }

    fn read_part(
        &self,
        part: &Part,
        result: &pb::RegionActionResult,
        cells: &mut CellBlock,
        outcomes: &mut Outcomes,
    ) -> Result<(), RpcError> {
        if let Some(exception) = &result.exception {
            let cause = self.failure(part, exception);
            outcomes.extend(part.entries.iter().map(|at| (*at, Err(Failure::Told(cause.clone())))));
            return Ok(());
        }
        if part.alone {
            return self.read_alone(part, result, cells, outcomes);
        }
        let mut answered = vec![false; part.entries.len()];
        for one in &result.result_or_exception {
            let index = one.index() as usize;
            match answered.get_mut(index) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(broken(format!("result for an action that was not sent, or a second one: {index}"))),
            }
            let outcome = match &one.exception {
                Some(exception) => Err(Failure::Told(self.failure(part, exception))),
                None => {
                    let found = one.result.as_ref().map(|result| result_from(result, cells)).transpose()?;
                    Ok(ActionResult { row: Row::of(found.unwrap_or_default()), processed: None })
                }
            };
            outcomes.push((part.entries[index], outcome));
        }
        match answered.iter().position(|seen| !seen) {
            None => Ok(()),
            Some(index) => Err(broken(format!("no result for action {index}"))),
        }
    }

    fn read_alone(
        &self,
        part: &Part,
        result: &pb::RegionActionResult,
        cells: &mut CellBlock,
        outcomes: &mut Outcomes,
    ) -> Result<(), RpcError> {
        let at = part.entries[0];
        let mut answer = ActionResult::default();
        if matches!(self.entries[at].action, Action::CheckAndMutate(_)) {
            answer.processed = Some(result.processed());
        }
        for one in &result.result_or_exception {
            if let Some(exception) = &one.exception {
                outcomes.push((at, Err(Failure::Told(self.failure(part, exception)))));
                return Ok(());
            }
            if let Some(found) = &one.result {
                answer.row.cells.extend(result_from(found, cells)?);
            }
        }
        outcomes.push((at, Ok(answer)));
        Ok(())
    }
}

/// An exception inside an answer. One of an unknown class is not tried again.
fn received(exception: &pb::NameBytesPair) -> RpcError {
    let message = String::from_utf8_lossy(exception.value.as_deref().unwrap_or_default()).into_owned();
    RpcError::received(&exception.name, message, true)
}

fn broken(why: String) -> RpcError {
    RpcError::new(ErrorKind::Internal, format!("answer to Multi cannot be used: {why}"))
}

/// Whether doing it twice differs from doing it once. Removing a column's newest version does: the second time it is
/// another one.
pub(crate) fn needs_nonce(mutation: &Mutation) -> bool {
    match mutation.kind {
        MutationKind::Increment | MutationKind::Append => true,
        MutationKind::Put | MutationKind::Delete => {
            let newest = |cell: &Cell| cell.cell_type() == CellType::DELETE && cell.timestamp() == LATEST_TIMESTAMP;
            mutation.cells.iter().any(newest)
        }
    }
}

/// The row of mutations that belong together.
pub(crate) fn common_row(mutations: &[Mutation]) -> Result<Bytes, RpcError> {
    let Some(first) = mutations.first() else {
        return Err(RpcError::invalid("there are no mutations"));
    };
    match mutations.iter().find(|mutation| mutation.row != first.row) {
        None => Ok(first.row.clone()),
        Some(other) => {
            let (one, other) = (first.row.escape_ascii(), other.row.escape_ascii());
            Err(RpcError::new(ErrorKind::Invalid, format!("mutations are of several rows: `{one}` and `{other}`")))
        }
    }
}
