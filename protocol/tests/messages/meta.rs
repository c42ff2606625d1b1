//! META as a real HBase 2.6.1 left it: tables enabled, disabled and dropped, regions split and merged.

use std::collections::BTreeMap;

use ferrobase_protocol::meta::{self, RegionRow, ServerName, TableState};
use model::{Cell, CellOrder, CellType};
use serde_json::Value;

/// The rows in META's order, each with its cells as a scan would see them: newest of each column, nothing deleted.
fn rows() -> Vec<(Vec<u8>, Vec<Cell>)> {
    let mut rows: Vec<(Vec<u8>, Vec<Cell>)> = Vec::new();
    for line in include_str!("../golden/meta.jsonl").lines() {
        let cell: Value = serde_json::from_str(line).expect("json");
        let bytes = |key: &str| hex::decode(cell[key].as_str().expect("hex")).expect("hex");
        let row = bytes("row");
        let cell_type = CellType(cell["type"].as_u64().expect("type") as u8);
        let family = cell["family"].as_str().expect("family").as_bytes();
        let made =
            Cell::new(&row, family, &bytes("qualifier"), cell["ts"].as_i64().expect("ts"), cell_type, &bytes("value"))
                .expect("cell");
        match rows.last_mut() {
            Some((last, cells)) if *last == row => cells.push(made),
            _ => rows.push((row, vec![made])),
        }
    }
    for (_, cells) in &mut rows {
        let hidden = |cell: &Cell, by: &Cell| {
            by.family() == cell.family()
                && by.timestamp() >= cell.timestamp()
                && (by.cell_type() == CellType::DELETE_FAMILY
                    || by.cell_type() == CellType::DELETE_COLUMN && by.qualifier() == cell.qualifier())
        };
        let all = cells.clone();
        cells.retain(|cell| !cell.cell_type().is_delete() && !all.iter().any(|by| hidden(cell, by)));
        cells.dedup_by(|b, a| a.family() == b.family() && a.qualifier() == b.qualifier());
    }
    rows.retain(|(_, cells)| !cells.is_empty());
    rows
}

fn regions() -> Vec<RegionRow> {
    rows().iter().filter_map(|(_, cells)| RegionRow::from_cells(cells).expect("row")).collect()
}

#[test]
fn rows_stand_in_metas_order() {
    let rows = rows();
    assert!(rows.len() > 20, "only {}", rows.len());
    assert!(rows.is_sorted_by(|(a, _), (b, _)| CellOrder::Meta.compare_rows(a, b).is_lt()));
}

#[test]
fn region_rows_are_understood_and_written_with_the_same_cells() {
    let (mut open, mut closed) = (0, 0);
    for (row, cells) in rows() {
        let Some(found) = RegionRow::from_cells(&cells).expect("row") else {
            assert!(!row.contains(&b','), "{}", row.escape_ascii());
            continue;
        };
        assert_eq!(found.info.region_name(), row, "{}", found.info);
        let value = |qualifier: &str| cells.iter().find(|cell| cell.qualifier() == qualifier.as_bytes());
        let made = match found.state.as_str() {
            meta::OPEN => {
                open += 1;
                let server = found.server.clone().expect("an open region has a server");
                assert_eq!(value("sn").expect("sn").value(), server.to_string().as_bytes());
                let seqnum = found.seqnum.expect("an open region has a number");
                meta::open_put(&found.info, &server, seqnum, 5)
            }
            state => {
                closed += 1;
                assert_eq!(state, meta::CLOSED);
                meta::closed_put(&found.info, 5)
            }
        };
        assert_eq!(made.row, row);
        assert!(made.cells.is_sorted_by(|a, b| CellOrder::Meta.compare(a.as_ref(), b.as_ref()).is_lt()));
        for cell in &made.cells {
            let theirs =
                cells.iter().find(|theirs| (theirs.family(), theirs.qualifier()) == (cell.family(), cell.qualifier()));
            let theirs = theirs.unwrap_or_else(|| panic!("HBase has no {cell:?}"));
            if cell.qualifier() == b"regioninfo" {
                // Daughters are written without fields that have their default.
                let read =
                    |cell: &Cell| RegionRow::from_cells(std::slice::from_ref(cell)).expect("row").expect("row").info;
                assert_eq!(read(cell), read(theirs));
            } else {
                assert_eq!((cell.value(), cell.cell_type()), (theirs.value(), CellType::PUT), "{cell:?}");
            }
        }
        // Written over the recorded row, ours says the same.
        let written: Vec<Cell> = made.cells.iter().chain(&cells).cloned().collect();
        assert_eq!(RegionRow::from_cells(&written).expect("row").expect("row"), found);
    }
    assert!(open >= 10 && closed >= 2, "{open} open, {closed} closed");
}

#[test]
fn a_split_parent_says_so_and_its_daughters_cover_it() {
    let regions = regions();
    let parent = regions.iter().find(|row| row.info.split).expect("a parent");
    assert!(parent.info.offline && parent.state == meta::CLOSED);
    let daughters: Vec<_> =
        regions.iter().filter(|row| row.info.table == parent.info.table && !row.info.split).collect();
    assert_eq!(daughters.len(), 2);
    assert_eq!(daughters[0].info.end_key, daughters[1].info.start_key);
}

#[test]
fn table_states_are_understood_and_written_as_they_were() {
    let mut seen = BTreeMap::new();
    for (row, cells) in rows() {
        let Some(state) = meta::table_state_from(&cells).expect("state") else { continue };
        let name: model::schema::TableName = std::str::from_utf8(&row).expect("text").parse().expect("name");
        let made = meta::table_state_put(&name, state, 5);
        assert_eq!(made.row, row);
        assert_eq!(made.cells[0].value(), cells[0].value());
        assert_eq!((made.cells[0].family(), made.cells[0].qualifier()), (cells[0].family(), cells[0].qualifier()));
        seen.insert(name.to_string(), state);
    }
    assert_eq!(seen["disabled"], TableState::Disabled);
    assert_eq!(seen["ns1:tab"], TableState::Enabled);
    assert!(!seen.contains_key("dropped"), "it was deleted");
}

#[test]
fn scans_select_the_rows_they_should() {
    let rows = rows();
    let within = |scan: &model::query::Scan, row: &[u8]| {
        let order = CellOrder::Meta;
        let (low, high) =
            if scan.reversed { (&scan.stop_row, &scan.start_row) } else { (&scan.start_row, &scan.stop_row) };
        order.compare_rows(row, low).is_ge() && order.compare_rows(row, high).is_lt()
    };
    let mut looked_up = 0;
    for table in ["plain", "split", "merged", "disabled", "ns1:tab"] {
        let table = table.parse().expect("name");
        let listed: Vec<RegionRow> = rows
            .iter()
            .filter(|(row, _)| within(&meta::table_scan(&table), row))
            .filter_map(|(_, cells)| RegionRow::from_cells(cells).expect("row"))
            .collect();
        let expected: Vec<RegionRow> = regions().into_iter().filter(|row| row.info.table == table).collect();
        assert!(!listed.is_empty());
        assert_eq!(listed, expected, "{table}");
        for wanted in [&b""[..], b"b", b"c", b"h", b"m0010", b"\x01", b",", b"zz\xff"] {
            let scan = meta::lookup_scan(&table, wanted);
            let found = rows.iter().rev().find(|(row, _)| within(&scan, row)).expect("a row");
            let found = RegionRow::from_cells(&found.1).expect("row").expect("a region");
            assert!(found.info.table == table && found.info.contains(wanted), "{wanted:?} in {}", found.info);
            assert!(!found.info.split, "{wanted:?} was found in a region that is split");
            looked_up += 1;
        }
    }
    assert_eq!(looked_up, 40);
}

#[test]
fn server_names_are_text_with_three_parts() {
    let name: ServerName = "rs1.example.com,16020,1700000000000".parse().expect("name");
    assert_eq!((name.host.as_str(), name.port, name.start_code), ("rs1.example.com", 16020, 1_700_000_000_000));
    assert_eq!(name.to_string(), "rs1.example.com,16020,1700000000000");
    assert_eq!(name.address(), "rs1.example.com:16020");
    assert_eq!(meta::server_name_from(&meta::server_name_to(&name)).expect("name"), name);
    for wrong in ["", "host", "host,1", ",1,2", "host,65536,1", "host,1,2,3", "host,x,1", "host,1,-1"] {
        assert!(wrong.parse::<ServerName>().is_err(), "{wrong}");
    }
}

#[test]
fn broken_cells_are_errors() {
    let row = b"t,,1.5f.";
    let cell = |qualifier: &str, value: &[u8]| Cell::put(row, b"info", qualifier.as_bytes(), 1, value).expect("cell");
    let info = model::region::RegionInfo::new("t".parse().expect("name"), "".into(), "".into(), 1);
    let good = meta::open_put(&info, &ServerName::new("h", 1, 2), 3, 4).cells;
    assert!(RegionRow::from_cells(&good).expect("row").is_some());
    assert_eq!(RegionRow::from_cells(&[]).expect("row"), None);
    for (qualifier, value) in [
        ("regioninfo", &b"x"[..]),
        ("regioninfo", b"PBUF\xff"),
        ("server", b"nowhere"),
        ("server", b"h:99999"),
        ("server", b"\xff:1"),
        ("serverstartcode", b"1"),
        ("seqnumDuringOpen", b"123456789"),
        ("state", b"\xff"),
    ] {
        let cells: Vec<Cell> = std::iter::once(cell(qualifier, value)).chain(good.iter().cloned()).collect();
        assert!(RegionRow::from_cells(&cells).is_err(), "{qualifier} {}", value.escape_ascii());
    }
    let state = Cell::put(b"t", b"table", b"state", 1, b"\x08\x09").expect("cell");
    assert!(meta::table_state_from(&[state]).is_err());
}

#[test]
fn a_name_too_long_for_a_row_gives_a_mutation_that_is_refused() {
    use ferrobase_protocol::{cell_block::CellBlock, mutation};
    let region = model::region::RegionInfo::new("t".parse().expect("name"), vec![b'k'; 32_767].into(), "".into(), 1);
    for made in [meta::closed_put(&region, 1), meta::region_delete(&region, 1)] {
        let message = mutation::mutation_inline(&made, None);
        assert!(mutation::mutation_from(&message, &mut CellBlock::new(bytes::Bytes::new()), 0).is_err());
    }
}

#[test]
fn the_descriptor_of_meta_is_valid() {
    let descriptor = meta::meta_descriptor();
    descriptor.validate().expect("valid");
    assert!(descriptor.name.is_meta());
    let names: Vec<&[u8]> = descriptor.families.keys().map(|name| &name[..]).collect();
    assert_eq!(names, [&b"info"[..], b"rep_barrier", b"table"]);
    assert_eq!(descriptor.families[&b"info"[..]].max_versions(), 3);
}
