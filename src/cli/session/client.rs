//! One connection to a service: its address, a key, and requests whose failures are sentences.
//!
//! The key is sent to that address and nowhere else: redirects are not followed, and URLs in answers are not requested.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use url::{Host, Url};

use crate::cli::say;
use crate::id::OrgId;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an answer that is read whole.
const MAX_ANSWER: usize = 64 << 20;
/// The credentials that a first start wrote, from the working folder.
const FIRST_RUN: &str = "satchel-data/first-run.json";
/// What is said of an answer that no service of this kind gives.
const WRONG_ADDRESS: &str = "the answer is none of this service; is the address right (--url)?";
/// Variable with the key.
const KEY: &str = "SATCHEL_API_KEY";

/// Which service, and as whom.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// Address of the service.
    #[arg(long, value_name = "URL", env = "SATCHEL_URL", default_value = "http://127.0.0.1:8080", value_parser = address)]
    url: Url,
    /// File with the key; otherwise it is taken from the variable SATCHEL_API_KEY.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Organisation, for a cog_ key that has no home [default: the key's own].
    #[arg(long, value_name = "ORG")]
    org: Option<OrgId>,
}

/// An open way to a service.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
    /// The organisation of a v3 key; a v1 key has its own.
    org: Option<OrgId>,
}

impl Client {
    /// Finds the key, and for a v3 key its organisation.
    pub(super) async fn connect(connection: &Connection) -> anyhow::Result<Self> {
        let url = &connection.url;
        let (key, place) = key(connection)?;
        ensure!(
            ["cog_", "apk_"].iter().any(|prefix| key.starts_with(prefix))
                && key.bytes().all(|byte| byte.is_ascii_graphic()),
            "what {place} holds is no key: one has to begin with cog_, apk_user_ or apk_"
        );
        ensure!(
            connection.org.is_none() || key.starts_with("cog_"),
            "--org is for a cog_ key; an apk_ key belongs to one organisation and works in no other"
        );
        if url.scheme() == "http" && !is_loopback(url) {
            say(&format!("satchel: {url} is not encrypted: the key and the files can be read on the way"));
        }
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("satchel/", env!("CARGO_PKG_VERSION")));
        if url.scheme() == "http" {
            // The system's certificates, which may be missing, are then not asked for.
            http = http.tls_certs_only([]);
        }
        let base = url.as_str().trim_end_matches('/').to_owned();
        let mut client = Self { http: http.build()?, base, key, org: connection.org.clone() };
        if client.is_v3() && client.org.is_none() {
            let caller = client.get("/v3/self").await?;
            let org = caller["org_id"].as_str().and_then(|org| org.parse().ok());
            client.org = Some(org.context("the key has no organisation: say which with --org")?);
        }
        Ok(client)
    }

    /// Whether the key is one of the v3 API.
    pub(super) fn is_v3(&self) -> bool {
        self.key.starts_with("cog_")
    }

    /// The path of the sessions, and the rest.
    pub(super) fn sessions(&self, rest: &str) -> String {
        format!("{}/sessions{rest}", self.root())
    }

    /// The path that uploads go to.
    pub(super) fn attachments(&self) -> String {
        format!("{}/attachments", self.root())
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        read(self.send(self.request(Method::GET, path)).await?).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        read(self.send(self.request(Method::POST, path).json(body)).await?).await
    }

    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        read(self.send(self.request(Method::DELETE, path)).await?).await
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The service cannot be reached; or its refusal, in its own words.
    pub(super) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.map_err(|error| {
            anyhow::anyhow!(
                "the service at {} did not answer: {}; does it run, and is the address right (--url)?",
                self.base,
                root(&error)
            )
        })?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(refusal(status, response).await.into()),
        }
    }

    fn root(&self) -> String {
        match &self.org {
            Some(org) if self.is_v3() => format!("/v3/organizations/{org}"),
            _ => "/v1".to_owned(),
        }
    }
}

/// What a service refused, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("{detail} ({status})")]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    detail: String,
}

impl Refused {
    /// Whether the same request may succeed later.
    pub(super) fn is_passing(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }
}

async fn refusal(status: StatusCode, response: Response) -> Refused {
    let body = match tokio::time::timeout(CONNECT_WITHIN, read(response)).await {
        Ok(Ok(body)) => body,
        _ => Value::Null,
    };
    let detail = match &body["detail"] {
        // What every service of this kind says of a path that it does not have.
        Value::String(detail) if detail == "Not Found" => WRONG_ADDRESS.to_owned(),
        Value::String(detail) => detail.clone(),
        Value::Array(faults) => faults.iter().map(fault).collect::<Vec<_>>().join("; "),
        _ => WRONG_ADDRESS.to_owned(),
    };
    Refused { status, detail }
}

/// One entry of a 422: where, and what.
fn fault(entry: &Value) -> String {
    let place = entry["loc"].as_array().into_iter().flatten().skip_while(|step| *step == "body");
    let place: Vec<String> =
        place.map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned)).collect();
    format!("{}: {}", place.join("."), entry["msg"].as_str().unwrap_or_default())
}

async fn read(mut response: Response) -> anyhow::Result<Value> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        ensure!(body.len() + piece.len() <= MAX_ANSWER, "the answer has more than {MAX_ANSWER} bytes");
        body.extend_from_slice(&piece);
    }
    serde_json::from_slice(&body).context("the answer is no JSON; is the address that of the service?")
}

/// What a failure comes down to; the layers above it only say that a request failed.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The address of a service as it is typed.
fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let good = |url: &Url| {
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
    };
    url.filter(good)
        .ok_or_else(|| "an address begins with http:// or https:// and holds no password".to_owned())
}

/// The key, and where it was found.
fn key(connection: &Connection) -> anyhow::Result<(String, String)> {
    if let Some(path) = &connection.key_file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the key file {} cannot be read", path.display()))?;
        return Ok((text.trim().to_owned(), path.display().to_string()));
    }
    if let Ok(key) = std::env::var(KEY) {
        return Ok((key.trim().to_owned(), format!("the variable {KEY}")));
    }
    // The first key of a service on this machine is sent to no other.
    if is_loopback(&connection.url)
        && let Ok(text) = std::fs::read_to_string(Path::new(FIRST_RUN))
        && let Ok(first) = serde_json::from_str::<Value>(&text)
        && let Some(token) = first["service_user_token"].as_str()
    {
        say(&format!("satchel: with the service user token of ./{FIRST_RUN}"));
        return Ok((token.to_owned(), FIRST_RUN.to_owned()));
    }
    bail!("there is no key: put it into the variable {KEY}, or name a file that holds it with --key-file")
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
