//! Connections: from first bytes to last answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use client::Connection;
use protocol::listen::{self, Door, Doors, Limits};
use runtime::Runtime;
use runtime::clock::{Clock, within};
use runtime::net::{TcpListener, TcpStream};
use runtime::shutdown::Shutdown;
use thrift::ApplicationErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::boundary::{Boundary, Bounds};
use super::call::{Call, Encoding, FRAME_BYTES, Reply};
use super::http;
use super::metrics::Metrics;
use super::one::One;
use super::settings::{Api, Settings};
use super::two::Two;
use super::{hbase_calls, thbase_calls};

/// Bytes that a connection may hold before it asks for room.
const FREE_BYTES: usize = 64 << 10;
/// Unit of the room for messages that are being received, and for rows that scanners hold.
pub(super) const ROOM_UNIT: usize = 1 << 10;
/// Bytes asked of a socket at once.
const READ_BYTES: usize = 16 << 10;

enum Handler {
    One(One),
    Two(Two),
}

/// Serves one of the services until `shutdown` and the end of the open calls, at most their grace time.
pub async fn serve(
    listener: TcpListener,
    connection: Connection,
    api: Api,
    settings: Settings,
    metrics: Arc<Metrics>,
    runtime: &Runtime,
    shutdown: Shutdown,
) {
    let clock = runtime.clock.clone();
    let handler = match api {
        Api::One => Handler::One(One::new(connection, &settings, clock.clone(), metrics.scanners(api.name()))),
        Api::Two => Handler::Two(Two::new(connection, &settings, clock.clone(), metrics.scanners(api.name()))),
    };
    let limits = Limits { connections_max: settings.connections_max, ..Limits::default() };
    let room = settings.receiving_bytes_max.div_ceil(ROOM_UNIT).clamp(1, Semaphore::MAX_PERMITS);
    let gateway = Arc::new(Gateway {
        turns: Semaphore::new(settings.calls_max.clamp(1, Semaphore::MAX_PERMITS)),
        room: Arc::new(Semaphore::new(room)),
        grace: limits.grace,
        clock: clock.clone(),
        service: api.name(),
        handler,
        settings,
        metrics,
    });
    let sweeping = async {
        loop {
            let scanners = match &gateway.handler {
                Handler::One(one) => one.scanners(),
                Handler::Two(two) => two.scanners(),
            };
            clock.sleep(scanners.pause()).await;
            scanners.sweep();
        }
    };
    tokio::select! {
        () = listen::serve(listener, Doors::all(gateway.clone()), clock.clone(), limits, shutdown) => {}
        () = sweeping => {}
    }
}

pub(super) struct Gateway {
    handler: Handler,
    service: &'static str,
    settings: Settings,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    turns: Semaphore,
    room: Arc<Semaphore>,
    grace: Duration,
}

/// How a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wire {
    pub framed: bool,
    pub encoding: Encoding,
}

impl Wire {
    /// Judges a connection's first bytes; `None` means that more are needed.
    ///
    /// A strict binary message begins with 0x80, a compact one with 0x82; what begins otherwise is the length of a frame,
    /// or of the name in an old binary message, and its fifth byte tells which.
    pub fn of(first: &[u8]) -> Option<Wire> {
        let plain = |byte: u8| match byte {
            0x80 => Some(Encoding::Binary { strict: true }),
            0x82 => Some(Encoding::Compact),
            _ => None,
        };
        if let Some(encoding) = plain(*first.first()?) {
            return Some(Wire { framed: false, encoding });
        }
        let fifth = *first.get(4)?;
        let old = Encoding::Binary { strict: false };
        Some(match plain(fifth) {
            Some(encoding) => Wire { framed: true, encoding },
            // A name begins with a letter, the length of a name with a zero.
            None => Wire { framed: fifth == 0, encoding: old },
        })
    }

    /// Whether this way to speak is served on a connection.
    pub fn check(self, settings: &Settings) -> Result<(), End> {
        if settings.framed && !self.framed {
            return Err(End::Refused("only framed messages are served here (--framed)".to_owned()));
        }
        self.check_encoding(settings)
    }

    fn check_encoding(self, settings: &Settings) -> Result<(), End> {
        if settings.compact && self.encoding != Encoding::Compact {
            return Err(End::Refused("only the compact protocol is served here (--compact)".to_owned()));
        }
        Ok(())
    }

    /// A walk through a message of this kind.
    pub fn boundary(self, settings: &Settings) -> Boundary {
        let bounds = Bounds { bytes: settings.message_bytes_max, elements: settings.elements_max };
        Boundary::new(self.encoding, bounds)
    }

    /// Reads the head of a whole message.
    pub fn call(self, message: &[u8]) -> Result<Call<'_>, End> {
        Call::read(self.encoding, message)
            .map_err(|error| End::Refused(format!("a message's head cannot be read: {error}")))
    }

    /// Where the message at the start of `data` lies, if it has come whole. `data` only grows from call to call.
    pub fn find(self, boundary: &mut Boundary, data: &[u8]) -> Result<Option<(usize, usize)>, End> {
        if !self.framed {
            return Ok(boundary.find(data)?.map(|len| (0, len)));
        }
        let Some((head, rest)) = data.split_first_chunk::<FRAME_BYTES>() else { return Ok(None) };
        let (len, most) = (i32::from_be_bytes(*head), boundary.bytes_max());
        let len = usize::try_from(len)
            .ok()
            .filter(|len| *len <= most)
            .ok_or_else(|| End::Refused(format!("a frame of {len} bytes; up to {most} are allowed")))?;
        let Some(frame) = rest.get(..len) else { return Ok(None) };
        match boundary.find(frame)? {
            Some(_) => Ok(Some((FRAME_BYTES, FRAME_BYTES + len))),
            None => Err(End::Refused("a frame ends before its message".to_owned())),
        }
    }
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the peer is gone")]
    Gone,
    #[error("it broke: {0}")]
    Broken(#[from] std::io::Error),
    #[error("a message did not come to its end within {0:?}")]
    Late(Duration),
    #[error("an answer was not taken within {0:?}")]
    NotTaken(Duration),
    #[error("{0}")]
    Refused(String),
}

impl End {
    fn reason(&self) -> &'static str {
        match self {
            End::Gone => "gone",
            End::Broken(_) => "broken",
            End::Late(_) => "late",
            End::NotTaken(_) => "not-taken",
            End::Refused(_) => "refused",
        }
    }
}

impl From<super::boundary::Refusal> for End {
    fn from(refusal: super::boundary::Refusal) -> End {
        End::Refused(refusal.to_string())
    }
}

#[async_trait]
impl Door for Gateway {
    async fn serve(&self, stream: TcpStream, peer: SocketAddr, shutdown: Shutdown) {
        let _connected = self.metrics.connection(self.service);
        let link = Link { stream, data: BytesMut::new(), room: Room::default() };
        let end = tokio::select! {
            end = self.connection(link, &shutdown) => Some(end),
            () = async { shutdown.wait().await; self.clock.sleep(self.grace).await } => None,
        };
        match end {
            Some(Ok(()) | Err(End::Gone)) => {}
            Some(Err(End::Broken(error))) => tracing::debug!(%peer, %error, "thrift connection broke"),
            Some(Err(why)) => {
                self.closed(&why);
                tracing::warn!(%peer, %why, "closed a thrift connection");
            }
            None => tracing::warn!(%peer, "closed a thrift connection whose call did not end in time"),
        }
    }
}

/// Room for a message, taken as it grows and given back when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Room(Option<OwnedSemaphorePermit>);

/// A socket, what it has brought, and the room that this takes.
pub(super) struct Link {
    pub stream: TcpStream,
    pub data: BytesMut,
    room: Room,
}

impl Link {
    /// Waits for a message's first bytes, as long as it takes and without a buffer. Dropping the future loses nothing.
    async fn first_bytes(&mut self) -> Result<(), End> {
        loop {
            self.stream.readable().await?;
            self.data.reserve(READ_BYTES);
            match self.stream.try_read_buf(&mut self.data) {
                Ok(0) => return Err(End::Gone),
                Ok(_) => return Ok(()),
                // It was not readable after all.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => self.data = BytesMut::new(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes more bytes.
    async fn more(&mut self, gateway: &Gateway) -> Result<(), End> {
        gateway.hold(&mut self.room, self.data.len() + READ_BYTES).await?;
        self.data.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.data).await? {
            0 => Err(End::Gone),
            _ => Ok(()),
        }
    }

    /// Forgets a message.
    fn consume(&mut self, len: usize) {
        self.data.advance(len);
        if self.data.is_empty() {
            self.data = BytesMut::new();
        }
        if self.data.len() + READ_BYTES <= FREE_BYTES {
            self.room = Room::default();
        }
    }
}

impl Gateway {
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub fn message_timeout(&self) -> Duration {
        self.settings.message_timeout
    }

    pub fn message_bytes_max(&self) -> usize {
        self.settings.message_bytes_max
    }

    /// Counts a fault of a peer.
    pub fn closed(&self, why: &End) {
        self.metrics.closed(self.service, why.reason());
    }

    /// Waits for room for so many bytes of a message.
    pub async fn hold(&self, room: &mut Room, bytes: usize) -> Result<(), End> {
        let held = room.0.as_ref().map_or(0, |room| room.num_permits() * ROOM_UNIT);
        let wanted = bytes.saturating_sub(FREE_BYTES);
        if wanted > held {
            // Twice as much each time, so that a long message asks seldom.
            let units = u32::try_from((wanted - held).max(held).div_ceil(ROOM_UNIT)).unwrap_or(u32::MAX);
            let more = self.room.clone().acquire_many_owned(units).await.map_err(|_| End::Gone)?;
            match &mut room.0 {
                Some(room) => room.merge(more),
                None => room.0 = Some(more),
            }
        }
        Ok(())
    }

    /// Whether this way to speak is served over HTTP, where bodies frame messages.
    pub fn check(&self, wire: Wire) -> Result<(), End> {
        wire.check_encoding(&self.settings)
    }

    /// A walk through a message.
    pub fn boundary(&self, wire: Wire) -> Boundary {
        wire.boundary(&self.settings)
    }

    async fn connection(&self, mut link: Link, shutdown: &Shutdown) -> Result<(), End> {
        let mut wire = None;
        loop {
            if link.data.is_empty() {
                tokio::select! {
                    biased;
                    () = shutdown.wait() => return Ok(()),
                    first = link.first_bytes() => first?,
                }
            }
            let limit = self.settings.message_timeout;
            if wire.is_none() {
                let first = self.wire(&mut link);
                let Some(found) = within(&*self.clock, limit, first).await.ok_or(End::Late(limit))?? else {
                    return http::serve(self, link, shutdown).await;
                };
                wire = Some(found);
            }
            let Some(wire) = wire else { return Ok(()) };
            let whole = self.message(&mut link, wire);
            let (from, to) = within(&*self.clock, limit, whole).await.ok_or(End::Late(limit))??;
            let answer = self.answer(wire, &link.data[from..to]).await?;
            link.consume(to);
            if let Some(answer) = answer {
                let write = link.stream.write_all(&answer);
                within(&*self.clock, limit, write).await.ok_or(End::NotTaken(limit))??;
            }
            if shutdown.is_signalled() {
                return Ok(());
            }
        }
    }

    /// Waits for the bytes that tell how a connection speaks; `None` is HTTP.
    async fn wire(&self, link: &mut Link) -> Result<Option<Wire>, End> {
        let found = loop {
            if link.data.starts_with(http::OPENING) {
                return Ok(None);
            }
            match Wire::of(&link.data) {
                Some(found) => break found,
                None => link.more(self).await?,
            }
        };
        found.check(&self.settings)?;
        Ok(Some(found))
    }

    /// Waits until a whole message lies in the buffer, and says where.
    async fn message(&self, link: &mut Link, wire: Wire) -> Result<(usize, usize), End> {
        let mut boundary = wire.boundary(&self.settings);
        loop {
            if let Some(place) = wire.find(&mut boundary, &link.data)? {
                return Ok(place);
            }
            link.more(self).await?;
        }
    }

    /// Answers a whole message; a call that wants no answer gets none.
    pub async fn answer(&self, wire: Wire, message: &[u8]) -> Result<Option<Vec<u8>>, End> {
        let begun = self.clock.monotonic();
        let call = wire.call(message)?;
        let _turn = self.turns.acquire().await.map_err(|_| End::Gone)?;
        let one_way = call.one_way;
        let head = call.head();
        let reply = self.dispatch(call).await;
        let (name, result) = match &reply {
            Ok(answer) if answer.raised => (head.name(), "raised"),
            Ok(_) => (head.name(), "ok"),
            Err(error) if error.kind == ApplicationErrorKind::UnknownMethod => ("unknown", "failed"),
            Err(_) => (head.name(), "failed"),
        };
        self.metrics.called(self.service, name, result, self.clock.monotonic().saturating_sub(begun));
        let mut data = match reply {
            Ok(answer) => answer.data,
            Err(error) => head
                .exception(&error)
                .map_err(|error| End::Refused(format!("an exception cannot be written: {error}")))?,
        };
        if one_way {
            return Ok(None);
        }
        if !wire.framed {
            data.drain(..FRAME_BYTES);
            return Ok(Some(data));
        }
        let len = i32::try_from(data.len() - FRAME_BYTES)
            .map_err(|_| End::Refused("an answer has more than two gigabytes; ask for fewer rows".to_owned()))?;
        data[..FRAME_BYTES].copy_from_slice(&len.to_be_bytes());
        Ok(Some(data))
    }

    async fn dispatch(&self, call: Call<'_>) -> Reply {
        match &self.handler {
            Handler::One(one) => hbase_calls::dispatch(one, call).await,
            Handler::Two(two) => thbase_calls::dispatch(two, call).await,
        }
    }
}
