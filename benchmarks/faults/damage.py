"""Damaging files at random, reproducibly."""

from __future__ import annotations

import random
from pathlib import Path

__all__ = ["damage"]


def damage(path: Path, generator: random.Random) -> str:
    """Truncate a file, flip bits of it, or write over, zero or insert a part of it; say which."""
    content = bytearray(path.read_bytes())
    size = len(content)
    place = generator.randrange(size)
    kind = generator.choice(
        ("truncated", "bit", "bit", "bits", "overwritten", "zeroed", "inserted", "emptied")
    )
    length = min(generator.choice((1, 8, 64, 512)), size - place)
    if kind == "truncated":
        del content[place:]
    elif kind == "bit":
        content[place] ^= 1 << generator.randrange(8)
    elif kind == "bits":
        for _ in range(8):
            content[generator.randrange(size)] ^= 1 << generator.randrange(8)
    elif kind == "overwritten":
        content[place : place + length] = generator.randbytes(length)
    elif kind == "zeroed":
        content[place : place + length] = bytes(length)
    elif kind == "inserted":
        content[place:place] = generator.randbytes(length)
    else:
        content.clear()
    path.write_bytes(bytes(content))
    return f"{path.name} {kind} at {place} of {size}"
