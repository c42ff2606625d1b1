//! Ways in which the bytes of a file go bad.

use std::ops::Range;

use runtime::random::{Random, SeededRandom};

/// Repeatable choices.
pub struct Dice(SeededRandom);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(SeededRandom::new(seed))
    }

    /// A number below `n`; 0 if there is none.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.0.next_u64() % n as u64) as usize }
    }

    pub fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.0.next_u64() as u8).collect()
    }
}

/// Damages a file once. `parts` are its blocks or groups; `hot` ranges say more than others and are hit more often. Answers what
/// was done.
pub fn damage(data: &mut Vec<u8>, parts: &[Range<usize>], hot: &[Range<usize>], dice: &mut Dice) -> String {
    let sector = [16, 64, 512, 4096][dice.below(4)].min(data.len().max(1));
    let sectors = data.len() / sector;
    match dice.below(10) {
        0 | 1 if !data.is_empty() => {
            let (at, bit) = (dice.below(data.len()), dice.below(8));
            data[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} flipped")
        }
        2 | 3 if !hot.is_empty() => {
            let range = dice.of(hot).clone();
            let (at, bit) = (range.start + dice.below(range.len()), dice.below(8));
            if let Some(byte) = data.get_mut(at) {
                *byte ^= 1 << bit;
            }
            format!("bit {bit} of byte {at} flipped")
        }
        4 => {
            let at = dice.below(data.len());
            let len = (1 + dice.below(64)).min(data.len() - at);
            let noise = dice.bytes(len);
            data[at..at + len].copy_from_slice(&noise);
            format!("noise at {at}..{}", at + len)
        }
        5 if sectors > 0 => {
            let at = dice.below(sectors) * sector;
            data[at..at + sector].fill(0);
            format!("zeros at {at}..{}", at + sector)
        }
        6 if sectors > 1 => {
            let (a, b) = (dice.below(sectors) * sector, dice.below(sectors) * sector);
            let (kept, other) = (data[a..a + sector].to_vec(), data[b..b + sector].to_vec());
            data[a..a + sector].copy_from_slice(&other);
            if dice.below(2) == 0 {
                data[b..b + sector].copy_from_slice(&kept);
                return format!("sectors of {sector} bytes at {a} and {b} swapped");
            }
            format!("a sector of {sector} bytes at {a} holds that of {b}")
        }
        7 => {
            let len = dice.below(data.len());
            data.truncate(len);
            format!("cut to {len} bytes")
        }
        8 => {
            let len = 1 + dice.below(600);
            let more = match dice.below(3) {
                0 => vec![0; len],
                1 => dice.bytes(len),
                // Groups and blocks of its own, once more.
                _ if !parts.is_empty() => data.get(dice.of(parts).clone()).unwrap_or_default().to_vec(),
                _ => data[data.len().saturating_sub(len)..].to_vec(),
            };
            data.extend_from_slice(&more);
            format!("{} bytes appended", more.len())
        }
        _ => {
            let (a, b) = if parts.is_empty() { (0..0, 0..0) } else { (dice.of(parts).clone(), dice.of(parts).clone()) };
            let twins: Vec<_> = parts.iter().filter(|part| part.len() == a.len() && **part != a).collect();
            let b = if twins.is_empty() { b } else { (*dice.of(&twins)).clone() };
            let len = a.len().min(b.len());
            if a == b || a.end.max(b.end) > data.len() {
                return "nothing".to_owned();
            }
            let (left, right) = (data[a.start..a.start + len].to_vec(), data[b.start..b.start + len].to_vec());
            data[a.start..a.start + len].copy_from_slice(&right);
            if dice.below(2) == 0 {
                return format!("{len} bytes of the block at {} stand at {} too", b.start, a.start);
            }
            data[b.start..b.start + len].copy_from_slice(&left);
            format!("{len} bytes of the blocks at {} and {} swapped", a.start, b.start)
        }
    }
}

/// Whether any byte of the range is not what it was.
pub fn touched(before: &[u8], after: &[u8], range: Range<usize>) -> bool {
    after.len() < range.end || before[range.clone()] != after[range]
}
