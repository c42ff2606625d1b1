//! Who leads the cluster, and where its logs lie, over any storage root: the in-process back end (`docs/formats/catalog.md`).
//!
//! Always true
//! - A master epoch belongs to one successful swap of `ferrobase/cluster/leader`; later leaders have higher ones.
//! - Taking over needs no lease and no clock: whoever led before is refused by the values that carry its lower epoch.
//! - The cluster id never changes once it stands; a log root's id neither.
//!
//! Not here: whether one may take over. The caller asks the address that [`read_leader`] tells, then decides.

mod error;
mod leader;
mod logs;
pub mod register;

pub use error::{CoordinationError, Result};
pub use leader::{
    ID_PATH, LEADER_PATH, Leader, LeaderSeen, Leadership, cluster_id, read_leader, take_over, take_over_from,
};
pub use logs::{LOGS_PATH, LogMark, LogRoot, LogRoots, log_mark, mark_log};
