"""The durable response store: every answered request, committed as its batch ends.

One SQLite file in WAL mode per run. A row of ``answers`` is keyed by the request (task, document, arguments,
seed; see :mod:`medbench.models.harness.answers`), and the file as a whole belongs to one model fingerprint,
so that no model is ever given another's answers. The router counts and traces of a batch are appended in the
transaction of its answers: whatever moment the process dies at, all are there or none is.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.errors import RunError

if TYPE_CHECKING:
    from medbench.models.harness.answers import Answer
    from medbench.models.routing.counts import RoutingCounts
    from medbench.models.routing.traces import Traces

_SCHEMA_VERSION = "1"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, answer TEXT NOT NULL, answered REAL NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS routing (
    batch INTEGER PRIMARY KEY, counts BLOB NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS traces (
    batch INTEGER PRIMARY KEY, trace BLOB NOT NULL, checksum INTEGER NOT NULL
);
"""
# What the machine may fail at without the file being at fault.
_NOT_THE_FILE = ("unable to open", "readonly", "read-only", "locked", "full", "disk i/o", "permission")
# SQLite quotes what it stumbles over, and Python cannot read the message where that is no text.
_DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
_KEYS_PER_QUERY = 500  # SQLite's oldest default allows 999 variables in a statement


class StoreError(RunError):
    """The store itself failed: no task can go on."""


class ResponseStore:
    """Answers of one model to the requests of one run.

    Args:
        path: The SQLite file; created when missing.
        model: Fingerprint of the model the answers belong to.

    Raises:
        StoreError: The file belongs to another model, or cannot be opened or written.
    """

    def __init__(self, path: Path, *, model: str) -> None:
        self.path = path
        self.set_aside: Path | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = _open(path)
        except _DAMAGE as error:
            if any(sign in str(error).lower() for sign in _NOT_THE_FILE):
                raise _failure(path, error) from error
            self.set_aside = _set_aside(path)
            self._connection = _open(path)
        self._claim(model)

    def _claim(self, model: str) -> None:
        expected = {"model": model, "schema": _SCHEMA_VERSION}
        with self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", list(expected.items()))
        found = dict(self._connection.execute("SELECT name, value FROM meta"))
        if found != expected:
            self.close()
            raise StoreError(
                "the stored answers belong to another model or an older medbench",
                where=str(self.path),
                hint="run with --fresh to start over",
            )

    def get(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Return the answers already stored, by key; keys without an answer are absent."""
        from medbench.models.harness.answers import Answer

        rows = self._rows("key, answer", keys)
        return {key: Answer.from_json(json.loads(text)) for key, text in rows}

    def known(self, keys: Sequence[str]) -> set[str]:
        """Return those of the keys that have an answer."""
        return {key for (key,) in self._rows("key", keys)}

    def answered(self) -> set[str]:
        """Return the keys of all requests that have an answer; first passes are no requests of their own."""
        rows = self._connection.execute("SELECT key FROM answers WHERE key NOT LIKE '%/first'")
        return {key for (key,) in rows}

    def _rows(self, columns: str, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            chunk = keys[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT {columns} FROM answers WHERE key IN ({marks})"  # noqa: S608 - only question marks
            yield from self._connection.execute(query, chunk)

    def put(
        self,
        answers: Mapping[str, Answer],
        routing: RoutingCounts | None = None,
        traces: Traces | None = None,
    ) -> None:
        """Store a batch of answers and what routers did in the forwards that gave them, in one transaction.

        Raises:
            StoreError: The disk is full or the file cannot be written; nothing of the batch was stored.
        """
        now = time.time()
        texts = {key: json.dumps(answer.to_json(), ensure_ascii=False) for key, answer in answers.items()}
        rows = [(key, text, now, _checksum(key + text)) for key, text in texts.items()]
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", rows)
                for table, column, part in (("routing", "counts", routing), ("traces", "trace", traces)):
                    if part is not None:
                        blob = part.to_bytes()
                        self._connection.execute(
                            f"INSERT INTO {table} ({column}, checksum) VALUES (?, ?)",  # noqa: S608 - named above
                            (blob, _checksum(blob)),
                        )
        except sqlite3.Error as error:
            raise _failure(self.path, error) from error

    def routing(self) -> Iterable[RoutingCounts]:
        """Yield the router counts of every committed batch.

        Their order does not depend on when they were committed: sums are the same to the last bit.
        """
        from medbench.models.routing.counts import RoutingCounts

        for (blob,) in self._connection.execute("SELECT counts FROM routing ORDER BY checksum, batch"):
            yield RoutingCounts.from_bytes(blob)

    def traces(self) -> Iterable[Traces]:
        """Yield the traces of every committed batch."""
        from medbench.models.routing.traces import Traces

        for (blob,) in self._connection.execute("SELECT trace FROM traces ORDER BY batch"):
            yield Traces.from_bytes(blob)

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT COUNT(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def __enter__(self) -> ResponseStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        # FULL: a committed batch survives a power cut, as far as the disk keeps its word on fsync.
        connection.execute("PRAGMA synchronous=FULL")
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"integrity check: {verdict}")
        connection.executescript(_SCHEMA)
        _verify_rows(connection)
    except (sqlite3.Error, UnicodeDecodeError):
        connection.close()
        raise
    return connection


def _verify_rows(connection: sqlite3.Connection) -> None:
    """SQLite notices damage to its structure, not to what is stored; the checksums notice that.

    Raises:
        sqlite3.DatabaseError: A row is not what was written.
    """
    for key, text, checksum in connection.execute("SELECT key, answer, checksum FROM answers"):
        if not isinstance(text, str) or _checksum(f"{key}{text}") != checksum:
            raise sqlite3.DatabaseError(f"checksum of answer {key}")
    for table, column in (("routing", "counts"), ("traces", "trace")):
        query = f"SELECT batch, {column}, checksum FROM {table}"  # noqa: S608 - named above
        for batch, blob, checksum in connection.execute(query):
            if not isinstance(blob, bytes) or _checksum(blob) != checksum:
                raise sqlite3.DatabaseError(f"checksum of {table} batch {batch}")


def _checksum(content: str | bytes) -> int:
    return zlib.crc32(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))


def _set_aside(path: Path) -> Path:
    """Move a damaged store (with its log) out of the way, keeping it for whoever wants to look."""
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(target)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return target


def _failure(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"the response store cannot be used: {error}",
        where=str(path),
        hint="check permissions and free space; the same command goes on where it stopped",
    )
