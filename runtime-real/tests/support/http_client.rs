//! HTTP/1.1 as bytes: a client that neither corrects nor hides anything.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body had the length that the head said.
    pub complete: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the first element `name`.
    pub fn element(&self, name: &str) -> Option<String> {
        self.elements(name).into_iter().next()
    }

    /// The texts of all elements `name`.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        text.split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned())).collect()
    }

    /// The S3 error code.
    pub fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
    }
}

/// A connection that sends what it is told.
pub struct Connection(TcpStream);

impl Connection {
    pub async fn open(address: SocketAddr) -> Connection {
        Connection(TcpStream::connect(address).await.expect("the doors are open"))
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        // The server may have answered and closed already.
        let _ = self.0.write_all(bytes).await;
    }

    /// Says that nothing more comes.
    pub async fn end(&mut self) {
        let _ = self.0.shutdown().await;
    }

    /// Reads the answer, and the connection to its end.
    pub async fn answer(mut self, method: &str) -> Answer {
        let mut bytes = Vec::new();
        // A broken connection ends the answer early, which `complete` tells.
        let read = tokio::time::timeout(Duration::from_secs(30), self.0.read_to_end(&mut bytes)).await;
        assert!(read.is_ok(), "the answer took too long; so far: {:?}", String::from_utf8_lossy(&bytes));
        parse(&bytes, method)
    }
}

/// Reads an answer that has come completely.
pub fn parse(bytes: &[u8], method: &str) -> Answer {
    let mut bytes = bytes;
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).expect("a head is text");
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next().expect("a status line")[9..12].parse().expect("a status");
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(':').expect("a header"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        bytes = &bytes[end + 4..];
        if status == 100 {
            continue;
        }
        let mut answer = Answer { status, headers, body: bytes.to_vec(), complete: true };
        if answer.header("transfer-encoding") == Some("chunked") {
            (answer.body, answer.complete) = unchunk(bytes);
        } else if method != "HEAD" && status != 304 {
            let length = answer.header("content-length").map(|length| length.parse::<usize>().expect("a length"));
            answer.complete = length.is_none_or(|length| length == bytes.len());
        }
        return answer;
    }
}

fn unchunk(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let text = std::str::from_utf8(&bytes[..end]).expect("a chunk size is text");
        let size = usize::from_str_radix(text, 16).expect("a chunk size is hexadecimal");
        bytes = &bytes[end + 2..];
        if size == 0 {
            return (body, true);
        }
        if bytes.len() < size + 2 {
            break;
        }
        body.extend_from_slice(&bytes[..size]);
        bytes = &bytes[size + 2..];
    }
    (body, false)
}

/// Sends one request on a connection of its own.
pub async fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Answer {
    let mut connection = Connection::open(address).await;
    connection.write(&head(address, method, target, headers, Some(body.len()))).await;
    connection.write(body).await;
    connection.answer(method).await
}

/// The head of a request, as bytes.
pub fn head(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(String, String)],
    length: Option<usize>,
) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
    let given = |name: &str| headers.iter().any(|(there, _)| there.eq_ignore_ascii_case(name));
    if !given("host") {
        text += &format!("host: {address}\r\n");
    }
    if let Some(length) = length
        && !given("content-length")
    {
        text += &format!("content-length: {length}\r\n");
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    (text + "\r\n").into_bytes()
}
