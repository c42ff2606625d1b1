//! Which namespaces and tables exist (`docs/formats/catalog.md`).

use std::collections::BTreeMap;

use bytes::Bytes;
use coordination::CoordinationError;
use coordination::register::Format;
use model::region::RegionInfo;
use model::schema::{DEFAULT_NAMESPACE, SYSTEM_NAMESPACE, TableName};
use prost::Message;

/// The register's envelope.
pub(crate) const FORMAT: Format = Format { magic: b"FBCATLG1", version: 1, what: "catalog" };
/// The register's key.
pub(crate) const PATH: &str = "ferrobase/cluster/catalog";

/// Namespace of the master's own table, which is not listed.
pub(crate) const OWN_NAMESPACE: &str = "ferrobase";
/// Table id of the master region.
pub(crate) const OWN_TABLE_ID: &str = "000000000000f001";
/// Table id of META, which is not listed either.
pub(crate) const META_TABLE_ID: &str = "000000000000f002";

/// The region of the master's own table.
pub(crate) fn own_region() -> RegionInfo {
    let table = TableName::new(OWN_NAMESPACE, "master").expect("a valid name");
    RegionInfo::new(table, Bytes::new(), Bytes::new(), 1)
}

/// The catalog's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Catalog {
    /// No region gets this id or a smaller one any more.
    pub last_region_id: u64,
    /// Namespaces and their properties.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Table ids.
    pub tables: BTreeMap<TableName, String>,
}

#[derive(Clone, PartialEq, Message)]
struct NamespaceMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(btree_map = "string, string", tag = "2")]
    properties: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct TableMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct CatalogMessage {
    #[prost(uint64, tag = "1")]
    last_region_id: u64,
    #[prost(message, repeated, tag = "2")]
    namespaces: Vec<NamespaceMessage>,
    #[prost(message, repeated, tag = "3")]
    tables: Vec<TableMessage>,
}

/// Whether this is a table id: 16 lower-case hex digits.
pub(crate) fn is_table_id(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl Catalog {
    /// A new cluster's.
    pub fn new() -> Catalog {
        let namespaces = [DEFAULT_NAMESPACE, SYSTEM_NAMESPACE].map(|name| (name.to_owned(), BTreeMap::new()));
        Catalog { last_region_id: 0, namespaces: namespaces.into(), tables: BTreeMap::new() }
    }

    /// A region id above all earlier ones.
    pub fn take_region_id(&mut self, now_ms: i64) -> u64 {
        self.last_region_id = (self.last_region_id + 1).max(u64::try_from(now_ms).unwrap_or(0));
        self.last_region_id
    }

    /// The register's payload.
    pub fn encode(&self) -> Bytes {
        let namespace = |(name, properties): (&String, &BTreeMap<String, String>)| NamespaceMessage {
            name: name.clone(),
            properties: properties.clone(),
        };
        let table = |(name, id): (&TableName, &String)| TableMessage {
            name: format!("{}:{}", name.namespace(), name.qualifier()),
            id: id.clone(),
        };
        let message = CatalogMessage {
            last_region_id: self.last_region_id,
            namespaces: self.namespaces.iter().map(namespace).collect(),
            tables: self.tables.iter().map(table).collect(),
        };
        message.encode_to_vec().into()
    }

    /// Reads the register's payload.
    pub fn decode(payload: Bytes) -> Result<Catalog, CoordinationError> {
        let bad = |why: String| CoordinationError::Corrupt { what: FORMAT.what, why, path: PATH.to_owned() };
        let message = CatalogMessage::decode(payload).map_err(|error| bad(error.to_string()))?;
        let mut catalog = Catalog { last_region_id: message.last_region_id, ..Catalog::new() };
        for namespace in message.namespaces {
            catalog.namespaces.insert(namespace.name, namespace.properties);
        }
        for table in message.tables {
            let name: TableName = table.name.parse().map_err(|error| bad(format!("{error}")))?;
            if !is_table_id(&table.id) {
                return Err(bad(format!("`{}` is no table id", table.id)));
            }
            catalog.tables.insert(name, table.id);
        }
        Ok(catalog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_comes_back_as_it_was() {
        let mut catalog = Catalog::new();
        assert_eq!(catalog.take_region_id(500), 500);
        assert_eq!(catalog.take_region_id(500), 501);
        assert_eq!(catalog.take_region_id(-4), 502);
        catalog.namespaces.insert("n".to_owned(), [("k".to_owned(), "v".to_owned())].into());
        catalog.tables.insert("n:t".parse().expect("name"), "0123456789abcdef".to_owned());
        catalog.tables.insert("t".parse().expect("name"), "0123456789abcde0".to_owned());
        assert_eq!(Catalog::decode(catalog.encode()).expect("payload"), catalog);
        catalog.tables.insert("u".parse().expect("name"), "../../etc/passwd".to_owned());
        assert!(Catalog::decode(catalog.encode()).is_err());
    }
}
