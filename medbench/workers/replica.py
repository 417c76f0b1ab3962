"""A worker: loads the model once, then answers batches.

Errors are not raised in the driver; they are part of the report, as data.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.errors import MedbenchError, ModelError
from medbench.models.checkpoints.chat import AS_TEMPLATE_SAYS, Thinking
from medbench.models.harness.answers import Answer, MemoryStore
from medbench.models.routing.traces import Traces
from medbench.models.source import ModelSource
from medbench.version import __version__
from medbench.workers.notices import Notice, collected

if TYPE_CHECKING:
    from medbench.models import MedbenchLM
    from medbench.models.routing.counts import RoutingCounts
    from medbench.workers.batches import Batch

_WEIGHTS = ("*.safetensors", "*.bin")


@dataclass(frozen=True)
class ReplicaSpec:
    """What a worker needs so that its answers equal those of any other worker.

    Attributes:
        source: Where the model comes from, as every worker's machine knows it; its device is ``cpu`` or
            ``cuda``, which GPU is decided by what the worker is given.
        identity: Digest of the checkpoint that the run was planned with.
        max_batch_tokens: Tokens per forward, or ``auto``.
        routing: Level of detail of the router records.
        thinking: Whether the model reasons, and how it marks its reasoning.
        add_bos_token: Whether special tokens go in front of prompts; ``None`` leaves it to the tokenizer.
        threads: Threads of a worker on a CPU; ``None``: torch's default.
        per_machine: Workers that may share a machine and its memory.
        split: Whether the layers are distributed over all GPUs that a worker sees.
        home: Name of the machine that ``identity`` was computed on.
        versions: Versions of medbench, torch and transformers on that machine.
    """

    source: ModelSource
    identity: str
    max_batch_tokens: int | str
    routing: str
    thinking: Thinking = AS_TEMPLATE_SAYS
    add_bos_token: bool | None = None
    threads: int | None = None
    per_machine: int = 1
    split: bool = False
    home: str = field(default_factory=platform.node)
    versions: Mapping[str, str] = field(default_factory=lambda: _versions())


@dataclass(frozen=True)
class Failure:
    """An error as data that can be sent between processes.

    Attributes:
        what: What went wrong, as in :class:`~medbench.errors.MedbenchError`.
        where: Where it did.
        hint: What to do.
    """

    what: str
    where: str | None = None
    hint: str | None = None

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """An error as data."""
        if isinstance(error, MedbenchError):
            return cls(error.what, error.where, error.hint)
        return cls(f"{type(error).__name__}: {error}")

    def error(self) -> ModelError:
        """The data as an error."""
        return ModelError(self.what, where=self.where, hint=self.hint)


@dataclass(frozen=True)
class Loaded:
    """Outcome of loading the model.

    Attributes:
        info: The model and engine (:meth:`~medbench.models.harness.adapter.MedbenchLM.get_model_info`).
        seconds: Duration of loading.
        failure: Why the model cannot be loaded, if it cannot.
    """

    info: Mapping[str, Any]
    seconds: float
    failure: Failure | None = None


@dataclass(frozen=True)
class BatchResult:
    """Outcome of a batch.

    Attributes:
        answers: By key; first passes whose second is missing or follows are among them.
        routing: Router counts of the forwards that gave them.
        seconds: Duration.
        failure: Reason for missing answers.
        notices: Warnings logged meanwhile.
        traces: Choices of the routers token by token, if recorded.
        tokens: Tokens that passed through the model.
    """

    answers: Mapping[str, Answer]
    routing: RoutingCounts | None
    seconds: float
    failure: Failure | None = None
    notices: Sequence[Notice] = ()
    traces: Traces | None = None
    tokens: int = 0


class _Outbox:
    """The answer store of one batch: answers that came with it, and answers to send back."""

    def __init__(self) -> None:
        self.open({})

    def open(self, kept: Mapping[str, Answer]) -> None:
        """Begin a batch."""
        self._received, self._outgoing = MemoryStore(), MemoryStore()
        self._received.put(kept)

    def get(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Answers that came with the batch."""
        return self._received.get(keys)

    def put(
        self,
        answers: Mapping[str, Answer],
        routing: RoutingCounts | None = None,
        traces: Traces | None = None,
    ) -> None:
        """Keep answers to be sent back."""
        self._outgoing.put(answers, routing, traces)

    def contents(self) -> tuple[dict[str, Answer], RoutingCounts | None, Traces | None]:
        """Everything to send back."""
        traces = self._outgoing.traces()
        return (
            self._outgoing.answers(),
            self._outgoing.routing() or None,
            Traces.join(traces) if traces else None,
        )


class Replica:
    """A model that answers batches.

    Args:
        spec: Which model, and how it runs.
        collect_warnings: Whether to send warnings with the results; not needed in the driver's own process.
    """

    def __init__(self, spec: ReplicaSpec, *, collect_warnings: bool = True) -> None:
        self._spec = spec
        self._collect_warnings = collect_warnings
        self._outbox = _Outbox()
        self._lm: MedbenchLM | None = None
        self._loaded: Loaded | None = None
        self._stamps: dict[str, tuple[int, int] | None] = {}

    def load(self) -> Loaded:
        """Load the model; later calls return the first outcome."""
        if self._loaded is None:
            started = time.monotonic()
            self._stamps = _stamps(self._spec.source)
            try:
                self._lm = _open(self._spec, self._outbox)
                info, failure = self._lm.get_model_info(), None
            except Exception as error:  # noqa: BLE001 - whatever it is, the driver is told
                info, failure = {}, Failure.of(error)
            self._loaded = Loaded(info, time.monotonic() - started, failure)
        return self._loaded

    def process(self) -> int:
        """The worker's process id."""
        return os.getpid()

    def answer(self, batch: Batch) -> BatchResult | None:
        """Answer a batch as far as possible; ``None`` in a process that has not loaded the model."""
        if self._lm is None:
            return None
        started = time.monotonic()
        self._outbox.open(batch.kept)
        before = self._lm.engine.tokens
        failure = None
        notices: list[Notice] = []
        with collected(notices) if self._collect_warnings else nullcontext():
            try:
                self._lm.answer(batch.kind, batch.requests, batch.keys)
            except Exception as error:  # noqa: BLE001 - a device or a tokenizer may raise anything
                failure = Failure.of(error)
        if _stamps(self._spec.source) != self._stamps:  # the weights may be memory-mapped files
            changed = "the checkpoint changed while it was in use"
            return BatchResult(
                {}, None, 0.0, Failure(changed, str(self._spec.source.path), "run again with --fresh")
            )
        answers, routing, traces = self._outbox.contents()
        return BatchResult(
            answers,
            routing,
            time.monotonic() - started,
            failure,
            tuple(notices),
            traces,
            self._lm.engine.tokens - before,
        )


def _stamps(source: ModelSource) -> dict[str, tuple[int, int] | None]:
    """Size and modification time of weights that a worker on a CPU keeps memory-mapped."""
    folders = [Path(path) for path in (source.path, source.base) if path and source.device == "cpu"]
    files = [file for folder in folders for kind in _WEIGHTS for file in sorted(folder.glob(kind))]
    return {str(file): _stamp(file) for file in files}


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None  # it was deleted
    return status.st_size, status.st_mtime_ns


def _versions() -> dict[str, str]:
    """Versions that answers depend on, without their hardware builds."""
    found = {name: version(name).partition("+")[0] for name in ("torch", "transformers")}
    return {"medbench": __version__, **found}


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _open(spec: ReplicaSpec, outbox: _Outbox) -> MedbenchLM:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    from medbench.models import MedbenchLM
    from medbench.models.architecture.memory import share_memory

    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    share_memory(spec.per_machine)
    if (found := _versions()) != spec.versions:
        raise ModelError(
            f"a worker's machine has {_listed(found)}, the driver's {_listed(spec.versions)}",
            hint="install the same versions on every machine: pip install -c constraints.txt",
        )
    if platform.node() != spec.home and spec.source.fingerprint()["model"] != spec.identity:
        raise ModelError(
            "the checkpoint on a worker's machine is not the one that the run was planned with",
            where=str(spec.source.path),
            hint="copy it again, or store it where all machines see the same files",
        )
    return MedbenchLM(
        model=spec.source.model(mapped=True, spread=spec.split),
        tokenizer=spec.source.tokenizer(),
        max_batch_tokens=spec.max_batch_tokens,
        store=outbox,
        routing=spec.routing,
        thinking=spec.thinking,
        add_bos_token=spec.add_bos_token,
    )
