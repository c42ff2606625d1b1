//! Registers, appended logs, leases, split, snapshot and clone.

use super::*;

#[test]
fn a_pointer_renamed_is_a_compare_and_set() {
    let register = register::Register { clients: 3, versions: 2, head_only: true, mistake: None };
    holds("register", register);
    for (mistake, claim) in [
        (register::Mistake::NumberedAndTrimmed, "a swap takes place only over"),
        (register::Mistake::HeadSwapDeletesBody, "the current version"),
        (register::Mistake::BodiesListedAfterRename, "the current version"),
        (register::Mistake::SupersededDeletesItsBody, "the current version"),
        (register::Mistake::BodyNamedAgain, "the current version"),
        (register::Mistake::BodyDeletedFirst, "the current version"),
        (register::Mistake::HeadSwapKeepsStaleBody, "the current version"),
    ] {
        let versions = if mistake == register::Mistake::NumberedAndTrimmed { 4 } else { 3 };
        finds(
            &format!("register, {mistake:?}"),
            register::Register { versions, mistake: Some(mistake), ..register },
            claim,
        );
    }
}

#[test]
fn an_appended_log_ends_once() {
    use appended::Mistake::*;
    for hdfs in [false, true] {
        holds(&format!("appended, hdfs {hdfs}"), appended::Appended { hdfs, writes: 3, mistake: None });
    }
    for (hdfs, mistake, claim) in [
        (false, LookBeforeAppend, "P1"),
        (false, EachReadsItsOwnTail, "P5"),
        (true, LeaseBeforeNumber, "P1"),
        (true, NumberNotTaken, "P1"),
        (true, LeaseAnswerIgnored, "P1"),
        (true, RollWithoutAppendingAgain, "P1"),
        (true, HsyncErrorIgnored, "P1"),
        (false, FailedCreationSkipsNumber, "P1"),
        (true, FailedCreationSkipsNumber, "P1"),
        (false, ExistsTakenAsMine, "P1"),
        (true, ExistsTakenAsMine, "P1"),
    ] {
        finds(&format!("appended, {mistake:?}"), appended::Appended { hdfs, writes: 3, mistake: Some(mistake) }, claim);
    }
}

#[test]
fn a_leased_read_never_follows_a_successor() {
    use lease::Mistake::*;
    let lease = lease::Lease { horizon: 5, length: 2, drift: 0, mistake: None };
    holds("lease", lease);
    holds("lease, a tick lost", lease::Lease { drift: 1, ..lease });
    for mistake in [
        AgeIgnored,
        CountedFromReceipt,
        AgeFromEndOfLook,
        NewLeaderDoesNotWait,
        RepliesAfterSuspicion,
        OrdersWithoutWaiting,
        NoLookForNewLeader,
        DriftIgnored,
        OpenerTrustsItsOrder,
    ] {
        let drift = u8::from(mistake == DriftIgnored);
        finds(
            &format!("lease, {mistake:?}"),
            lease::Lease { horizon: 6, drift, mistake: Some(mistake), ..lease },
            "P12",
        );
    }
}

#[test]
fn pinned_files_outlive_snapshot_and_clone() {
    use pins::Mistake::*;
    holds("pins", pins::Pins { mistake: None });
    for mistake in [
        SnapshotBeforePin,
        SnapshotGivenUpWithoutStub,
        CloneBeforePin,
        CloneGivenUpWithoutStub,
        UnpinnedWhileCloneLists,
        ClonePinsFromObject,
    ] {
        finds(&format!("pins, {mistake:?}"), pins::Pins { mistake: Some(mistake) }, "P8");
    }
}

#[test]
fn a_bulk_load_is_whole_and_its_mistakes_are_found() {
    use load::Mistake::*;
    holds("load", load::Load { mistake: None });
    for (mistake, claim) in [
        (MovedBeforeDecided, "what is not decided"),
        (ListedBeforeMoved, "P8"),
        (CollectedWhileMoving, "nothing is lost"),
        (HalfListed, "P8"),
        (ListedWithoutVersion, "P8"),
    ] {
        finds(&format!("load, {mistake:?}"), load::Load { mistake: Some(mistake) }, claim);
    }
}

const SPLIT: split::Split = split::Split { writes: 1, orders: 1, heir_retired: false, mistake: None };

#[test]
fn a_split_keeps_keys_and_rows() {
    holds("split, one order each", SPLIT);
    holds("split, one order each, an heir retired", split::Split { heir_retired: true, ..SPLIT });
}

#[test]
fn mistakes_in_a_split_are_found() {
    use split::Mistake::*;
    for (mistake, claim) in [
        (MapBeforeRetire, "P9"),
        (HeirsBeforeRetire, "P9"),
        (RetireWithoutVersion, "P9"),
        (RetireWithoutEpoch, "M3"),
        (HeirsFromStaleList, "P9"),
        (GivenUpWithoutClaim, "M3"),
        (GivenUpAfterRetire, "M3"),
        (MissingHeirListsNothing, "P8"),
        (FilesJudgedByMap, "P8"),
    ] {
        finds(&format!("split, {mistake:?}"), split::Split { orders: 2, mistake: Some(mistake), ..SPLIT }, claim);
    }
    let stub = split::Split { orders: 2, heir_retired: true, mistake: Some(StubRemoved), ..SPLIT };
    finds("split, StubRemoved", stub, "P9");
}

const MERGE: merge::Merge = merge::Merge { writes: 1, orders: 1, mistake: None };

#[test]
fn a_merge_keeps_keys_and_rows() {
    holds("merge, one order each", MERGE);
}

#[test]
fn mistakes_in_a_merge_are_found() {
    use merge::Mistake::*;
    for (mistake, claim) in [
        (SecondNotRetired, "P9"),
        (SecondRetiredWithoutVersion, "P9"),
        (HeirFromOldList, "P9"),
        (GivenUpByClaimOfSecond, "M3"),
        (GivenUpAfterFirstRetired, "M3"),
        (FilesJudgedByFirst, "P8"),
    ] {
        finds(&format!("merge, {mistake:?}"), merge::Merge { orders: 1, mistake: Some(mistake), ..MERGE }, claim);
    }
}

mod large {
    use super::*;

    #[test]
    #[ignore = "a long run: tests/run long model"]
    fn register_of_four_versions() {
        holds("register", register::Register { clients: 3, versions: 4, head_only: true, mistake: None });
    }

    #[test]
    #[ignore = "a long run: tests/run long model"]
    fn lease_of_six_ticks() {
        let lease = lease::Lease { horizon: 6, length: 2, drift: 0, mistake: None };
        holds("lease", lease);
        holds("lease, a tick lost", lease::Lease { horizon: 7, drift: 1, ..lease });
    }

    #[test]
    #[ignore = "a long run: tests/run long model"]
    fn split_with_two_orders_each() {
        holds("split", split::Split { orders: 2, ..SPLIT });
    }

    #[test]
    #[ignore = "a long run: tests/run long model"]
    fn split_with_two_orders_each_an_heir_retired() {
        holds("split, an heir retired", split::Split { orders: 2, heir_retired: true, ..SPLIT });
    }

    #[test]
    #[ignore = "a long run: tests/run long model"]
    fn merge_with_two_orders_each() {
        holds_so_far("merge, two orders each", merge::Merge { orders: 2, ..MERGE }, 15_000_000);
    }
}
