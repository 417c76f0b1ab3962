"""Do bundled samples repeat sentences of real benchmark files?"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from html import unescape
from pathlib import Path

__all__ = ["borrowed", "windows"]

_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_TAG = re.compile(r"<[^>]+>")


def windows(text: str, width: int) -> Iterator[str]:
    """Every run of `width` characters of a text, line by line."""
    for line in text.splitlines():
        for start in range(len(line) - width + 1):
            yield line[start : start + width]


def _texts(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".xlsx":
            with zipfile.ZipFile(path) as book:
                for name in book.namelist():
                    if name.endswith(".xml"):
                        yield unescape(_TAG.sub("\n", book.read(name).decode("utf-8")))
        elif path.suffix in {".json", ".jsonl", ".csv", ".txt"}:
            raw = path.read_text(encoding="utf-8", errors="replace")
            yield _ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), raw).replace("\\n", "\n")


def borrowed(texts: Iterable[str], folder: Path, width: int = 15) -> set[str]:
    """The runs of `width` characters that texts share with the files below a folder.

    Runs of one word (numbers, lines of dashes) are no sentences and not counted.

    Args:
        texts: What has to be original.
        folder: Where the benchmark files lie (JSON, JSON lines, CSV, text, Excel).
        width: Characters that count as a repetition.
    """
    own = {
        window
        for text in texts
        for window in windows(text, width)
        if " " in window or any("\u4e00" <= character <= "\u9fff" for character in window)
    }
    # Most of the files are English, which Chinese samples cannot repeat.
    english_too = any(window.isascii() for window in own)
    return {
        window
        for text in _texts(folder)
        for line in text.splitlines()
        if english_too or not line.isascii()
        for window in windows(line, width)
        if window in own
    }
