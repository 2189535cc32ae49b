//! `${filename}` in the fields of an HTML form stands for the name of the file that follows them.
//!
//! `s3s` holds the fields against the form's policy as they come, so the name is written into them before it reads. The
//! fields stand before the file, so only they wait for it.
//!
//! On the way the fields are read that `s3s` does not know.
//!
//! - `FORM-1` At most [`HELD_MAX`] bytes wait. A form whose fields are longer passes as it is, and `s3s` refuses it.
//!
//! Source: AWS, "Browser-based uploads using POST: HTML form fields"; RFC 7578. Not here: what fields mean (`forms.rs`).

use super::chunks::{Fault, Guarded};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Somewhat more than all fields of a form may have, in bytes.
const HELD_MAX: usize = 320 << 10;
const NAME: &[u8] = b"${filename}";

/// What a form says in fields that `s3s` does not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unread {
    /// `acl`.
    pub(super) acl: Option<String>,
    /// `tagging`.
    pub(super) tagging: Option<String>,
    /// There is a policy, and no signature of it.
    pub(super) lacks_signature: bool,
}

/// The body of a form: what waited, and the rest as it comes.
pub(super) struct Form {
    held: VecDeque<Result<Bytes, Fault>>,
    rest: Guarded,
    unread: Unread,
}

impl Form {
    /// A body in which nothing is replaced.
    pub(super) fn plain(rest: Guarded) -> Form {
        Form { held: VecDeque::new(), rest, unread: Unread::default() }
    }

    /// What `s3s` does not read.
    pub(super) fn unread(&self) -> &Unread {
        &self.unread
    }

    /// Waits for the fields, and writes the file's name into them; the length in `headers` follows.
    pub(super) async fn expand(mut rest: Guarded, headers: &mut HeaderMap) -> Form {
        let boundary = headers.get(header::CONTENT_TYPE).and_then(|kind| boundary(kind.to_str().ok()?));
        let Some(boundary) = boundary else { return Form::plain(rest) };
        let (mut held, mut last) = (BytesMut::new(), None);
        let mut fields = None;
        // FORM-1
        while fields.is_none() && held.len() <= HELD_MAX {
            match rest.frame().await {
                Some(Ok(frame)) => held.extend_from_slice(frame.data_ref().map_or(&[], |bytes| bytes)),
                Some(Err(fault)) => {
                    last = Some(Err(fault));
                    break;
                }
                None => break,
            }
            fields = Fields::find(&held, &boundary);
        }
        let held = held.freeze();
        let (written, unread) = match fields {
            Some(fields) => (replace(&held, &fields), fields.unread(&held)),
            None => (held.clone(), Unread::default()),
        };
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if let Some(length) = length.and_then(|length| (length + written.len()).checked_sub(held.len())) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Form { held: std::iter::once(Ok(written)).chain(last).collect(), rest, unread }
    }
}

impl Body for Form {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self.held.pop_front() {
            Some(held) => Poll::Ready(Some(held.map(Frame::data))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.held.is_empty() { self.rest.size_hint() } else { SizeHint::default() }
    }
}

fn boundary(content_type: &str) -> Option<Vec<u8>> {
    let value = content_type.split(';').skip(1).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    (!value.is_empty()).then(|| format!("--{value}").into_bytes())
}

fn find(bytes: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    let found = bytes.get(from..)?.windows(wanted.len()).position(|window| window == wanted)?;
    Some(from + found)
}

/// The fields with the places of their values, and the name of the file.
#[derive(Debug, PartialEq, Eq)]
struct Fields {
    values: Vec<(String, std::ops::Range<usize>)>,
    file_name: Vec<u8>,
}

impl Fields {
    /// `None` as long as the head of the file's part has not come.
    fn find(bytes: &[u8], boundary: &[u8]) -> Option<Fields> {
        let mut values = Vec::new();
        let mut at = find(bytes, boundary, 0)? + boundary.len();
        let line_and_boundary = [b"\r\n", boundary].concat();
        loop {
            let end = find(bytes, b"\r\n\r\n", at)?;
            let head = String::from_utf8_lossy(&bytes[at..end]);
            if parameter(&head, "name").is_some_and(|name| name.eq_ignore_ascii_case("file")) {
                let given = parameter(&head, "filename").unwrap_or_default();
                // Some browsers send the whole path.
                let file_name = given.rsplit(['/', '\\']).next().unwrap_or_default().as_bytes().to_vec();
                return Some(Fields { values, file_name });
            }
            let name = parameter(&head, "name").unwrap_or_default().to_ascii_lowercase();
            let value = end + 4;
            // A value may be empty, and then its line break is that of the head.
            let next = find(bytes, &line_and_boundary, end + 2)?;
            values.push((name, value..next.max(value)));
            at = next + line_and_boundary.len();
        }
    }

    fn unread(&self, held: &[u8]) -> Unread {
        let text = |wanted: &str| {
            let (_, place) = self.values.iter().find(|(name, _)| name == wanted)?;
            Some(String::from_utf8_lossy(&held[place.clone()]).into_owned())
        };
        let has = |wanted: &str| self.values.iter().any(|(name, _)| name == wanted);
        Unread {
            acl: text("acl"),
            tagging: text("tagging"),
            lacks_signature: has("policy") && !has("x-amz-signature") && !has("signature"),
        }
    }
}

/// A parameter of `Content-Disposition` among the lines of a part's head.
fn parameter<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let mut rest = line.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(';').unwrap_or(after.len())),
        };
        if name.trim_matches([';', ' ', '\t']).eq_ignore_ascii_case(wanted) {
            return Some(value.trim_end());
        }
        rest = next;
    }
}

fn replace(held: &Bytes, fields: &Fields) -> Bytes {
    let mut written = BytesMut::with_capacity(held.len());
    let mut done = 0;
    for (_, value) in &fields.values {
        while let Some(at) = find(&held[..value.end], NAME, done.max(value.start)) {
            written.extend_from_slice(&held[done..at]);
            written.extend_from_slice(&fields.file_name);
            done = at + NAME.len();
        }
    }
    if done == 0 {
        return held.clone();
    }
    written.extend_from_slice(&held[done..]);
    written.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: &str) -> Option<String> {
        let bytes = Bytes::copy_from_slice(form.as_bytes());
        let fields = Fields::find(&bytes, b"--x")?;
        Some(String::from_utf8(replace(&bytes, &fields).to_vec()).expect("the form is text"))
    }

    fn form(key: &str, file: &str) -> String {
        let head = "Content-Disposition: form-data; name=";
        format!(
            "--x\r\n{head}\"key\"\r\n\r\n{key}\r\n--x\r\n{head}\"empty\"\r\n\r\n\r\n--x\r\n{head}\"file\"; {file}\r\n\r\n${{filename}}\r\n--x--\r\n"
        )
    }

    #[test]
    fn the_name_of_the_file_is_written_into_the_fields_before_it() {
        for (file, name) in [
            ("filename=\"a b.txt\"", "a b.txt"),
            ("filename=plain", "plain"),
            ("filename=\"C:\\dir\\a.txt\"", "a.txt"),
            ("filename=\"/home/a;b=c.txt\"", "a;b=c.txt"),
            ("other=1", ""),
        ] {
            let given = form("u/${filename}/${filename}-", file);
            assert_eq!(written(&given), Some(form(&format!("u/{name}/{name}-"), file)), "{file}");
        }
        assert_eq!(written(&form("plain", "filename=\"f\"")), Some(form("plain", "filename=\"f\"")));
    }

    #[test]
    fn a_form_that_is_cut_off_is_waited_for() {
        let whole = form("${filename}", "filename=\"f\"");
        let needed = whole.find("\r\n\r\n${filename}\r\n--x--").expect("the file is there") + 4;
        for length in 0..whole.len() {
            assert_eq!(written(&whole[..length]).is_some(), length >= needed, "{length} bytes");
        }
    }

    #[test]
    fn fields_that_nobody_else_reads_are_told() {
        let head = "Content-Disposition: form-data; name=";
        let field = |name: &str, value: &str| format!("--x\r\n{head}\"{name}\"\r\n\r\n{value}\r\n");
        let told = |fields: &[String]| {
            let form = fields.concat() + &field("file", "bytes");
            Fields::find(form.as_bytes(), b"--x").expect("the form is whole").unread(form.as_bytes())
        };
        let given = told(&[field("ACL", "public-read"), field("tagging", "<Tagging/>"), field("key", "k")]);
        let expected =
            Unread { acl: Some("public-read".into()), tagging: Some("<Tagging/>".into()), lacks_signature: false };
        assert_eq!(given, expected);
        assert!(told(&[field("policy", "e30=")]).lacks_signature);
        assert!(!told(&[field("policy", "e30="), field("x-amz-signature", "00")]).lacks_signature);
    }

    #[test]
    fn a_boundary_may_be_quoted() {
        assert_eq!(boundary("multipart/form-data; boundary=\"x y\""), Some(b"--x y".to_vec()));
        assert_eq!(boundary("multipart/form-data; charset=u; Boundary=x"), Some(b"--x".to_vec()));
        assert_eq!(boundary("multipart/form-data"), None);
    }
}
