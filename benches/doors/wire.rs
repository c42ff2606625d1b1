//! A client of HBase's Thrift services that costs little beside what it asks: framed binary messages over one blocking connection.
//!
//! Always true
//! - An answer that is an exception ends the bench: nothing that failed is counted as a call.
//! - [`Peer::call`] looks at an answer's kind alone; [`Peer::walk`] reads it whole.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TFieldIdentifier, TInputProtocol, TListIdentifier, TMessageIdentifier,
    TMessageType, TOutputProtocol, TStructIdentifier, TType,
};

/// The only family.
pub const FAMILY: &str = "f";
/// How long an answer may take.
const WAIT: Duration = Duration::from_secs(120);

/// Which of HBase's services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `Hbase`, Thrift 1.
    One,
    /// `THBaseService`, Thrift 2.
    Two,
}

/// A row that is written: its key, its columns with their values.
pub type Row = (String, Vec<(String, Vec<u8>)>);

type Out<'a> = TBinaryOutputProtocol<&'a mut Vec<u8>>;
type In<'a> = TBinaryInputProtocol<&'a [u8]>;
type Result<T> = thrift::Result<T>;

/// One connection.
pub struct Peer {
    stream: TcpStream,
    service: Service,
    message: Vec<u8>,
    answer: Vec<u8>,
}

fn field(out: &mut Out<'_>, kind: TType, id: i16) -> Result<()> {
    out.write_field_begin(&TFieldIdentifier::new("", kind, id))
}

fn bytes(out: &mut Out<'_>, id: i16, value: &[u8]) -> Result<()> {
    field(out, TType::String, id)?;
    out.write_bytes(value)
}

fn number(out: &mut Out<'_>, id: i16, value: i32) -> Result<()> {
    field(out, TType::I32, id)?;
    out.write_i32(value)
}

fn list(out: &mut Out<'_>, id: i16, len: usize) -> Result<()> {
    field(out, TType::List, id)?;
    out.write_list_begin(&TListIdentifier::new(TType::Struct, i32::try_from(len).expect("a short list")))
}

/// The columns of a row that is written, as the service's structs.
fn columns(out: &mut Out<'_>, service: Service, id: i16, row: &Row) -> Result<()> {
    list(out, id, row.1.len())?;
    for (qualifier, value) in &row.1 {
        match service {
            Service::One => {
                bytes(out, 2, format!("{FAMILY}:{qualifier}").as_bytes())?;
                bytes(out, 3, value)?;
            }
            Service::Two => {
                bytes(out, 1, FAMILY.as_bytes())?;
                bytes(out, 2, qualifier.as_bytes())?;
                bytes(out, 3, value)?;
            }
        }
        out.write_field_stop()?;
    }
    Ok(())
}

/// Walks the cells of a row's struct, of either service: `TRowResult` with a map of columns, `TResult` with a list.
fn walk_row(input: &mut In<'_>, seen: &mut impl FnMut(&[u8], &[u8], &[u8])) -> Result<bool> {
    let (mut row, mut any) = (Vec::new(), false);
    loop {
        let at = input.read_field_begin()?;
        match (at.field_type, at.id) {
            (TType::Stop, _) => return Ok(any),
            (TType::String, Some(1)) => row = input.read_bytes()?,
            (TType::Map, Some(2)) => {
                for _ in 0..input.read_map_begin()?.size {
                    let column = input.read_bytes()?;
                    let mut value = Vec::new();
                    parts(input, |id, bytes| {
                        if id == 1 {
                            value = bytes;
                        }
                    })?;
                    seen(&row, &column, &value);
                    any = true;
                }
            }
            (TType::List, Some(2)) => {
                for _ in 0..input.read_list_begin()?.size {
                    let (mut column, mut value) = (Vec::new(), Vec::new());
                    parts(input, |id, bytes| match id {
                        1 => column = [&bytes[..], b":"].concat(),
                        2 => column.extend(bytes),
                        3 => value = bytes,
                        _ => {}
                    })?;
                    seen(&row, &column, &value);
                    any = true;
                }
            }
            (kind, _) => input.skip(kind)?,
        }
    }
}

/// The fields of bytes of a struct.
fn parts(input: &mut In<'_>, mut seen: impl FnMut(i16, Vec<u8>)) -> Result<()> {
    loop {
        let at = input.read_field_begin()?;
        match at.field_type {
            TType::Stop => return Ok(()),
            TType::String => seen(at.id.unwrap_or_default(), input.read_bytes()?),
            kind => input.skip(kind)?,
        }
    }
}

impl Peer {
    /// A new connection to a port of this machine.
    pub fn connect(service: Service, port: u16) -> Peer {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.set_read_timeout(Some(WAIT)).expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Peer { stream, service, message: Vec::new(), answer: Vec::new() }
    }

    /// Sends a call and waits for its answer, which is no exception.
    fn call(&mut self, name: &str, arguments: impl FnOnce(&mut Out<'_>) -> Result<()>) {
        self.message.clear();
        self.message.extend([0; 4]);
        let mut out = TBinaryOutputProtocol::new(&mut self.message, true);
        let written = out
            .write_message_begin(&TMessageIdentifier::new(name, TMessageType::Call, 1))
            .and_then(|()| out.write_struct_begin(&TStructIdentifier::new("")))
            .and_then(|()| arguments(&mut out))
            .and_then(|()| out.write_field_stop());
        written.expect("memory takes a message");
        let len = u32::try_from(self.message.len() - 4).expect("a short message");
        self.message[..4].copy_from_slice(&len.to_be_bytes());
        self.stream.write_all(&self.message).expect("a call is sent");
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).expect("an answer");
        self.answer.resize(u32::from_be_bytes(len) as usize, 0);
        self.stream.read_exact(&mut self.answer).expect("a whole answer");
        // Version and kind, name, number; then a result's only field, or none.
        let result = &self.answer[(12 + name.len()).min(self.answer.len())..];
        let good = matches!(result, [0, ..] | [_, 0, 0, ..]) && self.answer[3] == u8::from(TMessageType::Reply);
        assert!(good, "{name}: {}", String::from_utf8_lossy(&self.answer));
    }

    /// The number that was answered.
    fn number(&self) -> i32 {
        let mut input = self.result();
        input.read_field_begin().and_then(|_| input.read_i32()).expect("a number")
    }

    fn result(&self) -> In<'_> {
        let mut input = TBinaryInputProtocol::new(&self.answer[..], true);
        input.read_message_begin().expect("an answer");
        input
    }

    /// Shows row, column (with its family) and value of each cell of the last answer; how many rows have cells.
    pub fn walk(&self, mut seen: impl FnMut(&[u8], &[u8], &[u8])) -> usize {
        let mut input = self.result();
        let walked = input.read_field_begin().and_then(|at| match at.field_type {
            TType::List => {
                let rows = (0..input.read_list_begin()?.size).map(|_| walk_row(&mut input, &mut seen).map(usize::from));
                rows.sum()
            }
            TType::Struct => walk_row(&mut input, &mut seen).map(usize::from),
            _ => Ok(0),
        });
        walked.expect("rows as the service has them")
    }

    /// Reads a row.
    pub fn get(&mut self, table: &str, row: &str) {
        match self.service {
            Service::One => self.call("getRow", |out| {
                bytes(out, 1, table.as_bytes())?;
                bytes(out, 2, row.as_bytes())
            }),
            Service::Two => self.call("get", |out| {
                bytes(out, 1, table.as_bytes())?;
                field(out, TType::Struct, 2)?;
                bytes(out, 1, row.as_bytes())?;
                out.write_field_stop()
            }),
        }
    }

    /// Writes a row.
    pub fn put(&mut self, table: &str, row: &Row) {
        match self.service {
            Service::One => self.call("mutateRow", |out| {
                bytes(out, 1, table.as_bytes())?;
                bytes(out, 2, row.0.as_bytes())?;
                columns(out, Service::One, 3, row)
            }),
            Service::Two => self.call("put", |out| {
                bytes(out, 1, table.as_bytes())?;
                field(out, TType::Struct, 2)?;
                bytes(out, 1, row.0.as_bytes())?;
                columns(out, Service::Two, 2, row)?;
                out.write_field_stop()
            }),
        }
    }

    /// Writes rows.
    pub fn put_all(&mut self, table: &str, rows: &[Row]) {
        let service = self.service;
        let name = if service == Service::One { "mutateRows" } else { "putMultiple" };
        self.call(name, |out| {
            bytes(out, 1, table.as_bytes())?;
            list(out, 2, rows.len())?;
            for row in rows {
                bytes(out, 1, row.0.as_bytes())?;
                columns(out, service, 2, row)?;
                out.write_field_stop()?;
            }
            Ok(())
        });
    }

    /// Opens a scanner from a row on.
    pub fn open_scanner(&mut self, table: &str, from: &str) -> i32 {
        let name = if self.service == Service::One { "scannerOpenWithScan" } else { "openScanner" };
        self.call(name, |out| {
            bytes(out, 1, table.as_bytes())?;
            field(out, TType::Struct, 2)?;
            bytes(out, 1, from.as_bytes())?;
            out.write_field_stop()
        });
        self.number()
    }

    /// The next rows of a scanner.
    pub fn scan(&mut self, scanner: i32, rows: i32) {
        let name = if self.service == Service::One { "scannerGetList" } else { "getScannerRows" };
        self.call(name, |out| {
            number(out, 1, scanner)?;
            number(out, 2, rows)
        });
    }

    /// Closes a scanner.
    pub fn close_scanner(&mut self, scanner: i32) {
        let name = if self.service == Service::One { "scannerClose" } else { "closeScanner" };
        self.call(name, |out| number(out, 1, scanner));
    }
}
