//! One call, one answer, whatever carries them.
//!
//! A server is a [`Service`]; so is a client's end of a connection, so that the two can be wired together in one process.
//!
//! Always true
//! - Nothing here knows gRPC, HBase's framing or sockets.
//! - Clients act on the exception's class name alone, so only names that HBase has are used ([`RpcError::class`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::ErrorKind;
use prost::Message;

/// Reads and writes of rows.
pub const CLIENT: &str = "ClientService";
/// What HBase's administration asks of region servers.
pub const ADMIN: &str = "AdminService";
/// Schema changes and the state of the cluster.
pub const MASTER: &str = "MasterService";
/// Where the master and META are; any server answers.
pub const REGISTRY: &str = "ClientMetaService";
/// A master's orders to region servers; our own (`proto/ferrobase.proto`).
pub const HOST: &str = "HostService";

/// A call as the dispatcher sees it.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Short name of the service.
    pub service: String,
    /// The method, in HBase's spelling.
    pub method: String,
    /// The request message, encoded.
    pub param: Bytes,
    /// The request's cell block (`cell_block`), empty if there is none.
    pub cells: Bytes,
    /// How long the caller waits for the answer.
    pub timeout: Option<Duration>,
}

impl Call {
    /// A call without cells or time limit.
    pub fn new(service: &str, method: &str, param: &impl Message) -> Call {
        Call {
            service: service.to_owned(),
            method: method.to_owned(),
            param: param.encode_to_vec().into(),
            ..Call::default()
        }
    }

    /// The request message.
    ///
    /// # Errors
    /// Invalid when the bytes are not such a message.
    pub fn decode<M: Message + Default>(&self) -> Result<M, RpcError> {
        M::decode(self.param.clone())
            .map_err(|error| RpcError::invalid(format!("request of {} cannot be decoded: {error}", self.method)))
    }

    /// The answer to a method that the service does not have.
    pub fn unknown(&self) -> RpcError {
        // Newer Java clients fall back to older calls when they see this text.
        let message =
            format!("java.lang.UnsupportedOperationException: {}.{} is not supported", self.service, self.method);
        RpcError::new(ErrorKind::Invalid, message)
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The response message, encoded.
    pub param: Bytes,
    /// The response's cell block, empty if there is none.
    pub cells: Bytes,
}

impl Reply {
    /// An answer without cells.
    pub fn new(message: &impl Message) -> Reply {
        Reply { param: message.encode_to_vec().into(), cells: Bytes::new() }
    }

    /// The response message.
    ///
    /// # Errors
    /// Internal when the bytes are not such a message.
    pub fn decode<M: Message + Default>(&self) -> Result<M, RpcError> {
        M::decode(self.param.clone())
            .map_err(|error| RpcError::new(ErrorKind::Internal, format!("answer cannot be decoded: {error}")))
    }
}

/// Where a region went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedTo {
    /// Its server's host.
    pub host: String,
    /// Its server's port.
    pub port: u16,
}

/// A call that failed, on the server or on the way.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct RpcError {
    /// What the caller should do.
    pub kind: ErrorKind,
    /// HBase's exception class, fully qualified.
    pub class: String,
    /// What happened.
    pub message: String,
    /// Set with [`ErrorKind::Moved`] if known.
    pub moved_to: Option<MovedTo>,
}

const PREFIX: &str = "org.apache.hadoop.hbase.";

impl RpcError {
    /// An error with the class that HBase would send for the kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> RpcError {
        RpcError::of(kind, default_class(kind), message)
    }

    /// An error of a class, named without `org.apache.hadoop.hbase.` unless it is Java's own.
    pub fn of(kind: ErrorKind, class: &str, message: impl Into<String>) -> RpcError {
        let class = if class.starts_with("java.") { class.to_owned() } else { format!("{PREFIX}{class}") };
        RpcError { kind, class, message: message.into(), moved_to: None }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> RpcError {
        RpcError::new(ErrorKind::Invalid, message)
    }

    /// An error as it came over the wire. The class decides the kind; what is unknown counts as Java's clients count it:
    /// wrong if it must not be retried, else out of reach.
    pub fn received(class: &str, message: String, do_not_retry: bool) -> RpcError {
        let short = class.strip_prefix(PREFIX).unwrap_or(class);
        let kind = CLASSES
            .iter()
            .find(|(_, known)| *known == short)
            .map_or(if do_not_retry { ErrorKind::Invalid } else { ErrorKind::Unavailable }, |(kind, _)| *kind);
        RpcError { kind, class: class.to_owned(), message, moved_to: None }
    }

    /// The class without `org.apache.hadoop.hbase.`.
    pub fn short_class(&self) -> &str {
        self.class.strip_prefix(PREFIX).unwrap_or(&self.class)
    }

    /// Whether Java's clients give up on it.
    pub fn do_not_retry(&self) -> bool {
        !self.kind.is_retriable() && self.kind != ErrorKind::Unknown
    }
}

/// Classes and kinds. The first of a kind is what [`RpcError::new`] takes (hbase-wire.md §1.8).
const CLASSES: &[(ErrorKind, &str)] = &[
    (ErrorKind::Moved, "exceptions.RegionMovedException"),
    (ErrorKind::Moved, "regionserver.WrongRegionException"),
    (ErrorKind::NotServing, "NotServingRegionException"),
    (ErrorKind::NotServing, "exceptions.RegionOpeningException"),
    (ErrorKind::NotServing, "ipc.ServerNotRunningYetException"),
    (ErrorKind::NotServing, "regionserver.RegionServerStoppedException"),
    (ErrorKind::NotServing, "regionserver.RegionServerAbortedException"),
    (ErrorKind::NotServing, "MasterNotRunningException"),
    (ErrorKind::NotServing, "PleaseHoldException"),
    (ErrorKind::Busy, "RegionTooBusyException"),
    (ErrorKind::Busy, "CallQueueTooBigException"),
    (ErrorKind::Busy, "CallDroppedException"),
    (ErrorKind::Busy, "RetryImmediatelyException"),
    (ErrorKind::Busy, "MultiActionResultTooLarge"),
    (ErrorKind::Busy, "quotas.RpcThrottlingException"),
    (ErrorKind::Invalid, "DoNotRetryIOException"),
    (ErrorKind::Invalid, "exceptions.FailedSanityCheckException"),
    (ErrorKind::Invalid, "exceptions.RequestTooBigException"),
    (ErrorKind::Invalid, "exceptions.UnknownProtocolException"),
    (ErrorKind::Invalid, "InvalidFamilyOperationException"),
    (ErrorKind::Invalid, "constraint.ConstraintException"),
    (ErrorKind::NotFound, "TableNotFoundException"),
    (ErrorKind::NotFound, "NamespaceNotFoundException"),
    (ErrorKind::NotFound, "regionserver.NoSuchColumnFamilyException"),
    (ErrorKind::NotFound, "UnknownScannerException"),
    (ErrorKind::NotFound, "UnknownRegionException"),
    (ErrorKind::NotFound, "exceptions.ScannerResetException"),
    (ErrorKind::NotFound, "exceptions.OutOfOrderScannerNextException"),
    (ErrorKind::NotFound, "regionserver.LeaseException"),
    (ErrorKind::Exists, "TableExistsException"),
    (ErrorKind::Exists, "NamespaceExistException"),
    (ErrorKind::Conflict, "DoNotRetryIOException"),
    (ErrorKind::Conflict, "TableNotEnabledException"),
    (ErrorKind::Conflict, "TableNotDisabledException"),
    (ErrorKind::Conflict, "ConcurrentTableModificationException"),
    (ErrorKind::Denied, "security.AccessDeniedException"),
    (ErrorKind::Full, "RegionTooBusyException"),
    (ErrorKind::Unavailable, "java.io.IOException"),
    (ErrorKind::Unknown, "exceptions.TimeoutIOException"),
    (ErrorKind::Corrupt, "DoNotRetryIOException"),
    (ErrorKind::Fenced, "NotServingRegionException"),
    (ErrorKind::Internal, "DoNotRetryIOException"),
];

fn default_class(kind: ErrorKind) -> &'static str {
    CLASSES.iter().find(|(known, _)| *known == kind).map_or("DoNotRetryIOException", |(_, class)| class)
}

/// Something that answers calls: a server, or a connection to one.
#[async_trait]
pub trait Service: Send + Sync {
    /// Answers a call. May run many at a time. Dropping the future gives the answer up, not always the work.
    async fn call(&self, call: Call) -> Result<Reply, RpcError>;
}

impl std::fmt::Debug for dyn Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

/// Makes connections.
#[async_trait]
pub trait Connect: Send + Sync {
    /// The service at `host:port`. Cheap when a connection exists. One that breaks makes itself anew at a later call.
    async fn connect(&self, address: &str) -> Result<Arc<dyn Service>, RpcError>;
}

impl std::fmt::Debug for dyn Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connect")
    }
}

/// Hands calls to services by name.
#[derive(Debug, Default)]
pub struct Dispatcher {
    services: HashMap<&'static str, Arc<dyn Service>>,
}

impl Dispatcher {
    /// Adds a service under its short name.
    pub fn with(mut self, name: &'static str, service: Arc<dyn Service>) -> Dispatcher {
        self.services.insert(name, service);
        self
    }
}

#[async_trait]
impl Service for Dispatcher {
    async fn call(&self, call: Call) -> Result<Reply, RpcError> {
        match self.services.get(call.service.as_str()) {
            Some(service) => service.call(call).await,
            None => Err(RpcError::of(
                ErrorKind::Invalid,
                "ipc.UnknownServiceException",
                format!("unknown service `{}`", call.service),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_meaning_over_the_wire() {
        for (kind, class) in CLASSES {
            let sent = RpcError::of(*kind, class, "why");
            let got = RpcError::received(&sent.class, sent.message.clone(), sent.do_not_retry());
            let one_class_for_many = ["DoNotRetryIOException", "RegionTooBusyException", "NotServingRegionException"];
            assert!(got.kind == *kind || one_class_for_many.contains(class), "{class}: {} {}", kind, got.kind);
            assert_eq!(got.kind.is_retriable(), kind.is_retriable() || *kind == ErrorKind::Fenced, "{class}");
        }
    }

    #[test]
    fn unknown_classes_count_as_in_java() {
        assert_eq!(RpcError::received("a.B", String::new(), true).kind, ErrorKind::Invalid);
        assert_eq!(RpcError::received("a.B", String::new(), false).kind, ErrorKind::Unavailable);
    }
}
