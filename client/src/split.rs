//! Split keys for a new table: HBase's three algorithms, to the byte.
//!
//! Always true: `regions` regions need `regions - 1` keys; the last region takes what does not divide evenly.

use bytes::Bytes;

/// Most regions that are computed for one table.
pub const REGIONS_MAX: u32 = 100_000;

/// How keys are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitAlgorithm {
    /// Rows start with eight hex digits, lower case.
    HexString,
    /// Rows start with eight decimal digits.
    DecimalString,
    /// Rows are any bytes, evenly spread.
    Uniform,
}

/// Why there are no such keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// No algorithm of that name.
    #[error("unknown split algorithm; HexStringSplit, DecimalStringSplit and UniformSplit are known. name=`{0}`")]
    Unknown(String),
    /// Fewer than two regions, or too many.
    #[error("number of regions must be greater than 1 and at most 100000. regions=`{0}`")]
    Regions(i64),
}

impl std::str::FromStr for SplitAlgorithm {
    type Err = SplitError;

    /// HBase's names, with or without the Java package or outer class.
    fn from_str(name: &str) -> Result<SplitAlgorithm, SplitError> {
        match name.rsplit(['.', '$']).next().unwrap_or(name) {
            "HexStringSplit" => Ok(SplitAlgorithm::HexString),
            "DecimalStringSplit" => Ok(SplitAlgorithm::DecimalString),
            "UniformSplit" => Ok(SplitAlgorithm::Uniform),
            _ => Err(SplitError::Unknown(name.to_owned())),
        }
    }
}

/// The keys that cut a table into so many regions.
///
/// ```
/// # use ferrobase_client::split::{SplitAlgorithm, split_keys};
/// let keys = split_keys(SplitAlgorithm::HexString, 4)?;
/// assert_eq!(keys, ["40000000", "80000000", "c0000000"]);
/// # Ok::<(), ferrobase_client::split::SplitError>(())
/// ```
///
/// # Errors
/// Fewer than 2 regions or more than [`REGIONS_MAX`].
pub fn split_keys(algorithm: SplitAlgorithm, regions: u32) -> Result<Vec<Bytes>, SplitError> {
    if !(2..=REGIONS_MAX).contains(&regions) {
        return Err(SplitError::Regions(regions.into()));
    }
    let range: u128 = match algorithm {
        SplitAlgorithm::HexString => 1 << 32,
        SplitAlgorithm::DecimalString => 100_000_000,
        SplitAlgorithm::Uniform => 1 << 64,
    };
    let step = range / u128::from(regions);
    let key = |n: u32| {
        let at = step * u128::from(n);
        match algorithm {
            SplitAlgorithm::HexString => Bytes::from(format!("{at:08x}")),
            SplitAlgorithm::DecimalString => Bytes::from(format!("{at:08}")),
            SplitAlgorithm::Uniform => Bytes::copy_from_slice(&(at as u64).to_be_bytes()),
        }
    };
    Ok((1..regions).map(key).collect())
}

/// Hex digits: `HexStringSplit`.
///
/// # Errors
/// As [`split_keys`].
pub fn hex_string(regions: u32) -> Result<Vec<Bytes>, SplitError> {
    split_keys(SplitAlgorithm::HexString, regions)
}

/// Decimal digits: `DecimalStringSplit`.
///
/// # Errors
/// As [`split_keys`].
pub fn decimal_string(regions: u32) -> Result<Vec<Bytes>, SplitError> {
    split_keys(SplitAlgorithm::DecimalString, regions)
}

/// Any bytes: `UniformSplit`.
///
/// # Errors
/// As [`split_keys`].
pub fn uniform(regions: u32) -> Result<Vec<Bytes>, SplitError> {
    split_keys(SplitAlgorithm::Uniform, regions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_hbase() {
        assert_eq!(hex_string(5).expect("keys"), ["33333333", "66666666", "99999999", "cccccccc"]);
        assert_eq!(decimal_string(3).expect("keys"), ["33333333", "66666666"]);
        assert_eq!(decimal_string(20).expect("keys")[0], "05000000");
        let uniform = uniform(3).expect("keys");
        assert_eq!(&uniform[0][..], [0x55; 8]);
        assert_eq!(&uniform[1][..], [0xaa; 8]);
        assert_eq!(hex_string(1), Err(SplitError::Regions(1)));
    }

    #[test]
    fn keys_rise_have_one_width_and_cut_evenly() {
        let numbers = |algorithm, keys: &[Bytes]| -> Vec<u128> {
            let number = |key: &Bytes| match algorithm {
                SplitAlgorithm::HexString => u128::from_str_radix(std::str::from_utf8(key).expect("text"), 16),
                SplitAlgorithm::DecimalString => std::str::from_utf8(key).expect("text").parse(),
                SplitAlgorithm::Uniform => Ok(u64::from_be_bytes(key[..].try_into().expect("eight bytes")).into()),
            };
            keys.iter().map(|key| number(key).expect("a number")).collect()
        };
        for algorithm in [SplitAlgorithm::HexString, SplitAlgorithm::DecimalString, SplitAlgorithm::Uniform] {
            for regions in (2..200).chain([1000, 1023, 1024, 4097, REGIONS_MAX]).filter(|n| *n <= REGIONS_MAX) {
                let keys = split_keys(algorithm, regions).expect("keys");
                assert_eq!(keys.len(), regions as usize - 1);
                assert!(keys.iter().all(|key| key.len() == 8), "{algorithm:?} {regions}");
                assert!(keys.is_sorted_by(|a, b| a < b), "{algorithm:?} {regions}: bytes rise as numbers do");
                let numbers = numbers(algorithm, &keys);
                assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] == numbers[0]), "{algorithm:?} {regions}");
            }
            assert!(split_keys(algorithm, REGIONS_MAX + 1).is_err() && split_keys(algorithm, 0).is_err());
        }
    }

    #[test]
    fn algorithms_have_hbases_names() {
        assert_eq!("HexStringSplit".parse(), Ok(SplitAlgorithm::HexString));
        let long = "org.apache.hadoop.hbase.util.RegionSplitter$UniformSplit";
        assert_eq!(long.parse(), Ok(SplitAlgorithm::Uniform));
        assert!("Other".parse::<SplitAlgorithm>().is_err());
    }
}
