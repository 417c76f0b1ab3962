"""Checksums of files, each computed once as long as the file stays the same."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

__all__ = ["sha256_of"]

_CHUNK = 2**22


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file, remembered until the file changes.

    Raises:
        OSError: The file cannot be read.
    """
    status = path.stat()
    # The time of the last change of any kind, too: archives and copies set that of the content themselves.
    return _sha256(str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=65536)
def _sha256(path: str, _size: int, _modified: int, _changed: int) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()
