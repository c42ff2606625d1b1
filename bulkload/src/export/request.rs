//! What is to be exported: rows, columns, versions, and how they are written. No I/O.

use bytes::Bytes;
use model::query::{Scan, TimeRange};
use model::schema::{TableDescriptor, TableName};
use serde_json::{Value, json};

use super::partition::Partition;

/// All versions: HBase's way to say it.
pub const ALL_VERSIONS: u32 = i32::MAX as u32;

/// How files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Rows as JSON, one object a line, with everything of their cells.
    JsonLines,
    /// A header, and a line for each row with the newest values of fixed columns.
    Csv,
    /// A record for each cell, with everything of it.
    Parquet,
    /// A record for each row, with the newest values of fixed columns.
    WideParquet,
    /// `FAMILY/FILE`, as bulk loads take them.
    StoreFiles,
}

impl Output {
    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Output::JsonLines => "jsonl",
            Output::Csv => "csv",
            Output::Parquet | Output::WideParquet => "parquet",
            Output::StoreFiles => "hfile",
        }
    }

    /// Whether a record is a row with fixed columns.
    pub fn is_wide(self) -> bool {
        matches!(self, Output::Csv | Output::WideParquet)
    }

    fn takes(self, codec: Codec) -> bool {
        match self {
            Output::JsonLines | Output::Csv => matches!(codec, Codec::None | Codec::Gzip | Codec::Zstd),
            Output::Parquet | Output::WideParquet | Output::StoreFiles => true,
        }
    }
}

/// How bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
}

impl Codec {
    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Zstd => "zstd",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
        }
    }

    /// As families have it.
    pub fn of_family(self) -> &'static str {
        match self {
            Codec::None => "NONE",
            Codec::Gzip => "GZ",
            Codec::Zstd => "ZSTD",
            Codec::Snappy => "SNAPPY",
            Codec::Lz4 => "LZ4",
        }
    }
}

/// A family, or a column of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The family.
    pub family: Bytes,
    /// The column; `None` means all of the family.
    pub qualifier: Option<Bytes>,
}

impl Wanted {
    /// Whether a cell of this column is wanted.
    pub fn takes(&self, family: &[u8], qualifier: &[u8]) -> bool {
        self.family == family && self.qualifier.as_ref().is_none_or(|wanted| wanted == qualifier)
    }
}

/// Rows from the first to before the second; empty means the table's edge.
pub type Range = (Bytes, Bytes);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The table.
    pub table: TableName,
    /// How files are written.
    pub output: Output,
    /// How they are packed; `None`: as is usual for them.
    pub codec: Option<Codec>,
    /// First row; empty means the first of the table.
    pub start_row: Bytes,
    /// Row behind the last; empty means the end of the table.
    pub stop_row: Bytes,
    /// Timestamps wanted.
    pub time_range: TimeRange,
    /// Versions of each column.
    pub versions: u32,
    /// Families and columns; none means all.
    pub columns: Vec<Wanted>,
    /// With delete markers, and what they hide.
    pub raw: bool,
    /// Folders by a value.
    pub partition: Option<Partition>,
}

impl Request {
    /// Whether the request can be, of this table.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn check(&self, table: &TableDescriptor) -> Result<(), String> {
        let output = self.output.name();
        if !self.stop_row.is_empty() && self.start_row >= self.stop_row {
            return Err("--start-row: it is not before --stop-row".to_owned());
        }
        if self.time_range.from < 0 || self.time_range.from >= self.time_range.to {
            return Err("--start-time: it is not before --end-time, or negative".to_owned());
        }
        if self.versions == 0 {
            return Err("--versions: at least one is needed".to_owned());
        }
        if let Some(codec) = self.codec.filter(|codec| !self.output.takes(*codec)) {
            return Err(format!("--compression {}: {output} is packed with gzip or zstd", codec.name()));
        }
        if self.output == Output::StoreFiles && self.partition.is_some() {
            return Err("--partition: store files lie by family".to_owned());
        }
        let partition = self.partition.as_ref().and_then(Partition::column);
        if partition.is_some() && (self.raw || self.time_range != TimeRange::ALL) {
            let why =
                "the newest value of a column decides where a row goes, and these may leave it out or show it deleted";
            return Err(format!("--partition: not by a column with --raw, --start-time or --end-time: {why}"));
        }
        let named = self.columns.iter().map(|wanted| &wanted.family);
        if let Some(family) =
            named.chain(partition.map(|(family, _)| family)).find(|family| !table.families.contains_key(*family))
        {
            return Err(format!("table {} has no family `{}`", table.name, family.escape_ascii()));
        }
        if self.raw && self.columns.iter().any(|wanted| wanted.qualifier.is_some()) {
            return Err("--raw: deletes of families belong to no column; name families only".to_owned());
        }
        if self.output.is_wide() { self.check_wide() } else { Ok(()) }
    }

    fn check_wide(&self) -> Result<(), String> {
        let what = if self.output == Output::Csv { "--output csv" } else { "--wide" };
        if self.raw || self.versions > 1 {
            let why = "a row has one value for each column; jsonl and parquet hold versions and deletes";
            return Err(format!("--versions, --raw: with {what} {why}"));
        }
        if self.columns.iter().any(|wanted| wanted.qualifier.is_none()) || self.fields().is_empty() {
            return Err(format!("--columns: {what} needs columns such as f:a,f:b, besides that of --partition"));
        }
        let fields = self.fields();
        let twice = fields.iter().enumerate().find(|(at, field)| fields[..*at].contains(field));
        if let Some((_, (family, qualifier))) = twice {
            let (family, qualifier) = (family.escape_ascii(), qualifier.escape_ascii());
            return Err(format!("--columns: {family}:{qualifier} is given twice"));
        }
        for (family, qualifier) in fields {
            let plain = |name: &[u8]| std::str::from_utf8(name).is_ok_and(|name| name.trim() == name);
            let plain = plain(&family) && plain(&qualifier);
            if !plain || self.output == Output::Csv && (family.contains(&b',') || qualifier.contains(&b',')) {
                let (family, qualifier) = (family.escape_ascii(), qualifier.escape_ascii());
                return Err(format!("--columns: `{family}:{qualifier}` cannot be the name of a column of {what}"));
            }
        }
        Ok(())
    }

    /// Columns of wide files: those asked for but the one that the folders tell.
    pub fn fields(&self) -> Vec<(Bytes, Bytes)> {
        let told = self.partition.as_ref().and_then(Partition::column);
        let columns = self.columns.iter().filter_map(|wanted| Some((wanted.family.clone(), wanted.qualifier.clone()?)));
        columns.filter(|column| Some(column) != told).collect()
    }

    /// The column that is only read to find the rows' folders.
    pub fn hidden(&self) -> Option<&(Bytes, Bytes)> {
        let (family, qualifier) = self.partition.as_ref().and_then(Partition::column)?;
        let is_wanted = self.columns.is_empty() || self.columns.iter().any(|wanted| wanted.takes(family, qualifier));
        self.partition.as_ref().and_then(Partition::column).filter(|_| !is_wanted)
    }

    /// Row ranges that begin at these rows, as far as they are asked for.
    pub fn ranges(&self, starts: &[Bytes]) -> Vec<Range> {
        let inside = |row: &&Bytes| **row > self.start_row && (self.stop_row.is_empty() || **row < self.stop_row);
        let mut borders: Vec<Bytes> = starts.iter().filter(inside).cloned().collect();
        borders.sort();
        borders.dedup();
        let firsts = std::iter::once(&self.start_row).chain(&borders).cloned();
        let ends = borders.iter().chain(std::iter::once(&self.stop_row)).cloned();
        firsts.zip(ends).collect()
    }

    /// The scan of a range.
    pub fn scan(&self, (start, stop): Range) -> Scan {
        let mut scan = Scan { raw: self.raw, allow_partial_results: true, ..Scan::between(start, stop) };
        let selection = &mut scan.selection;
        (selection.time_range, selection.max_versions, selection.cache_blocks) =
            (self.time_range, self.versions, false);
        let columns = self.columns.iter().filter_map(|wanted| Some((wanted.family.clone(), wanted.qualifier.clone()?)));
        columns.for_each(|(family, qualifier)| selection.add_column(family, qualifier));
        if let Some((family, qualifier)) = self.partition.as_ref().and_then(Partition::column)
            && !self.columns.is_empty()
        {
            selection.add_column(family.clone(), qualifier.clone());
        }
        // A whole family replaces columns of it.
        let families = self.columns.iter().filter(|wanted| wanted.qualifier.is_none());
        families.for_each(|wanted| selection.add_family(wanted.family.clone()));
        scan
    }

    /// Everything that decides what the files hold, to compare with that of an earlier run.
    pub fn told(&self) -> Value {
        let text = |bytes: &Bytes| bytes.escape_ascii().to_string();
        let column = |wanted: &Wanted| match &wanted.qualifier {
            Some(qualifier) => format!("{}:{}", text(&wanted.family), text(qualifier)),
            None => text(&wanted.family),
        };
        json!({
            "table": self.table.to_string(),
            "output": self.output.name(),
            "wide": self.output.is_wide(),
            "compression": self.codec.map(Codec::name),
            "start_row": text(&self.start_row),
            "stop_row": text(&self.stop_row),
            "start_time": self.time_range.from,
            "end_time": self.time_range.to,
            "versions": self.versions,
            "columns": self.columns.iter().map(column).collect::<Vec<_>>(),
            "raw": self.raw,
            "partition": self.partition.as_ref().map(ToString::to_string),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::schema::FamilyDescriptor;

    fn request(output: Output) -> Request {
        Request {
            table: "t".parse().expect("a name"),
            output,
            codec: None,
            start_row: Bytes::new(),
            stop_row: Bytes::new(),
            time_range: TimeRange::ALL,
            versions: 1,
            columns: Vec::new(),
            raw: false,
            partition: None,
        }
    }

    fn wanted(names: &[&'static str]) -> Vec<Wanted> {
        let wanted = |name: &&'static str| match name.split_once(':') {
            Some((family, qualifier)) => Wanted { family: family.into(), qualifier: Some(qualifier.into()) },
            None => Wanted { family: (*name).into(), qualifier: None },
        };
        names.iter().map(wanted).collect()
    }

    #[test]
    fn ranges_cover_the_rows_asked_for_whatever_the_regions_are() {
        let starts = ["m", "", "g", "m", "t"].map(Bytes::from);
        let ranges = |start: &'static str, stop: &'static str| {
            let request = Request { start_row: start.into(), stop_row: stop.into(), ..request(Output::JsonLines) };
            let text = |row: &Bytes| String::from_utf8_lossy(row).into_owned();
            request.ranges(&starts).iter().map(|(a, b)| format!("{}-{}", text(a), text(b))).collect::<Vec<_>>()
        };
        assert_eq!(ranges("", ""), ["-g", "g-m", "m-t", "t-"]);
        assert_eq!(ranges("h", "t"), ["h-m", "m-t"]);
        assert_eq!(ranges("g", "h"), ["g-h"]);
    }

    #[test]
    fn a_scan_reads_what_is_asked_for_and_the_column_of_the_folders() {
        let day: Partition = "f:day".parse().expect("a column");
        let columns = wanted(&["f", "f:a", "g:b"]);
        let all = Request { columns, partition: Some(day.clone()), ..request(Output::JsonLines) };
        let scan = all.scan((Bytes::new(), Bytes::new()));
        assert_eq!(scan.selection.columns[&b"f"[..]], None, "all of the family, though a column of it is named too");
        assert_eq!(scan.selection.columns[&b"g"[..]].as_ref().map(|columns| columns.len()), Some(1));
        let one = Request { columns: wanted(&["f:a"]), ..all };
        let scan = one.scan((Bytes::new(), Bytes::new()));
        assert_eq!(scan.selection.columns[&b"f"[..]].as_ref().map(|columns| columns.len()), Some(2));
        assert!(one.hidden().is_some());
        let none = Request { columns: Vec::new(), partition: Some(day), ..request(Output::JsonLines) };
        assert!(none.scan((Bytes::new(), Bytes::new())).selection.columns.is_empty() && none.hidden().is_none());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let table = TableDescriptor::new("t".parse().expect("a name")).with_family(FamilyDescriptor::new("f"));
        let base = |output| Request { columns: wanted(&["f:a"]), ..request(output) };
        let by_day = |output| Request { partition: Some("f:a".parse().expect("good")), ..request(output) };
        assert!(base(Output::Csv).check(&table).is_ok() && request(Output::Parquet).check(&table).is_ok());
        let all = ALL_VERSIONS;
        for (request, why) in [
            (Request { start_row: "b".into(), stop_row: "b".into(), ..base(Output::Csv) }, "--start-row"),
            (Request { time_range: TimeRange { from: 5, to: 5 }, ..base(Output::Csv) }, "--start-time"),
            (Request { codec: Some(Codec::Lz4), ..base(Output::JsonLines) }, "gzip or zstd"),
            (Request { partition: Some("f:a".parse().expect("good")), ..base(Output::StoreFiles) }, "by family"),
            (Request { raw: true, columns: Vec::new(), ..by_day(Output::JsonLines) }, "not by a column with --raw"),
            (
                Request { time_range: TimeRange { from: 5, to: 6 }, ..by_day(Output::Parquet) },
                "not by a column with --raw",
            ),
            (Request { columns: wanted(&["x"]), ..base(Output::JsonLines) }, "no family `x`"),
            (Request { partition: Some("x:a".parse().expect("good")), ..base(Output::JsonLines) }, "no family `x`"),
            (Request { raw: true, ..base(Output::JsonLines) }, "name families only"),
            (Request { versions: all, ..base(Output::Csv) }, "hold versions"),
            (Request { versions: 2, ..base(Output::WideParquet) }, "hold versions"),
            (Request { columns: wanted(&["f"]), ..base(Output::Csv) }, "needs columns"),
            (request(Output::WideParquet), "needs columns"),
            (Request { partition: Some("f:a".parse().expect("good")), ..base(Output::Csv) }, "needs columns"),
            (Request { columns: wanted(&["f:a,b"]), ..base(Output::Csv) }, "cannot be the name"),
            (Request { columns: wanted(&["f:a", "f:a"]), ..base(Output::Csv) }, "twice"),
        ] {
            let error = request.check(&table).expect_err("refused");
            assert!(error.contains(why), "{request:?}: {error}");
        }
    }
}
