//! Which file goes to which region. No I/O.

use bytes::Bytes;
use model::region::RegionInfo;

use crate::store_file::StoreFile;

/// Where files belong.
#[derive(Debug, Default)]
pub struct Plan {
    /// Files by the region that takes them, as an index into the regions given.
    pub fitting: Vec<(usize, Vec<StoreFile>)>,
    /// Files that reach over the border of a region.
    pub crossing: Vec<StoreFile>,
}

/// The region that holds a row; `regions` are sorted by their first rows. `None`: there is a hole.
fn region_of(regions: &[RegionInfo], row: &[u8]) -> Option<usize> {
    let at = regions.partition_point(|region| region.start_key[..] <= *row).checked_sub(1)?;
    regions[at].contains(row).then_some(at)
}

/// Sorts files by region. A file in a hole between regions counts as crossing; [`starts`] cannot help it, the next look at the regions may.
pub fn plan(regions: &[RegionInfo], files: Vec<StoreFile>) -> Plan {
    let mut plan = Plan::default();
    for file in files {
        let ends = (region_of(regions, &file.first_row), region_of(regions, &file.last_row));
        match ends {
            (Some(first), Some(last)) if first == last => {
                match plan.fitting.iter_mut().find(|(region, _)| *region == first) {
                    Some((_, files)) => files.push(file),
                    None => plan.fitting.push((first, vec![file])),
                }
            }
            _ => plan.crossing.push(file),
        }
    }
    plan
}

/// First rows of the regions, sorted.
pub fn starts(regions: &[RegionInfo]) -> Vec<Bytes> {
    regions.iter().map(|region| region.start_key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use filesystem::memory::MemoryFilesystem;

    fn regions(borders: &[&str]) -> Vec<RegionInfo> {
        let bytes = |key: &str| Bytes::copy_from_slice(key.as_bytes());
        borders
            .windows(2)
            .map(|pair| RegionInfo::new("t".parse().expect("name"), bytes(pair[0]), bytes(pair[1]), 1))
            .collect()
    }

    fn file(first: &str, last: &str) -> StoreFile {
        StoreFile {
            fs: Arc::new(MemoryFilesystem::new()),
            path: format!("{first}-{last}"),
            on_root: true,
            family: "f".into(),
            first_row: first.to_owned().into(),
            last_row: last.to_owned().into(),
            bytes: 1,
            cells: 1,
        }
    }

    #[test]
    fn files_go_to_the_region_that_holds_both_ends() {
        let regions = regions(&["", "g", "p", ""]);
        let files = ["a f", "g o", "b b", "f g", "z zz", "a z", "g gg"];
        let files = files.map(|ends| ends.split_once(' ').expect("two")).map(|(first, last)| file(first, last));
        let plan = plan(&regions, files.into());
        let names = |files: &[StoreFile]| files.iter().map(|file| file.path.clone()).collect::<Vec<_>>();
        let fitting: Vec<_> = plan.fitting.iter().map(|(at, files)| (*at, names(files))).collect();
        let group = |at: usize, names: &[&str]| (at, names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(fitting, [group(0, &["a-f", "b-b"]), group(1, &["g-o", "g-gg"]), group(2, &["z-zz"])]);
        assert_eq!(names(&plan.crossing), ["f-g", "a-z"]);
        assert_eq!(starts(&regions), ["", "g", "p"]);
    }

    #[test]
    fn a_hole_takes_nothing() {
        let mut regions = regions(&["", "g", "p", ""]);
        regions.remove(1);
        assert_eq!(plan(&regions, vec![file("h", "i"), file("a", "b")]).crossing.len(), 1);
    }
}
