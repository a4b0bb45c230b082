//! A stream of server-sent events as a client reads it (WHATWG HTML, section "Server-sent events").

use serde_json::Value;

use super::User;

/// An open stream.
pub struct Events {
    response: reqwest::Response,
    unread: String,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: i64,
    pub kind: String,
    pub data: Value,
}

impl User {
    /// Opens a stream, which must be answered 200; `last`: the `Last-Event-ID`.
    pub async fn events(&self, path: &str, last: Option<i64>) -> Events {
        let mut request = self.request("GET", path);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last.to_string());
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { response, unread: String::new() }
    }
}

impl Events {
    /// The next event; `None` where the service has ended the stream in order.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.unread.split_once("\n\n") {
                let event = parse(block);
                self.unread = rest.to_owned();
                if event.is_some() {
                    return event;
                }
            }
            let piece = self.response.chunk().await.unwrap()?;
            self.unread.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    /// Every event up to the first of which this is true, that one included.
    pub async fn until(&mut self, mut wanted: impl FnMut(&Event) -> bool) -> Vec<Event> {
        let mut seen = Vec::new();
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("the stream ended after {seen:#?}"));
            seen.push(event);
            if seen.last().is_some_and(&mut wanted) {
                return seen;
            }
        }
    }

    /// Every event up to the end.
    pub async fn rest(mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

impl Event {
    /// `status/detail`, where the event tells of one.
    pub fn standing(&self) -> Option<String> {
        let status = (self.kind == "status").then(|| self.data["status"].as_str().unwrap())?;
        let detail = self.data["status_detail"].as_str().map(|detail| format!("/{detail}"));
        Some(format!("{status}{}", detail.unwrap_or_default()))
    }

    pub fn stands_at(&self, standing: &str) -> bool {
        self.standing().as_deref() == Some(standing)
    }
}

/// A comment, or a block without data, is no event.
fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let mut lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = lines.next();
        assert!(lines.next().is_none(), "{name} is there twice: {block}");
        value
    };
    let data = serde_json::from_str(field("data")?).unwrap();
    Some(Event { id: field("id")?.parse().unwrap(), kind: field("event")?.to_owned(), data })
}
