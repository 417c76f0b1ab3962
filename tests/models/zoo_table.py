"""The table of architectures in the documentation: which way each runs, found by trying.

``python -m tests.models.zoo_table`` tries all of them, each in a process of its own, and writes the table.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import tempfile
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from tests.models.zoo import architectures
from tests.models.zoo_trial import BUDGETS, STEPS, Trial, try_architecture

__all__ = ["TABLE", "Row", "read_rows", "written_for"]

TABLE = Path(__file__).resolve().parents[2] / "docs" / "architectures.md"
_TIMEOUT = 120  # seconds
_ROW = re.compile(r"\| `([^`]+)` \| ([a-z ]+) \| (.*) \|")
_WAYS = {
    "packed": "batched",
    "reference": "one row at a time",
    "refused": "refused",
    "not built": "not tried",
    "wrong": "wrong",
}
_MEANING = {
    "batched": "by the packed engine",
    "one row at a time": "by transformers' own forward",
    "refused": "with the reason given",
    "not tried": "since transformers itself makes, stores or runs no tiny model of them",
    "wrong": "whose answers differ from the model's own",
}


class Row(NamedTuple):
    """What the table says of an architecture."""

    architecture: str
    way: str
    why: str

    @classmethod
    def of(cls, trial: Trial) -> Row:
        """The row of a trial, without what hangs on the machine."""
        why = re.sub(r" \((?:scored|continued): [^)]*\)", "", trial.why).replace("|", "/")
        return cls(trial.architecture, _WAYS[trial.verdict], why)


def read_rows() -> dict[str, Row]:
    """The rows of the table, by architecture."""
    found = (_ROW.fullmatch(line) for line in TABLE.read_text(encoding="utf-8").splitlines())
    return {match[1]: Row(match[1], match[2], match[3]) for match in found if match}


def written_for() -> str:
    """The version of transformers that the table was written with."""
    match = re.search(r"transformers (\d[\w.]*)", TABLE.read_text(encoding="utf-8"))
    assert match is not None
    return match[1]


_PAGE = """# Architectures
The {total} architectures that transformers {version} has a causal language model for. Of each a tiny
checkpoint with random weights was saved, loaded as a run loads it, and held against transformers' own forward
over whole sequences, one row at a time: log-probabilities within 1e-4, with shared prefixes, several
continuations and contexts beyond every window, and {steps} greedy tokens; both with {least} and with {most}
tokens a batch.

{summary}

Which way a model goes is found anew whenever one is loaded, by trying ([models.md](models.md)). A
configuration can send it the other way: caps on logits, biases within attention.
`python -m tests.models.zoo_table` writes this page.

| architecture | runs | why |
|---|---|---|
{rows}
"""


def _text(rows: list[Row]) -> str:
    from transformers import __version__

    counts = Counter(row.way for row in rows)
    return _PAGE.format(
        total=len(rows),
        version=__version__,
        steps=STEPS,
        least=BUDGETS[0],
        most=BUDGETS[1],
        summary="\n".join(f"- **{way}**: {counts[way]}, {_MEANING[way]}" for way in _MEANING if counts[way]),
        rows="\n".join(f"| `{row.architecture}` | {row.way} | {row.why} |" for row in rows),
    )


def _try_apart(architecture: str) -> Trial:
    """Try an architecture in a process of its own, which may take too long or end."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(architecture, theirs))
    process.start()
    theirs.close()
    try:
        trial: Trial = (
            ours.recv()
            if ours.poll(_TIMEOUT)
            else Trial(architecture, "not built", f"over {_TIMEOUT} seconds")
        )
    except EOFError:
        trial = Trial(architecture, "not built", "the process ended")
    process.kill()
    process.join()
    return trial


def _report(architecture: str, to: Connection) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    with tempfile.TemporaryDirectory() as folder:
        to.send(try_architecture(architecture, Path(folder) / "model"))


def main() -> None:
    """Try all architectures and write the table."""
    rows = []
    for name in architectures():
        trial = _try_apart(name)
        sys.stdout.write(f"{name}: {trial.verdict}, {trial.off:.1e} off. {trial.why}\n")
        sys.stdout.flush()
        rows.append(Row.of(trial))
    TABLE.write_text(_text(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
