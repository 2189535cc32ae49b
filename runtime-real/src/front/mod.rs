//! The doors of a node: one TCP port for every client.
//!
//! The intuition: `/kv/{key}` is anchor's store, `/status` and `/-/…` tell how the node is, and everything else is S3.
//! All of them speak to the node through `client`, none of them knows the others.
//!
//! - `FRONT-1` What has no authentication of its own (`/kv`, `/status`, sessions, metrics, and what changes the cluster) is
//!   open only where the listener is loopback ([`Settings::open_admin`]), and even there not to web pages; anywhere else it wants the secret access key
//!   as a bearer token.
//! - `FRONT-3` The host of a bucket leads to S3, whatever the path: `/kv/a` is a key of that bucket.
//! - `FRONT-2` Health and readiness are always open: they say one word.
//!
//! Source: DESIGN section 8. The S3 door is the module `s3`.

mod admin;
mod cluster;
pub(crate) mod drain;
mod kv;
mod leaving;
pub mod metrics;
mod serve;
mod status;
mod tls;
mod users;

#[cfg(test)]
mod tests;

pub use crate::s3::{Credentials, Domains};
pub use cluster::Cluster;
pub use leaving::{Leaving, telling};
pub use serve::{Peer, serve};
pub(crate) use status::group_name;
pub use tls::{Tls, TlsFiles};

use crate::client::Client;
use crate::s3::S3Door;
use crate::users::Users;
use admin::Guard;
use anvil_core::stripe::RootKey;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use http::Request;
use metrics::{ByHost, Metrics};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tower::Service as _;

/// How the doors behave.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The region that clients sign for.
    pub region: String,
    /// Domains under which buckets have hosts of their own.
    pub domains: Domains,
    /// Whether `/kv`, `/status`, sessions and metrics need no bearer token: true only for a listener on loopback.
    pub open_admin: bool,
    /// How long a day of lifecycle rules is, as the node has it.
    pub lifecycle_day: Duration,
    /// Seals the secrets of users. Without it there is only the first user.
    pub root_key: Option<RootKey>,
}

impl Default for Settings {
    fn default() -> Settings {
        let lifecycle_day = Duration::from_secs(24 * 3600);
        let (region, domains) = ("us-east-1".to_owned(), Domains::default());
        Settings { region, domains, open_admin: false, lifecycle_day, root_key: None }
    }
}

/// What the handlers of the node's own paths share. Cheap to clone: each request does so several times.
#[derive(Clone)]
struct Doors(Arc<Shared>);

struct Shared {
    client: Client,
    users: Users,
    metrics: Arc<Metrics>,
    writes: Arc<Semaphore>,
    lists: Arc<Semaphore>,
    cluster: Option<Cluster>,
}

impl Deref for Doors {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// FRONT-3
async fn by_host(State((domains, mut s3)): State<(Domains, S3Door)>, request: Request<Body>, next: Next) -> Response {
    if domains.bucket_of(&request).is_none() {
        return next.run(request).await;
    }
    let mut response = s3.call(request).await.unwrap_or_else(|never| match never {});
    response.extensions_mut().insert(ByHost);
    response
}

/// All doors of the node behind `client`. Without a `cluster` nobody can join by it.
pub fn router(client: Client, credentials: Credentials, settings: Settings, cluster: Option<Cluster>) -> Router {
    let metrics = Arc::new(Metrics::default());
    let writes = Arc::new(Semaphore::new(kv::WRITES_MAX));
    let lists = Arc::new(Semaphore::new(kv::LISTS_MAX));
    let users = Users::new(client.clone(), credentials.clone(), settings.root_key.as_ref());
    let doors = Doors(Arc::new(Shared {
        client: client.clone(),
        users: users.clone(),
        metrics: Arc::clone(&metrics),
        writes,
        lists,
        cluster,
    }));
    let guard = Guard::new(&credentials, settings.open_admin);
    let keys = get(kv::read).put(kv::write).post(kv::write).delete(kv::remove);
    let guarded = Router::new()
        .route("/kv", get(kv::list))
        .route("/kv/", get(kv::list))
        .route("/kv/{*key}", keys)
        .route("/status", get(status::status))
        .route("/-/metrics", get(status::metrics))
        .route("/-/session", post(kv::open_session))
        .route("/-/drain", get(cluster::drained).post(cluster::drain))
        .route("/-/scrub", post(cluster::scrub))
        .route("/-/users", get(users::list).post(users::create))
        .route("/-/users/{name}", delete(users::delete))
        .route("/-/users/{name}/keys", post(users::create_key))
        .route("/-/keys/{id}", delete(users::delete_key))
        .route("/-/transfer-leader", post(cluster::transfer_leader))
        .layer(middleware::from_fn_with_state(guard.clone(), admin::check));
    let domains = settings.domains.clone();
    let s3 = S3Door::new(client, users, settings.region, settings.domains, settings.lifecycle_day);
    // These could be names of buckets, and whoever asks for such a bucket hears of S3 that it cannot be.
    let own = |handler: MethodRouter<Doors>| {
        let guarded = handler.route_layer(middleware::from_fn_with_state(guard.clone(), admin::check));
        guarded.fallback_service(s3.clone())
    };
    // FRONT-2: what comes after the merge is outside of the guard.
    Router::new()
        .merge(guarded)
        .route("/join", own(post(cluster::make_token)))
        .route("/remove", own(post(cluster::remove)))
        .route("/-/health", get(status::health))
        .route("/-/ready", get(status::ready))
        .with_state(doors)
        .fallback_service(s3.clone())
        .layer(middleware::from_fn_with_state((domains, s3), by_host))
        .layer(middleware::from_fn(drain::drain))
        .layer(middleware::from_fn_with_state(metrics, metrics::observe))
}
