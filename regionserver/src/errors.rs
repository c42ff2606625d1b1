//! From what went wrong to HBase's exception classes (hbase-wire.md §1.8).

use model::ErrorKind;
use protocol::messages as pb;
use protocol::service::RpcError;
use storage::StorageError;

/// The answer to a failed operation of a region.
pub(crate) fn storage(error: StorageError) -> RpcError {
    let kind = error.kind();
    let message = error.to_string();
    match error {
        StorageError::NoSuchFamily { .. } => RpcError::of(kind, "regionserver.NoSuchColumnFamilyException", message),
        StorageError::WrongRegion { .. } => RpcError::of(kind, "regionserver.WrongRegionException", message),
        StorageError::Late => RpcError::of(kind, "CallDroppedException", message),
        // A missing file is our loss, not a thing the caller named.
        _ if kind == ErrorKind::NotFound => RpcError::new(ErrorKind::Corrupt, message),
        _ if kind == ErrorKind::Full => {
            RpcError::new(kind, format!("the store is full; writes resume by themselves: {message}"))
        }
        _ => RpcError::new(kind, message),
    }
}

/// Inside a plain Multi, a write of a row outside the region is the write's fault, not the region's. A get's error stays.
pub(crate) fn in_multi(error: RpcError) -> RpcError {
    match error.short_class() {
        "regionserver.WrongRegionException" => {
            RpcError::of(ErrorKind::Invalid, "exceptions.FailedSanityCheckException", error.message)
        }
        _ => error,
    }
}

/// A failure in the middle of a scan: the scanner is gone, and a client may go on with a new one.
pub(crate) fn mid_scan(error: RpcError) -> RpcError {
    match error.kind {
        ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Busy | ErrorKind::Full => RpcError::of(
            ErrorKind::NotFound,
            "exceptions.ScannerResetException",
            format!("scanner is closed on the server: {}", error.message),
        ),
        _ => error,
    }
}

/// An exception inside an answer.
pub(crate) fn pair(error: &RpcError) -> pb::NameBytesPair {
    pb::NameBytesPair { name: error.class.clone(), value: Some(error.message.clone().into()) }
}

/// A read that did not end in the time that its caller gave it.
pub(crate) fn late() -> RpcError {
    let message = "the read did not end within the call's time limit";
    RpcError::of(ErrorKind::Unavailable, "exceptions.TimeoutIOException", message)
}

/// The region is not here.
pub(crate) fn not_serving(region: &[u8], server: &impl std::fmt::Display) -> RpcError {
    RpcError::new(ErrorKind::NotServing, format!("{} is not online on {server}", region.escape_ascii()))
}

/// An endpoint that a coprocessor would bring.
pub(crate) fn unknown_endpoint(service: &str) -> RpcError {
    let message = format!("no registered coprocessor service found for `{service}`");
    RpcError::of(ErrorKind::Invalid, "exceptions.UnknownProtocolException", message)
}

/// A scanner that is not there (any more).
pub(crate) fn unknown_scanner(id: u64) -> RpcError {
    let why = "its id is wrong, its lease ended between two calls, or the server was restarted";
    RpcError::of(ErrorKind::NotFound, "UnknownScannerException", format!("unknown scanner {id}: {why}"))
}
