//! A node that is about to stop, seen from the doors.
//!
//! The intuition: whoever closes a connection on which the next request may be on its way breaks that request off. So for a moment
//! before it stops a node still serves, and tells each client with its answer that the connection ends with it, and whoever spreads
//! clients over the nodes that they should go elsewhere.
//!
//! - `LEAVE-1` From the moment that a node begins to leave until its connections are closed every answer says `Connection: close`,
//!   and `/-/ready` says 503, so that a client in the middle of its work loses no request.
//!
//! Source: RFC 9112 §9.6. Not here: closing (`serve`), and handing over the leads (`crate::leave`).

use super::kv::named;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Request, StatusCode, Version, header};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the node is about to stop. Copies tell the same.
#[derive(Clone, Debug, Default)]
pub struct Leaving(Arc<AtomicBool>);

impl Leaving {
    /// From now on clients are told.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The doors, which tell their clients when `leaving` has begun.
pub fn telling(router: Router, leaving: Leaving) -> Router {
    router.layer(middleware::from_fn_with_state(leaving, tell))
}

async fn tell(State(leaving): State<Leaving>, request: Request<Body>, next: Next) -> Response {
    let is_http1 = request.version() <= Version::HTTP_11;
    let mut response = if leaving.has_begun() && request.uri().path() == "/-/ready" {
        named((StatusCode::SERVICE_UNAVAILABLE, "not ready: the node is stopping\n").into_response(), "ready")
    } else {
        next.run(request).await
    };
    // LEAVE-1. Looked at after the answer was made: it may have waited for something. HTTP/2 has no such header.
    if is_http1 && leaving.has_begun() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
