//! Takes a role at the token service: AssumeRole with other credentials, AssumeRoleWithWebIdentity with a token file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, Method};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpClient, HttpRequest};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use runtime::clock::Clock;
use serde::Deserialize;

use super::credentials::{Fetched, Provider, Role, Source};
use super::requests::{Kind, Requests};
use super::wire::{Wait, receive};

/// What shows that the role may be taken.
#[derive(Debug)]
pub(super) enum Proof {
    Credentials(Arc<dyn Provider>),
    TokenFile(PathBuf),
}

/// The token service, for one role.
#[derive(Debug)]
pub(super) struct TokenService {
    pub(super) client: HttpClient,
    pub(super) proof: Proof,
    pub(super) role: Role,
    pub(super) region: String,
    pub(super) requests: Arc<Requests>,
    pub(super) clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    #[serde(alias = "AssumeRoleWithWebIdentityResult")]
    assume_role_result: Taken,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Taken {
    credentials: Keys,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Keys {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

/// Longest answer read.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Longest silence; the operation that needs the credentials asks again.
const PATIENCE: Duration = Duration::from_secs(5);

#[async_trait]
impl Source for TokenService {
    async fn fetch(&self) -> Result<Fetched, String> {
        let failed = |error: &dyn std::fmt::Display| format!("taking a role failed: {error}. role=`{}`", self.role.arn);
        let seconds = self.role.duration.map_or(3600, |duration| duration.as_secs()).to_string();
        let mut fields = vec![
            ("Version", "2011-06-15"),
            ("RoleArn", &self.role.arn),
            ("RoleSessionName", &self.role.session),
            ("DurationSeconds", &seconds),
        ];
        let (token, signer) = match &self.proof {
            Proof::Credentials(provider) => (None, Some(provider.get().await?)),
            Proof::TokenFile(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| failed(&format!("cannot read {}: {error}", file.display())))?;
                (Some(text.trim().to_owned()), None)
            }
        };
        match &token {
            None => fields.push(("Action", "AssumeRole")),
            Some(token) => fields.extend([("Action", "AssumeRoleWithWebIdentity"), ("WebIdentityToken", token)]),
        }
        if let (Some(id), None) = (&self.role.external_id, &token) {
            fields.push(("ExternalId", id));
        }
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let mut request = HttpRequest::new(pairs.join("&").into());
        let endpoint = match &self.role.sts_endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => super::amazon_host(&format!("sts.{}", self.region), &self.region),
        };
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("{endpoint}/").parse().map_err(|error| failed(&error))?;
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(http::header::CONTENT_TYPE, form);
        if let Some(credential) = &signer {
            let authorizer = AwsAuthorizer::new(credential, "sts", &self.region);
            authorizer.try_authorize(&mut request, None).map_err(|error| failed(&error))?;
        }
        let wait = Wait { clock: &*self.clock, patience: PATIENCE };
        let received = receive(&self.client, &self.requests, Kind::Token, request, ANSWER_BYTES_MAX, wait).await;
        if let (Err(fault), Proof::Credentials(provider), Some(used)) = (&received, &self.proof, &signer)
            && fault.meaning() == super::fault::Meaning::Expired
        {
            provider.expire(used).await;
        }
        let answer = received.map_err(|fault| failed(&fault))?;
        let document: Document = answer.document().map_err(|fault| failed(&fault))?;
        let keys = document.assume_role_result.credentials;
        let expires_ms = parse_time_ms(&keys.expiration).ok_or_else(|| failed(&"an end that is no time"))?;
        let credential = AwsCredential {
            key_id: keys.access_key_id,
            secret_key: keys.secret_access_key,
            token: Some(keys.session_token),
        };
        Ok(Fetched { credential, expires_ms: Some(expires_ms) })
    }
}

/// Milliseconds since 1970 of a time like `2026-11-21T10:00:00Z`, with or without a fraction.
fn parse_time_ms(text: &str) -> Option<i64> {
    let (day, time) = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00"))?.split_once('T')?;
    let numbers = |text: &str, by| text.split(by).map(|part| part.parse::<i64>().ok()).collect::<Option<Vec<_>>>();
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [year, month, day] = numbers(day, '-')?[..] else { return None };
    let [hour, minute, second] = numbers(time, ':')?[..] else { return None };
    let in_range = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !in_range || !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return None;
    }
    let ms = fraction.get(..3).and_then(|digits| digits.parse::<i64>().ok()).unwrap_or(0);
    // Years begin in March, so that the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(parse_time_ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse_time_ms("2000-02-29T23:59:59Z"), Some(951_868_799_000));
        assert_eq!(parse_time_ms("2026-11-21T10:00:00.250Z"), Some(1_795_255_200_250));
        for wrong in ["", "2026-11-21", "2026-13-01T00:00:00Z", "x-1-1T0:0:0Z", "2026-11-21T10:00:00+01:00"] {
            assert_eq!(parse_time_ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn answers_of_both_calls_are_read() {
        for call in ["AssumeRole", "AssumeRoleWithWebIdentity"] {
            let text = format!(
                "<{call}Response><{call}Result><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
                 <SessionToken>t</SessionToken><Expiration>2026-11-21T10:00:00Z</Expiration></Credentials>\
                 <AssumedRoleUser><Arn>x</Arn></AssumedRoleUser></{call}Result></{call}Response>"
            );
            let document: Document = quick_xml::de::from_str(&text).expect("document");
            assert_eq!(document.assume_role_result.credentials.access_key_id, "A");
        }
    }
}
