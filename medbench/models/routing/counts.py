"""Router choices as sums over tokens."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medbench.errors import ModelError
from medbench.models.routing.invariants import RouterSums, find_violation

if TYPE_CHECKING:
    import pandas as pd

# (task, document), the document -1 where a task's documents are counted together.
RoutingLabel = tuple[str, int]

UNLABELED: RoutingLabel = ("", -1)  # of requests that were given no labels

PHASES = ("prompt", "generated")

_INTEGERS = ("tokens", "count", "top1", "near_ties", "coactive")
_FLOATS = ("mass", "prob", "entropy")


@dataclass(frozen=True, slots=True)
class CreditSpan:
    """Consecutive tokens of a forward whose router choices are credited to one owner.

    Attributes:
        owner: Key that the counts are credited to.
        phase: Index in ``PHASES``: 0 for the prompt, 1 for generated tokens.
        start: First token in the pack.
        stop: One past the last.
        times: How often each token counts.
        prefix: Owner of the prefix that the tokens follow, if that was computed once for several owners; its
            counts are credited too, as often.
        grows: Whether the tokens continue those that the owner already has in this phase.
    """

    owner: Hashable
    phase: int
    start: int
    stop: int
    times: int = 1
    prefix: Hashable = None
    grows: bool = False

    def moved(self, by: int) -> CreditSpan:
        """The same tokens ``by`` places later."""
        start, stop = self.start + by, self.stop + by
        return CreditSpan(self.owner, self.phase, start, stop, self.times, self.prefix, self.grows)


@dataclass(frozen=True)
class RoutingCounts:
    """Sums over tokens, in S groups of tokens, L layers, P projections and E experts.

    All fields add up: ``a + b`` are the counts over the tokens of both.

    Attributes:
        labels: The S groups: ((task, document), phase); the phase is ``prompt`` or ``generated``.
        layers: The L layer indices.
        projections: The P projections, among ``gate``, ``up``, ``down``.
        num_experts: E.
        top_k: Experts chosen per token.
        tokens: [S] tokens.
        count: [S, L, P, E] tokens that chose the expert.
        mass: [S, L, P, E] summed gate weights.
        top1: [S, L, P, E] tokens that ranked the expert first.
        prob: [S, L, P, E] summed probabilities of the softmax over all experts.
        entropy: [S, L, P] summed entropies of that softmax, in nats.
        near_ties: [S, L, P] tokens whose logits at ranks k and k + 1 are closer than the recorder's
            threshold.
        coactive: [S, L, P, E, E] tokens that chose both experts; the diagonal is ``count``.
    """

    labels: tuple[tuple[RoutingLabel, str], ...] = ()
    layers: tuple[int, ...] = ()
    projections: tuple[str, ...] = ()
    num_experts: int = 0
    top_k: int = 0
    tokens: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    count: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.int64))
    mass: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0, 0, 0)))
    top1: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.int64))
    prob: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0, 0, 0)))
    entropy: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0, 0)))
    near_ties: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0, 0), np.int64))
    coactive: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0, 0, 0, 0), np.int64))

    def __bool__(self) -> bool:
        return bool(self.labels)

    def __add__(self, other: RoutingCounts) -> RoutingCounts:
        """Counts over the tokens of both.

        Raises:
            ModelError: They come from models with different routers.
        """
        if not self.labels or not other.labels:
            return self if self.labels else other
        if self._shape != other._shape:
            raise ModelError("the routers of different models cannot be counted together")
        labels = tuple(dict.fromkeys((*self.labels, *other.labels)))
        places = {label: place for place, label in enumerate(labels)}
        summed: dict[str, Any] = {}
        for name in (*_INTEGERS, *_FLOATS):
            mine = getattr(self, name)
            total = np.zeros((len(labels), *mine.shape[1:]), mine.dtype)
            for part in (self, other):
                np.add.at(total, [places[label] for label in part.labels], getattr(part, name))
            summed[name] = total
        return replace(self, labels=labels, **summed)

    @property
    def _shape(self) -> tuple[Any, ...]:
        return (self.layers, self.projections, self.num_experts, self.top_k)

    def checked(self) -> RoutingCounts:
        """Return these counts, if they are consistent.

        Raises:
            ModelError: They cannot be sums over tokens; the message says where.
        """
        cells, experts = (len(self.layers), len(self.projections)), self.num_experts
        groups = len(self.labels) * cells[0] * cells[1]

        def flat(values: NDArray[Any], *inner: int) -> NDArray[Any]:
            return values.reshape(groups, *inner)

        found = find_violation(
            RouterSums(
                experts=np.full(groups, experts),
                tokens=np.repeat(self.tokens, cells[0] * cells[1]),
                entropy=flat(self.entropy),
                near_ties=flat(self.near_ties),
                count=flat(self.count, experts),
                mass=flat(self.mass, experts),
                top1=flat(self.top1, experts),
                prob=flat(self.prob, experts),
                coactive=flat(self.coactive, experts, experts),
            ),
            self.top_k,
        )
        if found is None:
            return self
        label, layer, projection = np.unravel_index(found.group, (len(self.labels), *cells))
        (task, document), phase = self.labels[label]
        raise ModelError(
            f"router counts do not add up: {found.what}",
            where=f"{task}, document {document}, {phase}, layer {self.layers[layer]}, "
            f"{self.projections[projection]}",
        )

    def to_frame(self) -> pd.DataFrame:
        """A row per group, layer, projection and expert: the columns of ``routing.parquet``."""
        import pandas as pd

        groups, layers, projections, experts = self.count.shape
        width = layers * projections * experts

        def spread(values: NDArray[Any], times: int) -> NDArray[Any]:
            return np.repeat(values.reshape(-1), times)

        coactive = self.coactive.reshape(-1, experts) if experts else self.coactive.reshape(0, 0)
        return pd.DataFrame(
            {
                "task": pd.Categorical(
                    spread(np.array([task for (task, _), _ in self.labels], object), width)
                ),
                "document": spread(np.array([doc for (_, doc), _ in self.labels], np.int32), width),
                "phase": pd.Categorical(
                    spread(np.array([phase for _, phase in self.labels], object), width), categories=PHASES
                ),
                "layer": np.tile(np.repeat(np.array(self.layers, np.int16), projections * experts), groups),
                "projection": pd.Categorical(
                    np.tile(np.repeat(np.array(self.projections, object), experts), groups * layers)
                ),
                "expert": np.tile(np.arange(experts, dtype=np.int16), groups * layers * projections),
                "tokens": spread(self.tokens, width),
                "count": self.count.reshape(-1),
                "mass": self.mass.reshape(-1),
                "top1": self.top1.reshape(-1),
                "prob": self.prob.reshape(-1),
                "entropy": spread(self.entropy, experts),
                "near_ties": spread(self.near_ties, experts),
                "coactive": list(coactive),
            }
        )

    def to_bytes(self) -> bytes:
        """A compressed NumPy archive, without pickles."""
        head = {
            "labels": [[task, doc, phase] for (task, doc), phase in self.labels],
            "layers": self.layers,
            "projections": self.projections,
            "num_experts": self.num_experts,
            "top_k": self.top_k,
        }
        text = np.frombuffer(json.dumps(head, ensure_ascii=False).encode("utf-8"), np.uint8)
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {name: getattr(self, name) for name in (*_INTEGERS, *_FLOATS)}
        np.savez_compressed(buffer, head=text, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> RoutingCounts:
        """Read :meth:`to_bytes` back.

        Raises:
            ModelError: The bytes are not counts, or damaged, or the counts are inconsistent.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                head = json.loads(archive["head"].tobytes().decode("utf-8"))
                arrays = {name: archive[name] for name in (*_INTEGERS, *_FLOATS)}
            return (
                cls(
                    labels=tuple(((str(task), int(doc)), str(phase)) for task, doc, phase in head["labels"]),
                    layers=tuple(head["layers"]),
                    projections=tuple(head["projections"]),
                    num_experts=int(head["num_experts"]),
                    top_k=int(head["top_k"]),
                    **arrays,
                )
                ._fitting()
                .checked()
            )
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError("these are not router counts, or they are damaged") from error

    def _fitting(self) -> RoutingCounts:
        experts, cells = self.num_experts, (len(self.layers), len(self.projections))
        inner: Mapping[str, Sequence[int]] = {
            "tokens": (),
            "entropy": cells,
            "near_ties": cells,
            "coactive": (*cells, experts, experts),
            **dict.fromkeys(("count", "mass", "top1", "prob"), (*cells, experts)),
        }
        for name, shape in inner.items():
            array = getattr(self, name)
            expected = (len(self.labels), *shape) if self.labels else array.shape
            wanted = np.int64 if name in _INTEGERS else np.float64
            if array.shape != expected or array.dtype != wanted:
                raise ValueError(f"{name} is {array.dtype}{array.shape}, not {expected}")
        return self
