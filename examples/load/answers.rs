//! Questions a user would ask, with the answers computed from the source while it was read.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use client::{ClientError, Table};
use model::filter::language;
use model::query::{Get, Scan, TimeRange};

use crate::flights::millis;
use crate::source::Record;

/// A question with the answer that the source gives.
pub struct Question {
    /// In words.
    pub text: String,
    /// What the source says.
    pub expected: String,
    /// How the table is asked.
    pub ask: Ask,
}

/// How a table is asked.
pub enum Ask {
    /// Counts the rows of a scan.
    Rows(Box<Scan>),
    /// The first row of a scan.
    FirstRow(Box<Scan>),
    /// All versions of a column, newest first.
    Versions { row: String, family: &'static str, qualifier: &'static str },
    /// A counter of the counting table.
    Counter(String),
}

impl Ask {
    /// Asks.
    pub async fn answer(&self, table: &Table, counts: &Table) -> Result<String, ClientError> {
        match self {
            Ask::Rows(scan) => {
                let mut rows = table.scan((**scan).clone());
                let mut count = 0;
                while rows.next_row().await?.is_some() {
                    count += 1;
                }
                Ok(format!("{count} rows"))
            }
            Ask::FirstRow(scan) => {
                let row = table.scan((**scan).clone()).next_row().await?;
                let key = row.as_ref().and_then(|row| row.row()).unwrap_or_default();
                Ok(String::from_utf8_lossy(key).into_owned())
            }
            Ask::Versions { row, family, qualifier } => {
                let mut get = Get::new(row.clone());
                get.selection.add_column(*family, *qualifier);
                get.selection.max_versions = 100;
                let row = table.get(&get).await?;
                let values = row.cells.iter().map(|cell| String::from_utf8_lossy(cell.value()).into_owned());
                Ok(values.collect::<Vec<_>>().join(" "))
            }
            Ask::Counter(row) => {
                let row = counts.get(&Get::new(row.clone())).await?;
                let value = row.value(b"c", b"count").unwrap_or_default();
                Ok(value.as_ref().try_into().map_or(0, i64::from_be_bytes).to_string())
            }
        }
    }
}

fn filtered(text: &str) -> Box<Scan> {
    let mut scan = Scan::default();
    scan.selection.filter = Some(language::parse(text.as_bytes()).expect("a filter written here"));
    Box::new(scan)
}

fn column(family: &'static str, qualifier: &'static str) -> Box<Scan> {
    let mut scan = Scan::default();
    scan.selection.add_column(family, qualifier);
    Box::new(scan)
}

fn prefix(text: &str) -> Box<Scan> {
    Box::new(Scan::default().with_prefix(Bytes::copy_from_slice(text.as_bytes())))
}

/// What is remembered of a source to know the answers.
#[derive(Default)]
pub struct Answers {
    /// Per row and time: the few fields that are asked for.
    rows: BTreeMap<String, BTreeMap<i64, BTreeMap<&'static str, String>>>,
    /// Records counted under each name.
    pub counters: BTreeMap<String, i64>,
}

const ASKED: &[&str] = &["Section", "Version", "Ruby-Versions", "dest", "dep_time"];

impl Answers {
    /// Remembers a record.
    pub fn see(&mut self, record: &Record) {
        *self.counters.entry(record.counter.clone()).or_default() += 1;
        let fields = self.rows.entry(record.row.clone()).or_default().entry(record.timestamp).or_default();
        for (_, name, value) in &record.cells {
            if let Some(asked) = ASKED.iter().find(|asked| *asked == name) {
                fields.insert(asked, value.clone());
            }
        }
    }

    /// Rows seen.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    fn count(&self, keep: impl Fn(&str, &BTreeMap<i64, BTreeMap<&'static str, String>>) -> bool) -> String {
        format!("{} rows", self.rows.iter().filter(|(row, times)| keep(row, times)).count())
    }

    fn counters_asked(&self) -> Vec<Question> {
        let mut most: Vec<_> = self.counters.iter().collect();
        most.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
        most.iter()
            .take(3)
            .map(|(name, count)| Question {
                text: format!("counter of {name}"),
                expected: count.to_string(),
                ask: Ask::Counter((*name).clone()),
            })
            .collect()
    }

    /// The newest value of a field of a row.
    fn newest<'a>(times: &'a BTreeMap<i64, BTreeMap<&'static str, String>>, field: &str) -> Option<&'a str> {
        times.values().rev().find_map(|fields| fields.get(field)).map(String::as_str)
    }

    /// Questions about packages.
    pub fn of_packages(&self) -> Vec<Question> {
        let games = "SingleColumnValueFilter('i','Section',=,'binary:games',true,true)";
        let has = |times: &BTreeMap<i64, BTreeMap<&'static str, String>>, name| Self::newest(times, name).is_some();
        let most = self.rows.iter().max_by_key(|(_, times)| {
            times.values().filter_map(|fields| fields.get("Version")).collect::<BTreeSet<_>>().len()
        });
        let Some((row, times)) = most.map(|(row, times)| (row.clone(), times.clone())) else { return Vec::new() };
        let versions: Vec<String> = times.values().rev().filter_map(|fields| fields.get("Version").cloned()).collect();
        let mut questions = vec![
            Question {
                text: "all packages".into(),
                expected: self.count(|_, _| true),
                ask: Ask::Rows(column("i", "Package")),
            },
            Question {
                text: "packages whose name starts with python3-".into(),
                expected: self.count(|row, _| row.starts_with("python3-")),
                ask: Ask::Rows(prefix("python3-")),
            },
            Question {
                text: "packages of section games".into(),
                expected: self.count(|_, times| Self::newest(times, "Section") == Some("games")),
                ask: Ask::Rows(filtered(games)),
            },
            Question {
                text: "packages with the rare field Ruby-Versions".into(),
                expected: self.count(|_, times| has(times, "Ruby-Versions")),
                ask: Ask::Rows(column("d", "Ruby-Versions")),
            },
            Question {
                text: format!("versions of {row}, newest first"),
                expected: versions.join(" "),
                ask: Ask::Versions { row, family: "i", qualifier: "Version" },
            },
        ];
        questions.extend(self.counters_asked());
        questions
    }

    /// Questions about flights.
    pub fn of_flights(&self) -> Vec<Question> {
        let honolulu = "SingleColumnValueFilter('p','dest',=,'binary:HNL',true,true)";
        let december = (millis(2013, 12, 1).expect("a date"), millis(2014, 1, 1).expect("a date"));
        let mut in_december = Scan::default();
        in_december.selection.time_range = TimeRange { from: december.0, to: december.1 };
        let mut last = Scan { start_row: "LGA0".into(), reversed: true, limit: Some(1), ..Scan::default() };
        last.selection.add_column("p", "dest");
        let last_row = self.rows.keys().rfind(|row| row.as_str() < "LGA0").cloned().unwrap_or_default();
        let mut questions = vec![
            Question {
                text: "all flights".into(),
                expected: self.count(|_, _| true),
                ask: Ask::Rows(column("p", "dest")),
            },
            Question {
                text: "flights from JFK on the 4th of July".into(),
                expected: self.count(|row, _| row.starts_with("JFK/2013-07-04/")),
                ask: Ask::Rows(prefix("JFK/2013-07-04/")),
            },
            Question {
                text: "flights to Honolulu".into(),
                expected: self.count(|_, times| Self::newest(times, "dest") == Some("HNL")),
                ask: Ask::Rows(filtered(honolulu)),
            },
            Question {
                text: "flights that departed".into(),
                expected: self.count(|_, times| Self::newest(times, "dep_time").is_some()),
                ask: Ask::Rows(column("a", "dep_time")),
            },
            Question {
                text: "flights of December, by the cells' time".into(),
                expected: self.count(|_, times| times.keys().any(|time| (december.0..december.1).contains(time))),
                ask: Ask::Rows(Box::new(in_december)),
            },
            Question { text: "last flight from LGA".into(), expected: last_row, ask: Ask::FirstRow(Box::new(last)) },
        ];
        questions.extend(self.counters_asked());
        questions
    }
}
