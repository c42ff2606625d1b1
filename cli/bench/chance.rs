//! Reproducible chance: numbers from a seed and YCSB's distributions over records.

/// Numbers from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// A number from 0 to less than 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fills with printable bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bits = self.next();
            for (at, byte) in chunk.iter_mut().enumerate() {
                *byte = b' ' + ((bits >> (8 * at)) as u8 & 63);
            }
        }
    }
}

/// FNV-1a of the number's eight bytes, smallest first, without its sign: YCSB's hash.
pub fn fnv(mut number: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for _ in 0..8 {
        hash = (hash ^ (number & 0xff)).wrapping_mul(0x0100_0000_01b3);
        number >>= 8;
    }
    (hash as i64).unsigned_abs()
}

const THETA: f64 = 0.99;
/// Ranks whose terms are added one by one.
const SUMMED_RANKS: u64 = 4_000_000;
/// Ranks that a scrambled choice draws from, and their zeta: far more than there are records, so that the hash spreads.
const SCRAMBLED_RANKS: u64 = 10_000_000_000;
const SCRAMBLED_ZETA: f64 = 26.469_028_201_783_02;

/// Ranks from 0, small ones most often (Gray et al., "Quickly generating billion-record synthetic databases").
#[derive(Clone, Debug)]
pub struct Zipfian {
    ranks: u64,
    zeta: f64,
}

impl Zipfian {
    /// Over so many ranks. Takes time in proportion, up to a few million.
    pub fn new(ranks: u64) -> Zipfian {
        let mut zipfian = Zipfian { ranks: 0, zeta: 0.0 };
        zipfian.grow(ranks);
        zipfian
    }

    fn scrambled() -> Zipfian {
        Zipfian { ranks: SCRAMBLED_RANKS, zeta: SCRAMBLED_ZETA }
    }

    /// More ranks than before; fewer are ignored.
    pub fn grow(&mut self, ranks: u64) {
        for rank in self.ranks..ranks.min(SUMMED_RANKS) {
            self.zeta += 1.0 / ((rank + 1) as f64).powf(THETA);
        }
        // So far out the terms' integral is as good as their sum.
        let (from, to) = (self.ranks.max(SUMMED_RANKS), ranks);
        if from < to {
            let whole = |n: u64| (n as f64 + 0.5).powf(1.0 - THETA) / (1.0 - THETA);
            self.zeta += whole(to) - whole(from);
        }
        self.ranks = self.ranks.max(ranks);
    }

    /// Draws a rank.
    pub fn draw(&self, dice: &mut Dice) -> u64 {
        let u = dice.unit();
        let uz = u * self.zeta;
        let second = 1.0 + 0.5f64.powf(THETA);
        if uz < 1.0 {
            return 0;
        }
        if uz < second {
            return 1;
        }
        let eta = (1.0 - (2.0 / self.ranks as f64).powf(1.0 - THETA)) / (1.0 - second / self.zeta);
        let rank = self.ranks as f64 * (eta * u - eta + 1.0).powf(1.0 / (1.0 - THETA));
        (rank as u64).min(self.ranks - 1)
    }
}

/// How the record of an operation is chosen.
#[derive(Clone, Debug)]
pub enum Choice {
    /// All alike.
    Uniform,
    /// A few far more often, spread over the whole range of this many records.
    Scrambled(Zipfian, u64),
    /// The newest most often.
    Latest(Zipfian),
}

impl Choice {
    /// Skewed; `records` counts those that will come during the run too.
    pub fn scrambled(records: u64) -> Choice {
        Choice::Scrambled(Zipfian::scrambled(), records)
    }

    /// The newest of now `records` most often.
    pub fn latest(records: u64) -> Choice {
        Choice::Latest(Zipfian::new(records))
    }

    /// Draws one of the `records` that there are now.
    pub fn draw(&mut self, dice: &mut Dice, records: u64) -> u64 {
        match self {
            Choice::Uniform => dice.below(records),
            Choice::Scrambled(zipfian, all) => loop {
                let record = fnv(zipfian.draw(dice)) % *all;
                if record < records {
                    return record;
                }
            },
            Choice::Latest(zipfian) => {
                zipfian.grow(records);
                records - 1 - zipfian.draw(dice).min(records - 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_that_of_ycsb() {
        // Rows of records 0, 1 and 2 as YCSB 0.17 names them.
        let known = [6_284_781_860_667_377_211, 8_517_097_267_634_966_620, 1_820_151_046_732_198_393];
        assert_eq!([fnv(0), fnv(1), fnv(2)], known);
    }

    #[test]
    fn zeta_of_the_scrambled_ranks_is_right() {
        // Euler-Maclaurin from a thousand ranks to ten billion.
        let (n, far) = (1000.0_f64, SCRAMBLED_RANKS as f64);
        let tail = (far.powf(1.0 - THETA) - n.powf(1.0 - THETA)) / (1.0 - THETA);
        let edges = (far.powf(-THETA) - n.powf(-THETA)) / 2.0;
        let zeta = Zipfian::new(1000).zeta + tail + edges;
        assert!((zeta - SCRAMBLED_ZETA).abs() < 1e-5, "{zeta}");
    }

    #[test]
    fn draws_follow_the_law() {
        let zipfian = Zipfian::new(1000);
        let mut dice = Dice::new(7);
        let mut counts = vec![0u32; 1000];
        for _ in 0..1_000_000 {
            counts[zipfian.draw(&mut dice) as usize] += 1;
        }
        let expected = |rank: f64| 1_000_000.0 / (zipfian.zeta * rank.powf(THETA));
        for rank in [1usize, 2, 10, 100] {
            let (seen, law) = (f64::from(counts[rank - 1]), expected(rank as f64));
            assert!((seen / law - 1.0).abs() < 0.2, "rank {rank}: {seen} against {law}");
        }
    }

    #[test]
    fn choices_stay_among_the_records_and_differ() {
        let mut dice = Dice::new(3);
        let share_of_top = |choice: &mut Choice, dice: &mut Dice| {
            let mut counts = vec![0u32; 500];
            for _ in 0..50_000 {
                counts[choice.draw(dice, 500) as usize] += 1;
            }
            let newest = f64::from(counts[499]) / 50_000.0;
            (f64::from(*counts.iter().max().expect("some")) / 50_000.0, newest)
        };
        let (top, _) = share_of_top(&mut Choice::Uniform, &mut dice);
        assert!(top < 0.01, "{top}");
        let (top, newest) = share_of_top(&mut Choice::scrambled(600), &mut dice);
        assert!((0.03..0.2).contains(&top) && newest < top, "{top} {newest}");
        let (top, newest) = share_of_top(&mut Choice::latest(100), &mut dice);
        assert!(top > 0.1 && newest == top, "{top} {newest}");
    }
}
