//! A token service: whoever has a known key takes any role, and gets keys that end.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use runtime::random::{Random, SystemRandom};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

#[derive(Clone, Debug)]
struct Key {
    secret: String,
    role: Option<String>,
    ends: Option<SystemTime>,
}

/// Keys that are known.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    keys: Mutex<HashMap<String, Key>>,
    /// Longest life of keys of a role; `None`: what is asked for.
    pub(crate) life: Mutex<Option<Duration>>,
}

impl Keys {
    pub(crate) fn add(&self, id: &str, secret: &str) {
        self.keys.lock().insert(id.to_owned(), Key { secret: secret.to_owned(), role: None, ends: None });
    }

    /// The role behind a key, or the key itself.
    pub(crate) fn holder(&self, id: &str) -> String {
        self.keys.lock().get(id).and_then(|key| key.role.clone()).unwrap_or_else(|| id.to_owned())
    }

    pub(crate) fn is_expired(&self, id: &str) -> bool {
        self.keys.lock().get(id).and_then(|key| key.ends).is_some_and(|ends| ends <= SystemTime::now())
    }

    /// Ends every key of a role now.
    pub(crate) fn expire_roles(&self) {
        for key in self.keys.lock().values_mut().filter(|key| key.role.is_some()) {
            key.ends = Some(SystemTime::UNIX_EPOCH);
        }
    }

    /// Keys of a role; their secret and end.
    fn take(&self, role: &str, asked: Duration) -> Result<(String, String, String), &'static str> {
        let ends = SystemTime::now() + self.life.lock().unwrap_or(asked);
        let (id, secret) =
            (format!("ASIA{:016X}", SystemRandom.next_u64()), format!("{:032x}", SystemRandom.next_u128()));
        let key = Key { secret: secret.clone(), role: Some(role.to_owned()), ends: Some(ends) };
        self.keys.lock().insert(id.clone(), key);
        let mut text = Vec::new();
        let written = s3s::dto::Timestamp::from(ends).format(s3s::dto::TimestampFormat::DateTime, &mut text);
        written.map_err(|_| "InternalFailure")?;
        Ok((id, secret, String::from_utf8_lossy(&text).into_owned()))
    }

    /// What a machine's metadata service says, for the role `machine`.
    pub(crate) fn metadata(&self, path: &str) -> Result<String, &'static str> {
        match path {
            "api/token" => Ok("token".to_owned()),
            "meta-data/iam/security-credentials/" => Ok("machine".to_owned()),
            "meta-data/iam/security-credentials/machine" => {
                let (id, secret, end) = self.take("machine", Duration::from_secs(3600))?;
                Ok(format!(
                    r#"{{"AccessKeyId":"{id}","SecretAccessKey":"{secret}","Token":"t-{id}","Expiration":"{end}"}}"#
                ))
            }
            _ => Err("NotFound"),
        }
    }

    /// Answers a form. The signature is not looked at: the tests do not forge any.
    pub(crate) fn answer(&self, form: &str, signer: &str) -> Result<String, &'static str> {
        let fields: HashMap<String, String> = form
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| {
                (name.to_owned(), percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
            })
            .collect();
        let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        let call = field("Action");
        match call {
            "AssumeRole" if self.keys.lock().contains_key(signer) => {}
            "AssumeRoleWithWebIdentity" if !field("WebIdentityToken").is_empty() => {}
            _ => return Err("AccessDenied"),
        }
        let asked = Duration::from_secs(field("DurationSeconds").parse().unwrap_or(3600));
        let (id, secret, expiration) = self.take(field("RoleArn"), asked)?;
        Ok(format!(
            "<{call}Response><{call}Result><Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
             <SessionToken>t-{id}</SessionToken><Expiration>{expiration}</Expiration></Credentials></{call}Result></{call}Response>"
        ))
    }
}

/// The keys as the service asks for them.
#[derive(Debug)]
pub(crate) struct Auth(pub(crate) std::sync::Arc<Keys>);

#[async_trait::async_trait]
impl S3Auth for Auth {
    async fn get_secret_key(&self, id: &str) -> S3Result<SecretKey> {
        match self.0.keys.lock().get(id) {
            Some(key) => Ok(SecretKey::from(key.secret.clone())),
            None => Err(s3_error!(InvalidAccessKeyId, "no such key")),
        }
    }
}
