"""Router choices token by token, in the order of the text."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.errors import ModelError
from medbench.models.routing.counts import RoutingLabel

_ARRAYS = ("phases", "starts", "offsets", "tokens", "choice", "gate")


@dataclass(frozen=True)
class Traces:
    """Choices of M routers for the T tokens of D pieces of text.

    A piece is a run of consecutive tokens of one document and phase: its prompt, the text generated after it,
    or one of the options that were scored.

    Attributes:
        model: Name of the model.
        routers: The M routers: (layer, projection).
        num_experts: E.
        documents: (task, index of the document) of the D pieces.
        phases: [D] 0 for pieces of prompts, 1 for generated ones.
        starts: [D] position of a piece's first token in its text.
        offsets: [D + 1] where each piece begins among the T tokens, and where the last ends.
        tokens: [T] token ids.
        choice: [M, T, k] experts chosen, best first.
        gate: [M, T, k] their gate weights in units of 1/255.
        texts: Text of the tokens by id, if known.
        special: Ids of special tokens, such as chat markers.
    """

    model: str
    routers: tuple[tuple[int, str], ...]
    num_experts: int
    documents: tuple[RoutingLabel, ...]
    phases: NDArray[np.uint8]
    starts: NDArray[np.int32]
    offsets: NDArray[np.int64]
    tokens: NDArray[np.int32]
    choice: NDArray[np.uint8]
    gate: NDArray[np.uint8]
    texts: Mapping[int, str] = field(default_factory=dict)
    special: frozenset[int] = frozenset()

    def select(self, keep: NDArray[np.bool_]) -> Traces:
        """Keep some pieces, [D]."""
        lengths = np.diff(self.offsets)
        inside = np.repeat(keep, lengths)
        return replace(
            self,
            documents=tuple(label for label, kept in zip(self.documents, keep.tolist(), strict=True) if kept),
            phases=self.phases[keep],
            starts=self.starts[keep],
            offsets=np.concatenate([[0], np.cumsum(lengths[keep])]).astype(np.int64),
            tokens=self.tokens[inside],
            choice=self.choice[:, inside],
            gate=self.gate[:, inside],
        )

    def prompts(self) -> Traces:
        """The pieces that are whole prompts: those that two checkpoints have in common."""
        return self.select((self.phases == 0) & (self.starts == 0)).ordered()

    def ordered(self) -> Traces:
        """The pieces sorted by task, document, phase and position."""
        ends = self.offsets
        order = sorted(
            range(len(self.documents)),
            key=lambda d: (
                self.documents[d],
                int(self.phases[d]),
                int(self.starts[d]),
                self.tokens[ends[d] : ends[d + 1]].tolist(),
            ),
        )
        lengths = np.diff(ends)[order]
        place = [np.arange(ends[d], ends[d + 1]) for d in order]
        inside = np.concatenate(place) if place else np.zeros(0, np.int64)
        return replace(
            self,
            documents=tuple(self.documents[d] for d in order),
            phases=self.phases[order],
            starts=self.starts[order],
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            tokens=self.tokens[inside],
            choice=self.choice[:, inside],
            gate=self.gate[:, inside],
        )

    @classmethod
    def join(cls, parts: Sequence[Traces]) -> Traces:
        """Concatenate several traces of one model.

        Raises:
            ModelError: There are none, or they are of different routers.
        """
        if not parts:
            raise ModelError("there are no traces to join")
        first = parts[0]
        if any(
            (part.routers, part.num_experts, part.choice.shape[2])
            != (first.routers, first.num_experts, first.choice.shape[2])
            for part in parts
        ):
            raise ModelError("the traces of different routers cannot be joined")
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return replace(
            first,
            documents=tuple(label for part in parts for label in part.documents),
            phases=np.concatenate([part.phases for part in parts]),
            starts=np.concatenate([part.starts for part in parts]),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            tokens=np.concatenate([part.tokens for part in parts]),
            choice=np.concatenate([part.choice for part in parts], axis=1),
            gate=np.concatenate([part.gate for part in parts], axis=1),
            texts={token: text for part in parts for token, text in part.texts.items()},
            special=frozenset().union(*(part.special for part in parts)),
        )

    def to_bytes(self) -> bytes:
        """A compressed NumPy archive, without pickles."""
        head = {
            "model": self.model,
            "routers": self.routers,
            "num_experts": self.num_experts,
            "documents": self.documents,
            "texts": [[int(token), text] for token, text in sorted(self.texts.items())],
            "special": sorted(int(token) for token in self.special),
        }
        text = json.dumps(head, ensure_ascii=False).encode("utf-8", "surrogatepass")
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        np.savez_compressed(buffer, head=np.frombuffer(text, np.uint8), **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Traces:
        """Read :meth:`to_bytes` back.

        Raises:
            ModelError: The bytes are not a trace, or damaged.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                head: Any = json.loads(archive["head"].tobytes().decode("utf-8", "surrogatepass"))
                arrays = {name: archive[name] for name in _ARRAYS}
            return cls(
                model=str(head["model"]),
                routers=tuple((int(layer), str(name)) for layer, name in head["routers"]),
                num_experts=int(head["num_experts"]),
                documents=tuple((str(task), int(place)) for task, place in head["documents"]),
                texts={int(token): str(text) for token, text in head["texts"]},
                special=frozenset(int(token) for token in head["special"]),
                **arrays,
            )._checked()
        except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError(f"this is no trace, or it is damaged: {error}") from error

    def _checked(self) -> Traces:
        shape = (len(self.routers), len(self.tokens), self.choice.shape[2])
        whole = self.choice.shape == self.gate.shape == shape and self.choice.dtype == np.uint8
        if not whole or (self.choice.size and int(self.choice.max()) >= self.num_experts):
            raise ValueError("the choices do not fit the tokens")
        ranked = np.sort(self.choice, axis=2)
        if not 0 < ranked.shape[2] <= self.num_experts or (ranked[:, :, 1:] == ranked[:, :, :-1]).any():
            raise ValueError("a token chooses an expert twice, or none")
        pieces, ends = len(self.documents), self.offsets
        if (
            ends.shape != (pieces + 1,)
            or ends[0] != 0
            or ends[-1] != len(self.tokens)
            or (np.diff(ends) < 0).any()
        ):
            raise ValueError("the documents do not fit the tokens")
        if self.phases.shape != (pieces,) or self.starts.shape != (pieces,) or (self.phases > 1).any():
            raise ValueError("the pieces do not fit the documents")
        return self
