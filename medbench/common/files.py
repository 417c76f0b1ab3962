"""Files: written whole or not at all, read as JSON, identified by checksums.

All files are written with the same durability: when a write returns, content and name are on the disk. A
reader sees the old file or the new one, also after a crash or a power cut, never a part.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

_CHUNK = 2**22
# File systems allow 255 bytes in a name, and a character takes up to four.
_KEPT = 40


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends well, that file takes its place.

    A link is followed, and the mode of an existing file is kept. After an error nothing is left behind.

    Args:
        path: The file to write. Missing folders above it are made.

    Raises:
        OSError: The file cannot be written (no permission, disk full).
    """
    path = Path(os.path.realpath(path))
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        _sync(temporary)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; a device or a pipe such as ``/dev/stdout`` is written to as it is.

    Args:
        path: The file to write. Missing folders above it are made.
        content: Its new content.

    Raises:
        OSError: The file cannot be written (no permission, disk full).
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text; see :func:`write_bytes`.

    Raises:
        OSError: The file cannot be written (no permission, disk full).
        UnicodeEncodeError: The text has lone surrogates.
    """
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def write_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; when the block ends well, it gets that name.

    After an error nothing is left behind.

    Args:
        path: The folder to write, without folders in it. Missing folders above it are made.

    Raises:
        OSError: The folder exists and is not empty, or cannot be written.
    """
    temporary = _beside(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            # Some libraries make files that only their owner can read; the folder got the usual mode.
            file.chmod(temporary.stat().st_mode & 0o666)
            _sync(file)
        _sync_folder(temporary)
        temporary.rename(path)
        _sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_json(path: Path) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: The file is missing or unreadable.
        ValueError: It is not JSON, or nested too deeply to read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def reason(error: OSError) -> str:
    """Why a file cannot be read or written, without its path."""
    return error.strerror or str(error)


def read_only_address(path: Path) -> str:
    """Address under which ``sqlite3.connect(…, uri=True)`` reads a database without writing beside it."""
    # SQLite writes beside a database in WAL mode unless it is told that nobody changes it. A log is left only
    # where a process was killed.
    settled = not path.with_name(f"{path.name}-wal").exists()
    return f"{path.resolve().as_uri()}?{'immutable=1' if settled else 'mode=ro'}"


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file, computed once as long as the file stays the same.

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


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name[:_KEPT]}.{uuid.uuid4().hex}")


def _sync(file: Path) -> None:
    with file.open("rb") as written:
        os.fsync(written.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; file systems that cannot sync folders are left alone."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
