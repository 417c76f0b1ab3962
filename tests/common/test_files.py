"""Files are written whole or not at all, and read as what they are."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from medbench.common import files
from medbench.common.files import (
    load_json,
    read_only_address,
    replacing,
    sha256_of,
    write_bytes,
    write_folder,
    write_text,
)


def _text(path: Path) -> None:
    write_text(path, "new")


def _bytes(path: Path) -> None:
    write_bytes(path, b"new")


def _streamed(path: Path) -> None:
    with replacing(path) as temporary, temporary.open("wb") as stream:
        stream.write(b"new")


def _by_text(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("new")


WRITERS = [_text, _bytes, _streamed, _by_text]
NAMES = [
    "plain.json",
    "心电图.json",
    "a" * 255,
    "图" * 85,
    ".hidden",
    "two.dots.tar.gz",
    "with space",
    "new/deep/file",
]
Writer = Callable[[Path], None]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_written_and_nothing_else(tmp_path: Path, write: Writer, name: str) -> None:
    path = tmp_path / name
    write(path)
    write(path)
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("step", ["chmod", "_sync", "replace"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Writer, step: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files if step == "_sync" else Path, step, fail)
    with pytest.raises(OSError, match="No space"):
        write(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_and_name_are_synced_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content"
        seen.append(f"{kind} {'after' if (tmp_path / 'file').exists() else 'before'}")

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "file", "new")
    assert seen == ["content before", "folder after"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664])
@pytest.mark.parametrize("write", WRITERS)
def test_the_mode_of_a_file_is_kept(tmp_path: Path, write: Writer, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("write", WRITERS)
def test_a_new_file_has_the_mode_of_any_other(tmp_path: Path, write: Writer) -> None:
    write(tmp_path / "file")
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("existing", [True, False])
def test_a_link_is_followed(tmp_path: Path, write: Writer, existing: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "target"
    if existing:
        target.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("write", [_text, _bytes])
def test_a_pipe_is_written_to(tmp_path: Path, write: Writer) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(pipe)
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("write", WRITERS)
def test_no_folder_can_lie_in_a_file(tmp_path: Path, write: Writer) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"directory|exists"):
        write(tmp_path / "file" / "below")


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    with write_folder(path) as temporary:
        (temporary / "private").touch(mode=0o600)
        assert not path.exists()
    assert [file.name for file in path.iterdir()] == ["private"]
    (tmp_path / "other").write_text("")
    assert (path / "private").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("full"), ValueError("bad"), KeyboardInterrupt()])
def test_a_failed_folder_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fill() -> None:
        with write_folder(tmp_path / "folder") as temporary:
            (temporary / "half").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fill()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"{}", {}),
        (b"[1, 2.5, null]", [1, 2.5, None]),
        (b'"x"', "x"),
        (b" \n7\n", 7),
        ('{"任务": "心电图"}'.encode(), {"任务": "心电图"}),
        (b"\xef\xbb\xbf{}", {}),
        (b'{"a": {"b": []}}', {"a": {"b": []}}),
        (b"true", True),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_json_is_read(tmp_path: Path, content: bytes, value: object) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    assert load_json(path) == value


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"{'a': 1}",
        b"[1,]",
        b"\x00",
        b'"\xed\xa0\x80"',
        b"{} {}",
        b"\xef\xbb",
        b"nul",
    ],
)
def test_what_is_no_json_is_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError):  # noqa: PT011 - the text is that of the json module
        load_json(path)


@pytest.mark.parametrize("name", ["a.sqlite", "带 空格?.sqlite", "per%20cent.sqlite", "hash#mark.sqlite"])
@pytest.mark.parametrize("settled", [True, False])
def test_a_database_is_read_without_a_trace(tmp_path: Path, name: str, settled: bool) -> None:
    path = tmp_path / name
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE t (x)")
        writer.execute("INSERT INTO t VALUES (7)")
        writer.commit()
        if not settled:
            _read_seven(path)
    _read_seven(path)
    assert list(tmp_path.iterdir()) == [path]


def _read_seven(path: Path) -> None:
    with closing(sqlite3.connect(read_only_address(path), uri=True)) as reader:
        assert reader.execute("SELECT x FROM t").fetchall() == [(7,)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("INSERT INTO t VALUES (8)")


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000, 2**22 - 1, 2**22, 2**22 + 1, 2**23 + 5])
def test_checksums_are_those_of_the_content(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    content = os.urandom(size)
    path.write_bytes(content)
    assert sha256_of(path) == hashlib.sha256(content).hexdigest()
    path.write_bytes(content + b"x")
    assert sha256_of(path) == hashlib.sha256(content + b"x").hexdigest()


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"aa")
    first, times = sha256_of(path), path.stat()
    write_bytes(path, b"bb")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert sha256_of(path) != first
