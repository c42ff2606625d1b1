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
#[path = "../../examples/client_tour.rs"]
#[expect(dead_code, reason = "an example has a `main`")]
mod tour;

#[tokio::test]
async fn the_tour_runs_from_end_to_end_and_again() {
    let node = rig::Node::new().await;
    for _ in 0..2 {
        tour::tour(&node.address.to_string()).await.expect("the tour");
    }
}
