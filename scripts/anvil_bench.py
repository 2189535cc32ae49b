"""What the benchmarks in this folder share: runs of `anvil bench`, and tables of medians and ranges."""

import json
import os
import statistics
import subprocess

import anvil_check
from anvil_check import CheckFailed


def bench(binary, *arguments, key=(anvil_check.ACCESS_KEY_ID, anvil_check.SECRET_ACCESS_KEY)):
    """The lines of JSON that `anvil bench` prints. `key`: id and secret of the key pair that it signs with."""
    environment = dict(os.environ, ANVIL_ACCESS_KEY_ID=key[0], ANVIL_SECRET_ACCESS_KEY=key[1])
    done = subprocess.run(
        [str(binary), "bench", *arguments, "--json"],
        capture_output=True, text=True, timeout=900, env=environment, stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise CheckFailed(f"`anvil bench {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def spread(values, form="{:,.0f}"):
    """The median, and the range in brackets."""
    low, middle, high = (form.format(value) for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(*cells):
    print()
    row(*cells)
    row(*["---"] * len(cells))
