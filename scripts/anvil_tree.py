"""A tree of files to store: made from a seed, and described by names, sizes and SHA-256."""

import hashlib
import random

FILE_SIZE_MAX = 1 << 20
# The sizes around which a store's paths change: inline, one stripe, the largest of the tree.
TELLING_SIZES = (0, 1, 4096, (16 << 10) - 1, 16 << 10, (16 << 10) + 1, FILE_SIZE_MAX - 1, FILE_SIZE_MAX)
# Names that clients and servers encode differently.
TELLING_NAMES = ("with space", "plus+sign", "percent%41", "umlaut-äöü", "日本", "quote'and\"", "a&b=c", "tilde~(1)")
BLOCK = 1 << 20


def make_tree(root, count, big_mib, seed):
    """A deterministic tree: small files are frequent, 10,000 of them have about 1.5 GiB."""
    chance = random.Random(seed)
    for number in range(count):
        size = TELLING_SIZES[number] if number < len(TELLING_SIZES) else int(FILE_SIZE_MAX * chance.random() ** 5.6)
        name = TELLING_NAMES[number] if number < len(TELLING_NAMES) else f"file-{number:05}"
        path = root / f"dir-{number % 23:02}" / f"sub-{number % 7}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(size))
    if big_mib:
        with open(root / "big.bin", "wb") as big:
            for _ in range(big_mib):
                big.write(chance.randbytes(BLOCK))


def describe_tree(root):
    """Every file's name with its size and SHA-256."""
    described = {}
    for path in sorted(root.rglob("*")):
        if not path.is_file():
            continue
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        described[path.relative_to(root).as_posix()] = (path.stat().st_size, digest.hexdigest())
    return described
