//! kill -9 under load: of the host of one region, of a real server with clients, and amid schema changes.

mod ddl;
mod region;
mod server;
