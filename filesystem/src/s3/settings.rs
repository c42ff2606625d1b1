//! What a root on S3 needs to know.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::amazon_host;
use super::credentials::Credentials;

/// Encryption at rest, asked for with every object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// What the bucket is set to.
    #[default]
    Bucket,
    /// SSE-S3.
    S3,
    /// SSE-KMS.
    Kms {
        /// The key; `None`: the account's.
        key_id: Option<String>,
        /// One data key for many objects: fewer requests to the key service.
        bucket_key: bool,
    },
}

impl Encryption {
    pub(super) fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: &str| -> Result<(), String> {
            let value = HeaderValue::from_str(value).map_err(|_| format!("not printable: {name}"))?;
            headers.insert(HeaderName::from_static(name), value);
            Ok(())
        };
        match self {
            Encryption::Bucket => {}
            Encryption::S3 => set("x-amz-server-side-encryption", "AES256")?,
            Encryption::Kms { key_id, bucket_key } => {
                set("x-amz-server-side-encryption", "aws:kms")?;
                if let Some(key_id) = key_id {
                    set("x-amz-server-side-encryption-aws-kms-key-id", key_id)?;
                }
                if *bucket_key {
                    set("x-amz-server-side-encryption-bucket-key-enabled", "true")?;
                }
            }
        }
        Ok(headers)
    }
}

/// Settings of one root. Each root has its own, credentials included.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// Folder in the bucket that is the root; empty: the bucket itself.
    pub prefix: String,
    /// URL of the store; `None`: Amazon's for the region. Given: the bucket is named in the path.
    pub endpoint: Option<String>,
    /// Region that signatures name.
    pub region: String,
    /// Whether an endpoint without TLS may be used.
    pub allow_http: bool,
    /// Who signs.
    pub credentials: Credentials,
    /// Encryption at rest.
    pub encryption: Encryption,
    /// Longest time of one operation, all tries and pauses included. Longer rides out longer outages; shorter says sooner
    /// that something is wrong.
    pub deadline: Duration,
    /// Longest silence in one try: until the answer begins, and then until more of it comes; a millisecond more per KiB sent.
    /// Shorter finds a lost answer sooner and may give up a slow one.
    pub try_limit: Duration,
    /// First pause between tries; later ones are longer.
    pub pause: Duration,
    /// Blobs up to this size are one put; memory of each blob being written.
    pub one_put_bytes: usize,
    /// Size of a part of longer ones; the store wants at least 5 MiB, and takes 10 000 parts.
    pub part_bytes: usize,
    /// Parts of one blob sent at a time.
    pub parts_in_flight: usize,
    /// How much of an object's end is read when it is opened: of a store file 64 KiB, and a piece before that a cache wants whole. More
    /// saves a request where more is looked at; each open file
    /// holds as much until it is read elsewhere.
    pub tail_bytes: usize,
    /// Idle connections kept.
    pub connections_idle_max: usize,
}

/// Smallest part that stores take, but for the last.
const PART_BYTES_MIN: usize = 5 << 20;

impl S3Settings {
    /// Settings for a bucket and a prefix, the rest usual.
    pub fn new(bucket: &str, prefix: &str, region: &str, credentials: Credentials) -> S3Settings {
        S3Settings {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            endpoint: None,
            region: region.to_owned(),
            allow_http: false,
            credentials,
            encryption: Encryption::Bucket,
            deadline: Duration::from_secs(60),
            try_limit: Duration::from_secs(5),
            pause: Duration::from_millis(50),
            one_put_bytes: 8 << 20,
            part_bytes: 8 << 20,
            parts_in_flight: 4,
            tail_bytes: 80 << 10,
            connections_idle_max: 64,
        }
    }

    /// Settings for `s3://bucket/prefix` and the standard variables: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, `AWS_REGION`,
    /// `AWS_DEFAULT_REGION`, and those of [`Credentials::from_env`]. A store on this machine may do without TLS;
    /// another only with `allow_http`.
    pub fn from_env(url: &str, allow_http: bool, env: &dyn Fn(&str) -> Option<String>) -> Result<S3Settings, String> {
        let rest = url.strip_prefix("s3://").ok_or_else(|| format!("not an s3:// URL: {url}"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let get = |name: &str| env(name).filter(|value| !value.is_empty());
        let region = get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION")).unwrap_or_else(|| "us-east-1".to_owned());
        let endpoint = get("AWS_ENDPOINT_URL_S3").or_else(|| get("AWS_ENDPOINT_URL"));
        let settings = S3Settings {
            allow_http: allow_http || endpoint.as_deref().is_some_and(is_on_this_machine),
            endpoint,
            ..S3Settings::new(bucket, prefix, &region, Credentials::from_env(env))
        };
        settings.validate().map(|()| settings)
    }

    /// The root's URL.
    pub fn url(&self) -> String {
        if self.prefix.is_empty() {
            format!("s3://{}", self.bucket)
        } else {
            format!("s3://{}/{}", self.bucket, self.prefix)
        }
    }

    /// Says what is wrong.
    pub fn validate(&self) -> Result<(), String> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if self.bucket.len() < 3 || self.bucket.len() > 63 || !self.bucket.bytes().all(plain) {
            return Err(format!("not a bucket's name: `{}`", self.bucket));
        }
        if !self.prefix.is_empty() {
            crate::path::check_key(&self.prefix).map_err(|error| error.to_string())?;
        }
        if self.region.is_empty() || !self.region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(format!("not a region: `{}`", self.region));
        }
        if let Some(endpoint) = &self.endpoint {
            match endpoint.split_once("://") {
                Some(("https", host)) if !host.is_empty() => {}
                Some(("http", host)) if !host.is_empty() && self.allow_http => {}
                Some(("http", _)) => {
                    return Err(format!("{endpoint} sends everything in the clear; --s3-allow-http if that is meant"));
                }
                _ => return Err(format!("not an http:// or https:// URL: {endpoint}")),
            }
        }
        if self.part_bytes < PART_BYTES_MIN || self.parts_in_flight == 0 {
            return Err("parts have at least 5 MiB, and at least one is sent at a time".to_owned());
        }
        Ok(())
    }

    /// Where the bucket answers.
    pub(super) fn base(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{}/{}", endpoint.trim_end_matches('/'), self.bucket),
            // A name with dots is not covered by the certificate.
            None if self.bucket.contains(['.', '_']) => {
                format!("{}/{}", amazon_host(&format!("s3.{}", self.region), &self.region), self.bucket)
            }
            None => amazon_host(&format!("{}.s3.{}", self.bucket, self.region), &self.region),
        }
    }
}

fn is_on_this_machine(endpoint: &str) -> bool {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = host.split(['/', '?']).next().unwrap_or_default();
    let name = if host.starts_with('[') { host.split(']').next() } else { host.split(':').next() };
    matches!(name, Some("localhost" | "127.0.0.1" | "[::1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(url: &str, vars: &[(&str, &str)]) -> Result<S3Settings, String> {
        let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let get =
            |name: &str| keys.iter().chain(vars).find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        S3Settings::from_env(url, false, &get)
    }

    #[test]
    fn urls_and_variables_make_settings() {
        let plain = from("s3://bucket/a/b/", &[]).expect("settings");
        assert_eq!((plain.bucket.as_str(), plain.prefix.as_str()), ("bucket", "a/b"));
        assert_eq!(
            (plain.base(), plain.url()),
            ("https://bucket.s3.us-east-1.amazonaws.com".into(), "s3://bucket/a/b".into())
        );
        let china = from("s3://my.bucket", &[("AWS_DEFAULT_REGION", "cn-north-1")]).expect("settings");
        assert_eq!(china.base(), "https://s3.cn-north-1.amazonaws.com.cn/my.bucket");
        let own = from("s3://bucket", &[("AWS_ENDPOINT_URL", "http://localhost:9/")]).expect("settings");
        assert_eq!(own.base(), "http://localhost:9/bucket");
        assert!(
            from("s3://bucket", &[("AWS_ENDPOINT_URL", "http://store:9")]).expect_err("http").contains("in the clear")
        );
        for url in ["s3://", "s3://B", "s3://bucket/a//b", "s3://bucket/../x", "file:///x"] {
            assert!(from(url, &[]).is_err(), "{url}");
        }
    }
}
