//! The addresses of this service, and what a URL in a prompt points at.
//!
//! Guarantees: deciding is a pure function of the text and of the configured addresses; no name is
//! ever looked up and no request is ever made. It does not know which attachments exist or who may
//! read them: it yields an id, and the caller resolves that inside an organisation.

use url::Url;
use uuid::Uuid;

use super::super::filename::{is_invisible, percent_encode};

/// The addresses under which this service is known: `public_url` first, then `other_urls`.
///
/// Each may carry a base path (`https://example.org/satchel`).
#[derive(Debug, Clone)]
pub struct ServiceUrls {
    /// The public address, normalised, without a slash at the end.
    public: String,
    addresses: Vec<Address>,
}

/// What a URL in a prompt points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An attachment URL of this service. Whether the attachment exists is not known here.
    Attachment(Uuid),
    /// A URL of this service that is not the URL of an attachment.
    NoAttachment,
    /// A URL of another host; `host` carries the port where the URL names one.
    Foreign {
        /// The host that the URL names, with its port if it names one.
        host: String,
    },
    /// A URL with a user name or password in it, which is refused whatever its host.
    UserInfo,
    /// Not an absolute `http` or `https` URL.
    NotAbsoluteHttp,
}

/// An address of the service that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The address is no URL, or one of another scheme.
    #[error("{address:?} is not an absolute http or https URL; write it like https://files.example.org")]
    NotAbsoluteHttp {
        /// The address as it was configured.
        address: String,
    },
    /// The address carries a user name or password. It is not repeated here.
    #[error("an address of the service carries a user name or password; leave them out")]
    UserInfo,
    /// The address carries a query or a fragment.
    #[error("{address:?} carries a query or fragment; an address of the service ends with its path")]
    QueryOrFragment {
        /// The address as it was configured.
        address: String,
    },
}

/// One address in the form in which it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    /// Host as the URL standard writes it (lower case, punycode), and the port unless it is the
    /// default of its scheme.
    authority: String,
    /// The segments of the base path.
    base: Vec<String>,
}

impl ServiceUrls {
    /// Takes the configured addresses.
    ///
    /// # Errors
    /// When an address is not an absolute `http` or `https` URL, or carries user information, a
    /// query or a fragment.
    pub fn new(public_url: &str, other_urls: &[String]) -> Result<Self, ReferenceError> {
        let public = service_url(public_url)?;
        let mut addresses = vec![Address::of(&public)];
        for other in other_urls {
            let address = Address::of(&service_url(other)?);
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let public = public.as_str().trim_end_matches('/').to_owned();
        Ok(Self { public, addresses })
    }

    /// The canonical URL of an attachment: `{public_url}/attachments/{uuid}/{percent-encoded name}`
    /// (contract, section 1).
    ///
    /// `name` is a safe name (see [`safe_name`](super::super::filename::safe_name)).
    #[must_use]
    pub fn attachment_url(&self, id: Uuid, name: &str) -> String {
        format!("{}/attachments/{}/{}", self.public, id.hyphenated(), percent_encode(name))
    }

    /// What a URL points at (contract, section 2).
    ///
    /// `http` and `https`, letter case of scheme and host, and default ports make no difference;
    /// nor do the name at the end, a query (a signature, say) or a fragment: the id decides. The
    /// uuid counts in its hyphenated form only, in any letter case.
    #[must_use]
    pub fn resolve(&self, url: &str) -> Target {
        let Some(parsed) = absolute_http(url) else {
            return Target::NotAbsoluteHttp;
        };
        if authority_of(url).contains('@') {
            return Target::UserInfo;
        }
        let found = Address::of(&parsed);
        let mut own_host = false;
        for address in &self.addresses {
            if address.authority != found.authority {
                continue;
            }
            own_host = true;
            if let Some(path) = found.base.strip_prefix(address.base.as_slice())
                && let Some(id) = attachment_in(path)
            {
                return Target::Attachment(id);
            }
        }
        if own_host { Target::NoAttachment } else { Target::Foreign { host: found.authority } }
    }

    /// The attachment URL that `text` most probably means, where it lacks the scheme, has the path
    /// alone, contains blanks, or carries user information.
    pub(super) fn repair(&self, text: &str) -> Option<String> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let scheme_end = self.public.find("://")? + 3;
        let path_start = self.public[scheme_end..].find('/').map_or(self.public.len(), |at| scheme_end + at);
        let missing =
            if text.starts_with('/') { &self.public[..path_start] } else { &self.public[..scheme_end] };
        let guesses =
            [text.replace(char::is_whitespace, "%20"), without_user_info(text), format!("{missing}{text}")];
        guesses.into_iter().find(|guess| matches!(self.resolve(guess), Target::Attachment(_)))
    }
}

impl Address {
    fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        let host = host.strip_suffix('.').unwrap_or(host);
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let path = url.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        let mut base: Vec<String> = path.split('/').map(str::to_owned).collect();
        if base == [""] {
            base.clear();
        }
        Self { authority, base }
    }
}

/// The id in a path below a base path, in one of the forms that count.
fn attachment_in(path: &[String]) -> Option<Uuid> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let (id, name) = match path.as_slice() {
        ["attachments", id, name] | ["v1", "attachments", id, name] => (id, name),
        ["v3" | "v3beta1", "organizations", org, "attachments", id, name] if !org.is_empty() => (id, name),
        _ => return None,
    };
    // The other forms that the parser knows are shorter or longer than the hyphenated one.
    if id.len() != 36 || name.is_empty() {
        return None;
    }
    Uuid::try_parse(id).ok()
}

/// Parses an absolute `http` or `https` URL, more strictly than a browser does.
///
/// The URL standard drops line ends and takes `http:host`, `http:\\host` and hosts such as `...`;
/// none of that is meant in a prompt.
fn absolute_http(text: &str) -> Option<Url> {
    let odd = |c: char| c.is_whitespace() || is_invisible(c) || "\"<>\\`".contains(c);
    if text.contains(odd) {
        return None;
    }
    let (scheme, rest) = text.split_once("://")?;
    let http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    if !http || rest.starts_with('/') {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let plausible =
        match url.host()? {
            url::Host::Domain(name) => name.strip_suffix('.').unwrap_or(name).split('.').all(|l| {
                !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            }),
            url::Host::Ipv4(_) | url::Host::Ipv6(_) => true,
        };
    plausible.then_some(url)
}

/// The part between `://` and the path, as written.
fn authority_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn without_user_info(url: &str) -> String {
    let authority = authority_of(url);
    match authority.rsplit_once('@') {
        Some((_, host)) => url.replacen(authority, host, 1),
        None => url.to_owned(),
    }
}

fn service_url(address: &str) -> Result<Url, ReferenceError> {
    let Some(url) = absolute_http(address) else {
        // An address with a password must not be repeated, even where it is otherwise wrong.
        return Err(if address.contains('@') {
            ReferenceError::UserInfo
        } else {
            ReferenceError::NotAbsoluteHttp { address: address.to_owned() }
        });
    };
    if authority_of(address).contains('@') {
        return Err(ReferenceError::UserInfo);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ReferenceError::QueryOrFragment { address: address.to_owned() });
    }
    let mut url = url;
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}
