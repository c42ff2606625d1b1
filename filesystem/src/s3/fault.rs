//! Why one request failed, and what that means.

use crate::error::{Error, ErrorKind};

/// One failed request, as facts.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The store answered with an error.
    #[error("the store answered {status} {code}: {message}")]
    Answered {
        /// HTTP status.
        status: u16,
        /// The store's name for it; empty if it gave none.
        code: String,
        /// Its text.
        message: String,
        /// Region it names.
        region: Option<String>,
    },
    /// No connection: nothing was sent.
    #[error("no connection to the store: {0}")]
    NotSent(String),
    /// Sent, and no whole answer came.
    #[error("no answer from the store: {0}")]
    Unanswered(String),
    /// An answer came that cannot be right.
    #[error("the store's answer makes no sense: {0}")]
    Nonsense(String),
    /// There are no credentials.
    #[error("no credentials: {0}")]
    Credentials(String),
}

/// What a fault means for the request that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The object, or the upload, is not there.
    Absent,
    /// A condition did not hold.
    Precondition,
    /// Another request on the same key got in the way.
    Conflict,
    /// Asked to slow down; nothing happened.
    SlowDown,
    /// The credentials have expired; nothing happened.
    Expired,
    /// Nothing happened; may work when repeated.
    NotDone,
    /// It may have happened.
    Doubt,
    /// The range lies behind the end.
    Range,
    /// Repeating cannot help; nothing happened.
    Final(ErrorKind),
}

impl Fault {
    pub(super) fn meaning(&self) -> Meaning {
        let (status, code) = match self {
            Fault::NotSent(_) => return Meaning::NotDone,
            Fault::Credentials(_) => return Meaning::NotDone,
            Fault::Unanswered(_) | Fault::Nonsense(_) => return Meaning::Doubt,
            Fault::Answered { status, code, .. } => (*status, code.as_str()),
        };
        match (status, code) {
            (_, "NoSuchBucket" | "PermanentRedirect" | "AuthorizationHeaderMalformed") => {
                Meaning::Final(ErrorKind::Invalid)
            }
            (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => Meaning::Expired,
            (_, "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequests") => Meaning::SlowDown,
            (_, code) if code.starts_with("SlowDown") => Meaning::SlowDown,
            (_, "RequestTimeout" | "BadDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody") => Meaning::NotDone,
            (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull") => Meaning::Final(ErrorKind::Full),
            (404, _) => Meaning::Absent,
            (412 | 304, _) => Meaning::Precondition,
            (409, _) => Meaning::Conflict,
            (416, _) => Meaning::Range,
            // A plain 503 may be said by something between the store and us, which does not know.
            (429, _) => Meaning::SlowDown,
            (408, _) => Meaning::NotDone,
            (401 | 403, _) => Meaning::Final(ErrorKind::Denied),
            (501, _) => Meaning::Final(ErrorKind::Invalid),
            (500.., _) => Meaning::Doubt,
            _ => Meaning::Final(ErrorKind::Invalid),
        }
    }

    /// What a person can do about it.
    fn advice(&self) -> &'static str {
        let Fault::Answered { status, code, .. } = self else {
            return match self {
                Fault::NotSent(_) => " (is the endpoint right, and reachable from here?)",
                Fault::Credentials(_) => {
                    " (give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role for this machine)"
                }
                _ => "",
            };
        };
        match (*status, code.as_str()) {
            (_, "NoSuchBucket") => " (create the bucket, or correct its name)",
            (_, "RequestTimeTooSkewed") => " (this machine's clock and the store's differ too much: set the clock)",
            (_, "InvalidAccessKeyId") => " (the store does not know this access key)",
            (_, "SignatureDoesNotMatch") => " (the secret key does not belong to this access key)",
            (301 | 307, _) | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed") => {
                " (the bucket lies in another region: set AWS_REGION, or the endpoint)"
            }
            (401 | 403, _) => {
                " (the key or role needs s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload on the prefix \
                 and s3:ListBucket, s3:ListBucketMultipartUploads on the bucket)"
            }
            (501, _) => " (the store does not implement what is needed here)",
            (503 | 429, _) => " (the store is overloaded, or limits this prefix)",
            _ => "",
        }
    }

    /// As an error of the whole operation.
    pub(super) fn error(&self, kind: ErrorKind, path: &str, what: &str) -> Error {
        let region = match self {
            Fault::Answered { region: Some(region), .. } => format!("; it names the region {region}"),
            _ => String::new(),
        };
        Error::new(kind, path, format!("{what}: {self}{region}{}", self.advice()))
    }
}
