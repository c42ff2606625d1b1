//! Servers, streams and regions.

use super::log::Mistake::*;
use super::log::{Log, Mistake, TINY};
use super::*;

// One region: the sizes of the founding proof.
const CHAIN: Log = Log { servers: 3, openings: 3, ..TINY };
const FILES: Log = Log { openings: 3, files: 3, collect: true, compact: true, close: true, ..TINY };
const TRIM: Log = Log { writes: 3, fencers: 2, trim: true, ..TINY };
const SEAL: Log = Log { seal: true, ..TRIM };
const RELEASE: Log = Log { writes: 3, files: 2, fencers: 2, trim: true, release: true, twice: true, ..TINY };

fn find_all(table: &[(Mistake, &str, Log, &str)]) {
    for (mistake, name, size, claim) in table {
        finds(&format!("log, {name}, {mistake:?}"), Log { mistake: Some(*mistake), ..*size }, claim);
    }
}

#[test]
fn one_region_holds() {
    holds("log, tiny", TINY);
    holds("log, chain of three", CHAIN);
}

#[test]
fn sealing_holds() {
    holds("log, sealing", Log { fencers: 1, ..SEAL });
}

#[test]
fn mistakes_of_one_region_are_found() {
    let table: &[(Mistake, &str, Log, &str)] = &[
        (OpenedWithoutFence, "tiny", TINY, "P2"),
        (TailReadBeforeFence, "tiny", TINY, "P1"),
        (AcknowledgedBeforePredecessor, "tiny", TINY, "P1"),
        (NumberInDoubtSkipped, "tiny", TINY, "P1"),
        (ExistsTakenAsMine, "tiny", TINY, "P1"),
        (FlushedCoversInFlight, "tiny", TINY, "P1"),
        (ClaimWithStaleBody, "tiny", TINY, "P2"),
        (CommitOverNewEpoch, "tiny", TINY, "P3"),
        (ClaimForgetsOldStreams, "chain", CHAIN, "P1"),
        (ReadPastFence, "chain", CHAIN, "P6"),
        (SeqFromFlushed, "chain", CHAIN, "P10"),
        (OlderEpochClaims, "files", FILES, "P3"),
        (UploadBeforeClaim, "files", FILES, "P8"),
        (InputsDeletedBeforeAnswer, "files", FILES, "P8"),
        (CollectorIgnoresEpoch, "files", FILES, "P8"),
        (EndedWithoutCompare, "trim", TRIM, "P1"),
        (FenceOnFreedNumberKept, "trim", TRIM, "P1"),
        (SealedAfterEnd, "seal", SEAL, "P1"),
        (DeletedBeforeHeadSwap, "trim", TRIM, "P1"),
        (DeletedBeforeHeadSwap, "seal", SEAL, "P1"),
        (SegmentPutAgainLonger, "seal", SEAL, "P1"),
        (TrimmedBeforeCommit, "release", RELEASE, "P1"),
        (ReleasedByOwnerChange, "release", RELEASE, "P1"),
        (FenceDeleted, "release", RELEASE, "P1"),
    ];
    find_all(table);
}

// Several regions on one stream: both begin open on the first server.
const REGIONS: Log = Log { regions: 2, begun: true, ..TINY };
const REGIONS_TRIM: Log = Log { trim: true, ..REGIONS };
const REGIONS_RELEASE: Log = Log { release: true, close: true, files: 2, ..REGIONS };

#[test]
fn two_regions_on_one_stream_hold() {
    holds("log, two regions", REGIONS);
    holds("log, two regions, trimming", REGIONS_TRIM);
}

// Two families: a write takes the first or both; a flush takes one or both.
const FAMILIES: Log = Log { families: 2, flush_by_family: true, begun: true, files: 2, ..TINY };
const FAMILIES_RELEASE: Log = Log { release: true, ..FAMILIES };
const FAMILIES_CHAIN: Log = Log { servers: 3, openings: 3, ..FAMILIES };

#[test]
fn flush_by_family_holds() {
    holds("log, two families", FAMILIES);
    holds("log, two families, release", FAMILIES_RELEASE);
}

#[test]
fn an_idle_family_holds_no_stream() {
    let model = Log { mistake: Some(IdleFamilyStaysBehind), ..FAMILIES_RELEASE };
    let outcome = search(&model, Limit::default());
    assert!(outcome.complete && outcome.broken.is_none());
    assert_eq!(outcome.unreached, [super::log::claims::IDLE_FAMILY_RELEASED]);
}

// The fencer looks at one number at a time, in any order; the writer moves between.
const LOOKS: Log = Log { single_looks: true, ..TINY };
const LOOKS_TRIM: Log = Log { single_looks: true, trim: true, ..TINY };

#[test]
fn a_fence_put_after_looks_holds() {
    holds("log, single looks", LOOKS);
    holds("log, single looks, trimming", LOOKS_TRIM);
    holds("log, a fence ahead", Log { fence_ahead: true, writes: 3, ..TINY });
    holds("log, a fence ahead, trimming", Log { fence_ahead: true, trim: true, ..TINY });
}

// One need in the head; the others are spilled to the body.
const NEEDS: Log = Log { head_needs: 1, drop_needs: true, begun: true, ..CHAIN };
const NEEDS_RELEASE: Log = Log { release: true, ..NEEDS };

#[test]
fn spilled_needs_hold() {
    holds("log, spilled needs", NEEDS);
}

// An opening that fails gives its claim back, or claims anew; its server lives on.
const FAILURES: Log = Log { failures: true, begun: true, servers: 3, openings: 3, ..TINY };

#[test]
fn openings_that_fail_hold() {
    holds("log, failed openings", FAILURES);
}

// Reads: evaluated, guarded, answered.
const READS: Log = Log { reads: true, begun: true, ..TINY };

#[test]
fn guarded_reads_are_fresh() {
    holds("log, reads", READS);
}

// Every put, the fence's too, may land again.
const TWICE: Log = Log { twice: true, twice_fence: true, trim: true, ..TINY };

#[test]
fn puts_that_land_twice_do_no_harm() {
    holds("log, puts land twice", TWICE);
}

#[test]
fn mistakes_of_the_deepened_log_are_found() {
    let table: &[(Mistake, &str, Log, &str)] = &[
        (LowOfLeastNeedyRegion, "two regions, trimming", REGIONS_TRIM, "P1"),
        (PinForgotten, "two regions, trimming, close", Log { close: true, window: 1, ..REGIONS_TRIM }, "P1"),
        (IndexOfOneRegion, "two regions", REGIONS, "P1"),
        (ReplayTakesOtherRegions, "two regions", REGIONS, "P6"),
        (ReleasedByOneRegion, "two regions, release", REGIONS_RELEASE, "P1"),
        (FlushMarksAllFamilies, "two families", FAMILIES, "P1"),
        (FromOfFlushedFamily, "two families", FAMILIES, "P1"),
        (OldNeedsDroppedByOneFamily, "two families, chain", FAMILIES_CHAIN, "P7"),
        (ReplaySkipsByNewestFamily, "two families", FAMILIES, "P1"),
        (ReleasedByOneFamily, "two families, release", FAMILIES_RELEASE, "P1"),
        (FenceBehindNewest, "single looks", LOOKS, "P1"),
        (EndedWithoutCompare, "single looks, trimming", LOOKS_TRIM, "P1"),
        (TailReadBeforeFence, "single looks", LOOKS, "P1"),
        (GivenBackAfterServing, "failed openings", FAILURES, "P1"),
        (ClaimedAnewAfterServing, "failed openings", FAILURES, "P1"),
        (LookAtNewestNumber, "reads", READS, "P12"),
        (ProofBehindGap, "reads, 3 writes", Log { writes: 3, ..READS }, "P12"),
        (SpillForgotten, "spilled needs", NEEDS, "P1"),
        (SpillNotRead, "spilled needs", NEEDS, "P1"),
        (NeedOfLiveStreamDropped, "spilled needs", NEEDS, "P2"),
        (ReleasedByHeadNeeds, "spilled needs, release", NEEDS_RELEASE, "P1"),
    ];
    find_all(table);
}

mod large {
    use super::*;

    #[test]
    #[ignore = "a long run: tests/run long model"]
    fn one_region() {
        holds("log, trimming, 2 fencers", TRIM);
        holds("log, sealing, 2 fencers", Log { writes: 2, numbers: 2, ..SEAL });
        holds("log, sealing, chain of three", Log { numbers: 2, trim: true, seal: true, ..CHAIN });
        holds("log, release, 2 fencers", Log { writes: 2, files: 1, numbers: 2, ..RELEASE });
        holds("log, files", FILES);
        let both =
            Log { trim: true, seal: true, release: true, twice: true, close: true, collect: true, numbers: 2, ..TINY };
        holds("log, sealing, both collections", both);
    }

    #[test]
    #[ignore = "a long run: tests/run long model"]
    fn two_regions_on_one_stream() {
        holds("log, two regions, sealing", Log { seal: true, numbers: 2, ..REGIONS_TRIM });
        holds("log, two regions, release, close", REGIONS_RELEASE);
        holds("log, two regions, 3 writes, trimming", Log { writes: 3, ..REGIONS_TRIM });
        holds("log, two regions, puts land twice", Log { twice: true, twice_fence: true, numbers: 2, ..REGIONS_TRIM });
    }

    #[test]
    #[ignore = "a long run: tests/run long model"]
    fn flush_by_family() {
        holds("log, two families, chain of three", FAMILIES_CHAIN);
        holds("log, two families, 3 writes", Log { writes: 3, ..FAMILIES });
        holds("log, two families, trimming, release, close", Log { trim: true, close: true, ..FAMILIES_RELEASE });
        holds("log, two families, sealing", Log { trim: true, seal: true, numbers: 2, ..FAMILIES });
        let both = Log { regions: 2, files: 1, numbers: 2, ..FAMILIES };
        holds("log, two regions of two families", both);
    }

    #[test]
    #[ignore = "a long run: tests/run long model"]
    fn a_fence_put_after_looks() {
        holds("log, single looks, 2 fencers", Log { fencers: 2, ..LOOKS });
        holds("log, single looks, sealing", Log { seal: true, numbers: 2, ..LOOKS_TRIM });
        holds("log, single looks, two regions", Log { single_looks: true, numbers: 2, ..REGIONS_TRIM });
        holds("log, single looks, 3 writes", Log { writes: 3, ..LOOKS });
    }

    #[test]
    #[ignore = "a long run: tests/run long model"]
    fn spilled_needs() {
        holds("log, spilled needs, release", NEEDS_RELEASE);
        holds("log, spilled needs, two families", Log { files: 1, head_needs: 1, drop_needs: true, ..FAMILIES_CHAIN });
        holds("log, spilled needs, failed openings", Log { failures: true, ..NEEDS });
    }

    #[test]
    #[ignore = "a long run: tests/run long model"]
    fn guarded_reads() {
        holds("log, reads, 3 writes", Log { writes: 3, ..READS });
        holds("log, reads, chain of three", Log { servers: 3, openings: 3, ..READS });
        holds("log, reads, trimming", Log { trim: true, ..READS });
    }

    #[test]
    #[ignore = "a long run: tests/run long model"]
    fn mixes_as_far_as_they_go() {
        let states = 12_000_000;
        holds_so_far("log, 3 writes, 2 fencers, sealing", SEAL, states);
        let all = Log { files: 2, collect: true, release: true, close: true, trim: true, compact: true, ..CHAIN };
        holds_so_far("log, chain, everything", all, states);
        holds_so_far(
            "log, chain, 3 writes, collections",
            Log { writes: 3, files: 2, collect: true, release: true, ..CHAIN },
            states,
        );
    }
}
