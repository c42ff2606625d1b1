//! One operation: its tries, under one deadline.
//!
//! Always true
//! - An operation ends by its deadline, plus nothing: the last try is cut to what is left.
//! - A write of which any try is in doubt never fails with a kind that says "nothing happened".

use std::sync::atomic::Ordering;
use std::time::Duration;

use runtime::backoff::Backoff;

use super::Store;
use super::fault::{Fault, Meaning};
use super::requests::Kind;
use super::wire::{Answer, Ask};
use crate::error::{Error, ErrorKind, Result};

/// Longest pause between tries.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often credentials are fetched again because the store calls them expired.
const RENEWALS_MAX: u32 = 3;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    store: &'a Store,
    path: &'a str,
    what: &'static str,
    writes: bool,
    until: Duration,
    backoff: Backoff,
    renewals: u32,
    doubt: bool,
}

/// What a request that may be repeated at will came to.
#[derive(Debug)]
pub(super) enum Reply {
    Answer(Answer),
    Absent,
    /// The range lies behind the end.
    Range,
}

/// What became of a conditional write.
#[derive(Debug)]
pub(super) enum Written {
    /// It stands, under this etag.
    Done(String),
    /// A look has to say.
    Unclear(Fault),
}

impl<'a> Turn<'a> {
    pub(super) fn new(store: &'a Store, path: &'a str, what: &'static str) -> Turn<'a> {
        let until = store.runtime.clock.monotonic() + store.settings.deadline;
        let backoff = Backoff::new(store.settings.pause);
        Turn { store, path, what, writes: false, until, backoff, renewals: 0, doubt: false }
    }

    /// A failure after a doubt is then one of unknown outcome.
    pub(super) fn writes(mut self) -> Turn<'a> {
        self.writes = true;
        self
    }

    pub(super) fn at_most(mut self, deadline: Duration) -> Turn<'a> {
        self.until = self.until.min(self.store.runtime.clock.monotonic() + deadline);
        self
    }

    pub(super) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, self.path, message)
    }

    fn failed(&self, fault: &Fault, kind: ErrorKind) -> Error {
        let kind = if self.writes && self.doubt { ErrorKind::Unknown } else { kind };
        fault.error(kind, self.path, self.what)
    }

    /// One try.
    pub(super) async fn once(&mut self, ask: &Ask) -> std::result::Result<Answer, Fault> {
        let left = self.until.saturating_sub(self.store.runtime.clock.monotonic());
        // What is sent takes its time before the first byte of an answer.
        let sending = Duration::from_millis((ask.body.len() >> 10) as u64);
        self.store.wire.once(ask, left, self.store.settings.try_limit + sending).await
    }

    /// Notes that a try may have happened, if the fault says so.
    pub(super) fn in_doubt(&mut self, fault: &Fault) {
        self.doubt |= fault.meaning() == Meaning::Doubt;
    }

    /// Pauses before the next try, or says why there is none.
    pub(super) async fn after(&mut self, fault: Fault) -> Result<()> {
        let meaning = fault.meaning();
        self.in_doubt(&fault);
        let kind = match meaning {
            Meaning::Final(kind) => return Err(self.failed(&fault, kind)),
            Meaning::SlowDown => ErrorKind::Busy,
            Meaning::Expired => {
                self.renewals += 1;
                if self.renewals > RENEWALS_MAX {
                    return Err(self.failed(&fault, ErrorKind::Denied));
                }
                ErrorKind::Denied
            }
            _ => ErrorKind::Unavailable,
        };
        let runtime = &self.store.runtime;
        let pause = self.backoff.next(&*runtime.random).min(PAUSE_MAX);
        let pause = if meaning == Meaning::Expired { Duration::ZERO } else { pause };
        if runtime.clock.monotonic() + pause >= self.until {
            return Err(self.failed(&fault, kind));
        }
        tracing::debug!(path = self.path, what = self.what, %fault, "the store is asked again");
        self.store.requests.repeated.fetch_add(1, Ordering::Relaxed);
        runtime.clock.sleep(pause).await;
        Ok(())
    }

    /// Repeats a request that may be done twice, until it has a clear answer.
    pub(super) async fn repeat(&mut self, ask: &Ask) -> Result<Reply> {
        loop {
            let fault = match self.once(ask).await {
                Ok(answer) => return Ok(Reply::Answer(answer)),
                Err(fault) => fault,
            };
            match fault.meaning() {
                Meaning::Absent => return Ok(Reply::Absent),
                Meaning::Range if ask.kind == Kind::Get => return Ok(Reply::Range),
                // Nothing here has a condition: whoever says that it does not hold is asked again.
                _ => self.after(fault).await?,
            }
        }
    }

    /// [`Turn::repeat`] where only an answer makes sense.
    pub(super) async fn answer(&mut self, ask: &Ask) -> Result<Answer> {
        match self.repeat(ask).await? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Absent => Err(self.error(ErrorKind::NotFound, format!("{}: no such object", self.what))),
            Reply::Range => Err(self.error(ErrorKind::Unavailable, format!("{}: the object is empty", self.what))),
        }
    }

    /// Writes under a condition, until there is an answer that is clear or one that has to be settled by a look at the object:
    /// mine is done, as before is repeated with the same bytes after [`Turn::after`], anything else is the end.
    pub(super) async fn write(&mut self, ask: &Ask) -> Result<Written> {
        loop {
            let fault = match self.once(ask).await {
                Ok(answer) => match answer.etag() {
                    Some(etag) => return Ok(Written::Done(etag.to_owned())),
                    None => Fault::Nonsense("no etag".to_owned()),
                },
                Err(fault) => fault,
            };
            self.in_doubt(&fault);
            if let Meaning::Absent | Meaning::Precondition | Meaning::Conflict | Meaning::Doubt = fault.meaning() {
                return Ok(Written::Unclear(fault));
            }
            self.after(fault).await?;
        }
    }
}
