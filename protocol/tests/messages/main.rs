//! Messages against calls recorded from a real HBase 2.6.1, and against chance.

mod described;
mod meta;
mod random;
mod recorded;
mod rows;
mod status;
