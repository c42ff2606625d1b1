//! A cluster of scripted servers behind the client's seam for connections.
//!
//! The registry and META answer by themselves from what the script says of regions; every other call is answered by what
//! the test has lined up for its method, or else by the method's plain answer.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use ferrobase_client::{Connection, ConnectionBuilder, Table};
use futures::future::BoxFuture;
use model::mutation::{Mutation, MutationKind};
use model::region::RegionInfo;
use model::schema::TableName;
use model::{Cell, ErrorKind, LATEST_TIMESTAMP};
use parking_lot::Mutex;
use protocol::messages as pb;
use protocol::meta::{ServerName, TableState, open_put, table_state_put};
use protocol::result::{result_to, scanned_to};
use protocol::schema::region_info_to;
use protocol::service::{CLIENT, Call, Connect, Reply, RpcError, Service};
use runtime::Runtime;
use runtime::clock::Clock;

/// A clock whose sleeps take no time but move it: an operation of one task runs to its deadline at once.
#[derive(Debug, Default)]
pub struct JumpingClock(AtomicU64);

impl Clock for JumpingClock {
    fn now_ms(&self) -> i64 {
        (self.0.load(Ordering::SeqCst) / 1_000_000) as i64
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.fetch_add(duration.as_nanos() as u64, Ordering::SeqCst);
        Box::pin(tokio::task::yield_now())
    }
}

/// What a server does with a call.
#[derive(Clone)]
pub enum Act {
    /// What the method answers when nothing is wrong.
    Plain,
    Reply(Reply),
    Fail(RpcError),
    /// No answer ever comes.
    Hang,
    /// Does so after that time.
    After(Duration, Box<Act>),
}

pub fn fail(kind: ErrorKind, class: &str) -> Act {
    Act::Fail(RpcError::of(kind, class, "scripted"))
}

/// A call that was made.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Duration,
    pub address: String,
    pub call: Call,
}

impl Seen {
    pub fn method(&self) -> &str {
        method_of(&self.call)
    }

    pub fn decode<M: prost::Message + Default>(&self) -> M {
        self.call.decode().expect("a message")
    }
}

type Rule = Box<dyn Fn(&Seen) -> Option<Act> + Send>;

pub struct Script {
    pub runtime: Runtime,
    meta: Mutex<BTreeMap<MetaKey, Vec<Cell>>>,
    states: Mutex<HashMap<String, TableState>>,
    lined_up: Mutex<HashMap<&'static str, VecDeque<Act>>>,
    rule: Mutex<Option<Rule>>,
    /// What connecting to an address does, if not succeed.
    doors: Mutex<HashMap<String, Act>>,
    seen: Mutex<Vec<Seen>>,
    master: Mutex<ServerName>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

pub fn name() -> TableName {
    "t".parse().expect("name")
}

pub fn server(n: u16) -> ServerName {
    ServerName::new(format!("s{n}"), n, 1)
}

pub fn region(start: &str, end: &str) -> RegionInfo {
    RegionInfo::new(name(), Bytes::copy_from_slice(start.as_bytes()), Bytes::copy_from_slice(end.as_bytes()), 1)
}

impl Script {
    /// Regions of table `t` by server, on a clock that jumps.
    pub fn new(regions: &[(RegionInfo, u16)]) -> Arc<Script> {
        let runtime = Runtime { clock: Arc::new(JumpingClock::default()), ..Runtime::system() };
        Script::on(runtime, regions)
    }

    /// On the machine's clock.
    pub fn live(regions: &[(RegionInfo, u16)]) -> Arc<Script> {
        Script::on(Runtime::system(), regions)
    }

    fn on(runtime: Runtime, regions: &[(RegionInfo, u16)]) -> Arc<Script> {
        let script = Script {
            runtime,
            meta: Mutex::default(),
            states: Mutex::new(HashMap::from([("t".to_owned(), TableState::Enabled)])),
            lined_up: Mutex::default(),
            rule: Mutex::default(),
            doors: Mutex::default(),
            seen: Mutex::default(),
            master: Mutex::new(ServerName::new("m", 1, 1)),
        };
        for (info, n) in regions {
            script.place(info, *n);
        }
        Arc::new(script)
    }

    pub fn builder(self: &Arc<Script>) -> ConnectionBuilder {
        self.bootstrap("boot:1")
    }

    pub fn bootstrap(self: &Arc<Script>, addresses: &str) -> ConnectionBuilder {
        Connection::builder(addresses).connector(Arc::new(Doors(self.clone()))).runtime(self.runtime.clone())
    }

    pub async fn table(self: &Arc<Script>) -> Table {
        self.builder().open().await.expect("connection").table(name())
    }

    /// META says that the region is there.
    pub fn place(&self, info: &RegionInfo, n: u16) {
        self.meta.lock().insert(meta_key(&info.region_name()), open_put(info, &server(n), 1, 1).cells);
    }

    pub fn table_is(&self, state: Option<TableState>) {
        match state {
            Some(state) => self.states.lock().insert("t".to_owned(), state),
            None => self.states.lock().remove("t"),
        };
    }

    pub fn master_is(&self, n: u16) {
        *self.master.lock() = ServerName::new("m", n, 1);
    }

    /// What the next calls of a method do.
    pub fn next(&self, method: &'static str, acts: impl IntoIterator<Item = Act>) {
        self.lined_up.lock().entry(method).or_default().extend(acts);
    }

    /// What calls do for which nothing is lined up.
    pub fn rule(&self, rule: impl Fn(&Seen) -> Option<Act> + Send + 'static) {
        *self.rule.lock() = Some(Box::new(rule));
    }

    pub fn door(&self, address: &str, act: Option<Act>) {
        match act {
            Some(act) => self.doors.lock().insert(address.to_owned(), act),
            None => self.doors.lock().remove(address),
        };
    }

    /// Calls of a method so far; those to META are `Lookup`.
    pub fn seen(&self, method: &str) -> Vec<Seen> {
        self.seen.lock().iter().filter(|seen| method_of(&seen.call) == method).cloned().collect()
    }

    /// The time that has passed.
    pub fn now(&self) -> Duration {
        self.runtime.clock.monotonic()
    }

    fn act(&self, seen: &Seen) -> Act {
        let lined_up = self.lined_up.lock().get_mut(method_of(&seen.call)).and_then(VecDeque::pop_front);
        let ruled = || self.rule.lock().as_ref().and_then(|rule| rule(seen));
        lined_up.or_else(ruled).unwrap_or(Act::Plain)
    }

    fn plain(&self, seen: &Seen) -> Result<Reply, RpcError> {
        let cluster = |host: &ServerName| pb::ServerName {
            host_name: host.host.clone(),
            port: Some(host.port.into()),
            start_code: Some(host.start_code),
        };
        Ok(match method_of(&seen.call) {
            "GetClusterId" => Reply::new(&pb::GetClusterIdResponse { cluster_id: Some("scripted".to_owned()) }),
            "GetActiveMaster" => {
                Reply::new(&pb::GetActiveMasterResponse { server_name: Some(cluster(&self.master.lock())) })
            }
            "GetMetaRegionLocations" => Reply::new(&pb::GetMetaRegionLocationsResponse {
                meta_locations: vec![pb::RegionLocation {
                    region_info: region_info_to(&RegionInfo::meta()),
                    server_name: Some(cluster(&server(0))),
                    seq_num: 1,
                }],
            }),
            "Lookup" => self.look_up(&seen.decode()),
            "TableState" => {
                let states = self.states.lock();
                let cells = states.get("t").map(|state| table_state_put(&name(), *state, 1).cells).unwrap_or_default();
                let mut block = BytesMut::new();
                let result = Some(result_to(&cells, &mut block));
                Reply { cells: block.freeze(), ..Reply::new(&pb::GetResponse { result }) }
            }
            "GetTableState" => {
                let state = self.states.lock().get("t").copied();
                let state = state.ok_or_else(|| RpcError::of(ErrorKind::NotFound, "TableNotFoundException", "t"))?;
                Reply::new(&pb::GetTableStateResponse { table_state: state.to_message() })
            }
            "Get" => Reply::new(&pb::GetResponse { result: Some(pb::Result::default()) }),
            "Mutate" => Reply::new(&pb::MutateResponse { result: None, processed: Some(true) }),
            "Multi" => multi_reply(&seen.decode(), |_, _| None),
            "Scan" => {
                let request: pb::ScanRequest = seen.decode();
                let id = request.scanner_id.or(Some(1));
                Reply::new(&pb::ScanResponse {
                    scanner_id: id,
                    more_results: Some(true),
                    more_results_in_region: Some(request.close_scanner() || request.renew()),
                    ..pb::ScanResponse::default()
                })
            }
            other => return Err(RpcError::invalid(format!("the script has no {other}"))),
        })
    }

    /// A scan of META.
    fn look_up(&self, request: &pb::ScanRequest) -> Reply {
        let scan = request.scan.as_ref().expect("a scan");
        let (first, last) = (meta_key(scan.start_row()), meta_key(scan.stop_row()));
        let most = request.number_of_rows() as usize;
        let meta = self.meta.lock();
        let found: Vec<_> = if scan.reversed() {
            meta.range(last..=first).rev().take(most).collect()
        } else {
            meta.range(first..last).take(most).collect()
        };
        let rows: Vec<_> = found.into_iter().map(|(_, cells)| (cells.clone(), false)).collect();
        let more = (Some(false), Some(false));
        let answer = pb::ScanResponse {
            scanner_id: Some(1),
            more_results: more.0,
            more_results_in_region: more.1,
            ..Default::default()
        };
        scan_reply(answer, &rows)
    }
}

/// Table, first row and id of a region: META's order.
type MetaKey = (Vec<u8>, Vec<u8>, Vec<u8>);

fn meta_key(row: &[u8]) -> MetaKey {
    let Some(end) = row.iter().position(|byte| *byte == b',') else { return (row.to_vec(), Vec::new(), Vec::new()) };
    let (table, rest) = (&row[..end], &row[end + 1..]);
    let at = rest.iter().rposition(|byte| *byte == b',').unwrap_or(rest.len());
    (table.to_vec(), rest[..at].to_vec(), rest[rest.len().min(at + 1)..].to_vec())
}

/// The method, with META's reads under names of their own.
fn method_of(call: &Call) -> &str {
    let region = match (call.service.as_str(), call.method.as_str()) {
        (CLIENT, "Get") => call.decode::<pb::GetRequest>().ok().map(|request| request.region),
        (CLIENT, "Scan") => call.decode::<pb::ScanRequest>().ok().and_then(|request| request.region),
        _ => None,
    };
    if region.is_none_or(|region| !region.value.starts_with(b"hbase:meta,")) {
        return &call.method;
    }
    if call.method == "Get" { "TableState" } else { "Lookup" }
}

/// Answers each action of a multi with nothing, or with what `of` says for its region and row.
pub fn multi_reply(request: &pb::MultiRequest, of: impl Fn(&[u8], &[u8]) -> Option<RpcError>) -> Reply {
    let pair =
        |error: &RpcError| pb::NameBytesPair { name: error.class.clone(), value: Some(error.message.clone().into()) };
    let result = |action: &pb::RegionAction| {
        let mut result = pb::RegionActionResult { processed: action.atomic, ..Default::default() };
        for one in &action.action {
            let row = one.mutation.as_ref().map(|it| it.row().to_vec()).or(one.get.as_ref().map(|it| it.row.to_vec()));
            let error = of(&action.region.value, &row.expect("a row"));
            result.result_or_exception.push(pb::ResultOrException {
                index: one.index,
                result: error.is_none().then(pb::Result::default),
                exception: error.as_ref().map(pair),
                ..Default::default()
            });
        }
        result
    };
    let region_action_result = request.region_action.iter().map(result).collect();
    Reply::new(&pb::MultiResponse { region_action_result, ..Default::default() })
}

/// An answer to a scan with rows or parts of rows.
pub fn scan_reply(mut answer: pb::ScanResponse, rows: &[(Vec<Cell>, bool)]) -> Reply {
    let mut block = BytesMut::new();
    scanned_to(rows, &mut answer, &mut block);
    Reply { cells: block.freeze(), ..Reply::new(&answer) }
}

struct Server {
    script: Arc<Script>,
    address: String,
}

#[async_trait]
impl Service for Server {
    async fn call(&self, call: Call) -> Result<Reply, RpcError> {
        let seen = Seen { at: self.script.now(), address: self.address.clone(), call };
        self.script.seen.lock().push(seen.clone());
        let mut act = self.script.act(&seen);
        loop {
            match act {
                Act::Plain => return self.script.plain(&seen),
                Act::Reply(reply) => return Ok(reply),
                Act::Fail(error) => return Err(error),
                Act::Hang => pending().await,
                Act::After(time, then) => {
                    self.script.runtime.clock.sleep(time).await;
                    act = *then;
                }
            }
        }
    }
}

/// The script as a client sees it.
struct Doors(Arc<Script>);

#[async_trait]
impl Connect for Doors {
    async fn connect(&self, address: &str) -> Result<Arc<dyn Service>, RpcError> {
        let act = self.0.doors.lock().get(address).cloned();
        match act {
            Some(Act::Fail(error)) => Err(error),
            Some(Act::Hang) => pending().await,
            _ => Ok(Arc::new(Server { script: self.0.clone(), address: address.to_owned() })),
        }
    }
}

pub fn put(row: impl Into<Bytes>, value: &[u8]) -> Mutation {
    let row = row.into();
    let mut put = Mutation::new(MutationKind::Put, row.clone());
    put.cells.push(Cell::put(&row, b"f", b"q", LATEST_TIMESTAMP, value).expect("cell"));
    put
}

pub fn increment(row: &str, by: i64) -> Mutation {
    Mutation { kind: MutationKind::Increment, ..put(row.to_owned(), &by.to_be_bytes()) }
}

pub fn cell(row: &str, qualifier: &str, value: &str) -> Cell {
    Cell::put(row.as_bytes(), b"f", qualifier.as_bytes(), 7, value.as_bytes()).expect("cell")
}

/// Waits for what another task does.
pub async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not happen in 10 s");
}
