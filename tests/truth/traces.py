"""What routers chose, token by token, and everything that can be counted from that."""

from __future__ import annotations

import io
import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

Router: TypeAlias = tuple[int, str]
Owner: TypeAlias = tuple[str, int]


@dataclass(frozen=True)
class Piece:
    """Neighboring tokens of one document and phase.

    Attributes:
        owner: Task and place of the document.
        phase: ``prompt`` or ``generated``.
        start: Place of the first token in its text.
        tokens: Their ids.
        chosen: For each router and token the experts, best first.
    """

    owner: Owner
    phase: str
    start: int
    tokens: list[int]
    chosen: list[list[list[int]]]


@dataclass
class Counts:
    """Sums over the tokens of documents: D documents, R routers, E experts.

    What a trace does not hold (probabilities, entropies, ties) is taken from the recorded sums.

    Attributes:
        owners: The documents.
        chosen: ``[D, R, E]`` tokens that chose an expert.
        tokens: ``[D]`` tokens.
        prob: ``[D, R, E]`` summed probabilities.
        entropy: ``[D, R]`` summed entropies.
        ties: ``[D, R]`` tokens with a near tie.
    """

    owners: list[Owner]
    chosen: Any
    tokens: Any
    prob: Any
    entropy: Any
    ties: Any

    def keep(self, wanted: Callable[[Owner], bool]) -> Counts:
        """Some of the documents."""
        places = [i for i, owner in enumerate(self.owners) if wanted(owner)]
        parts = (self.chosen, self.tokens, self.prob, self.entropy, self.ties)
        return Counts([self.owners[i] for i in places], *(part[places] for part in parts))


class Trace:
    """The traces of a run with ``--routing tokens``.

    Args:
        run: Its folder.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.pieces: list[Piece] = []
        self.words = json.loads((run / "vocabulary.json").read_text(encoding="utf-8"))
        address = f"{(run / 'responses.sqlite').resolve().as_uri()}?immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as store:
            for (blob,) in store.execute("SELECT trace FROM traces"):
                self._read(blob)
        assert {piece.owner[0] for piece in self.pieces} <= set(self.words["tasks"])

    def _read(self, blob: bytes) -> None:
        with np.load(io.BytesIO(blob), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        head = json.loads(arrays["head"].tobytes())
        self.routers: list[Router] = [(layer, name) for layer, name in head["routers"]]
        self.experts: int = head["num_experts"]
        self.top_k: int = arrays["choice"].shape[2]
        ends = arrays["offsets"].tolist()
        for i, (task, document) in enumerate(head["documents"]):
            inside = slice(ends[i], ends[i + 1])
            self.pieces.append(
                Piece(
                    (task, document),
                    ("prompt", "generated")[int(arrays["phases"][i])],
                    int(arrays["starts"][i]),
                    arrays["tokens"][inside].tolist(),
                    arrays["choice"][:, inside].tolist(),
                )
            )

    @cached_property
    def recorded(self) -> pd.DataFrame:
        """The sums as they were recorded."""
        return pd.read_parquet(self.run / "routing.parquet")

    def counts(self, phase: str | None = None) -> Counts:
        """Count token by token.

        Args:
            phase: Only tokens of this phase.
        """
        chosen: dict[Owner, Any] = {}
        tokens: dict[Owner, int] = defaultdict(int)
        for piece in self.pieces:
            if phase not in (None, piece.phase):
                continue
            mine = chosen.setdefault(piece.owner, np.zeros((len(self.routers), self.experts)))
            tokens[piece.owner] += len(piece.tokens)
            for r, row in enumerate(piece.chosen):
                for experts in row:
                    for expert in experts:
                        mine[r, expert] += 1
        owners = sorted(owner for owner in chosen if tokens[owner])
        prob, entropy, ties = self._weighed(owners, phase)
        sizes = np.array([tokens[owner] for owner in owners], dtype=float)
        return Counts(owners, np.stack([chosen[owner] for owner in owners]), sizes, prob, entropy, ties)

    def _weighed(self, owners: list[Owner], phase: str | None) -> tuple[Any, Any, Any]:
        shape = (len(owners), len(self.routers), self.experts)
        prob, entropy, ties = np.zeros(shape), np.zeros(shape[:2]), np.zeros(shape[:2])
        frame = self.recorded if phase is None else self.recorded[self.recorded["phase"] == phase]
        place = {owner: i for i, owner in enumerate(owners)}
        columns = ("task", "document", "layer", "projection", "expert", "prob", "entropy", "near_ties")
        for row in zip(*(frame[name] for name in columns), strict=True):
            d, r = place[str(row[0]), int(row[1])], self.routers.index((int(row[2]), str(row[3])))
            prob[d, r, row[4]] += row[5]
            if row[4] == 0:
                entropy[d, r] += row[6]
                ties[d, r] += row[7]
        return prob, entropy, ties

    def hold(self) -> int:
        """Compare the recorded sums with the trace, number by number, and return how many there are."""
        seen: dict[tuple[Any, ...], Any] = {}
        for piece in self.pieces:
            for r, row in enumerate(piece.chosen):
                key = (*piece.owner, piece.phase, *self.routers[r])
                pairs = seen.setdefault(key, np.zeros((self.experts + 1, self.experts)))
                for experts in row:
                    pairs[-1, experts[0]] += 1
                    for one in experts:
                        for other in experts:
                            pairs[one, other] += 1
        compared = 0
        recorded: list[dict[Any, Any]] = self.recorded.to_dict("records")
        for sums in recorded:
            key = tuple(sums[name] for name in ("task", "document", "phase", "layer", "projection"))
            pairs, expert = seen[key], sums["expert"]
            assert sums["coactive"].tolist() == pairs[expert].tolist(), (key, expert)
            expected = (pairs[expert, expert], pairs[-1, expert], pairs[-1].sum())
            assert (sums["count"], sums["top1"], sums["tokens"]) == expected, (key, expert)
            assert 0 <= sums["prob"] <= sums["tokens"] * (1 + 1e-6), (key, expert)
            assert -1e-6 <= sums["entropy"] <= sums["tokens"] * np.log(self.experts) * (1 + 1e-6), (
                key,
                expert,
            )
            assert 0 <= sums["near_ties"] <= sums["tokens"], (key, expert)
            compared += 3 + self.experts
        cells = self.recorded[self.recorded["expert"] == 0]
        assert len(cells) == sum(1 for pairs in seen.values() if pairs[-1].sum())
        return compared
