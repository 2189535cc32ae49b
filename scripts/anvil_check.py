"""What the checks in this folder share: a node to start and stop, and a small signing S3 client.

Python 3 and its standard library only. Every wait has an end, and a process is ended by its own id only. The signer is
written from AWS's description of Signature Version 4 and from nothing of the server's, so that both can disagree.
"""

import datetime
import functools
import hashlib
import hmac
import http.client
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import venv
import xml.etree.ElementTree as ElementTree

ACCESS_KEY_ID = "AKCHECKCHECKCHECK000"
SECRET_ACCESS_KEY = "check/check+check/check+check/check+0000"
# What a node that listens beyond loopback wants of clients of /kv.
BEARER = {"Authorization": f"Bearer {SECRET_ACCESS_KEY}"}
REGION = "us-east-1"
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
DEFAULT_BINARY = REPOSITORY / "target" / "release" / "anvil"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


class CheckFailed(Exception):
    """The node did what it must not do."""


def end_cleanly_on_signals():
    """Turns SIGTERM and SIGHUP into SystemExit, so that `finally` blocks stop what was started."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))


def add_binary_argument(parser):
    parser.add_argument(
        "--binary",
        type=pathlib.Path,
        default=DEFAULT_BINARY,
        metavar="PATH",
        help="the anvil binary [default: target/release/anvil]",
    )


def require_binary(path):
    if not os.access(path, os.X_OK):
        sys.exit(f"{path} is not there; build it with `cargo build --release`, or give --binary")
    return path.resolve()


def add_venv_argument(parser):
    parser.add_argument(
        "--venv", type=pathlib.Path, metavar="DIR", default=REPOSITORY / "target" / "check-venv",
        help="virtual environment with boto3, made at the first run [default: target/check-venv]",
    )


def run_within(directory, *packages):
    """Begins this script anew under a virtual environment that has these packages of PyPI, unless it runs there."""
    directory = directory.resolve()
    if pathlib.Path(sys.prefix).resolve() == directory:
        return
    python = directory / "bin" / "python"
    if subprocess.run([python, "-c", f"import {', '.join(packages)}"], capture_output=True).returncode if python.exists() else True:
        print(f"making the clients' environment in {directory}", flush=True)
        venv.create(directory, with_pip=True)
        subprocess.run([directory / "bin" / "pip", "install", "--quiet", *packages], check=True, timeout=600)
    os.execv(python, [str(python), str(pathlib.Path(sys.argv[0]).resolve()), *sys.argv[1:]])


def election_timeout():
    """The election timeout that nodes run with, in seconds: it has no flag, so it is read where it stands."""
    source = REPOSITORY / "runtime-real" / "src" / "node" / "core_loop.rs"
    found = re.search(r"\belection_timeout: Duration::from_millis\((\d+)\)", source.read_text(encoding="utf-8"))
    if not found:
        raise CheckFailed(f"{source} does not say the election timeout in the words that this looks for")
    return int(found[1]) / 1000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def scratch_directory(parent, name):
    """A fresh directory for one run."""
    if parent is not None:
        pathlib.Path(parent).mkdir(parents=True, exist_ok=True)
    return pathlib.Path(tempfile.mkdtemp(prefix=f"anvil-{name}-", dir=parent))


def free_udp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """One node: a process of the binary on its own directories and free ports."""

    def __init__(self, binary, directories, log_path, extra=(), environment=None, host="127.0.0.1", launcher=()):
        """`launcher` is what runs the binary, and becomes it."""
        self.binary = str(binary)
        self.host = host
        self.launcher = list(launcher)
        self.directories = [str(directory) for directory in directories]
        self.log_path = pathlib.Path(log_path)
        self.extra = list(extra)
        self.environment = dict(environment or {})
        self.port = free_port()
        self.peer_port = free_udp_port()
        self.process = None
        self.log_start = 0
        # Set by who takes its network away: nobody can expect an answer of it.
        self.is_cut_off = self.was_cut_off = False

    def spawn(self):
        """Starts the process and does not wait for it."""
        command = [*self.launcher, self.binary, "serve", "--listen", self.host]
        command += ["--http-port", str(self.port), "--port", str(self.peer_port)]
        for directory in self.directories:
            command += ["--dir", directory]
        environment = dict(os.environ)
        environment["ANVIL_ACCESS_KEY_ID"] = ACCESS_KEY_ID
        environment["ANVIL_SECRET_ACCESS_KEY"] = SECRET_ACCESS_KEY
        environment.update(self.environment)
        self.log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command + self.extra, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def wait_ready(self, seconds=30):
        """True when the node answers; False when its process ended; CheckFailed when neither happens in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            try:
                connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
                connection.request("GET", "/-/ready")
                ready = connection.getresponse().status == 200
                connection.close()
                if ready:
                    return True
            except OSError:
                pass
            time.sleep(0.02)
        raise CheckFailed(f"the node neither got ready nor ended in {seconds} s: {self.said()}")

    def start(self, seconds=30):
        self.spawn()
        if not self.wait_ready(seconds):
            raise CheckFailed(f"the node did not start: {self.said()}")
        return self

    def fails_to_start(self, seconds=30):
        """What it says when it ends by itself instead of starting."""
        self.spawn()
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise CheckFailed("the node started where it should not have") from None
        return self.said()

    def said(self):
        """What this start of the node printed, without colours and times, and without the greeting."""
        with open(self.log_path, "rb") as log:
            log.seek(self.log_start)
            text = ANSI.sub("", log.read().decode("utf-8", "replace"))
        lines = [re.sub(r"^\d{4}-\d\d-\d\dT\S+\s+", "", line) for line in text.splitlines()]
        kept = [line for line in lines if line.startswith(("ERROR", "WARN", "error", "thread")) or "panicked" in line]
        return " | ".join(kept)

    def panicked(self):
        with open(self.log_path, "rb") as log:
            log.seek(self.log_start)
            return b"panicked" in log.read()

    def kill(self):
        """kill -9, by process id."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(timeout=30)

    def stop(self, seconds=30):
        """Asks the node to drain and close; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"the node did not stop in {seconds} s of SIGTERM") from None

    def client(self, timeout=30):
        return Client(self.host, self.port, timeout)


def memory_peak_mib(pid):
    """The most memory that a process ever held resident, in MiB (Linux)."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


class Answer:
    """A response that has come completely."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def text(self):
        """What a person is told: the code and the sentence of an error, or the body."""
        text = self.body.decode("utf-8", "replace").strip()
        found = re.search(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", text, re.DOTALL)
        return f"{found[1]}: {found[2]}" if found else text[:300]

    def __str__(self):
        return f"{self.status} {self.text()}"


def quote(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-._~")


@functools.lru_cache(maxsize=64)
def signing_key(secret, day, region):
    key = b"AWS4" + secret.encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def sign_request(method, path, query, headers, payload_hash, now=None, secret=SECRET_ACCESS_KEY, host=""):
    """The headers of a signed request. `path` is encoded already; `query` is a list of pairs that are not."""
    now = now or datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    signed = {name.lower(): " ".join(str(value).split()) for name, value in headers.items()}
    signed.update({"host": host, "x-amz-date": stamp, "x-amz-content-sha256": payload_hash})
    names = ";".join(sorted(signed))
    canonical_query = "&".join(sorted(f"{quote(name)}={quote(value)}" for name, value in query))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    canonical = f"{method}\n{path}\n{canonical_query}\n{lines}\n{names}\n{payload_hash}"
    scope = f"{day}/{REGION}/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(signing_key(secret, day, REGION), to_sign.encode(), hashlib.sha256).hexdigest()
    signed["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return signed


def presign(method, path, seconds, host, now=None):
    """The query string of a presigned URL."""
    now = now or datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    scope = f"{day}/{REGION}/s3/aws4_request"
    query = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{ACCESS_KEY_ID}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": "host",
    }
    text = "&".join(f"{quote(name)}={quote(value)}" for name, value in sorted(query.items()))
    canonical = f"{method}\n{path}\n{text}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(signing_key(SECRET_ACCESS_KEY, day, REGION), to_sign.encode(), hashlib.sha256).hexdigest()
    return f"{text}&X-Amz-Signature={signature}"


class Client:
    """S3 and /kv over one connection. One thread at a time."""

    def __init__(self, host, port, timeout):
        self.host = f"{host}:{port}"
        self.connection = http.client.HTTPConnection(host, port, timeout=timeout)

    def send(self, method, target, headers, body=b""):
        """One request as it is given. An answer that breaks off raises http.client.HTTPException or OSError."""
        try:
            try:
                self.connection.request(method, target, body=body, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                # A refused body is not read to its end; the answer is there all the same, and this may be an old
                # connection, whose end getresponse() tells.
                pass
            response = self.connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise

    def s3(self, method, path, query=(), headers=None, body=b"", **signing):
        """A signed request. `path` begins with a slash and is not encoded."""
        encoded = quote(path, safe="/")
        payload_hash = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        signed = sign_request(
            method, encoded, list(query), headers or {}, payload_hash, host=self.host, **signing
        )
        target = encoded
        if query:
            target += "?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in query)
        return self.send(method, target, signed, body)

    def kv(self, method, key, body=b""):
        return self.send(method, "/kv/" + quote(key), dict(BEARER), body)

    def list(self, bucket):
        """Every key of a bucket with its size, page by page."""
        found, token = {}, None
        while True:
            query = [("list-type", "2"), ("max-keys", "500")]
            if token:
                query.append(("continuation-token", token))
            answer = self.s3("GET", f"/{bucket}", query)
            if answer.status != 200:
                raise CheckFailed(f"a listing answered {answer}")
            root = ElementTree.fromstring(answer.body)
            space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
            for entry in root.findall(f"{space}Contents"):
                found[entry.findtext(f"{space}Key")] = int(entry.findtext(f"{space}Size"))
            token = root.findtext(f"{space}NextContinuationToken")
            if not token:
                return found
