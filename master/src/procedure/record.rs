//! A procedure's row.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use model::schema::TableName;
use prost::Message;
use protocol::service::RpcError;
use storage::StorageError;

use crate::head::TableHead;

const MAGIC: &[u8; 8] = b"FBPROC01";
const VERSION: u32 = 1;
const WHAT: &str = "procedure";

/// What a procedure does. Numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    CreateTable = 1,
    DeleteTable = 2,
    TruncateTable = 3,
    EnableTable = 4,
    DisableTable = 5,
    ModifyTable = 6,
    CreateNamespace = 7,
    ModifyNamespace = 8,
    DeleteNamespace = 9,
    FlushTable = 10,
}

const KINDS: [Kind; 10] = [
    Kind::CreateTable,
    Kind::DeleteTable,
    Kind::TruncateTable,
    Kind::EnableTable,
    Kind::DisableTable,
    Kind::ModifyTable,
    Kind::CreateNamespace,
    Kind::ModifyNamespace,
    Kind::DeleteNamespace,
    Kind::FlushTable,
];

impl Kind {
    /// The name of HBase's procedure that does this.
    pub fn class(self) -> &'static str {
        match self {
            Kind::CreateTable => "CreateTableProcedure",
            Kind::DeleteTable => "DeleteTableProcedure",
            Kind::TruncateTable => "TruncateTableProcedure",
            Kind::EnableTable => "EnableTableProcedure",
            Kind::DisableTable => "DisableTableProcedure",
            Kind::ModifyTable => "ModifyTableProcedure",
            Kind::CreateNamespace => "CreateNamespaceProcedure",
            Kind::ModifyNamespace => "ModifyNamespaceProcedure",
            Kind::DeleteNamespace => "DeleteNamespaceProcedure",
            Kind::FlushTable => "FlushTableProcedure",
        }
    }
}

/// How far a procedure is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Running,
    /// Gives up and takes back what it did; then it ends with this error.
    Undoing {
        class: String,
        message: String,
    },
    Done,
    /// Class and message.
    Failed {
        class: String,
        message: String,
    },
}

/// A procedure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub id: u64,
    pub kind: Kind,
    /// The next step.
    pub step: u32,
    pub outcome: Outcome,
    /// The client's nonce; 0 is none.
    pub nonce_group: u64,
    pub nonce: u64,
    pub submitted_ms: i64,
    pub updated_ms: i64,
    /// How often it was written; orders the row's versions.
    pub saves: u64,
    /// Table id and the head before and after, if it is about a table.
    pub table_id: String,
    pub before: Option<TableHead>,
    pub after: Option<TableHead>,
    /// Namespace and the properties wanted, if it is about one.
    pub namespace: String,
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct RecordMessage {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(uint32, tag = "3")]
    step: u32,
    /// 1 running, 2 undoing, 3 done, 4 failed.
    #[prost(uint32, tag = "4")]
    outcome: u32,
    #[prost(string, tag = "5")]
    class: String,
    #[prost(string, tag = "6")]
    message: String,
    #[prost(uint64, tag = "7")]
    nonce_group: u64,
    #[prost(uint64, tag = "8")]
    nonce: u64,
    #[prost(int64, tag = "9")]
    submitted_ms: i64,
    #[prost(int64, tag = "10")]
    updated_ms: i64,
    #[prost(uint64, tag = "11")]
    saves: u64,
    #[prost(string, tag = "12")]
    table_id: String,
    /// Payloads of table heads.
    #[prost(bytes = "bytes", optional, tag = "13")]
    before: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "14")]
    after: Option<Bytes>,
    #[prost(string, tag = "15")]
    namespace: String,
    #[prost(btree_map = "string, string", tag = "16")]
    properties: BTreeMap<String, String>,
}

impl Record {
    /// A procedure that has not begun.
    pub fn new(kind: Kind) -> Record {
        Record {
            id: 0,
            kind,
            step: 0,
            outcome: Outcome::Running,
            nonce_group: 0,
            nonce: 0,
            submitted_ms: 0,
            updated_ms: 0,
            saves: 0,
            table_id: String::new(),
            before: None,
            after: None,
            namespace: String::new(),
            properties: BTreeMap::new(),
        }
    }

    /// The table it is about.
    pub fn table(&self) -> Option<&TableName> {
        self.after.as_ref().or(self.before.as_ref()).map(TableHead::name)
    }

    /// What it locks.
    pub fn lock_key(&self) -> String {
        self.table().map_or_else(|| namespace_key(&self.namespace), table_key)
    }

    /// Whether nothing more happens.
    pub fn is_finished(&self) -> bool {
        matches!(self.outcome, Outcome::Done | Outcome::Failed { .. })
    }

    /// The error it ended or will end with.
    pub fn error(&self) -> Option<(&str, &str)> {
        match &self.outcome {
            Outcome::Failed { class, message } | Outcome::Undoing { class, message } => Some((class, message)),
            Outcome::Running | Outcome::Done => None,
        }
    }

    /// The cell's value.
    pub fn encode(&self) -> Bytes {
        let (class, message) = self.error().unwrap_or_default();
        let encoded = RecordMessage {
            id: self.id,
            kind: self.kind as u32,
            step: self.step,
            outcome: match self.outcome {
                Outcome::Running => 1,
                Outcome::Undoing { .. } => 2,
                Outcome::Done => 3,
                Outcome::Failed { .. } => 4,
            },
            class: class.to_owned(),
            message: message.to_owned(),
            nonce_group: self.nonce_group,
            nonce: self.nonce,
            submitted_ms: self.submitted_ms,
            updated_ms: self.updated_ms,
            saves: self.saves,
            table_id: self.table_id.clone(),
            before: self.before.as_ref().map(TableHead::encode),
            after: self.after.as_ref().map(TableHead::encode),
            namespace: self.namespace.clone(),
            properties: self.properties.clone(),
        };
        let mut out = BytesMut::new();
        out.put_slice(MAGIC);
        out.put_u32(VERSION);
        encoded.encode(&mut out).expect("a buffer grows");
        out.freeze()
    }

    /// Reads a cell's value; `name` tells which, for messages.
    pub fn decode(mut value: Bytes, name: &str) -> Result<Record, StorageError> {
        let bad = |why: String| StorageError::corrupt(WHAT, name, 0, why);
        if value.len() < 12 || value.split_to(8)[..] != MAGIC[..] {
            return Err(bad("the magic is wrong".to_owned()));
        }
        let found = value.get_u32();
        if found > VERSION {
            return Err(StorageError::Newer { what: WHAT, found, known: VERSION, file: name.to_owned() });
        }
        let message = RecordMessage::decode(value).map_err(|error| bad(error.to_string()))?;
        let kind = KINDS.iter().copied().find(|kind| *kind as u32 == message.kind);
        let (class, text) = (message.class, message.message);
        let head = |payload: Option<Bytes>| payload.map(|payload| TableHead::decode(payload, name)).transpose();
        Ok(Record {
            id: message.id,
            kind: kind.ok_or_else(|| bad(format!("kind {} is unknown", message.kind)))?,
            step: message.step,
            outcome: match message.outcome {
                1 => Outcome::Running,
                2 => Outcome::Undoing { class, message: text },
                3 => Outcome::Done,
                4 => Outcome::Failed { class, message: text },
                other => return Err(bad(format!("outcome {other} is unknown"))),
            },
            nonce_group: message.nonce_group,
            nonce: message.nonce,
            submitted_ms: message.submitted_ms,
            updated_ms: message.updated_ms,
            saves: message.saves,
            table_id: message.table_id,
            before: head(message.before).map_err(|error| bad(error.to_string()))?,
            after: head(message.after).map_err(|error| bad(error.to_string()))?,
            namespace: message.namespace,
            properties: message.properties,
        })
    }

    /// Turns to giving up.
    pub fn give_up(&mut self, error: &RpcError) {
        self.outcome = Outcome::Undoing { class: error.class.clone(), message: error.message.clone() };
    }
}

/// The lock of a table.
pub(crate) fn table_key(table: &TableName) -> String {
    format!("t/{}:{}", table.namespace(), table.qualifier())
}

/// The lock of a namespace.
pub(crate) fn namespace_key(namespace: &str) -> String {
    format!("n/{namespace}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{HeadState, cut};
    use model::ErrorKind;
    use model::schema::{FamilyDescriptor, TableDescriptor};

    #[test]
    fn a_record_comes_back_as_it_was() {
        let table: TableName = "t".parse().expect("name");
        let descriptor = TableDescriptor::new(table.clone()).with_family(FamilyDescriptor::new("f"));
        let head = TableHead { state: HeadState::Disabled, descriptor, regions: cut(&table, &[], 3), revision: 1 };
        for kind in KINDS {
            let mut record = Record::new(kind);
            record.id = 1 << 32;
            (record.step, record.saves, record.nonce, record.submitted_ms) = (2, 3, 4, 5);
            record.before = Some(head.clone());
            record.table_id = "0123456789abcdef".to_owned();
            record.properties.insert("k".to_owned(), "v".to_owned());
            assert_eq!(Record::decode(record.encode(), "x").expect("value"), record);
            assert_eq!(record.lock_key(), "t/default:t");
            record.give_up(&RpcError::of(ErrorKind::NotFound, "NamespaceNotFoundException", "n"));
            assert_eq!(Record::decode(record.encode(), "x").expect("value"), record);
        }
        let mut newer = Record::new(Kind::FlushTable).encode().to_vec();
        newer[11] = 2;
        assert!(matches!(Record::decode(newer.into(), "x"), Err(StorageError::Newer { .. })));
    }
}
