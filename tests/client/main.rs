//! The client over real sockets against real servers: region server, master and storage in this process.
//!
//! What a server cannot be made to do (lose an answer, hang, refuse) is done between the client and its connections, so
//! that everything else stays real. Scripted servers are in `client/tests`.

mod administration;
mod buffers;
mod errors;
mod faults;
mod filters;
mod rig;
mod rows;
mod scans;
