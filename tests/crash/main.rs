//! kill -9 under load: of the host of one region, of a real server with clients, and amid schema changes.

mod ddl;
mod region;
mod server;

/// A number from the environment, so that a long form is a short one with other numbers.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}
