//! One call: its bytes, its arguments, its answer.

use std::fmt;
use std::sync::Arc;

use client::ClientError;
use model::ErrorKind;
use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TCompactInputProtocol, TCompactOutputProtocol, TInputProtocol,
    TMessageIdentifier, TMessageType, TOutputProtocol, TSerializable,
};
use thrift::{ApplicationError, ApplicationErrorKind, TConfiguration};

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// The binary protocol; strict messages begin with a version, as nearly all do.
    Binary { strict: bool },
    /// The compact protocol.
    Compact,
}

/// Bytes for a frame's length, kept free before each answer.
pub(crate) const FRAME_BYTES: usize = 4;

impl Encoding {
    /// Reads from bytes whose bounds were checked before. Elements of a list are read as what the service declares, whatever they were
    /// checked as: so nothing is believed to be longer than the bytes that are there.
    fn reader<'a>(self, data: &'a mut &[u8]) -> Box<dyn TInputProtocol + 'a> {
        let most = Some(data.len());
        let limits = TConfiguration::builder().max_frame_size(None).max_message_size(most);
        let limits = limits.max_string_size(most).max_container_size(most);
        let limits = limits.build().expect("only a frame larger than its message is refused");
        match self {
            Encoding::Binary { .. } => Box::new(TBinaryInputProtocol::with_config(data, false, limits)),
            Encoding::Compact => Box::new(TCompactInputProtocol::with_config(data, limits)),
        }
    }

    fn writer<'a>(self, data: &'a mut Vec<u8>) -> Box<dyn TOutputProtocol + 'a> {
        match self {
            Encoding::Binary { strict } => Box::new(TBinaryOutputProtocol::new(data, strict)),
            Encoding::Compact => Box::new(TCompactOutputProtocol::new(data)),
        }
    }
}

/// What an answer repeats of its call.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    name: Arc<str>,
    sequence: i32,
    encoding: Encoding,
}

/// A call that has come.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    head: Head,
    /// Nobody waits for an answer.
    pub one_way: bool,
    body: &'a [u8],
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its bytes, behind [`FRAME_BYTES`] free ones.
    pub data: Vec<u8>,
    /// Whether it is an exception that the service declares.
    pub raised: bool,
}

/// An answer, or an error outside of what the service declares.
pub(crate) type Reply = Result<Answer, ApplicationError>;

impl<'a> Call<'a> {
    /// Reads a message's head.
    pub fn read(encoding: Encoding, message: &'a [u8]) -> thrift::Result<Call<'a>> {
        let mut body = message;
        let head = encoding.reader(&mut body).read_message_begin()?;
        match head.message_type {
            TMessageType::Call | TMessageType::OneWay => {}
            other => {
                let why = format!("a call is needed, not a message of type {other}");
                return Err(ApplicationError::new(ApplicationErrorKind::InvalidMessageType, why).into());
            }
        }
        let one_way = head.message_type == TMessageType::OneWay;
        Ok(Call { head: Head { name: head.name.into(), sequence: head.sequence_number, encoding }, one_way, body })
    }

    pub fn name(&self) -> &str {
        &self.head.name
    }

    pub fn head(&self) -> Head {
        self.head.clone()
    }

    /// The arguments.
    pub fn args<T: TSerializable>(&self) -> Result<T, ApplicationError> {
        let mut body = self.body;
        T::read_from_in_protocol(&mut *self.head.encoding.reader(&mut body)).map_err(|error| {
            let why = format!("the arguments of {} cannot be read: {error}", self.name());
            ApplicationError::new(ApplicationErrorKind::ProtocolError, why)
        })
    }

    /// The call as a message of its own, its arguments read and written again.
    pub fn again<T: TSerializable>(&self) -> Result<Vec<u8>, ApplicationError> {
        let args: T = self.args()?;
        let kind = if self.one_way { TMessageType::OneWay } else { TMessageType::Call };
        let data = self.head.message(kind, |out| args.write_to_out_protocol(out));
        let mut data = data.map_err(|error| {
            let why = format!("the arguments of {} cannot be written: {error}", self.name());
            ApplicationError::new(ApplicationErrorKind::InternalError, why)
        })?;
        data.drain(..FRAME_BYTES);
        Ok(data)
    }

    /// The answer with a result.
    pub fn answer<T: TSerializable>(&self, result: &T) -> Reply {
        self.reply(result, false)
    }

    /// The answer with an exception that the service declares.
    pub fn raise<T: TSerializable>(&self, result: &T) -> Reply {
        self.reply(result, true)
    }

    fn reply<T: TSerializable>(&self, result: &T, raised: bool) -> Reply {
        let data = self.head.message(TMessageType::Reply, |out| result.write_to_out_protocol(out));
        let data = data.map_err(|error| {
            let why = format!("the answer of {} cannot be written: {error}", self.name());
            ApplicationError::new(ApplicationErrorKind::InternalError, why)
        })?;
        Ok(Answer { data, raised })
    }

    pub fn unknown(&self) -> ApplicationError {
        let why = format!("there is no method `{}`", self.name());
        ApplicationError::new(ApplicationErrorKind::UnknownMethod, why)
    }
}

impl Head {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes of an exception that no method declares.
    pub fn exception(&self, error: &ApplicationError) -> thrift::Result<Vec<u8>> {
        self.message(TMessageType::Exception, |out| thrift::Error::write_application_error_to_out_protocol(error, out))
    }

    fn message(
        &self,
        kind: TMessageType,
        write: impl FnOnce(&mut dyn TOutputProtocol) -> thrift::Result<()>,
    ) -> thrift::Result<Vec<u8>> {
        let mut data = vec![0; FRAME_BYTES];
        let mut out = self.encoding.writer(&mut data);
        out.write_message_begin(&TMessageIdentifier::new(&*self.name, kind, self.sequence))?;
        write(&mut *out)?;
        out.write_message_end()?;
        out.flush()?;
        drop(out);
        Ok(data)
    }
}

/// What a method raises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Raised {
    /// Something failed; the same call may succeed later if `can_retry`.
    Io { message: String, can_retry: bool },
    /// The call makes no sense.
    Illegal { message: String },
    /// The table exists.
    Exists { message: String },
    /// What HBase's gateway dies of, inside a call.
    Runtime { message: String },
}

impl Raised {
    /// An I/O error that will not go away.
    pub fn io(message: impl Into<String>) -> Raised {
        Raised::Io { message: message.into(), can_retry: false }
    }

    pub fn illegal(message: impl Into<String>) -> Raised {
        Raised::Illegal { message: message.into() }
    }

    pub fn message(&self) -> &str {
        let (Raised::Io { message, .. }
        | Raised::Illegal { message }
        | Raised::Exists { message }
        | Raised::Runtime { message }) = self;
        message
    }

    /// As an error that no method declares.
    pub fn undeclared(self) -> ApplicationError {
        ApplicationError::new(ApplicationErrorKind::InternalError, self.message())
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl From<ClientError> for Raised {
    fn from(error: ClientError) -> Raised {
        // HBase tells "not to be tried again" by its exception's class; what may have happened can be tried again there too.
        let can_retry = error.is_retriable() || error.kind() == ErrorKind::Unknown;
        let message = format!("{}: {error}", java_class(error.class()));
        Raised::Io { message, can_retry }
    }
}

/// The full name of HBase's exception class, which is what clients search messages for.
fn java_class(class: &str) -> String {
    match class {
        "" => "java.io.IOException".to_owned(),
        "DoNotRetryIOException"
        | "TableNotFoundException"
        | "TableExistsException"
        | "TableNotDisabledException"
        | "TableNotEnabledException"
        | "NamespaceNotFoundException"
        | "NamespaceExistException"
        | "NotServingRegionException"
        | "RegionTooBusyException"
        | "UnknownScannerException" => {
            format!("org.apache.hadoop.hbase.{class}")
        }
        "NoSuchColumnFamilyException" => format!("org.apache.hadoop.hbase.regionserver.{class}"),
        other if other.contains('.') => other.to_owned(),
        other => format!("org.apache.hadoop.hbase.{other}"),
    }
}

impl From<model::CellError> for Raised {
    fn from(error: model::CellError) -> Raised {
        Raised::io(format!("java.lang.IllegalArgumentException: {error}"))
    }
}

impl From<model::schema::SchemaError> for Raised {
    fn from(error: model::schema::SchemaError) -> Raised {
        Raised::io(format!("java.lang.IllegalArgumentException: {error}"))
    }
}

impl From<Raised> for crate::generated::hbase::IOError {
    fn from(raised: Raised) -> Self {
        let can_retry = matches!(raised, Raised::Io { can_retry: true, .. });
        Self { message: Some(raised.message().to_owned()), can_retry: Some(can_retry) }
    }
}

impl From<Raised> for crate::generated::hbase::IllegalArgument {
    fn from(raised: Raised) -> Self {
        Self { message: Some(raised.message().to_owned()) }
    }
}

impl From<Raised> for crate::generated::hbase::AlreadyExists {
    fn from(raised: Raised) -> Self {
        Self { message: Some(raised.message().to_owned()) }
    }
}

impl From<Raised> for crate::generated::thbase::TIOError {
    fn from(raised: Raised) -> Self {
        let can_retry = matches!(raised, Raised::Io { can_retry: true, .. });
        Self { message: Some(raised.message().to_owned()), can_retry: Some(can_retry) }
    }
}

impl From<Raised> for crate::generated::thbase::TIllegalArgument {
    fn from(raised: Raised) -> Self {
        Self { message: Some(raised.message().to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::hbase::{ColumnDescriptor, Mutation};

    /// A mutation that does not say so must not pass the log by.
    #[test]
    fn absent_fields_stay_absent() {
        for encoding in [Encoding::Binary { strict: true }, Encoding::Compact] {
            let mut data = &[0][..];
            let mutation = Mutation::read_from_in_protocol(&mut *encoding.reader(&mut data)).expect("a struct");
            assert_eq!((mutation.is_delete, mutation.write_to_w_a_l), (None, None));
            let mut data = &[0][..];
            let column = ColumnDescriptor::read_from_in_protocol(&mut *encoding.reader(&mut data)).expect("a struct");
            assert_eq!((column.max_versions, column.compression, column.time_to_live), (None, None, None));
        }
    }
}
