//! A tour of the Rust client, against a server that runs.
//!
//! ```sh
//! cargo run --release -- standalone                                                # in one terminal
//! cargo run --release --example client_tour -- --connect localhost:16000         # in another
//! ```
//!
//! It makes a table `client_tour`, shows what can be done with it, and drops it again.

use client::{Action, BufferSettings, Connection};
use model::ErrorKind;
use model::filter::{Comparator, CompareOp, Filter};
use model::mutation::{CheckAndMutate, Condition, Mutation};
use model::query::{Get, Scan};
use model::schema::{FamilyDescriptor, TableDescriptor};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => tour("localhost:16000").await,
        ["--connect", address] => tour(address).await,
        _ => Err("usage: client_tour [--connect HOST:PORT[,HOST:PORT…]]".into()),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The whole tour.
pub async fn tour(bootstrap: &str) -> Result<(), Failure> {
    // One connection serves a whole program: clones share their sockets and what they know of the cluster.
    let connection = Connection::builder(bootstrap).open().await?;
    let admin = connection.admin();
    println!("connected to cluster {}", connection.cluster_id());

    // A table with two families, cut into three regions.
    let name = "client_tour".parse()?;
    if admin.exists(&name).await? {
        if admin.is_enabled(&name).await? {
            admin.disable_table(&name).await?;
        }
        admin.delete_table(&name).await?;
    }
    let described = TableDescriptor::new(name.clone())
        .with_family(FamilyDescriptor::new("info").with("VERSIONS", "3"))
        .with_family(FamilyDescriptor::new("stats"));
    admin.create_table(&described, &["h".into(), "p".into()]).await?;
    for region in admin.regions(&name).await? {
        println!("region from `{}` on {}", text(&region.info.start_key), region.server.address());
    }

    // One row: a put, a get.
    let table = connection.table(name.clone());
    table.mutate(Mutation::put("lisbon").cell("info", "country", "Portugal")?.cell("info", "river", "Tejo")?).await?;
    let row = table.get(&Get::new("lisbon")).await?;
    println!("lisbon lies at the {}", text(&row.value("info", "river").unwrap_or_default()));

    // Many rows at once: each has its own answer.
    let cities = [
        ("athens", "Greece", ""),
        ("berlin", "Germany", "Spree"),
        ("paris", "France", "Seine"),
        ("vienna", "Austria", "Donau"),
    ];
    let mut puts = Vec::new();
    for (city, country, river) in cities {
        let put = Mutation::put(city).cell("info", "country", country)?;
        puts.push(if river.is_empty() { put } else { put.cell("info", "river", river)? });
    }
    for answer in table.mutate_all(puts).await {
        answer?;
    }

    // Counters answer their new value, and count once even when an answer is lost and the call repeated.
    for _ in 0..2 {
        let row = table.mutate(Mutation::increment("paris").amount("stats", "visits", 1)?).await?;
        let visits = row.value("stats", "visits").unwrap_or_default();
        println!("visits to paris: {}", i64::from_be_bytes(visits[..].try_into()?));
    }

    // A change under a condition, and several changes of a row as one.
    let mutations = vec![Mutation::put("athens").cell("info", "river", "Kifissos")?];
    let check = CheckAndMutate { row: "athens".into(), condition: Condition::missing("info", "river"), mutations };
    for _ in 0..2 {
        let (done, _) = table.check_and_mutate(check.clone()).await?;
        println!("river of athens was {}", if done { "unknown, now written" } else { "known already" });
    }
    let rename = vec![
        Mutation::put("vienna").cell("info", "river_en", "Danube")?,
        Mutation::delete("vienna").column("info", "river")?,
    ];
    table.mutate_row(rename).await?;

    // Things of all kinds in one go.
    let actions = vec![
        Action::Get(Get::new("vienna").with_column("info", "river_en")),
        Action::Mutation(Mutation::append("berlin").cell("info", "river", ", Havel")?),
        Action::Mutation(Mutation::delete("lisbon")),
    ];
    for answer in table.batch(actions).await {
        for cell in &answer?.row.cells {
            println!("{} {} = {}", text(cell.row()), text(cell.qualifier()), text(cell.value()));
        }
    }

    // Scans go through all regions; filters are applied by the servers.
    let with_e = Filter::SingleColumnValue {
        family: "info".into(),
        qualifier: "country".into(),
        op: CompareOp::Equal,
        comparator: Comparator::Substring("e".to_owned()),
        filter_if_missing: true,
        latest_version_only: true,
    };
    let mut rows = table.scan(Scan::between("b", "w").with_family("info").with_filter(with_e));
    while let Some(row) = rows.next_row().await? {
        let country = row.value("info", "country").unwrap_or_default();
        println!("{} in {}", text(row.row().unwrap_or_default()), text(&country));
    }
    let mut last = table.scan(Scan { reversed: true, limit: Some(1), ..Scan::default() });
    if let Some(row) = last.next_row().await? {
        println!("the last row is {}", text(row.row().unwrap_or_default()));
    }

    // Loading: a buffer sends large batches in the background.
    let buffer = connection.buffered_mutator(name.clone(), BufferSettings::default());
    for n in 0..10_000 {
        buffer.mutate(Mutation::put(format!("village{n:05}")).cell("stats", "inhabitants", n.to_string())?).await?;
    }
    buffer.close().await?;
    let mut villages =
        table.scan(Scan::default().with_prefix("village").with_filter(Filter::KeyOnly { len_as_val: false }));
    let mut count = 0;
    while villages.next_row().await?.is_some() {
        count += 1;
    }
    println!("{count} villages");

    // An error says what to do.
    let typo = Mutation::put("rome").cell("inof", "country", "Italy")?;
    match table.mutate(typo).await {
        Err(error) if error.kind() == ErrorKind::NotFound => println!("as expected: {error}"),
        Err(error) => return Err(error.into()),
        Ok(_) => return Err("a family that does not exist took a cell".into()),
    }

    admin.flush(&name).await?;
    admin.disable_table(&name).await?;
    admin.delete_table(&name).await?;
    println!("table {name} dropped");
    Ok(())
}
