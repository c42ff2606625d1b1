//! kill -9 under load: of the host of one region, of a real server with clients, amid schema changes, and with
//! the loss of everything local.

mod ddl;
mod loss;
mod region;
mod server;
