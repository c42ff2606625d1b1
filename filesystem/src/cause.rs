//! Why storage is asked: what requests that cost money are counted under.

/// What a request is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Writing the log.
    Log,
    /// Registers, as far as nothing below changes them.
    Registers,
    /// Opening a region, replay included.
    Opening,
    /// Reads of clients.
    Reads,
    /// Flushing memtables.
    Flush,
    /// Compacting store files.
    Compaction,
    /// Taking in files of a bulk load.
    Load,
    /// Looking for what nobody needs, and deleting it.
    Collection,
    /// Anything else: start, checks, tools.
    Other,
}

tokio::task_local! {
    static CAUSE: Cause;
}

impl Cause {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Log => "log",
            Cause::Registers => "registers",
            Cause::Opening => "opening",
            Cause::Reads => "reads",
            Cause::Flush => "flush",
            Cause::Compaction => "compaction",
            Cause::Load => "load",
            Cause::Collection => "collection",
            Cause::Other => "other",
        }
    }

    /// Does work of which this is the cause. Tasks that it starts are not counted in unless they say so themselves.
    pub async fn of<T>(self, work: impl Future<Output = T>) -> T {
        CAUSE.scope(self, work).await
    }

    /// What was said to be the cause of the work under way.
    pub(crate) fn said() -> Option<Cause> {
        CAUSE.try_with(|cause| *cause).ok()
    }
}
