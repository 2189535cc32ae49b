//! Virtual hosts: the bucket that the host of a request names.
//!
//! A node that knows its domain takes `photos.s3.example.com/cat.jpg` for the key `cat.jpg` of the bucket `photos`. Every part of the
//! gateway asks here, and so does whoever tells the doors apart, so that all see the same bucket.
//!
//! - `HOST-1` Only what stands before a domain of ours names a bucket. The domain itself, addresses and names that we do not know are
//!   path style: who points a name of their own at a node is not answered from a bucket of that name.
//!
//! Source: AWS, "Virtual hosting of general purpose buckets".

use axum::body::Body;
use http::{Request, header};
use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};
use std::borrow::Cow;
use std::sync::Arc;

/// The domains under which buckets have hosts of their own, in lower case and without ports.
#[derive(Clone, Debug, Default)]
pub struct Domains(Arc<[String]>);

impl Domains {
    /// # Errors
    /// With a sentence, when one of them is no name of a domain.
    pub fn parse(names: &[String]) -> anyhow::Result<Domains> {
        let mut domains = Vec::new();
        for name in names {
            let domain = name.to_ascii_lowercase();
            if !is_domain(&domain) {
                anyhow::bail!("--domain \"{name}\": a domain is a name such as s3.example.com, without port and path");
            }
            domains.push(domain);
        }
        Ok(Domains(domains.into()))
    }

    /// The bucket that a host names, with or without port.
    pub(crate) fn bucket(&self, host: &str) -> Option<String> {
        let host = without_port(host).trim_end_matches('.').to_ascii_lowercase();
        // HOST-1: a domain of ours may lie within another one.
        if self.0.contains(&host) {
            return None;
        }
        let before = |domain: &String| host.strip_suffix(domain.as_str())?.strip_suffix('.').map(str::to_owned);
        let buckets = self.0.iter().filter_map(before);
        buckets.filter(|bucket| !bucket.is_empty()).min_by_key(String::len)
    }

    /// The bucket that the host of a request names.
    pub(crate) fn bucket_of<B>(&self, request: &Request<B>) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        self.bucket(host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str))?)
    }

    /// The path of a request as it would be in path style.
    pub(super) fn path<'a>(&self, request: &'a Request<Body>) -> Cow<'a, str> {
        let path = request.uri().path();
        self.bucket_of(request).map_or(Cow::Borrowed(path), |bucket| Cow::Owned(format!("/{bucket}{path}")))
    }
}

impl S3Host for Domains {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let named = VirtualHost::new(host);
        Ok(match self.bucket(host) {
            Some(bucket) => named.with_bucket(bucket),
            None => named,
        })
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

fn is_domain(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(is_plain)
    };
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    name.len() <= 253 && !is_address && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(names: &[&str]) -> Domains {
        Domains::parse(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_stands_before_a_domain_is_a_bucket() {
        let ours = domains(&["S3.Example.com", "localhost"]);
        for (host, bucket) in [
            ("photos.s3.example.com", Some("photos")),
            ("Photos.S3.example.COM.:9000", Some("photos")),
            ("a.b.s3.example.com", Some("a.b")),
            ("photos.localhost:9000", Some("photos")),
            ("s3.example.com", None),
            ("s3.example.com:80", None),
            (".s3.example.com", None),
            ("photoss3.example.com", None),
            ("example.com", None),
            ("photos.example.com", None),
            ("127.0.0.1:9000", None),
            ("[::1]:9000", None),
            ("localhost", None),
            ("", None),
        ] {
            assert_eq!(ours.bucket(host).as_deref(), bucket, "{host}");
        }
    }

    #[test]
    fn a_domain_within_another_one_is_no_bucket_of_it() {
        let ours = domains(&["example.com", "s3.example.com"]);
        assert_eq!(ours.bucket("s3.example.com"), None);
        assert_eq!(ours.bucket("photos.s3.example.com").as_deref(), Some("photos"));
        assert_eq!(ours.bucket("photos.example.com").as_deref(), Some("photos"));
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        for wrong in ["", ".", "a..b", "http://a.b", "a.b:9000", "a_b.c", "127.0.0.1", "*.a.b"] {
            let error = Domains::parse(&[wrong.to_owned()]).unwrap_err().to_string();
            assert!(error.contains("--domain"), "{wrong}: {error}");
        }
    }
}
