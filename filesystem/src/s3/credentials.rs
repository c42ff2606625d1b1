//! Where the keys come from that sign requests.
//!
//! Always true
//! - Temporary credentials are renewed before they expire; if that fails, what is still valid is used on.
//! - Credentials that the store calls expired are dropped and fetched again.
//! - No secret is ever printed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AwsCredential};
use runtime::Runtime;
use tokio::sync::Mutex;

use super::requests::Requests;
use super::sts;

/// Where credentials come from.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// These keys, for ever.
    Static {
        /// Access key id.
        key_id: String,
        /// Secret key.
        secret: String,
        /// Session token of temporary keys.
        token: Option<String>,
    },
    /// A profile of the shared files; what it says of roles is followed.
    Profile {
        /// `AWS_SHARED_CREDENTIALS_FILE`, usually `~/.aws/credentials`.
        credentials_file: PathBuf,
        /// `AWS_CONFIG_FILE`, usually `~/.aws/config`.
        config_file: PathBuf,
        /// The profile's name.
        profile: String,
        /// Where the token service answers, for roles; `None`: the region's.
        sts_endpoint: Option<String>,
    },
    /// A role taken with a token that somebody keeps fresh in a file.
    WebIdentity {
        /// The file.
        token_file: PathBuf,
        /// The role.
        role: Role,
    },
    /// A role taken with other credentials.
    AssumeRole {
        /// With these.
        source: Box<Credentials>,
        /// The role.
        role: Role,
    },
    /// The role of the container (`AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`).
    Container {
        /// The value of that variable.
        relative_uri: String,
    },
    /// The role of the machine (IMDSv2).
    Instance {
        /// Where the metadata answers; `None`: where it always is.
        endpoint: Option<String>,
    },
}

/// A role and how to take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// Names this use of it in the store's records.
    pub session: String,
    /// What its owner asks for.
    pub external_id: Option<String>,
    /// How long credentials are to be good; `None`: an hour.
    pub duration: Option<Duration>,
    /// Where the token service answers; `None`: the region's.
    pub sts_endpoint: Option<String>,
}

impl Role {
    /// A role with the usual rest.
    pub fn new(arn: &str) -> Role {
        let session = "ferrobase".to_owned();
        Role { arn: arn.to_owned(), session, external_id: None, duration: None, sts_endpoint: None }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Static { key_id, .. } => write!(f, "Static({key_id})"),
            Credentials::Profile { profile, .. } => write!(f, "Profile({profile})"),
            Credentials::WebIdentity { role, .. } => write!(f, "WebIdentity({})", role.arn),
            Credentials::AssumeRole { source, role } => write!(f, "AssumeRole({}, {source:?})", role.arn),
            Credentials::Container { relative_uri } => write!(f, "Container({relative_uri})"),
            Credentials::Instance { .. } => write!(f, "Instance"),
        }
    }
}

impl Credentials {
    /// The standard order: keys in variables, a token file with a role, a profile if its file exists, the container's
    /// role, the machine's. `AWS_ROLE_ARN` without a token file is a role to take with what was found.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Credentials {
        let get = |name: &str| env(name).filter(|value| !value.is_empty());
        let home = PathBuf::from(get("HOME").unwrap_or_default());
        let file = |name: &str, usual: &str| get(name).map_or_else(|| home.join(".aws").join(usual), PathBuf::from);
        let sts_endpoint = get("AWS_ENDPOINT_URL_STS").or_else(|| get("AWS_ENDPOINT_URL"));
        let role = get("AWS_ROLE_ARN").map(|arn| Role {
            session: get("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "ferrobase".to_owned()),
            sts_endpoint: sts_endpoint.clone(),
            ..Role::new(&arn)
        });
        let profile = || {
            let (credentials_file, config_file) =
                (file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), file("AWS_CONFIG_FILE", "config"));
            let wanted = get("AWS_PROFILE");
            (wanted.is_some() || credentials_file.exists() || config_file.exists()).then(|| Credentials::Profile {
                credentials_file,
                config_file,
                profile: wanted.unwrap_or_else(|| "default".to_owned()),
                sts_endpoint: sts_endpoint.clone(),
            })
        };
        let found = if let (Some(key_id), Some(secret)) = (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
            Credentials::Static { key_id, secret, token: get("AWS_SESSION_TOKEN") }
        } else if let (Some(token_file), Some(role)) = (get("AWS_WEB_IDENTITY_TOKEN_FILE"), role.clone()) {
            return Credentials::WebIdentity { token_file: token_file.into(), role };
        } else if let Some(profile) = profile() {
            profile
        } else if let Some(relative_uri) = get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            Credentials::Container { relative_uri }
        } else {
            Credentials::Instance { endpoint: get("AWS_EC2_METADATA_SERVICE_ENDPOINT") }
        };
        match role {
            Some(role) => Credentials::AssumeRole { source: Box::new(found), role },
            None => found,
        }
    }

    /// Makes the provider.
    pub(super) fn provider(
        &self,
        region: &str,
        allow_http: bool,
        requests: &Arc<Requests>,
        runtime: &Runtime,
    ) -> Result<Arc<dyn Provider>, String> {
        let source: Box<dyn Source> = match self {
            Credentials::Static { key_id, secret, token } => {
                return Ok(Arc::new(Fixed(Arc::new(AwsCredential {
                    key_id: key_id.clone(),
                    secret_key: secret.clone(),
                    token: token.clone(),
                }))));
            }
            Credentials::Profile { .. } => Box::new(ProfileSource {
                settings: self.clone(),
                region: region.to_owned(),
                allow_http,
                requests: requests.clone(),
                runtime: runtime.clone(),
            }),
            Credentials::WebIdentity { token_file, role } => Box::new(sts::TokenService {
                client: super::wire::connect(allow_http, 1).map_err(|error| error.to_string())?,
                proof: sts::Proof::TokenFile(token_file.clone()),
                role: role.clone(),
                region: region.to_owned(),
                requests: requests.clone(),
                clock: runtime.clock.clone(),
            }),
            Credentials::AssumeRole { source, role } => Box::new(sts::TokenService {
                client: super::wire::connect(allow_http, 1).map_err(|error| error.to_string())?,
                proof: sts::Proof::Credentials(source.provider(region, allow_http, requests, runtime)?),
                role: role.clone(),
                region: region.to_owned(),
                requests: requests.clone(),
                clock: runtime.clock.clone(),
            }),
            Credentials::Container { .. } | Credentials::Instance { .. } => {
                let provider = Machine { settings: self.clone(), chain: parking_lot::Mutex::new(None) };
                provider.chain()?;
                return Ok(Arc::new(provider));
            }
        };
        Ok(Arc::new(Renewing { source, held: Mutex::new(None), runtime: runtime.clone() }))
    }
}

/// Who signs for roots at and below a URL: `s3://bucket/prefix=WHO`, where WHO is `role:ARN`, taken with what the variables give,
/// `profile:NAME`, `machine` or `variables`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    url: String,
    who: Who,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Role(String),
    Profile(String),
    Machine,
    Variables,
}

impl std::str::FromStr for Signer {
    type Err = String;

    fn from_str(text: &str) -> Result<Signer, String> {
        let wanted = "s3://bucket/prefix=WHO is needed, WHO being role:ARN, profile:NAME, machine or variables";
        let (url, who) = text.split_once('=').ok_or(wanted)?;
        let bucket = url.strip_prefix("s3://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
        let who = match who.split_once(':').unwrap_or((who, "")) {
            ("role", arn) if !arn.is_empty() => Who::Role(arn.to_owned()),
            ("profile", name) if !name.is_empty() => Who::Profile(name.to_owned()),
            ("machine", "") => Who::Machine,
            ("variables", "") => Who::Variables,
            _ => return Err(wanted.to_owned()),
        };
        let url = url.trim_end_matches('/').to_owned();
        if bucket { Ok(Signer { url, who }) } else { Err(wanted.to_owned()) }
    }
}

impl Signer {
    /// The credentials for a root: the longest URL at or above it decides; without one the variables do.
    pub fn choose(signers: &[Signer], root: &str, env: &dyn Fn(&str) -> Option<String>) -> Credentials {
        let root = root.trim_end_matches('/');
        let covers = |signer: &&Signer| {
            root.strip_prefix(&signer.url).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let Some(signer) = signers.iter().filter(covers).max_by_key(|signer| signer.url.len()) else {
            return Credentials::from_env(env);
        };
        match &signer.who {
            Who::Variables => Credentials::from_env(env),
            Who::Machine => Credentials::Instance { endpoint: env("AWS_EC2_METADATA_SERVICE_ENDPOINT") },
            Who::Role(arn) => Credentials::from_env(&|name| match name {
                "AWS_ROLE_ARN" => Some(arn.clone()),
                _ => env(name),
            }),
            Who::Profile(profile) => Credentials::from_env(&|name| match name {
                "AWS_PROFILE" => Some(profile.clone()),
                "AWS_ACCESS_KEY_ID" | "AWS_WEB_IDENTITY_TOKEN_FILE" | "AWS_ROLE_ARN" => None,
                _ => env(name),
            }),
        }
    }
}

/// Gives credentials for a request.
#[async_trait]
pub(super) trait Provider: Send + Sync + fmt::Debug {
    /// Credentials that are good now; why there are none otherwise.
    async fn get(&self) -> Result<Arc<AwsCredential>, String>;
    /// The store called these expired.
    async fn expire(&self, used: &AwsCredential);
}

/// Fetched credentials.
pub(super) struct Fetched {
    pub(super) credential: AwsCredential,
    /// When they end, in milliseconds since 1970; `None`: never.
    pub(super) expires_ms: Option<i64>,
}

/// Where a [`Renewing`] provider fetches.
#[async_trait]
pub(super) trait Source: Send + Sync + fmt::Debug {
    async fn fetch(&self) -> Result<Fetched, String>;
}

#[derive(Debug)]
struct Fixed(Arc<AwsCredential>);

#[async_trait]
impl Provider for Fixed {
    async fn get(&self) -> Result<Arc<AwsCredential>, String> {
        Ok(self.0.clone())
    }

    async fn expire(&self, _: &AwsCredential) {}
}

#[derive(Debug)]
struct Held {
    credential: Arc<AwsCredential>,
    /// Not used from here on.
    ends_ms: i64,
    /// Renewed from here on.
    renew_ms: i64,
}

/// Longest time before the end at which credentials are renewed.
const RENEW_BEFORE_MS: i64 = 300_000;
/// Pause after a renewal that failed.
const RENEW_AGAIN_MS: i64 = 5_000;

/// Holds credentials until shortly before their end.
#[derive(Debug)]
struct Renewing {
    source: Box<dyn Source>,
    held: Mutex<Option<Held>>,
    runtime: Runtime,
}

#[async_trait]
impl Provider for Renewing {
    async fn get(&self) -> Result<Arc<AwsCredential>, String> {
        // Held across the fetch: whoever comes meanwhile needs what it brings. Requests bound the wait.
        let mut held = self.held.lock().await;
        let now = self.runtime.clock.now_ms();
        if let Some(held) = &*held
            && now < held.renew_ms
        {
            return Ok(held.credential.clone());
        }
        match self.source.fetch().await {
            Ok(Fetched { credential, expires_ms }) => {
                let ends_ms = expires_ms.unwrap_or(i64::MAX);
                let before = (ends_ms.saturating_sub(now) / 4).clamp(0, RENEW_BEFORE_MS);
                let credential = Arc::new(credential);
                *held = Some(Held { credential: credential.clone(), ends_ms, renew_ms: ends_ms - before });
                Ok(credential)
            }
            Err(error) => match &mut *held {
                Some(held) if now < held.ends_ms => {
                    tracing::warn!(error, "credentials are not renewed; the present ones are used on");
                    held.renew_ms = now + RENEW_AGAIN_MS;
                    Ok(held.credential.clone())
                }
                _ => Err(error),
            },
        }
    }

    async fn expire(&self, used: &AwsCredential) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|held| *held.credential == *used) {
            *held = None;
        }
    }
}

type Chain = object_store::aws::AwsCredentialProvider;

/// Roles of the container and of the machine, as `object_store` finds them. It renews them in time by itself.
#[derive(Debug)]
struct Machine {
    settings: Credentials,
    chain: parking_lot::Mutex<Option<Chain>>,
}

impl Machine {
    fn chain(&self) -> Result<Chain, String> {
        let mut chain = self.chain.lock();
        if let Some(chain) = &*chain {
            return Ok(chain.clone());
        }
        let mut builder = AmazonS3Builder::new().with_bucket_name("unused");
        match &self.settings {
            Credentials::Container { relative_uri } => {
                let key = object_store::aws::AmazonS3ConfigKey::ContainerCredentialsRelativeUri;
                builder = builder.with_config(key, relative_uri);
            }
            Credentials::Instance { endpoint: Some(endpoint) } => builder = builder.with_metadata_endpoint(endpoint),
            _ => {}
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Requests bound how long this may take; their own retries go on in the next one.
        builder = builder.with_retry(object_store::RetryConfig { max_retries: 2, ..Default::default() });
        let made = builder.build().map_err(|error| error.to_string())?.credentials().clone();
        *chain = Some(made.clone());
        Ok(made)
    }
}

#[async_trait]
impl Provider for Machine {
    async fn get(&self) -> Result<Arc<AwsCredential>, String> {
        let chain = self.chain()?;
        chain.get_credential().await.map_err(|error| error.to_string())
    }

    async fn expire(&self, _: &AwsCredential) {
        // A new chain has nothing cached.
        *self.chain.lock() = None;
    }
}

/// Reads a profile each time it is asked, and takes its role if it names one.
#[derive(Debug)]
struct ProfileSource {
    settings: Credentials,
    region: String,
    allow_http: bool,
    requests: Arc<Requests>,
    runtime: Runtime,
}

/// Profiles refer to each other at most so deep.
const PROFILE_DEPTH_MAX: usize = 8;

#[async_trait]
impl Source for ProfileSource {
    async fn fetch(&self) -> Result<Fetched, String> {
        let Credentials::Profile { credentials_file, config_file, profile, sts_endpoint } = &self.settings else {
            unreachable!("made from a profile only");
        };
        let mut sections = read_sections(config_file, |name| name.strip_prefix("profile ").unwrap_or(name).trim())?;
        for (name, values) in read_sections(credentials_file, str::trim)? {
            sections.entry(name).or_default().extend(values);
        }
        let found = resolve(&sections, profile, sts_endpoint.as_deref(), 0)?;
        let again_ms = self.runtime.clock.now_ms() + 60_000;
        match &found {
            // Whoever keeps the file fresh is seen within a minute.
            Credentials::Static { key_id, secret, token } => Ok(Fetched {
                credential: AwsCredential { key_id: key_id.clone(), secret_key: secret.clone(), token: token.clone() },
                expires_ms: Some(again_ms),
            }),
            Credentials::AssumeRole { source, role } => {
                let proof = source.provider(&self.region, self.allow_http, &self.requests, &self.runtime)?;
                let service = sts::TokenService {
                    client: super::wire::connect(self.allow_http, 1).map_err(|error| error.to_string())?,
                    proof: sts::Proof::Credentials(proof),
                    role: role.clone(),
                    region: self.region.clone(),
                    requests: self.requests.clone(),
                    clock: self.runtime.clock.clone(),
                };
                service.fetch().await
            }
            Credentials::WebIdentity { token_file, role } => {
                let service = sts::TokenService {
                    client: super::wire::connect(self.allow_http, 1).map_err(|error| error.to_string())?,
                    proof: sts::Proof::TokenFile(token_file.clone()),
                    role: role.clone(),
                    region: self.region.clone(),
                    requests: self.requests.clone(),
                    clock: self.runtime.clock.clone(),
                };
                service.fetch().await
            }
            other => {
                let provider = other.provider(&self.region, self.allow_http, &self.requests, &self.runtime)?;
                let AwsCredential { key_id, secret_key, token } = &*provider.get().await?;
                let (key_id, secret_key, token) = (key_id.clone(), secret_key.clone(), token.clone());
                let credential = AwsCredential { key_id, secret_key, token };
                Ok(Fetched { credential, expires_ms: Some(again_ms) })
            }
        }
    }
}

type Sections = BTreeMap<String, BTreeMap<String, String>>;

fn read_sections(file: &Path, name_of: impl Fn(&str) -> &str) -> Result<Sections, String> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(parse_sections(&text, name_of)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Sections::new()),
        Err(error) => Err(format!("cannot read {}: {error}", file.display())),
    }
}

fn parse_sections(text: &str, name_of: impl Fn(&str) -> &str) -> Sections {
    let mut sections = Sections::new();
    let mut name = None;
    for line in text.lines() {
        // Indented lines belong to a value that is itself a table.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(section) = line.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name = Some(name_of(section.trim()).to_owned());
        } else if let (Some(name), Some((key, value))) = (&name, line.split_once('=')) {
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().to_owned());
            sections.entry(name.clone()).or_default().insert(key, value);
        }
    }
    sections
}

fn resolve(sections: &Sections, profile: &str, sts: Option<&str>, depth: usize) -> Result<Credentials, String> {
    if depth > PROFILE_DEPTH_MAX {
        return Err(format!("profiles refer to each other in a circle. profile=`{profile}`"));
    }
    let values = sections.get(profile).ok_or_else(|| format!("no such profile. profile=`{profile}`"))?;
    let get = |key: &str| values.get(key).filter(|value| !value.is_empty()).cloned();
    let keys = || match (get("aws_access_key_id"), get("aws_secret_access_key")) {
        (Some(key_id), Some(secret)) => Some(Credentials::Static { key_id, secret, token: get("aws_session_token") }),
        _ => None,
    };
    let Some(arn) = get("role_arn") else {
        return keys().ok_or_else(|| format!("the profile holds no keys. profile=`{profile}`"));
    };
    let seconds = get("duration_seconds").and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let role = Role {
        session: get("role_session_name").unwrap_or_else(|| "ferrobase".to_owned()),
        external_id: get("external_id"),
        duration: seconds,
        sts_endpoint: sts.map(str::to_owned),
        ..Role::new(&arn)
    };
    if let Some(file) = get("web_identity_token_file") {
        return Ok(Credentials::WebIdentity { token_file: file.into(), role });
    }
    let source = match (get("source_profile"), get("credential_source").as_deref()) {
        (Some(source), _) if source == profile => {
            keys().ok_or_else(|| format!("the profile is its own source and holds no keys. profile=`{profile}`"))?
        }
        (Some(source), _) => resolve(sections, &source, sts, depth + 1)?,
        (None, Some("Ec2InstanceMetadata")) => Credentials::Instance { endpoint: None },
        (None, other) => {
            return Err(format!(
                "the profile names a role and no source it could be taken with. profile=`{profile}`, credential_source=`{}`",
                other.unwrap_or_default()
            ));
        }
    };
    Ok(Credentials::AssumeRole { source: Box::new(source), role })
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::clock::ManualClock;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn profiles_are_followed_to_their_keys() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=s\n# c\n[profile data]\nrole_arn = arn:r\n\
                    source_profile = default\nexternal_id=x\n[loop]\nrole_arn=r\nsource_profile=pool\n[pool]\nrole_arn=r\n\
                    source_profile=loop\n[nothing]\n\nregion = x\n";
        let sections = parse_sections(text, |name| name.strip_prefix("profile ").unwrap_or(name));
        let keys = Credentials::Static { key_id: "A".into(), secret: "s".into(), token: None };
        assert_eq!(resolve(&sections, "default", None, 0).expect("keys"), keys);
        let role = Role { external_id: Some("x".into()), ..Role::new("arn:r") };
        let taken = Credentials::AssumeRole { source: Box::new(keys), role };
        assert_eq!(resolve(&sections, "data", None, 0).expect("role"), taken);
        for (profile, words) in [("loop", "in a circle"), ("nothing", "no keys"), ("absent", "no such profile")] {
            assert!(resolve(&sections, profile, None, 0).expect_err(profile).contains(words), "{profile}");
        }
        assert!(!format!("{taken:?}").contains("\"s\""), "secrets are not printed");
    }

    #[test]
    fn variables_are_looked_at_in_the_standard_order() {
        let found = |vars: &[(&str, &str)]| {
            let vars: BTreeMap<_, _> = vars.iter().copied().collect();
            format!("{:?}", Credentials::from_env(&|name| vars.get(name).map(|value| (*value).to_owned())))
        };
        let keys = [("AWS_ACCESS_KEY_ID", "K"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_PROFILE", "p")];
        assert_eq!(found(&keys), "Static(K)");
        assert_eq!(found(&[keys[0], keys[1], ("AWS_ROLE_ARN", "r")]), "AssumeRole(r, Static(K))");
        assert_eq!(found(&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "r")]), "WebIdentity(r)");
        assert_eq!(found(&[keys[2], ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/u")]), "Profile(p)");
        assert_eq!(found(&[("HOME", "/nowhere"), ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/u")]), "Container(/u)");
        assert_eq!(found(&[("HOME", "/nowhere")]), "Instance");
    }

    #[test]
    fn the_nearest_url_above_a_root_says_who_signs() {
        let rules = ["s3://b=profile:all", "s3://b/log/=role:arn:aws:iam::1:role/log", "s3://b/log/own=machine"];
        let rules: Vec<Signer> = rules.iter().map(|text| text.parse().expect(text)).collect();
        let vars = [("AWS_ACCESS_KEY_ID", "K"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_ROLE_ARN", "r")];
        let env = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        for (root, who) in [
            ("s3://b/data", "Profile(all)"),
            ("s3://b/logs", "Profile(all)"),
            ("s3://b/log", "AssumeRole(arn:aws:iam::1:role/log, Static(K))"),
            ("s3://b/log/x/", "AssumeRole(arn:aws:iam::1:role/log, Static(K))"),
            ("s3://b/log/own/x", "Instance"),
            ("s3://bb/log", "AssumeRole(r, Static(K))"),
        ] {
            assert_eq!(format!("{:?}", Signer::choose(&rules, root, &env)), who, "{root}");
        }
        for text in ["s3://b", "b=machine", "s3:///x=machine", "s3://b=role:", "s3://b=machine:x", "s3://b=me"] {
            assert!(text.parse::<Signer>().expect_err(text).contains("is needed"), "{text}");
        }
    }

    #[derive(Debug, Default)]
    struct Numbered(AtomicU32, std::sync::atomic::AtomicBool);

    #[async_trait]
    impl Source for Arc<Numbered> {
        async fn fetch(&self) -> Result<Fetched, String> {
            if self.1.load(Ordering::SeqCst) {
                return Err("down".to_owned());
            }
            let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            let credential = AwsCredential { key_id: number.to_string(), secret_key: String::new(), token: None };
            Ok(Fetched { credential, expires_ms: Some(i64::from(number) * 1_000_000) })
        }
    }

    #[tokio::test]
    async fn credentials_are_renewed_before_their_end_and_used_on_when_that_fails() {
        let (clock, source) = (Arc::new(ManualClock::new(0)), Arc::new(Numbered::default()));
        let runtime = Runtime { clock: clock.clone(), ..Runtime::system() };
        let provider = Renewing { source: Box::new(source.clone()), held: Mutex::new(None), runtime };
        let key = async || provider.get().await.map(|credential| credential.key_id.clone());
        assert_eq!(key().await.expect("first"), "1");
        clock.set_ms(740_000);
        assert_eq!(key().await.expect("held"), "1");
        clock.set_ms(760_000);
        assert_eq!(key().await.expect("renewed"), "2");
        source.1.store(true, Ordering::SeqCst);
        clock.set_ms(1_999_999);
        assert_eq!(key().await.expect("used on"), "2");
        clock.set_ms(2_000_000 + RENEW_AGAIN_MS);
        assert_eq!(key().await.expect_err("at its end"), "down");
        source.1.store(false, Ordering::SeqCst);
        assert_eq!(key().await.expect("again"), "3");
        provider.expire(&provider.get().await.expect("held")).await;
        assert_eq!(key().await.expect("dropped"), "4");
    }
}
