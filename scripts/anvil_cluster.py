"""What the checks of clusters share: members to start, `anvil cluster`, and writers that know what each place may hold.

Every writer owns its keys and records what was acknowledged. A read through any node must see the last acknowledged write, or
one whose answer never came.
"""

import base64
import hashlib
import http.client
import json
import os
import random
import subprocess
import threading
import time

import anvil_check
from anvil_check import CheckFailed, Node

BUCKET = "check-cluster"
KEYS_OF_A_WRITER = 16
OBJECT_SIZES = (64 << 10, 3 << 20)
# How long a node may take to answer a client: it waits for a leader, and for peers that are gone.
ANSWER_SECONDS = 20
ABSENT = None


def identity(body):
    return (len(body), hashlib.sha256(body).hexdigest())


def member(binary, scratch, name, first=None, token=None, **place):
    """A node that founds a cluster, or one that joins that of `first`. `place` is its host and launcher."""
    extra = ["--id", name]
    environment = {}
    if first is not None:
        extra += ["--peers", f"{first.host}:{first.peer_port}"]
    if token is not None:
        environment["ANVIL_TOKEN"] = token
    node = Node(binary, [scratch / name], scratch / f"{name}.log", extra, environment, **place)
    node.name = name
    return node


def command(node, *arguments, seconds=60):
    """`anvil cluster ARGUMENTS` at a node; what it printed."""
    environment = dict(os.environ, ANVIL_SECRET_ACCESS_KEY=anvil_check.SECRET_ACCESS_KEY)
    endpoint = f"http://{node.host}:{node.port}"
    try:
        done = subprocess.run(
            [node.binary, "cluster", *arguments, "--endpoint", endpoint],
            capture_output=True, text=True, timeout=seconds, env=environment, stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as late:
        said = (late.stderr or b"").decode().strip().splitlines()[-1:]
        raise CheckFailed(f"`anvil cluster {' '.join(arguments)}` took more than {seconds} s: {said}") from None
    if done.returncode != 0:
        raise CheckFailed(f"`anvil cluster {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout


def token_of(node):
    token = command(node, "token").strip()
    if not token.startswith("anvil1-") or "\n" in token:
        raise CheckFailed(f"`anvil cluster token` printed {token!r}")
    return token


def status(node):
    return json.loads(command(node, "status", "--json"))


def leader(node, group="region"):
    found = next(one for one in status(node)["groups"] if one["name"] == group)
    return found["leader"]["name"] if found["leader"] else None


def wait_until(what, seconds, condition):
    """Waits for a condition that may be asked of a node that is not there; returns how long it took."""
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        try:
            if condition():
                return time.monotonic() - begun
        except (CheckFailed, OSError, http.client.HTTPException):
            pass
        time.sleep(0.1)
    raise CheckFailed(f"{what} did not come true in {seconds} s")


def wait_for_voters(node, names):
    def voters_are():
        return all(
            sorted(voter["name"] for voter in group["voters"]) == sorted(names) and not group["outgoing"]
            for group in status(node)["groups"]
        )

    return wait_until(f"{', '.join(names)} voting", 60, voters_are)


def start_nodes(nodes, count, binary, scratch):
    """Starts a node, or a cluster of which each votes that may, and adds what was started to `nodes` at once."""
    if count == 1:
        nodes.append(Node(binary, [scratch / "node1"], scratch / "node1.log"))
        nodes[0].name = "node1"
        nodes[0].start(60)
        return
    for number in range(1, count + 1):
        first = nodes[0] if nodes else None
        nodes.append(member(binary, scratch, f"node{number}", first, token_of(first) if first else None))
        nodes[-1].start(60)
    if count == 3:
        wait_for_voters(nodes[0], [node.name for node in nodes])


class Ledger:
    """What each of a writer's places may hold. A place whose last write is in doubt is not written again."""

    def __init__(self):
        self.allowed = {}
        self.acknowledged = 0
        self.in_doubt = 0
        self.refused = 0
        self.read = 0


class Writer(threading.Thread):
    """Writes and reads through any node that lives, until it is told to stop."""

    def __init__(self, number, nodes, ledger, seed, connect=None):
        """`connect` makes a client for a node, in the place of this folder's own."""
        super().__init__(daemon=True)
        self.number = number
        self.random = random.Random(seed)
        self.nodes = nodes
        self.connect = connect or (lambda node: node.client(ANSWER_SECONDS))
        self.clients = {}
        self.ledger = ledger
        self.stopping = threading.Event()
        self.problem = None

    def run(self):
        try:
            while not self.stopping.is_set():
                self.act()
        except CheckFailed as failure:
            self.problem = str(failure)
        except Exception as failure:  # A thread that dies silently would look like success.
            self.problem = repr(failure)

    def ask(self, send):
        """The answer of some node and its name; no answer when the node is gone."""
        node = self.random.choice(self.nodes)
        if node.process.poll() is not None or node.is_cut_off:
            self.clients.pop(node.name, None)
            self.stopping.wait(0.005)
            return node, None, False
        if node.name not in self.clients:
            self.clients[node.name] = self.connect(node)
        client = self.clients[node.name]
        try:
            return node, send(client), True
        except TimeoutError:
            # A node that runs must answer, even if only that it cannot.
            if node.process.poll() is None and not node.was_cut_off and not self.stopping.is_set():
                raise CheckFailed(f"{node.name} did not answer in {ANSWER_SECONDS} s") from None
            self.clients.pop(node.name, None)
            return node, None, True
        except (OSError, http.client.HTTPException):
            self.clients.pop(node.name, None)
            return node, None, True

    def act(self):
        draw, slot = self.random.random(), self.random.randrange(KEYS_OF_A_WRITER)
        kind = "kv" if draw < 0.5 else "s3"
        # A place in doubt is left alone until it was looked at: its write may still be on its way.
        place = (kind, f"writer-{self.number}/{kind}-{slot:03}")
        if len(self.ledger.allowed.get(place, [])) > 1 or self.random.random() < 0.4:
            self.read(place)
        elif kind == "kv":
            self.write(place, self.random.randbytes(self.random.choice((10, 256, 20_000))))
        else:
            self.write(place, self.random.randbytes(self.random.choice(OBJECT_SIZES)))

    def write(self, place, body):
        kind, key = place
        if kind == "kv":
            node, answer, sent = self.ask(lambda client: client.kv("PUT", key, body))
        else:
            node, answer, sent = self.ask(lambda client: client.s3("PUT", f"/{BUCKET}/{key}", body=body))
        if not sent:
            return
        if answer is not None and answer.status == 200:
            self.ledger.allowed[place] = [identity(body)]
            self.ledger.acknowledged += 1
        elif answer is not None and answer.status == 503 and b"may not" not in answer.body:
            self.ledger.refused += 1
        elif answer is None or answer.status == 503:
            self.ledger.allowed[place] = self.ledger.allowed.get(place, [ABSENT]) + [identity(body)]
            self.ledger.in_doubt += 1
        else:
            raise CheckFailed(f"{node.name} answered a write of {place} with {answer}")

    def read(self, place):
        node, answer, _sent = self.ask(lambda client: fetch(client, place))
        if answer is not None and answer.status != 503:
            try:
                judge(node, place, answer, self.ledger.allowed.get(place, [ABSENT]))
            except CheckFailed as failure:
                raise CheckFailed(f"{failure}; {self.again(place)}") from None
            self.ledger.read += 1

    def again(self, place):
        """What every node says of a place a little later: whether the trouble passes."""
        said = []
        for _ in range(2):
            time.sleep(3)
            for node in self.nodes:
                try:
                    answer = fetch(node.client(ANSWER_SECONDS), place)
                    said.append(f"{node.name} {answer.status if answer.status == 200 else answer}")
                except (OSError, http.client.HTTPException) as failure:
                    said.append(f"{node.name} {failure!r}")
        return "asked again 3 s and 6 s later: " + ", ".join(said)


def fetch(client, place):
    kind, key = place
    return client.kv("GET", key) if kind == "kv" else client.s3("GET", f"/{BUCKET}/{key}")


def judge(node, place, answer, allowed):
    if answer.status not in (200, 404):
        raise CheckFailed(f"{node.name} answers {place} with {answer}")
    found = identity(answer.body) if answer.status == 200 else ABSENT
    if found not in allowed:
        raise CheckFailed(f"{node.name} has {found} at {place}, and only {allowed} would be right")
    return found


def verify(nodes, ledgers):
    """Reads everything back through each of the nodes; how many answers were compared. Doubts are settled here."""
    compared = 0
    for node in nodes:
        client = node.client(ANSWER_SECONDS)
        for ledger in ledgers:
            for place, allowed in ledger.allowed.items():
                answer = fetch(client, place)
                if answer.status == 503:
                    # The lead may be on its way: once more, and then it must work.
                    time.sleep(2)
                    answer = fetch(client, place)
                # What it is now it must stay, whichever node is asked.
                ledger.allowed[place] = [judge(node, place, answer, allowed)]
                compared += 1
    return compared


def check_alive(nodes):
    for node in nodes:
        if node.process.poll() is not None:
            raise CheckFailed(f"{node.name} ended by itself: {node.said()}")
        if node.panicked():
            raise CheckFailed(f"{node.name} panicked: {node.said()}")


def ready(node):
    client = node.client(10)
    return client.send("GET", "/-/ready", {}).status == 200


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def with_other_secret(token):
    """A token that is well formed and that the cluster never made."""
    text = token.removeprefix("anvil1-")
    content = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))[:-4])
    content[-1] ^= 1
    content += crc32c(content).to_bytes(4, "big")
    return "anvil1-" + base64.urlsafe_b64encode(content).decode().rstrip("=")


def check_refusals(binary, scratch, nodes):
    """Who may not join ends by itself, says why, and leaves the cluster as it was."""
    first = nodes[0]
    fresh = token_of(first)
    other = member(binary, scratch, "other-founder")
    try:
        other.start()
        foreign = token_of(other)
    finally:
        other.kill()
    used = nodes[1].environment["ANVIL_TOKEN"]
    cases = [
        ("no token", None, "needs a token"),
        ("a mistyped token", fresh[:-1] + ("A" if fresh[-1] != "A" else "B"), "the token"),
        ("a token that was never made", with_other_secret(fresh), "token"),
        ("a used token", used, "token"),
        ("a token of another cluster", foreign, "cluster"),
    ]
    for number, (what, token, word) in enumerate(cases):
        stranger = member(binary, scratch, f"stranger{number}", first, token)
        stranger.spawn()
        try:
            stranger.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"a node with {what} neither joined nor ended: {stranger.said()}") from None
        finally:
            stranger.kill()
        said = stranger.said()
        if stranger.process.returncode == 0 or "ERROR" not in said or word not in said or stranger.panicked():
            raise CheckFailed(f"a node with {what} ended with {stranger.process.returncode} and said: {said}")
        print(f"refused, {what}: {said.split('ERROR', 1)[1].strip()}", flush=True)
    known = [one["name"] for one in status(first)["cluster"]["nodes"]]
    if sorted(known) != sorted(node.name for node in nodes):
        raise CheckFailed(f"after refusals the cluster has {known}")
