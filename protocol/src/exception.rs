//! Errors as HBase's exception messages.

use model::ErrorKind;

use crate::messages::ExceptionResponse;
use crate::service::{MovedTo, RpcError};

pub(crate) fn exception_to(error: &RpcError) -> ExceptionResponse {
    ExceptionResponse {
        exception_class_name: Some(error.class.clone()),
        stack_trace: Some(error.message.clone()),
        hostname: error.moved_to.as_ref().map(|to| to.host.clone()),
        port: error.moved_to.as_ref().map(|to| i32::from(to.port)),
        do_not_retry: Some(error.do_not_retry()),
        server_overloaded: (error.short_class() == "CallQueueTooBigException").then_some(true),
    }
}

pub(crate) fn exception_from(exception: ExceptionResponse) -> RpcError {
    let class = exception.exception_class_name.unwrap_or_default();
    let message = exception.stack_trace.unwrap_or_default();
    let mut error = RpcError::received(&class, message, exception.do_not_retry.unwrap_or(false));
    if error.kind == ErrorKind::Moved
        && let (Some(host), Some(port)) = (exception.hostname, exception.port)
        && let Ok(port) = u16::try_from(port)
        && !host.is_empty()
    {
        error.moved_to = Some(MovedTo { host, port });
    }
    error
}
