"""Downloads come from a server on the loopback, and nothing but the pinned bytes is kept."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from medbench.data.fetching import fetch, file_url, verify
from medbench.data.registry import PinnedFile
from medbench.errors import DataError

CONTENT = b"question,answer\n" * 1000


class Handler(BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 one list for all requests

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.endswith("moved.csv"):
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/x.csv")
            self.end_headers()
            return
        if "missing" in self.path:
            self.send_error(404)
            return
        body = CONTENT + b"more" if "long" in self.path else CONTENT[:-7] if "short" in self.path else CONTENT
        self.send_response(200)
        # No length: the limit must hold whatever the server announces.
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def pin(path: str, upstream: str = "data/a file.csv", content: bytes = CONTENT) -> PinnedFile:
    return PinnedFile(
        path, hashlib.sha256(content).hexdigest(), len(content), "MIT", "owner/repo", "c" * 40, upstream
    )


def test_files_arrive_verified_and_only_once(server: str, tmp_path: Path) -> None:
    Handler.asked.clear()
    wanted = [pin("exam/test.csv")]
    assert [r.outcome for r in fetch(tmp_path, wanted, base=server)] == ["fetched"]
    assert (tmp_path / "exam" / "test.csv").read_bytes() == CONTENT
    assert [r.outcome for r in fetch(tmp_path, wanted, base=server)] == ["present"]
    assert Handler.asked == [f"/owner/repo/{'c' * 40}/data/a%20file.csv"]
    assert verify(tmp_path, wanted)[0].state == "ok"


@pytest.mark.parametrize(
    ("upstream", "message"),
    [
        ("long.csv", "longer than"),
        ("short.csv", "checksum"),
        ("missing.csv", "Not Found"),
        ("moved.csv", "redirected"),
    ],
)
def test_anything_else_leaves_nothing_behind(
    server: str, upstream: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        list(fetch(tmp_path, [pin("exam/test.csv", upstream)], base=server))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_no_server_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="download failed"):
        list(fetch(tmp_path, [pin("x.csv")], base="http://127.0.0.1:9"))


def test_only_the_web_is_asked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no web address"):
        list(fetch(tmp_path, [pin("x.csv")], base="file:///etc"))


def test_a_different_file_is_not_overwritten(server: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"mine")
    with pytest.raises(DataError, match="in the way"):
        list(fetch(tmp_path, [pin("x.csv")], base=server))
    assert (tmp_path / "x.csv").read_bytes() == b"mine"
    assert verify(tmp_path, [pin("x.csv")])[0].state == "differs"
    list(fetch(tmp_path, [pin("x.csv")], base=server, replace=True))
    assert (tmp_path / "x.csv").read_bytes() == CONTENT


def test_links_in_the_folder_lead_nowhere(server: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "exam").symlink_to(outside)
    with pytest.raises(DataError, match="leads out"):
        list(fetch(folder, [pin("exam/test.csv")], base=server))
    (folder / "x.csv").symlink_to(outside / "x.csv")
    with pytest.raises(DataError, match="leads out"):
        list(fetch(folder, [pin("x.csv")], base=server))
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("path", ["../x.csv", "a/../../x.csv"])
def test_paths_do_not_climb(server: str, path: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with pytest.raises(DataError, match="leads out"):
        list(fetch(folder, [pin(path)], base=server))
    assert not (tmp_path / "x.csv").exists()


def test_files_without_a_repository_are_named(tmp_path: Path) -> None:
    file = PinnedFile("x.csv", "0" * 64, 1, "MIT", note="in an archive")
    assert next(iter(fetch(tmp_path, [file]))) == ("x.csv", "by hand", "in an archive")
    with pytest.raises(DataError, match="no repository"):
        file_url(file)


def test_verify_names_what_is_missing(tmp_path: Path) -> None:
    assert verify(tmp_path, [pin("x.csv")])[0].state == "missing"
    with pytest.raises(DataError, match="does not exist"):
        verify(tmp_path / "nowhere", [pin("x.csv")])
