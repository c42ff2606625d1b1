//! A store in `./ferrobase-data`: puts, a counter, a get and a scan; run it twice to see that everything was kept.

use std::sync::Arc;

use filesystem::local::LocalFilesystem;
use filesystem::{Filesystem, LockOutcome};
use model::mutation::{Mutation, MutationKind};
use model::query::Scan;
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor};
use model::{Cell, LATEST_TIMESTAMP};
use runtime::Runtime;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::read::Limits;
use storage::region::{Region, RegionContext, RegionSettings};
use storage::wal::{Log, LogSettings};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn put(row: &str, qualifier: &str, value: &str) -> Result<Mutation, Failure> {
    let mut mutation = Mutation::new(MutationKind::Put, row.to_owned());
    mutation.cells.push(Cell::put(row.as_bytes(), b"f", qualifier.as_bytes(), LATEST_TIMESTAMP, value.as_bytes())?);
    Ok(mutation)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let runtime = Runtime::system();
    let fs: Arc<dyn Filesystem> = Arc::new(LocalFilesystem::open("./ferrobase-data", runtime.random.clone())?);
    let _lock = match fs.lock_root(&format!("pid {}", std::process::id())).await? {
        LockOutcome::Locked(lock) => lock,
        LockOutcome::Held(holder) => return Err(format!("./ferrobase-data is in use by {holder}").into()),
    };
    // Each life of the process opens the region under epochs above all earlier ones.
    let leadership = coordination::take_over(&fs, &runtime, "first_rows").await?;
    let table =
        TableDescriptor::new("greetings".parse()?).with_family(FamilyDescriptor::new("f").with("VERSIONS", "3"));
    let info = RegionInfo::new(table.name.clone(), Default::default(), Default::default(), 1);
    let log = Log::create(fs.clone(), runtime.clone(), LogSettings::default(), runtime.random.next_u64()).await?;
    let ctx = RegionContext {
        runtime: runtime.clone(),
        fs: fs.clone(),
        log: log.clone(),
        budget: Budget::of_memory(256 << 20),
        cache: Arc::new(BlockCache::new(64 << 20)),
        settings: RegionSettings::default(),
    };
    Region::create(&fs, &runtime, "0000000000000001", &info, &table, leadership.next_epoch()).await?;
    let region = Region::open(ctx, info, "0000000000000001", leadership.next_epoch(), Arc::new(table)).await?;

    for (row, value) in [("row1", "hello"), ("row2", "world")] {
        region.mutate(vec![put(row, "greeting", value)?], None).await?;
    }
    let mut count = Mutation::new(MutationKind::Increment, "row1");
    count.cells.push(Cell::put(b"row1", b"f", b"runs", LATEST_TIMESTAMP, &1i64.to_be_bytes())?);
    region.mutate(vec![count], None).await?;

    println!("{:<8}COLUMN+CELL", "ROW");
    let mut rows = Vec::new();
    let mut scanner = region.scanner(&Scan::default()).await?;
    while scanner.next(&Limits::rows(100), &mut rows).await?.more {}
    for cell in rows.iter().flat_map(|row| &row.cells) {
        let column = format!("{}:{}", cell.family().escape_ascii(), cell.qualifier().escape_ascii());
        let row = cell.row().escape_ascii().to_string();
        println!("{row:<8}column={column}, timestamp={}, value={}", cell.timestamp(), cell.value().escape_ascii());
    }
    println!("{} row(s)", rows.len());
    drop(scanner);
    region.close().await?;
    log.close().await;
    println!("Run it again: the counter goes on from here.");
    Ok(())
}
