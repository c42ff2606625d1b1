//! A table's head: its state, its descriptor and its regions (`docs/formats/catalog.md`).
//!
//! Always true: the regions of a table that is not dropped follow each other without gap, from the empty key to the
//! empty key.

use std::collections::BTreeMap;

use bytes::Bytes;
use coordination::CoordinationError;
use coordination::register::Format;
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor, TableName};
use prost::Message;

/// The register's envelope.
pub(crate) const FORMAT: Format = Format { magic: b"FBTABLE1", version: 1, what: "table head" };

/// The register's key.
pub(crate) fn path(table_id: &str) -> String {
    format!("ferrobase/table/{table_id}/head")
}

/// Whether a table is in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadState {
    Enabled,
    Disabled,
    /// For ever.
    Dropped,
}

impl HeadState {
    /// The text in the register's head.
    pub fn as_str(self) -> &'static str {
        match self {
            HeadState::Enabled => "enabled",
            HeadState::Disabled => "disabled",
            HeadState::Dropped => "dropped",
        }
    }
}

/// A head's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableHead {
    pub state: HeadState,
    pub descriptor: TableDescriptor,
    /// In key order.
    pub regions: Vec<RegionInfo>,
    /// Rises with each change of the descriptor.
    pub revision: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct FamilyMessage {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(message, repeated, tag = "2")]
    attributes: Vec<Pair>,
    #[prost(message, repeated, tag = "3")]
    configuration: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct RegionMessage {
    #[prost(bytes = "bytes", tag = "1")]
    start_key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    end_key: Bytes,
    #[prost(uint64, tag = "3")]
    region_id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct HeadMessage {
    #[prost(uint32, tag = "1")]
    state: u32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "3")]
    attributes: Vec<Pair>,
    #[prost(message, repeated, tag = "4")]
    configuration: Vec<Pair>,
    #[prost(message, repeated, tag = "5")]
    families: Vec<FamilyMessage>,
    #[prost(message, repeated, tag = "6")]
    regions: Vec<RegionMessage>,
    #[prost(uint64, tag = "7")]
    revision: u64,
}

fn attributes_to(attributes: &BTreeMap<String, Bytes>) -> Vec<Pair> {
    attributes.iter().map(|(name, value)| Pair { name: name.clone(), value: value.clone() }).collect()
}

fn attributes_from(pairs: Vec<Pair>) -> BTreeMap<String, Bytes> {
    pairs.into_iter().map(|pair| (pair.name, pair.value)).collect()
}

fn settings_to(settings: &BTreeMap<String, String>) -> Vec<Pair> {
    settings.iter().map(|(name, value)| Pair { name: name.clone(), value: value.clone().into() }).collect()
}

fn settings_from(pairs: Vec<Pair>) -> Result<BTreeMap<String, String>, String> {
    let setting = |pair: Pair| match String::from_utf8(pair.value.into()) {
        Ok(value) => Ok((pair.name, value)),
        Err(error) => Err(error.to_string()),
    };
    pairs.into_iter().map(setting).collect()
}

impl TableHead {
    /// What stays of a dropped table.
    pub fn dropped(name: TableName) -> TableHead {
        let descriptor = TableDescriptor::new(name);
        TableHead { state: HeadState::Dropped, descriptor, regions: Vec::new(), revision: 0 }
    }

    /// The table's name.
    pub fn name(&self) -> &TableName {
        &self.descriptor.name
    }

    /// The register's payload.
    pub fn encode(&self) -> Bytes {
        let family = |family: &FamilyDescriptor| FamilyMessage {
            name: family.name.clone(),
            attributes: attributes_to(&family.attributes),
            configuration: settings_to(&family.configuration),
        };
        let region = |region: &RegionInfo| RegionMessage {
            start_key: region.start_key.clone(),
            end_key: region.end_key.clone(),
            region_id: region.region_id,
        };
        let message = HeadMessage {
            state: match self.state {
                HeadState::Enabled => 1,
                HeadState::Disabled => 2,
                HeadState::Dropped => 3,
            },
            name: format!("{}:{}", self.name().namespace(), self.name().qualifier()),
            attributes: attributes_to(&self.descriptor.attributes),
            configuration: settings_to(&self.descriptor.configuration),
            families: self.descriptor.families.values().map(family).collect(),
            regions: self.regions.iter().map(region).collect(),
            revision: self.revision,
        };
        message.encode_to_vec().into()
    }

    /// Reads the register's payload.
    pub fn decode(payload: Bytes, path: &str) -> Result<TableHead, CoordinationError> {
        TableHead::parse(payload).map_err(|why| CoordinationError::Corrupt {
            what: FORMAT.what,
            why,
            path: path.to_owned(),
        })
    }

    fn parse(payload: Bytes) -> Result<TableHead, String> {
        let message = HeadMessage::decode(payload).map_err(|error| error.to_string())?;
        let state = match message.state {
            1 => HeadState::Enabled,
            2 => HeadState::Disabled,
            3 => HeadState::Dropped,
            other => return Err(format!("state {other} is unknown")),
        };
        let name: TableName = message.name.parse().map_err(|error| format!("{error}"))?;
        let mut descriptor = TableDescriptor::new(name.clone());
        descriptor.attributes = attributes_from(message.attributes);
        descriptor.configuration = settings_from(message.configuration)?;
        for family in message.families {
            let mut read = FamilyDescriptor::new(family.name);
            read.attributes = attributes_from(family.attributes);
            read.configuration = settings_from(family.configuration)?;
            descriptor.families.insert(read.name.clone(), read);
        }
        let region =
            |region: RegionMessage| RegionInfo::new(name.clone(), region.start_key, region.end_key, region.region_id);
        let regions: Vec<RegionInfo> = message.regions.into_iter().map(region).collect();
        if state != HeadState::Dropped {
            descriptor.validate().map_err(|error| error.to_string())?;
            check_regions(&regions)?;
        }
        Ok(TableHead { state, descriptor, regions, revision: message.revision })
    }
}

fn check_regions(regions: &[RegionInfo]) -> Result<(), String> {
    let mut expected = Bytes::new();
    for (index, region) in regions.iter().enumerate() {
        let last = index + 1 == regions.len();
        let rises = last || region.end_key > region.start_key;
        if region.start_key != expected || last != region.end_key.is_empty() || !rises {
            return Err(format!("the regions leave a gap or overlap at region {region}"));
        }
        expected = region.end_key.clone();
    }
    if regions.is_empty() { Err("the table has no regions".to_owned()) } else { Ok(()) }
}

/// A new table's regions, cut at these keys, which rise and are not empty.
pub(crate) fn cut(table: &TableName, splits: &[Bytes], region_id: u64) -> Vec<RegionInfo> {
    let starts = std::iter::once(Bytes::new()).chain(splits.iter().cloned());
    let ends = splits.iter().cloned().chain(std::iter::once(Bytes::new()));
    starts.zip(ends).map(|(start, end)| RegionInfo::new(table.clone(), start, end, region_id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> TableHead {
        let name: TableName = "n:t".parse().expect("name");
        let mut descriptor = TableDescriptor::new(name.clone())
            .with_family(FamilyDescriptor::new("f").with("VERSIONS", "3"))
            .with_family(FamilyDescriptor::new("g"));
        descriptor.attributes.insert("x".to_owned(), Bytes::from_static(b"\xff"));
        descriptor.configuration.insert("k".to_owned(), "v".to_owned());
        let regions = cut(&name, &["b".into(), "m".into()], 7);
        TableHead { state: HeadState::Enabled, descriptor, regions, revision: 4 }
    }

    #[test]
    fn a_head_comes_back_as_it_was() {
        let head = head();
        assert_eq!(TableHead::decode(head.encode(), "x").expect("payload"), head);
        let dropped = TableHead::dropped(head.name().clone());
        assert_eq!(TableHead::decode(dropped.encode(), "x").expect("payload"), dropped);
    }

    #[test]
    fn a_head_with_a_gap_is_refused() {
        for missing in 0..3 {
            let mut head = head();
            head.regions.remove(missing);
            assert!(TableHead::decode(head.encode(), "x").is_err(), "{missing}");
        }
    }
}
