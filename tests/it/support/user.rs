//! Those who use the service: somebody with a key (or none) who sends well-formed requests.

use std::net::SocketAddr;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::multipart;
use serde_json::Value;

/// Somebody with a key, or without.
#[derive(Debug, Clone)]
pub struct User {
    client: reqwest::Client,
    address: SocketAddr,
    /// The organisation that the key belongs to.
    pub org: String,
    /// The key itself.
    pub key: Option<String>,
    /// The key's id (`key-…`), where the test made the key.
    pub key_id: String,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A file that was uploaded.
#[derive(Debug, Clone)]
pub struct Uploaded {
    pub id: String,
    pub name: String,
    pub url: String,
}

impl User {
    pub(super) fn new(
        client: reqwest::Client,
        address: SocketAddr,
        org: &str,
        key: Option<&str>,
        key_id: &str,
    ) -> Self {
        let key = key.map(str::to_owned);
        Self { client, address, org: org.to_owned(), key, key_id: key_id.to_owned() }
    }

    /// Whether the user speaks v3 (a `cog_…` key).
    pub fn is_v3(&self) -> bool {
        self.key.as_deref().is_some_and(|key| key.starts_with("cog_"))
    }

    /// `Authorization: Bearer …` as a line of a request's head, or nothing.
    pub fn authorization(&self) -> String {
        self.key.as_ref().map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default()
    }

    /// Where the user uploads.
    pub fn upload_path(&self) -> String {
        if self.is_v3() { self.in_org("/attachments") } else { "/v1/attachments".to_owned() }
    }

    /// A v3 path in the user's organisation: `/v3/organizations/{org}` and the rest.
    pub fn in_org(&self, rest: &str) -> String {
        format!("/v3/organizations/{}{rest}", self.org)
    }

    /// A request to a path of the service or to a URL, with the user's key.
    pub fn request(&self, method: &str, path_or_url: &str) -> reqwest::RequestBuilder {
        let url = match path_or_url.starts_with('/') {
            true => format!("http://{}{path_or_url}", self.address),
            false => path_or_url.to_owned(),
        };
        let request = self.client.request(method.parse().unwrap(), url);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    pub async fn get(&self, path_or_url: &str) -> Answer {
        Answer::to(self.request("GET", path_or_url)).await
    }

    /// `GET` with one header more.
    pub async fn get_with(&self, path_or_url: &str, name: &str, value: &str) -> Answer {
        Answer::to(self.request("GET", path_or_url).header(name, value)).await
    }

    pub async fn head(&self, path_or_url: &str) -> Answer {
        Answer::to(self.request("HEAD", path_or_url)).await
    }

    pub async fn delete(&self, path_or_url: &str) -> Answer {
        Answer::to(self.request("DELETE", path_or_url)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::to(self.request("POST", path).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        Answer::to(self.request("PUT", path).json(body)).await
    }

    /// Uploads a file, which must succeed.
    pub async fn upload(&self, name: &str, bytes: impl Into<Bytes>) -> Uploaded {
        let answer = self.try_upload(name, bytes).await;
        answer.expect(200);
        let body = answer.json();
        let url = match self.is_v3() {
            true => body["url"].as_str().unwrap().to_owned(),
            false => body.as_str().unwrap().to_owned(),
        };
        let mut segments = url.rsplit('/');
        let name = match body["name"].as_str() {
            Some(name) => name.to_owned(),
            None => percent_encoding::percent_decode_str(segments.clone().next().unwrap())
                .decode_utf8()
                .unwrap()
                .into_owned(),
        };
        Uploaded { id: segments.nth(1).unwrap().to_owned(), name, url }
    }

    /// Uploads a file, and hands back whatever was answered.
    pub async fn try_upload(&self, name: &str, bytes: impl Into<Bytes>) -> Answer {
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        let part = multipart::Part::stream_with_length(bytes, size).file_name(name.to_owned());
        let form = multipart::Form::new().part("file", part);
        Answer::to(self.request("POST", &self.upload_path()).multipart(form)).await
    }
}

impl Answer {
    /// Sends a request and reads the answer.
    pub async fn to(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.unwrap() }
    }

    /// The answer, which must have this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What the service says is wrong, where that is a sentence.
    #[track_caller]
    pub fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap_or_else(|| panic!("no detail: {}", self.text())).to_owned()
    }

    /// A header, which must be there.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }
}

impl Uploaded {
    /// The line that names the file in a prompt.
    pub fn line(&self) -> String {
        format!("ATTACHMENT:\"{}\"", self.url)
    }

    /// The file's v1 download path.
    pub fn v1_path(&self) -> String {
        format!("/v1/attachments/{}", self.tail())
    }

    /// The file's v3 download path in an organisation.
    pub fn v3_path(&self, org: &str) -> String {
        format!("/v3/organizations/{org}/attachments/{}", self.tail())
    }

    /// `{id}/{encoded name}`, as at the end of the URL.
    pub fn tail(&self) -> &str {
        self.url.split_once("/attachments/").unwrap().1
    }
}
