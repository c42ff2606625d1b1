//! Names, regions and descriptors between messages and `model`.
//!
//! Always true: a descriptor that came from a client goes back with the same attributes, known or not.

use bytes::{BufMut, Bytes, BytesMut};
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, Namespace, SchemaError, TableDescriptor, TableName};
use prost::Message;

use crate::messages as pb;
use crate::service::RpcError;

/// What stands before a message where HBase stores one in META or a file.
pub const PBUF: &[u8; 4] = b"PBUF";

/// Why a message is no name, region or descriptor.
#[derive(Debug, thiserror::Error)]
pub enum SchemaMessageError {
    /// A name breaks HBase's rules.
    #[error("{0}")]
    Name(#[from] SchemaError),
    /// A part is missing or does not parse.
    #[error("bad {what}: {why}")]
    Bad {
        /// The message.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl From<SchemaMessageError> for RpcError {
    fn from(error: SchemaMessageError) -> RpcError {
        RpcError::invalid(error.to_string())
    }
}

type Result<T> = std::result::Result<T, SchemaMessageError>;

fn bad(what: &'static str, why: impl ToString) -> SchemaMessageError {
    SchemaMessageError::Bad { what, why: why.to_string() }
}

fn utf8(what: &'static str, bytes: &Bytes) -> Result<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| bad(what, error))
}

/// Reads a table name.
pub fn table_name_from(message: &pb::TableName) -> Result<TableName> {
    let (namespace, qualifier) = (utf8("TableName", &message.namespace)?, utf8("TableName", &message.qualifier)?);
    Ok(TableName::new(&namespace, &qualifier)?)
}

/// Writes a table name.
pub fn table_name_to(name: &TableName) -> pb::TableName {
    pb::TableName { namespace: name.namespace().to_owned().into(), qualifier: name.qualifier().to_owned().into() }
}

/// Reads a namespace; its name is left to [`Namespace::validate`].
pub fn namespace_from(message: &pb::NamespaceDescriptor) -> Result<Namespace> {
    let name = utf8("NamespaceDescriptor", &message.name)?;
    Ok(Namespace { name, properties: settings_from(&message.configuration) })
}

/// Writes a namespace.
pub fn namespace_to(namespace: &Namespace) -> pb::NamespaceDescriptor {
    pb::NamespaceDescriptor { name: namespace.name.clone().into(), configuration: settings_to(&namespace.properties) }
}

/// Reads a region. Replicas other than the first are refused.
pub fn region_info_from(message: &pb::RegionInfo) -> Result<RegionInfo> {
    if message.replica_id() != 0 {
        return Err(bad("RegionInfo", format!("replica {} is not supported", message.replica_id())));
    }
    Ok(RegionInfo {
        table: table_name_from(&message.table_name)?,
        start_key: message.start_key.clone().unwrap_or_default(),
        end_key: message.end_key.clone().unwrap_or_default(),
        region_id: message.region_id,
        offline: message.offline(),
        split: message.split(),
    })
}

/// Writes a region.
pub fn region_info_to(region: &RegionInfo) -> pb::RegionInfo {
    pb::RegionInfo {
        region_id: region.region_id,
        table_name: table_name_to(&region.table),
        start_key: Some(region.start_key.clone()),
        end_key: Some(region.end_key.clone()),
        offline: Some(region.offline),
        split: Some(region.split),
        replica_id: Some(0),
    }
}

/// Names a region by its full name.
pub fn region_specifier(name: Bytes) -> pb::RegionSpecifier {
    pb::RegionSpecifier { r#type: pb::region_specifier::RegionSpecifierType::RegionName.into(), value: name }
}

/// Reads META's `info:regioninfo`: `PBUF` and the message.
pub fn region_info_from_meta(value: &Bytes) -> Result<RegionInfo> {
    let rest = value.strip_prefix(PBUF).ok_or_else(|| bad("RegionInfo", "it does not start with PBUF"))?;
    let message = pb::RegionInfo::decode(value.slice_ref(rest)).map_err(|error| bad("RegionInfo", error))?;
    region_info_from(&message)
}

/// Writes META's `info:regioninfo`.
pub fn region_info_to_meta(region: &RegionInfo) -> Bytes {
    let message = region_info_to(region);
    let mut out = BytesMut::with_capacity(PBUF.len() + message.encoded_len());
    out.put_slice(PBUF);
    message.encode(&mut out).expect("a buffer grows");
    out.freeze()
}

fn pairs_from(what: &'static str, pairs: &[pb::BytesBytesPair]) -> Result<std::collections::BTreeMap<String, Bytes>> {
    pairs.iter().map(|pair| Ok((utf8(what, &pair.first)?, pair.second.clone()))).collect()
}

fn pairs_to(attributes: &std::collections::BTreeMap<String, Bytes>) -> Vec<pb::BytesBytesPair> {
    let pair =
        |(key, value): (&String, &Bytes)| pb::BytesBytesPair { first: key.clone().into(), second: value.clone() };
    attributes.iter().map(pair).collect()
}

fn settings_from(pairs: &[pb::NameStringPair]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect()
}

fn settings_to(settings: &std::collections::BTreeMap<String, String>) -> Vec<pb::NameStringPair> {
    settings.iter().map(|(name, value)| pb::NameStringPair { name: name.clone(), value: value.clone() }).collect()
}

/// Reads a family.
pub fn family_from(message: &pb::ColumnFamilySchema) -> Result<FamilyDescriptor> {
    Ok(FamilyDescriptor {
        name: message.name.clone(),
        attributes: pairs_from("ColumnFamilySchema", &message.attributes)?,
        configuration: settings_from(&message.configuration),
    })
}

/// Writes a family.
pub fn family_to(family: &FamilyDescriptor) -> pb::ColumnFamilySchema {
    pb::ColumnFamilySchema {
        name: family.name.clone(),
        attributes: pairs_to(&family.attributes),
        configuration: settings_to(&family.configuration),
    }
}

/// Reads a table. The same family twice is refused; the rest is left to [`TableDescriptor::validate`].
pub fn table_from(message: &pb::TableSchema) -> Result<TableDescriptor> {
    let name = message.table_name.as_ref().ok_or_else(|| bad("TableSchema", "it has no name"))?;
    let mut table = TableDescriptor::new(table_name_from(name)?);
    table.attributes = pairs_from("TableSchema", &message.attributes)?;
    table.configuration = settings_from(&message.configuration);
    for family in &message.column_families {
        let family = family_from(family)?;
        if let Some(twice) = table.families.insert(family.name.clone(), family) {
            return Err(SchemaError::DuplicateFamily(twice.name.escape_ascii().to_string()).into());
        }
    }
    Ok(table)
}

/// Writes a table.
pub fn table_to(table: &TableDescriptor) -> pb::TableSchema {
    pb::TableSchema {
        table_name: Some(table_name_to(&table.name)),
        attributes: pairs_to(&table.attributes),
        column_families: table.families.values().map(family_to).collect(),
        configuration: settings_to(&table.configuration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_in_meta_is_that_of_hbase() {
        // hbase-wire.md §9: table t1, empty keys, id 1700000000000.
        let region = RegionInfo::new("t1".parse().expect("name"), Bytes::new(), Bytes::new(), 1_700_000_000_000);
        let value = region_info_to_meta(&region);
        assert_eq!(hex::encode(&value), "504255460880d095ffbc31120d0a0764656661756c74120274311a002200280030003800");
        assert_eq!(region_info_from_meta(&value).expect("region"), region);
        assert!(region_info_from_meta(&value.slice(1..)).is_err());
        assert!(region_info_from_meta(&value.slice(..value.len() - 1)).is_err());
    }
}
