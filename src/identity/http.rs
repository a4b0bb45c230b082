//! The door: extractors that turn a request's credential into a [`Request`], and the endpoints
//! that say who one is.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::authenticate::{AuthError, Identity};
use super::{Denied, KeyKind, PrincipalKind, Request};
use crate::http::answers::{V1Refused, V3Refused};
use crate::http::problem::ApiError;
use crate::http::serve::Peer;

/// The v1 operations of this room, for `/v1-openapi.yaml`.
#[derive(Debug, OpenApi)]
#[openapi(paths(auth_status))]
pub struct V1Docs;

/// The v3 operations of this room, for `/v3-openapi.yaml`.
#[derive(Debug, OpenApi)]
#[openapi(paths(who_am_i))]
pub struct V3Docs;

/// The routes of this room.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Identity>: FromRef<S>,
{
    Router::new().route("/v3/self", get(who_am_i)).route("/v1/auth_status", get(auth_status))
}

/// A caller with a v1 key; anything else is refused.
#[derive(Debug)]
pub struct V1(pub Request);
/// A caller with a `cog_` key; anything else is refused.
#[derive(Debug)]
pub struct V3(pub Request);
/// A caller with a key of either API.
#[derive(Debug)]
pub struct Either(pub Request);

impl<S: Send + Sync> FromRequestParts<S> for Either
where
    Arc<Identity>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let identity = Arc::<Identity>::from_ref(state);
        let token = bearer(&parts.headers).ok_or(AuthError::Missing)?;
        let caller = identity.authenticate(token).await?;
        let slot = Arc::new(identity.take_slot(&caller)?);
        identity.stamp(&caller);
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip());
        let address = peer.map(|ip| client_address(ip, &parts.headers, identity.trusted_proxies()));
        Ok(Self(Request { caller, address, slot }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for V1
where
    Arc<Identity>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Either(request) = Either::from_request_parts(parts, state).await?;
        if !request.caller.key_kind.is_v1() {
            return Err(ApiError::Forbidden(
                "This is a v1 path: it wants a v1 key (apk_user_… or apk_…), not a cog_… key".to_owned(),
            ));
        }
        Ok(Self(request))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for V3
where
    Arc<Identity>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Either(request) = Either::from_request_parts(parts, state).await?;
        if request.caller.key_kind.is_v1() {
            return Err(ApiError::Forbidden(
                "This is a v3 path: it wants a service user's key (cog_…), not a v1 key".to_owned(),
            ));
        }
        Ok(Self(request))
    }
}

/// The token of `Authorization: Bearer <token>` (RFC 6750, section 2.1; the scheme's case does not
/// matter, RFC 9110, section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(axum::http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The client's address: the peer's, or, behind trusted proxies, the last address in
/// `X-Forwarded-For` that is not itself a trusted proxy.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[ipnet::IpNet]) -> IpAddr {
    // A listener on `[::]` sees IPv4 peers as `::ffff:192.0.2.1`.
    let peer = peer.to_canonical();
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    if !is_trusted(&peer) {
        return peer;
    }
    let mut address = peer;
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    for hop in lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.rsplit(',')) {
        let Ok(hop) = hop.trim().parse::<IpAddr>() else { break };
        address = hop.to_canonical();
        if !is_trusted(&address) {
            break;
        }
    }
    address
}

/// Who a v3 caller is (contract, section 4).
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "principal_type")]
pub enum SelfResponse {
    /// A service user.
    #[serde(rename = "service_user")]
    ServiceUser {
        /// `service-user-…`.
        service_user_id: String,
        /// Its name.
        service_user_name: String,
        /// Its home organisation, if it has one.
        org_id: Option<String>,
    },
    /// A person's access token.
    #[serde(rename = "pat_user")]
    PatUser {
        /// `user-…`.
        user_id: String,
        /// The person's name.
        user_name: String,
        /// The token's public id.
        api_key_id: String,
        /// The token's name.
        api_key_name: String,
        /// The person's home organisation, if there is one.
        org_id: Option<String>,
    },
}

/// Says who the caller is.
#[utoipa::path(get, path = "/v3/self", tag = "self", operation_id = "handle_get_self_v3_self_get",
    responses((status = 200, description = "Successful Response", body = SelfResponse), V3Refused))]
async fn who_am_i(V3(request): V3) -> Json<SelfResponse> {
    let caller = &request.caller;
    let org_id = caller.org_id.as_ref().map(ToString::to_string);
    Json(match caller.principal_kind {
        PrincipalKind::ServiceUser => SelfResponse::ServiceUser {
            service_user_id: caller.principal_id.clone(),
            service_user_name: caller.principal_name.clone(),
            org_id,
        },
        PrincipalKind::User => SelfResponse::PatUser {
            user_id: caller.principal_id.clone(),
            user_name: caller.principal_name.clone(),
            api_key_id: caller.key_id.to_string(),
            api_key_name: caller.key_name.clone(),
            org_id,
        },
    })
}

/// That a v1 key is good, and for which organisation.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuthStatus {
    /// `authenticated`.
    pub status: String,
    /// The key's one organisation.
    pub org_id: Option<String>,
}

/// Says whether the caller's key is good.
#[utoipa::path(get, path = "/v1/auth_status", operation_id = "auth_status_v1_auth_status_get",
    responses((status = 200, description = "Successful Response", body = AuthStatus), V1Refused))]
async fn auth_status(V1(request): V1) -> Json<AuthStatus> {
    debug_assert_ne!(request.caller.key_kind, KeyKind::ServiceUser);
    Json(AuthStatus {
        status: "authenticated".to_owned(),
        org_id: request.caller.org_id.as_ref().map(ToString::to_string),
    })
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        Self::Forbidden(denied.to_string())
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Missing | AuthError::Bad => Self::Unauthorized(error.to_string()),
            AuthError::Busy(_) => Self::TooMany(error.to_string()),
            AuthError::Db(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", forwarded.parse().unwrap());
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
        assert_eq!(seen("192.0.2.1", "198.51.100.7"), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", "198.51.100.7"), "198.51.100.7");
        assert_eq!(seen("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2"), "198.51.100.7");
        assert_eq!(seen("10.0.0.1", "rubbish"), "10.0.0.1");
    }
}
