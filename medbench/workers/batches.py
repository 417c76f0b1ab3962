"""Batches: the requests that a worker gets at once, and their cost.

Batches are formed from all requests of a run before any is answered; those with stored answers are left out
afterwards. They do not depend on timing, nor on the workers, nor (up to 8 workers, up to 64, …) on their
number: a resumed run, a retried batch and a run with more workers add the same numbers in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from medbench.models.harness.answers import Answer

# Batches are formed as if for 8, 64, 512 … workers.
_WORKERS_STEP = 8
# Batches per worker: the last ones then take a few percent of the total time.
_PER_WORKER = 16
_LEAST, _MOST = 2**13, 2**18  # tokens; one forward pass of the default budget, and minutes of a large model
_BYTES_PER_TOKEN = 4  # of UTF-8: English and Chinese alike with Qwen's tokenizer
_DEFAULT_LIMIT = 256


@dataclass(frozen=True)
class Batch:
    """Requests of one kind that one worker answers, all those of a document together.

    Attributes:
        number: Identifies the batch.
        kind: ``loglikelihood``, ``loglikelihood_rolling`` or ``generate_until``.
        keys: Their keys in the store.
        requests: lm-eval's requests.
        cost: Expected tokens.
        kept: First passes that an earlier attempt left in the store, by their keys.
    """

    number: int
    kind: str
    keys: tuple[str, ...]
    requests: tuple[Instance, ...]
    cost: int
    kept: Mapping[str, Answer] = field(default_factory=dict)

    @property
    def documents(self) -> int:
        """Documents asked about."""
        return len({(request.task_name, request.doc_id) for request in self.requests})

    def only(self, keys: Mapping[str, object]) -> Batch:
        """The part of the batch with these keys."""
        pairs = [(key, request) for key, request in zip(self.keys, self.requests, strict=True) if key in keys]
        share = len(pairs) / max(1, len(self.keys))
        return replace(
            self,
            keys=tuple(key for key, _ in pairs),
            requests=tuple(request for _, request in pairs),
            cost=round(self.cost * share),
        )

    def by_task(self) -> list[Batch]:
        """A batch for each of the tasks."""
        tasks: dict[str | None, dict[str, None]] = {}
        for key, request in zip(self.keys, self.requests, strict=True):
            tasks.setdefault(request.task_name, {})[key] = None
        return [self.only(keys) for keys in tasks.values()]


@dataclass
class _Document:
    """The requests of one document, which share its prompt."""

    keys: list[str] = field(default_factory=list)
    requests: list[Instance] = field(default_factory=list)
    cost: int = 0


def cut_batches(
    requests: Mapping[str, Sequence[Instance]], keys: Mapping[str, Sequence[str]], workers: int
) -> list[Batch]:
    """Divide requests into batches.

    Documents of a task stay in order, so that those with the same examples share a batch. Tasks with the
    most expensive documents come first; a batch spans several tasks only if they are small.

    Args:
        requests: lm-eval's requests by kind.
        keys: Their keys.
        workers: Number of workers.

    Returns:
        The batches, the most expensive first.
    """
    tasks = {kind: _documents(kind, requests[kind], keys[kind]) for kind in requests}
    total = sum(document.cost for groups in tasks.values() for group in groups for document in group)
    level = _WORKERS_STEP
    while level < workers:
        level *= _WORKERS_STEP
    target = max(_LEAST, min(_MOST, total // (level * _PER_WORKER)))
    batches: list[Batch] = []
    for kind, groups in tasks.items():
        for part in _cut(sorted(groups, key=_mean_cost, reverse=True), target):
            batches.append(
                Batch(
                    len(batches),
                    kind,
                    tuple(key for document in part for key in document.keys),
                    tuple(request for document in part for request in document.requests),
                    sum(document.cost for document in part),
                )
            )
    return sorted(batches, key=lambda batch: -batch.cost)


def document_cost(kind: str, requests: Sequence[Instance]) -> int:
    """Expected tokens of the requests of one document: its prompts, each once, and what follows them.

    An answer counts with its limit: most are shorter, but generating a token takes longer than reading one.
    """
    read = _tokens({request.args[0] for request in requests})
    if kind == "loglikelihood":
        return read + _tokens(str(request.args[1]) for request in requests) + 1
    if kind == "generate_until":
        return read + sum(int(_limit(request.args[1])) for request in requests)
    return read + 1


def _tokens(texts: Iterable[str]) -> int:
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) // _BYTES_PER_TOKEN


def _limit(kwargs: Mapping[str, object]) -> int:
    value = kwargs.get("max_gen_toks", _DEFAULT_LIMIT)
    return value if isinstance(value, int) else _DEFAULT_LIMIT


def _documents(kind: str, requests: Sequence[Instance], keys: Sequence[str]) -> list[list[_Document]]:
    """The documents of each task, in order."""
    tasks: dict[str | None, dict[int | None, _Document]] = {}
    for key, request in zip(keys, requests, strict=True):
        documents = tasks.setdefault(request.task_name, {})
        document = documents.setdefault(request.doc_id, _Document())
        document.keys.append(key)
        document.requests.append(request)
    groups = [list(documents.values()) for documents in tasks.values()]
    for group in groups:
        for document in group:
            document.cost = document_cost(kind, document.requests)
    return groups


def _mean_cost(group: Sequence[_Document]) -> float:
    return sum(document.cost for document in group) / len(group)


def _cut(groups: Sequence[Sequence[_Document]], target: int) -> Iterator[list[_Document]]:
    """Parts of about ``target`` tokens; a task begins a new part unless the current one is below half."""
    part: list[_Document] = []
    cost = 0
    for group in groups:
        if 2 * cost >= target:
            yield part
            part, cost = [], 0
        for document in group:
            if part and cost + document.cost > target:
                yield part
                part, cost = [], 0
            part.append(document)
            cost += document.cost
    if part:
        yield part
