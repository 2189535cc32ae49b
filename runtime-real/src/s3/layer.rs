//! The layer around `s3s`: every request gets an id, every refusal the form of an S3 error, every body its guard.
//!
//! - `S3-8` A preflight of CORS is answered here, by the configuration of the bucket (`CORS-1`): `s3s` does not know of it.
//! - `S3-10` A connection on which a client waited for `100 Continue` and got its answer at once is closed. RFC 9110
//!   §10.1.1 allows the answer, but botocore goes on to read the next answer on that connection with the status of this one.
//! - `S3-9` Every response carries `x-amz-request-id`, and every error has it in its XML.

use super::access::{Authority, OperationCell};
use super::chunks::{DocumentCheck, Framing, Guarded, Watch};
use super::digests::{Claims, Hashes};
use super::domains::Domains;
use super::error::from_fault;
use super::error_details::Asked;
use super::form_fields::Form;
use super::gateway::Gateway;
use super::policy::{self, Denial};
use super::{cors, forms, habits, names, settings};
use crate::client::Client;
use crate::front::drain::waits;
use crate::front::metrics::OperationName;
use crate::users::Users;
use anvil_core::state::{DocumentKind, Query, QueryAnswer};
use anvil_core::types::GroupId;
use axum::body::Body;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::dto::CORSConfiguration;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// Largest XML document of a request, in bytes. DeleteObjects with 1,000 long keys stays below it.
const DOCUMENT_MAX: usize = 8 << 20;

/// Largest file of an HTML form, in bytes.
const FORM_FILE_MAX: u64 = 32 << 20;

/// Largest error document that is completed with its request id, in bytes.
const ERROR_MAX: usize = 64 << 10;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// A status that an operation wants and `s3s` has no field for.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatusOverride(pub(super) StatusCode);

/// The door for S3: a service that answers every request.
#[derive(Clone)]
pub struct S3Door {
    service: S3Service,
    client: Client,
    region: Arc<str>,
    domains: Domains,
    next_request: Arc<AtomicU64>,
}

impl std::fmt::Debug for S3Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Door").field("region", &self.region).finish_non_exhaustive()
    }
}

impl S3Door {
    /// A door to the node of `client`, for its users. `day` is that of lifecycle rules.
    pub fn new(client: Client, users: Users, region: String, domains: Domains, day: Duration) -> S3Door {
        let gateway = Gateway::new(client.clone(), users.clone(), region.clone(), day);
        let access = gateway.access.clone();
        let mut builder = S3ServiceBuilder::new(gateway);
        builder.set_auth(Authority(users));
        builder.set_access(access);
        builder.set_host(domains.clone());
        let mut config = S3Config::default();
        config.xml_max_body_size = DOCUMENT_MAX;
        // `s3s` holds a form in memory as a whole.
        config.post_object_max_file_size = FORM_FILE_MAX;
        config.form_max_field_size = 64 << 10;
        config.form_max_fields_size = 256 << 10;
        config.form_max_parts = 100;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        // Ids need to differ, not to be secret; the clock keeps them apart over restarts.
        let start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_secs());
        S3Door {
            service: builder.build(),
            client,
            region: region.into(),
            domains,
            next_request: Arc::new(AtomicU64::new(start << 24)),
        }
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let id = format!("{:016X}", self.next_request.fetch_add(1, Ordering::Relaxed));
        let operation = OperationCell::default();
        let resource = self.domains.path(&request).into_owned();
        let asked = Asked::of(&resource, request.headers());
        let watch = Watch::default();
        let waits = waits(&request);
        let empty = request.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length == "0");
        let origin = Origin::of(&request);
        let mut response = self.judge(request, &resource, &operation, &watch).await;
        if let Some(origin) = origin
            && let Some(headers) = self.cors(&resource, &origin).await
        {
            response.headers_mut().extend(headers);
        }
        // S3-10
        if waits && (empty || !watch.wanted()) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let name = operation.0.get().copied();
        if let Some(StatusOverride(status)) = response.extensions().get().copied() {
            *response.status_mut() = status;
        }
        response.extensions_mut().insert(OperationName(name.unwrap_or("Refused")));
        let mut response = decorate(response, &id, &resource, &asked).await;
        let value = HeaderValue::from_str(&id).expect("hexadecimal digits are a header value");
        // S3-9
        response.headers_mut().insert(REQUEST_ID.clone(), value);
        response.headers_mut().insert(header::SERVER, HeaderValue::from_static("Anvil"));
        tracing::debug!(request = %id, operation = name, status = response.status().as_u16(), "s3");
        response
    }

    /// `path`: that of the request in path style.
    async fn judge(
        &self,
        request: Request<Body>,
        path: &str,
        operation: &OperationCell,
        watch: &Watch,
    ) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        // S3-8
        if parts.method == Method::OPTIONS {
            return self.preflight(&parts, path).await;
        }
        let admitted = policy::admit(&parts, path, &self.region);
        let framing = admitted.as_ref().map_or(Framing::Plain, |admitted| admitted.framing);
        let document = document_check(&parts, path, framing);
        let is_form = match &admitted {
            Ok(admitted) => admitted.is_form,
            Err(denial) => return refusal(denial),
        };
        policy::settle_date(&mut parts.headers);
        let guarded = Guarded::new(body, framing, document, watch.clone());
        parts.extensions.insert(watch.clone());
        parts.extensions.insert(operation.clone());
        let body = match is_form {
            true => Form::expand(guarded, &mut parts.headers).await,
            false => Form::plain(guarded),
        };
        if body.unread().lacks_signature {
            let message = "Bucket POST must contain a field named 'x-amz-signature' where it has a policy.".to_owned();
            return refusal(&Denial { status: StatusCode::BAD_REQUEST, code: "InvalidArgument", message });
        }
        parts.extensions.insert(body.unread().clone());
        let request = Request::from_parts(parts, s3s::Body::http_body_unsync(body));
        let mut response = match self.service.call(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                tracing::error!(?error, "a request could not be answered");
                let message = "We encountered an internal error. Please try again.".to_owned();
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                return refusal(&Denial { status, code: "InternalError", message });
            }
        };
        // `s3s` calls every broken document an internal error of its own.
        if let Some(fault) = watch.fault()
            && response.status() == StatusCode::INTERNAL_SERVER_ERROR
        {
            let error = from_fault(&fault);
            return refusal(&Denial {
                status: error.status_code().unwrap_or(StatusCode::BAD_REQUEST),
                code: fault_code(&error),
                message: error.message().unwrap_or_default().to_owned(),
            });
        }
        if is_form && response.status() == StatusCode::BAD_REQUEST {
            return word_form_refusal(response).await;
        }
        if is_form && response.status() == StatusCode::SEE_OTHER {
            forms::quote_tag(response.headers_mut());
        }
        complete_acl(response, operation).await
    }
}

/// What a form's policy forbids is denied; `s3s` calls the policy invalid.
async fn word_form_refusal(response: Response<Body>) -> Response<Body> {
    let mut failed = None;
    let response = rewrite(response, |xml| {
        failed = forms::failed_condition(xml);
        xml.to_owned()
    })
    .await;
    let Some(message) = failed else { return response };
    refusal(&Denial { status: StatusCode::FORBIDDEN, code: "AccessDenied", message })
}

/// What a browser says of the page that asks.
struct Origin {
    origin: String,
    method: String,
}

impl Origin {
    fn of(request: &Request<Body>) -> Option<Origin> {
        let origin = request.headers().get(header::ORIGIN)?.to_str().ok()?.to_owned();
        let wanted = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
        let method = wanted.and_then(|wanted| wanted.to_str().ok()).unwrap_or(request.method().as_str()).to_owned();
        let is_own = request.method() != Method::OPTIONS;
        is_own.then_some(Origin { origin, method })
    }
}

impl S3Door {
    async fn cors_of(&self, path: &str) -> Option<CORSConfiguration> {
        let name = path.trim_start_matches('/').split('/').next().filter(|name| !name.is_empty())?;
        let query = Query::Bucket { bucket: names::bucket(name.to_owned()), documents: vec![DocumentKind::Cors] };
        let answer = self.client.query(GroupId::REGION, query).await.ok()?;
        let QueryAnswer::Bucket { mut documents, .. } = answer else { return None };
        settings::read(&documents.pop().flatten()?).ok()
    }

    /// The headers of CORS for a request that is no preflight.
    async fn cors(&self, path: &str, origin: &Origin) -> Option<http::HeaderMap> {
        let configuration = self.cors_of(path).await?;
        let asked = cors::Asked { origin: &origin.origin, method: &origin.method, headers: "", is_preflight: false };
        cors::answer(&configuration, &asked)
    }

    /// CORS-1
    async fn preflight(&self, parts: &Parts, path: &str) -> Response<Body> {
        let text = |name: header::HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let forbidden = |status, code, message: &str| refusal(&Denial { status, code, message: message.to_owned() });
        let (Some(origin), Some(method)) = (text(header::ORIGIN), text(header::ACCESS_CONTROL_REQUEST_METHOD)) else {
            let message = "Insufficient information. Origin request header needed.";
            return forbidden(StatusCode::BAD_REQUEST, "BadRequest", message);
        };
        let Some(configuration) = self.cors_of(path).await else {
            let message = "CORSResponse: CORS is not enabled for this bucket.";
            return forbidden(StatusCode::FORBIDDEN, "AccessForbidden", message);
        };
        let headers = text(header::ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or("");
        match cors::answer(&configuration, &cors::Asked { origin, method, headers, is_preflight: true }) {
            Some(headers) => {
                let mut response = Response::new(Body::empty());
                response.headers_mut().extend(headers);
                response
            }
            None => {
                let message = "CORSResponse: This CORS request is not allowed. This is usually because the evalution \
                               of Origin, request method / Access-Control-Request-Method or \
                               Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.";
                forbidden(StatusCode::FORBIDDEN, "AccessForbidden", message)
            }
        }
    }
}

fn fault_code(error: &s3s::S3Error) -> &'static str {
    ["IncompleteBody", "InvalidRequest", "InvalidChunkSizeError", "RequestTimeout", "XAmzContentSHA256Mismatch"]
        .into_iter()
        .find(|code| *code == error.code().as_str())
        .unwrap_or("BadDigest")
}

/// Requests whose body is an XML document, which `s3s` reads as a whole.
fn document_check(parts: &Parts, path: &str, framing: Framing) -> Option<DocumentCheck> {
    let path = path.trim_start_matches('/');
    let on_bucket = !path.trim_end_matches('/').contains('/');
    let reads_document = parts.method == Method::POST || (parts.method == Method::PUT && on_bucket);
    let length = parts.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    if framing != Framing::Plain || !reads_document || length > DOCUMENT_MAX as u64 || length == 0 {
        return None;
    }
    // A malformed claim is refused by the operation; here it means that there is nothing to compare.
    let claims = Claims::of_document(&parts.headers).ok()?;
    Some(DocumentCheck { length, hashes: Hashes::new(claims.algorithms()), claims })
}

async fn complete_acl(response: Response<Body>, operation: &OperationCell) -> Response<Body> {
    let xml = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/xml");
    if operation.0.get() != Some(&"Other") || !xml || response.status() != StatusCode::OK {
        return response;
    }
    rewrite(response, habits::complete_grants).await
}

/// S3-9
async fn decorate(response: Response<Body>, id: &str, resource: &str, asked: &Asked) -> Response<Body> {
    let status = response.status();
    if status == StatusCode::NOT_MODIFIED {
        let (mut parts, _) = response.into_parts();
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let tail = format!("<Resource>{}</Resource><RequestId>{id}</RequestId></Error>", escape(resource));
    rewrite(response, |xml| match xml.strip_suffix("</Error>") {
        Some(head) if head.contains("<Message>") => format!("{head}{}{tail}", asked.elements(code(head))),
        // `s3s` has codes without a sentence, which a person cannot act on.
        Some(head) => {
            format!("{head}<Message>{}</Message>{}{tail}", escape(sentence(code(head))), asked.elements(code(head)))
        }
        None => xml.to_owned(),
    })
    .await
}

fn code(xml: &str) -> &str {
    xml.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code)
}

/// What a code means, for an error that carries no sentence of its own.
fn sentence(code: &str) -> &'static str {
    match code {
        "SignatureDoesNotMatch" => {
            "The signature that we calculated does not match the one you provided. Check your secret access key and \
             signing method."
        }
        "InvalidAccessKeyId" => "There is no such access key id. Check which endpoint and credentials the client uses.",
        "KeyTooLongError" => "A key has at most 1,024 bytes.",
        "InvalidBucketName" => {
            "The bucket name is not valid: 3 to 63 lower-case letters, digits, dots and hyphens, beginning and ending \
             with a letter or digit, and no IP address."
        }
        "MissingContentLength" => "You must provide the Content-Length HTTP header.",
        "MethodNotAllowed" => "The specified method is not allowed against this resource.",
        "NotImplemented" => "A header or parameter asks for something that this server does not do.",
        "MalformedXML" => "The XML document of the request is not well-formed or not what the operation expects.",
        "InvalidDigest" => "A checksum header is not valid base64 of the right length.",
        _ => "The request was refused; its code says why.",
    }
}

/// Replaces a small body.
async fn rewrite(response: Response<Body>, change: impl FnOnce(&str) -> String) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    // These bodies are in memory already; the limit only says so.
    let bytes =
        Limited::new(body, ERROR_MAX).collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = change(&String::from_utf8_lossy(&bytes));
    parts.headers.remove(header::CONTENT_LENGTH);
    if !text.is_empty() {
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    }
    Response::from_parts(parts, Body::from(text))
}

fn refusal(denial: &Denial) -> Response<Body> {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{}</Code><Message>{}</Message></Error>",
        denial.code,
        escape(&denial.message)
    );
    let mut response = Response::new(Body::from(xml));
    *response.status_mut() = denial.status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// Text as XML holds it. Characters that XML cannot hold are replaced.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => escaped.push(character),
            _ => escaped.push('\u{fffd}'),
        }
    }
    escaped
}

impl tower::Service<Request<Body>> for S3Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let door = self.clone();
        Box::pin(async move { Ok(door.answer(request).await) })
    }
}
