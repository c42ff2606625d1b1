//! Calls to a server from its own process, without a socket between.
//!
//! Always true
//! - A call is admitted, bounded and answered as one that came over the wire, and its errors mean what they would mean there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::ErrorKind;
use runtime::clock::within;
use runtime::shutdown::Shutdown;
use tokio::sync::{Semaphore, oneshot};

use crate::calls::{Lane, fitting, sendable, stopped};
use crate::exception::{exception_from, exception_to};
use crate::service::{Call, Connect, Reply, RpcError, Service};

/// Between two looks whether calls have ended.
const PAUSE: Duration = Duration::from_millis(10);

/// A server as its own process sees it.
pub struct Direct {
    lane: Lane,
    /// Of open calls: who finds none waits, as a connection's calls do.
    room: Semaphore,
    shutdown: Shutdown,
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").field("limits", self.lane.limits()).finish_non_exhaustive()
    }
}

impl Direct {
    pub(crate) fn new(lane: Lane, shutdown: Shutdown) -> Direct {
        let room = Semaphore::new(lane.limits().calls_max);
        Direct { lane, room, shutdown }
    }

    /// Waits until calls whose callers have gone are ended, as long as a connection's may take.
    pub async fn drained(&self) {
        let clock = self.lane.clock();
        let ended = async {
            while self.lane.open() > 0 {
                clock.sleep(PAUSE).await;
            }
        };
        if within(clock, self.lane.limits().grace, ended).await.is_none() {
            tracing::warn!("calls of this process did not end in time");
        }
    }

    async fn answer(&self, call: Call) -> Result<Reply, RpcError> {
        let longest = self.lane.limits().frame_bytes_max;
        sendable(&call, longest)?;
        let busy = || RpcError::of(ErrorKind::Busy, "CallQueueTooBigException", "too many open calls of this process");
        let room = self.room.acquire();
        let room = match call.timeout {
            Some(limit) => within(self.lane.clock(), limit, room).await.ok_or_else(busy)?,
            None => room.await,
        };
        let _room = room.map_err(|_| stopped())?;
        if self.shutdown.is_signalled() {
            return Err(stopped());
        }
        let (done, later) = oneshot::channel();
        // Nobody listens once the caller is gone; the call ran all the same.
        let answer = match self.lane.start(call, move |answer| drop(done.send(answer))) {
            Some(answer) => answer,
            None => later.await.map_err(|_| RpcError::new(ErrorKind::Unknown, "the call was given up"))?,
        };
        fitting(answer.result, longest)
    }
}

#[async_trait]
impl Service for Direct {
    async fn call(&self, call: Call) -> Result<Reply, RpcError> {
        self.answer(call).await.map_err(|error| exception_from(exception_to(&error)))
    }
}

/// Makes connections: one server is near, all others are connected to.
#[derive(Debug)]
pub struct Near {
    /// Names of the near one, `host:port`.
    pub addresses: Vec<String>,
    /// The near one.
    pub service: Arc<dyn Service>,
    /// For the others.
    pub others: Arc<dyn Connect>,
}

#[async_trait]
impl Connect for Near {
    async fn connect(&self, address: &str) -> Result<Arc<dyn Service>, RpcError> {
        match self.addresses.iter().any(|near| near == address) {
            true => Ok(self.service.clone()),
            false => self.others.connect(address).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{Calls, Limits};
    use runtime::Runtime;

    /// Answers with what it was sent; waits where it is told to.
    struct Echo;

    #[async_trait]
    impl Service for Echo {
        async fn call(&self, call: Call) -> Result<Reply, RpcError> {
            match &*call.method {
                "Wait" => tokio::time::sleep(Duration::from_millis(20)).await,
                "Fence" => return Err(RpcError::new(ErrorKind::Fenced, "replaced")),
                "Panic" => panic!("planted"),
                "Double" => return Ok(Reply { param: call.cells.clone(), cells: call.cells }),
                _ => {}
            }
            Ok(Reply { param: call.param, cells: call.cells })
        }
    }

    fn direct(limits: Limits) -> Direct {
        let calls = Calls::new(Arc::new(Echo), Runtime::system().clock, limits);
        Direct::new(Lane::new(calls), Shutdown::new())
    }

    fn call(method: &str, bytes: usize) -> Call {
        Call { method: method.to_owned(), cells: vec![7; bytes].into(), ..Call::default() }
    }

    #[tokio::test]
    async fn calls_are_answered_at_once_or_later() {
        let near = direct(Limits::default());
        for method in ["Echo", "Wait"] {
            assert_eq!(near.call(call(method, 3)).await.expect("answered").cells.len(), 3);
        }
    }

    #[tokio::test]
    async fn bounds_and_errors_are_those_of_the_wire() {
        let limits = Limits { frame_bytes_max: 50 << 10, request_bytes_total: 60 << 10, ..Limits::default() };
        let near = direct(limits.clone());
        let kind = async |method: &str, bytes| near.call(call(method, bytes)).await.expect_err("refused").kind;
        assert_eq!(kind("Echo", 55 << 10).await, ErrorKind::Invalid, "no request may be so long");
        assert_eq!(kind("Double", 30 << 10).await, ErrorKind::Invalid, "the answer is longer than a frame");
        assert_eq!(kind("Panic", 1).await, ErrorKind::Invalid, "over the wire it has this class");
        assert_eq!(kind("Fence", 1).await, ErrorKind::NotServing, "over the wire it has this class");
        let (first, second) = tokio::join!(near.call(call("Wait", 40 << 10)), near.call(call("Wait", 40 << 10)));
        assert!(first.is_ok() && second.expect_err("no room").kind == ErrorKind::Busy);
        assert!(near.call(call("Echo", 40 << 10)).await.is_ok(), "there is room again");
        let one = direct(Limits { calls_max: 1, ..limits });
        let (first, second) = tokio::join!(one.call(call("Wait", 1)), one.call(call("Wait", 1)));
        assert!(first.is_ok() && second.is_ok(), "the second waits for room");
        let hurried = Call { timeout: Some(Duration::from_millis(1)), ..call("Wait", 1) };
        let (first, second) = tokio::join!(one.call(call("Wait", 1)), one.call(hurried));
        assert!(first.is_ok() && second.expect_err("no room in time").kind == ErrorKind::Busy);
        drop(one.call(Call { timeout: Some(Duration::from_millis(1)), ..call("Wait", 1) }).await);
        one.drained().await;
        assert_eq!(one.lane.open(), 0, "a call that its caller gave up goes on, and is waited for");
        near.shutdown.signal();
        assert_eq!(kind("Echo", 1).await, ErrorKind::NotServing);
    }
}
