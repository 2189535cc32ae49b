//! Who may use the node's own paths.
//!
//! On loopback everyone on the machine may, as with anchor. A browser is on the machine too, and any web page can make it
//! send a simple request, or, with a name that it points at 127.0.0.1, a full one; so a request that comes from a page
//! (it has an `Origin`, or the browser says that it is not the person's own) or for a foreign name (its `Host`) is
//! refused unless it has the token. So is one that a proxy forwarded, since then anyone may have sent it.

use super::kv::failure;
use crate::s3::Credentials;
use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::Response;
use http::{Request, StatusCode, header};
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// What proxies add to the requests that they forward.
const FORWARDED: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// Decides who passes (`FRONT-1`).
#[derive(Clone)]
pub(super) struct Guard {
    token: Arc<str>,
    open: bool,
}

impl Guard {
    /// The token is the secret access key; `open` lets requests of the machine pass without it.
    pub(super) fn new(credentials: &Credentials, open: bool) -> Guard {
        Guard { token: credentials.secret_access_key.as_str().into(), open }
    }

    /// FRONT-1
    pub(super) fn judge<B>(&self, request: &Request<B>) -> Result<(), (StatusCode, &'static str)> {
        if let Some(given) = request.headers().get(header::AUTHORIZATION) {
            let token = given.as_bytes().strip_prefix(b"Bearer ").unwrap_or(b"");
            let same = bool::from(token.ct_eq(self.token.as_bytes()));
            return if same { Ok(()) } else { Err((StatusCode::UNAUTHORIZED, "the bearer token is wrong")) };
        }
        if !self.open {
            let message = "send the secret access key as a bearer token: this node listens beyond loopback";
            return Err((StatusCode::UNAUTHORIZED, message));
        }
        if FORWARDED.iter().any(|name| request.headers().contains_key(*name)) {
            return Err((StatusCode::UNAUTHORIZED, "requests that a proxy forwards need the bearer token"));
        }
        let site = request.headers().get("sec-fetch-site");
        let own = site.is_none_or(|site| site == "none" || site == "same-origin");
        if request.headers().contains_key(header::ORIGIN) || !own {
            return Err((StatusCode::FORBIDDEN, "requests of web pages need the bearer token"));
        }
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str)).unwrap_or("");
        if !is_local(host) {
            return Err((StatusCode::FORBIDDEN, "name this node by address or as localhost, or send the bearer token"));
        }
        Ok(())
    }
}

/// Whether `host` (with or without port) is an address or `localhost`, which no one else can point at this machine.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Lets a request pass or answers it.
pub(super) async fn check(State(guard): State<Guard>, request: Request<Body>, next: Next) -> Response {
    match guard.judge(&request) {
        Ok(()) => next.run(request).await,
        Err((status, message)) => {
            let mut response = failure(status, "unauthorized", message);
            if status == StatusCode::UNAUTHORIZED {
                let scheme = http::HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            response
        }
    }
}
