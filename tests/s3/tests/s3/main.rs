//! The S3 back end against the fixture: the contract, with and without faults, and what it says when something is wrong.

mod cache;
mod campaign;
mod contract;
mod credentials;
mod process;
mod refusals;
mod rig;
mod second_opinion;
