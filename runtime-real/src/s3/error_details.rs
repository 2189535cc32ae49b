//! What an error repeats of its request: the key, the bucket, or the condition that did not hold.
//!
//! `s3s` writes code and message only; SDKs show these to people, and some programs read them.
//!
//! Source: AWS, "Error responses": REST error responses; the names of conditions as AWS answers them.

use super::layer::escape;
use http::HeaderMap;
use percent_encoding::percent_decode_str;

const CONDITIONS: [(&str, &str); 7] = [
    ("if-match", "If-Match"),
    ("if-none-match", "If-None-Match"),
    ("if-unmodified-since", "If-Unmodified-Since"),
    ("x-amz-copy-source-if-match", "x-amz-copy-source-If-Match"),
    ("x-amz-copy-source-if-none-match", "x-amz-copy-source-If-None-Match"),
    ("x-amz-copy-source-if-modified-since", "x-amz-copy-source-If-Modified-Since"),
    ("x-amz-copy-source-if-unmodified-since", "x-amz-copy-source-If-Unmodified-Since"),
];

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    bucket: String,
    /// Of the source, where it is a copy: that is what a copy does not find.
    key: String,
    condition: Option<&'static str>,
}

impl Asked {
    /// Of a request with this path, in path style.
    pub(super) fn of(path: &str, headers: &HeaderMap) -> Asked {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let path = decoded(path.trim_start_matches('/'));
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        let source = headers.get("x-amz-copy-source").and_then(|source| source.to_str().ok());
        let source = source.map(|source| decoded(source.split('?').next().unwrap_or_default()));
        let source = source.as_deref().and_then(|source| source.trim_start_matches('/').split_once('/'));
        let key = source.map_or(key, |(_, key)| key).to_owned();
        let mut given = CONDITIONS.iter().filter(|(name, _)| headers.contains_key(*name)).map(|(_, label)| *label);
        // Of several, nobody says which it was.
        let condition = given.next().filter(|_| given.next().is_none());
        Asked { bucket: bucket.to_owned(), key, condition }
    }

    /// The elements that an error of this code has besides.
    pub(super) fn elements(&self, code: &str) -> String {
        let element = |name: &str, text: &str| format!("<{name}>{}</{name}>", escape(text));
        match code {
            "NoSuchKey" => element("Key", &self.key),
            "PreconditionFailed" => self.condition.map(|name| element("Condition", name)).unwrap_or_default(),
            "NoSuchUpload" | "NoSuchVersion" => String::new(),
            _ if code.starts_with("NoSuch") || code.starts_with("Bucket") => element("BucketName", &self.bucket),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn asked(uri: &str, headers: &[(&str, &str)]) -> Asked {
        let request =
            headers.iter().fold(Request::builder().uri(uri), |request, (name, value)| request.header(*name, *value));
        let request = request.body(()).expect("a test's request is well-formed");
        Asked::of(request.uri().path(), request.headers())
    }

    #[test]
    fn an_error_repeats_what_it_is_about() {
        let plain = asked("/bucket/a%20b/%3Cc", &[("if-match", "\"x\"")]);
        assert_eq!(plain.elements("NoSuchKey"), "<Key>a b/&lt;c</Key>");
        assert_eq!(plain.elements("PreconditionFailed"), "<Condition>If-Match</Condition>");
        assert_eq!(plain.elements("NoSuchBucket"), "<BucketName>bucket</BucketName>");
        assert_eq!(plain.elements("AccessDenied"), "");
        let copy = asked("/bucket/new", &[("x-amz-copy-source", "other/old%2Fkey?versionId=null")]);
        assert_eq!(copy.elements("NoSuchKey"), "<Key>old/key</Key>");
        let both = asked("/bucket/k", &[("if-match", "\"x\""), ("if-none-match", "*")]);
        assert_eq!(both.elements("PreconditionFailed"), "");
    }
}
