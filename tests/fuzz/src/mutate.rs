//! Inputs made from others by chance, without knowing what they mean: libFuzzer's ways of changing bytes, for stable Rust.
//!
//! Crates were looked at first: `mutatis` knows no words, splices or numbers, `libafl` brings a whole framework, and the others need nightly
//! compilers.
//!
//! Always true: the same seed over the same corpus makes the same input.

use runtime::random::{Random, SeededRandom};

/// Longest input that is made.
pub const INPUT_BYTES_MAX: usize = 64 << 10;
/// Most changes of one input.
const CHANGES_MAX: usize = 6;
/// Most bytes of one change.
const RUN_BYTES_MAX: usize = 64;
/// Numbers at which arithmetic and checks go wrong.
const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    15,
    16,
    63,
    64,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// Repeatable choices.
struct Dice(SeededRandom);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.0.next_u64() % n as u64) as usize }
    }

    /// A place in `data` or, with `end`, at its end; rather one that is not zero: files are full of padding.
    fn place(&mut self, data: &[u8], end: bool) -> usize {
        let mut at = self.below(data.len() + usize::from(end));
        for _ in 0..self.below(8) {
            if data.get(at).is_some_and(|byte| *byte != 0) {
                break;
            }
            at = self.below(data.len() + usize::from(end));
        }
        at
    }

    fn run(&mut self, data: &[u8]) -> std::ops::Range<usize> {
        let from = self.place(data, false);
        // Short ones are likelier.
        let most = 1 << self.below(RUN_BYTES_MAX.ilog2() as usize + 1);
        from..(from + 1 + self.below(most)).min(data.len())
    }
}

/// Makes the input of a seed out of a corpus and words.
pub fn input(corpus: &[Vec<u8>], words: &[&[u8]], seed: u64) -> Vec<u8> {
    let mut dice = Dice(SeededRandom::new(seed));
    let nothing = Vec::new();
    let pick = |dice: &mut Dice| corpus.get(dice.below(corpus.len())).unwrap_or(&nothing);
    let mut data = pick(&mut dice).clone();
    for _ in 0..1 + dice.below(CHANGES_MAX) {
        let other = pick(&mut dice);
        change(&mut data, other, words, &mut dice);
    }
    data.truncate(INPUT_BYTES_MAX);
    data
}

fn change(data: &mut Vec<u8>, other: &[u8], words: &[&[u8]], dice: &mut Dice) {
    let insert = |data: &mut Vec<u8>, at: usize, more: &[u8]| drop(data.splice(at..at, more.iter().copied()));
    let overwrite = |data: &mut Vec<u8>, at: usize, more: &[u8]| {
        let end = (at + more.len()).min(data.len());
        data[at..end].copy_from_slice(&more[..end - at]);
    };
    match dice.below(12) {
        0 if !data.is_empty() => {
            let at = dice.place(data, false);
            data[at] ^= 1 << dice.below(8);
        }
        1 if !data.is_empty() => {
            let at = dice.place(data, false);
            data[at] = dice.below(256) as u8;
        }
        2 if !data.is_empty() => {
            let at = dice.place(data, false);
            data[at] = data[at].wrapping_add_signed(dice.below(33) as i8 - 16);
        }
        3 => {
            let at = dice.place(data, true);
            let more: Vec<u8> = (0..1 + dice.below(8)).map(|_| dice.below(256) as u8).collect();
            insert(data, at, &more);
        }
        4 => {
            let (at, byte, len) = (dice.place(data, true), dice.below(256) as u8, 1 + dice.below(RUN_BYTES_MAX));
            insert(data, at, &vec![byte; len]);
        }
        5 if !data.is_empty() => drop(data.drain(dice.run(data))),
        6 if !data.is_empty() => {
            let (run, at) = (data[dice.run(data)].to_vec(), dice.place(data, true));
            if dice.below(2) == 0 { insert(data, at, &run) } else { overwrite(data, at, &run) }
        }
        7 | 8 => {
            // A number, or one that is about right for a length.
            let number = match dice.below(4) {
                0 => (data.len() as u64).wrapping_add(dice.below(65) as u64).wrapping_sub(32),
                _ => NUMBERS[dice.below(NUMBERS.len())],
            };
            let (width, at) = (1 << dice.below(4), dice.place(data, true));
            let mut bytes = number.to_be_bytes()[8 - width..].to_vec();
            if dice.below(4) == 0 {
                bytes.reverse();
            }
            if dice.below(4) == 0 { insert(data, at, &bytes) } else { overwrite(data, at, &bytes) }
        }
        9 if !words.is_empty() => {
            let (word, at) = (words[dice.below(words.len())], dice.place(data, true));
            if dice.below(3) == 0 { overwrite(data, at, word) } else { insert(data, at, word) }
        }
        10 if !other.is_empty() => {
            // The beginning of one and the end of another.
            data.truncate(dice.place(data, true));
            data.extend_from_slice(&other[dice.place(other, false)..]);
        }
        11 if !other.is_empty() => {
            let (run, at) = (&other[dice.run(other)], dice.place(data, true));
            if dice.below(2) == 0 { insert(data, at, run) } else { overwrite(data, at, run) }
        }
        _ => data.truncate(dice.below(data.len() + 1)),
    }
}
