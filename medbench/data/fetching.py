"""Download of pinned files from the repositories that publish them, and verification of a data folder.

Only checksums are trusted: a file is written to a temporary path, measured and hashed while it is
downloaded, and only renamed if both match.
"""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from medbench.common.files import reason, replacing, sha256_of
from medbench.data.registry import PinnedFile
from medbench.errors import DataError

RAW_BASE = "https://raw.githubusercontent.com"

_TIMEOUT = 30.0  # seconds without any data
_BLOCK = 1 << 16
_MAX_BYTES = 512 * 1024 * 1024


class FileState(NamedTuple):
    """A pinned file in a folder.

    Attributes:
        path: Its path in the folder.
        state: ``ok``, ``differs`` or ``missing``.
        fetchable: Whether a repository with this file is known.
    """

    path: str
    state: Literal["ok", "differs", "missing"]
    fetchable: bool


class FetchResult(NamedTuple):
    """The outcome for one file.

    Attributes:
        path: Its path in the folder.
        outcome: ``fetched``, ``present`` or ``by hand`` (no repository with this file is known).
        note: Where to get a file that must be copied by hand.
    """

    path: str
    outcome: Literal["fetched", "present", "by hand"]
    note: str = ""


def verify(folder: Path, files: Iterable[PinnedFile]) -> tuple[FileState, ...]:
    """Compare a folder with the pins.

    Raises:
        DataError: If the folder does not exist.
    """
    if not folder.is_dir():
        raise DataError("the data folder does not exist", where=str(folder), hint="check --data-dir")
    states = []
    for file in files:
        path = folder / file.path
        state: Literal["ok", "differs", "missing"] = "missing"
        if path.is_file():
            state = "ok" if sha256_of(path) == file.sha256 else "differs"
        states.append(FileState(file.path, state, file.repo is not None))
    return tuple(states)


def file_url(file: PinnedFile, base: str = RAW_BASE) -> str:
    """Address of a file at its pinned commit.

    Raises:
        DataError: If no repository with this file is known.
    """
    if not (file.repo and file.commit and file.upstream_path):
        raise DataError(f"no repository is known that has {file.path}", hint=file.note or None)
    return f"{base}/{urllib.parse.quote(f'{file.repo}/{file.commit}/{file.upstream_path}')}"


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Follows redirects only within a scheme: never from https to http, ftp or a file."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme != urllib.parse.urlsplit(req.full_url).scheme:
            raise urllib.error.HTTPError(req.full_url, code, f"redirected to {newurl[:80]}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _blocks(url: str, limit: int) -> Iterator[bytes]:
    """Download an address in blocks; fail as soon as the content is longer than expected."""
    # A file:// base would read local files; only web addresses are allowed.
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DataError(f"{url} is no web address", hint="use https")
    opener = urllib.request.build_opener(_SameScheme)
    try:
        with opener.open(url, timeout=_TIMEOUT) as response:
            received = 0
            while block := response.read(_BLOCK):
                received += len(block)
                if received > limit:
                    raise DataError(
                        f"the download is longer than the {limit} bytes of the pinned file",
                        where=url,
                        hint="the address gives something else; nothing was kept",
                    )
                yield block
    except (urllib.error.URLError, TimeoutError, ConnectionError, OSError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise DataError(
            f"the download failed: {reason}",
            where=url,
            hint="check the connection and run the command again; files that are complete are kept",
        ) from error


def _destination(folder: Path, relative: str) -> Path:
    root = folder.resolve()
    path = root / relative
    # Links in the folder could lead elsewhere although the path itself is plain.
    if not path.parent.resolve().is_relative_to(root) or path.is_symlink():
        raise DataError(f"{relative} leads out of the data folder", where=str(folder), hint="remove the link")
    return path


def _download(file: PinnedFile, destination: Path, url: str) -> None:
    digest = hashlib.sha256()
    with replacing(destination) as part:
        with part.open("wb") as out:
            for block in _blocks(url, min(file.bytes or _MAX_BYTES, _MAX_BYTES)):
                digest.update(block)
                out.write(block)
        if digest.hexdigest() != file.sha256:
            raise DataError(
                f"the checksum of the download is {digest.hexdigest()[:12]}…, pinned is {file.sha256[:12]}…",
                where=url,
                hint="the file was changed upstream or in transit; it was not saved",
            )


def fetch(
    folder: Path, files: Iterable[PinnedFile], *, base: str = RAW_BASE, replace: bool = False
) -> Iterator[FetchResult]:
    """Download pinned files into a folder, one after the other.

    Args:
        folder: Data folder; created if it is missing.
        files: The files.
        base: Address of the server with the repositories.
        replace: Whether a file that differs from its pin is replaced; otherwise that is an error.

    Yields:
        The outcome for each file, as soon as it is done.

    Raises:
        DataError: If a download fails, is too long or has the wrong checksum, the folder cannot be written,
            or there is a different file of that name.
    """
    for file in files:
        path = _destination(folder, file.path)
        if path.is_file():
            if sha256_of(path) == file.sha256:
                yield FetchResult(file.path, "present")
                continue
            if not replace:
                raise DataError(
                    "a different file is in the way", where=str(path), hint="--replace overwrites it"
                )
        if file.repo is None:
            yield FetchResult(file.path, "by hand", file.note)
            continue
        try:
            _download(file, path, file_url(file, base))
        except OSError as error:
            raise DataError(
                f"the file cannot be written: {reason(error)}",
                where=str(path),
                hint="check space and permissions",
            ) from error
        yield FetchResult(file.path, "fetched")
