//! `/-/users`: users and access keys, for whoever may use the node's own paths.
//!
//! | Request | Does |
//! |---|---|
//! | `GET /-/users` | lists users, without secrets |
//! | `POST /-/users` | `{"name", "email"?, "access_key_id"?, "secret_access_key"?}`: makes the user and an access key |
//! | `POST /-/users/{name}/keys` | `{"access_key_id"?, "secret_access_key"?}`: makes another access key |
//! | `DELETE /-/users/{name}` | removes the user and all access keys |
//! | `DELETE /-/keys/{id}` | removes an access key |

use super::Doors;
use super::kv::failure;
use crate::client::ClientError;
use crate::users::{User, UsersError};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};

/// Largest document of a request, in bytes.
const DOCUMENT_MAX: usize = 16 << 10;

type Outcome = Result<Response, Box<Response>>;

pub(super) async fn list(State(doors): State<Doors>) -> Response {
    let found = doors.users.list().await.map_err(refused);
    found.map_or_else(
        |response| *response,
        |users| told(StatusCode::OK, &json!({ "users": users.iter().map(shown).collect::<Vec<Value>>() })),
    )
}

pub(super) async fn create(State(doors): State<Doors>, request: Request<Body>) -> Response {
    let made = async {
        let wish = document(request).await?;
        let text = |field: &str| wish.get(field).and_then(Value::as_str);
        let name = text("name").ok_or_else(|| invalid("name is missing"))?;
        let given = pair(&wish)?;
        let user = doors.users.create(name, text("email")).await.map_err(refused)?;
        let key = doors.users.create_key(name, given).await.map_err(refused)?;
        let mut shown = shown(&user);
        shown["access_key_id"] = key.id.into();
        shown["secret_access_key"] = key.secret.into();
        Ok(told(StatusCode::CREATED, &shown))
    };
    let made: Outcome = made.await;
    made.unwrap_or_else(|response| *response)
}

pub(super) async fn create_key(
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    let made = async {
        let given = pair(&document(request).await?)?;
        let key = doors.users.create_key(&name, given).await.map_err(refused)?;
        Ok(told(StatusCode::CREATED, &json!({ "access_key_id": key.id, "secret_access_key": key.secret })))
    };
    let made: Outcome = made.await;
    made.unwrap_or_else(|response| *response)
}

pub(super) async fn delete(State(doors): State<Doors>, Path(name): Path<String>) -> Response {
    done(doors.users.delete(&name).await)
}

pub(super) async fn delete_key(State(doors): State<Doors>, Path(id): Path<String>) -> Response {
    done(doors.users.delete_key(&id).await)
}

fn shown(user: &User) -> Value {
    json!({ "name": user.name, "id": user.shown_id(), "email": user.email, "access_key_ids": user.keys })
}

fn pair(wish: &Value) -> Result<Option<(String, String)>, Box<Response>> {
    let text = |field: &str| wish.get(field).and_then(Value::as_str).map(str::to_owned);
    match (text("access_key_id"), text("secret_access_key")) {
        (Some(id), Some(secret)) => Ok(Some((id, secret))),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => Err(invalid("access_key_id and secret_access_key go together")),
    }
}

async fn document(request: Request<Body>) -> Result<Value, Box<Response>> {
    let body = Limited::new(request.into_body(), DOCUMENT_MAX).collect().await;
    let bytes = body.map_err(|_| invalid("the body cannot be read, or is too large"))?.to_bytes();
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(&bytes).map_err(|_| invalid("the body is not JSON"))
}

fn told(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn done(outcome: Result<(), UsersError>) -> Response {
    outcome.map_or_else(|error| *refused(error), |()| told(StatusCode::OK, &json!({})))
}

fn invalid(message: &str) -> Box<Response> {
    Box::new(failure(StatusCode::BAD_REQUEST, "invalid", message))
}

fn refused(error: UsersError) -> Box<Response> {
    Box::new(match error {
        UsersError::Missing => failure(StatusCode::NOT_FOUND, "not_found", "there is no such user or access key"),
        UsersError::Invalid(why) => failure(StatusCode::BAD_REQUEST, "invalid", &why),
        UsersError::Taken(what) => failure(StatusCode::CONFLICT, "taken", &format!("{what} is taken")),
        UsersError::Unsealed => {
            failure(StatusCode::CONFLICT, "no_root_key", "this node has no root key to seal secrets with")
        }
        UsersError::Damaged => {
            failure(StatusCode::INTERNAL_SERVER_ERROR, "damaged", "the record of a user is not what was written")
        }
        UsersError::Client(ClientError::Refused(refusal)) => {
            failure(StatusCode::CONFLICT, "refused", &format!("{refusal:?}"))
        }
        UsersError::Client(error) => {
            tracing::warn!(?error, "users could not be read or changed");
            failure(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the cluster does not answer; try again")
        }
    })
}
