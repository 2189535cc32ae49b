"""What the scripts of the clients share: where the nodes are, what to store, and how what comes back is compared.

scripts/check-s3 starts each script in an environment that names the nodes, the keys and an empty folder. A script writes through
the node FIRST and reads through the node OTHER, which on a single node are the same. It prints each step that it has done, and
ends with something else than 0 at the first thing that is not as it must be.
"""

import contextlib
import hashlib
import os
import pathlib
import random
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent.parent))

from anvil_check import CheckFailed  # noqa: E402
from anvil_tree import describe_tree, make_tree  # noqa: E402, F401

FIRST = os.environ["CHECK_FIRST"]
OTHER = os.environ["CHECK_OTHER"]
KEY_ID = os.environ["AWS_ACCESS_KEY_ID"]
SECRET = os.environ["AWS_SECRET_ACCESS_KEY"]
REGION = os.environ["AWS_REGION"]
SCRATCH = pathlib.Path(os.environ["CHECK_SCRATCH"])
BUCKET = os.environ["CHECK_BUCKET"]
# Longer than any one command of a client takes.
COMMAND_SECONDS = 120
# Around the sizes at which a store's paths change, and more than two parts of the least size.
SIZES = (0, 1, 4096, (16 << 10) + 1, 1 << 20)
PART = 5 << 20
BIG = 2 * PART + 12345


def host(url):
    return urllib.parse.urlparse(url).netloc


def body(name, size):
    """Bytes that no other name has."""
    return random.Random(f"{BUCKET}/{name}/{size}").randbytes(size)


def file(name, size):
    """A file of such bytes in the scratch folder."""
    path = SCRATCH / name
    path.write_bytes(body(name, size))
    return path


def tell(value):
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value)} bytes with SHA-256 {hashlib.sha256(value).hexdigest()[:16]}"
    return repr(value)


def equal(what, found, expected):
    if found == expected:
        return
    if isinstance(found, (dict, set)) and type(found) is type(expected):
        items = (lambda one: set(one.items()) if isinstance(one, dict) else one)
        wrong = sorted(map(repr, items(found) ^ items(expected)))[:5]
        raise CheckFailed(f"{what}: {len(found)} instead of {len(expected)}; they differ in {', '.join(wrong)}")
    raise CheckFailed(f"{what}: {tell(found)} instead of {tell(expected)}")


def demand(what, holds):
    if not holds:
        raise CheckFailed(what)


@contextlib.contextmanager
def step(name):
    """Prints the step when it is done; says at which one a script broke off."""
    try:
        yield
    except (Exception, SystemExit) as failure:
        said = str(failure) if isinstance(failure, CheckFailed) else repr(failure)
        print(f"{name}: {said}", file=sys.stderr)
        sys.exit(1)
    print(name, flush=True)


def start(arguments, given, environment):
    environment = dict(os.environ, **(environment or {}))
    # What this folder's modules are called is no business of the client's own Python.
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [str(argument) for argument in arguments], env=environment, capture_output=True, timeout=COMMAND_SECONDS,
        **({"input": given} if given is not None else {"stdin": subprocess.DEVNULL}),
    )


def run(*arguments, given=None, environment=None):
    """What a command printed; it must succeed."""
    done = start(arguments, given, environment)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-600:]
        raise CheckFailed(f"{' '.join(str(one) for one in arguments)} ended with {done.returncode}: {said}")
    return done.stdout


def refused(word, *arguments, environment=None):
    """The command must fail and say the word."""
    done = start(arguments, None, environment)
    said = (done.stderr + done.stdout).decode("utf-8", "replace")
    demand(f"{' '.join(str(one) for one in arguments)} succeeded, and should not", done.returncode != 0)
    demand(f"{' '.join(str(one) for one in arguments)} was refused without {word}: {said.strip()[-400:]}", word in said)


def request(url, method="GET", data=None, headers=None):
    """Status and body of an unsigned request, such as one with a presigned URL."""
    asked = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(asked, timeout=COMMAND_SECONDS) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
