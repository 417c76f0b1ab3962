"""Log-likelihoods of continuations: every distinct token computed once, the head on scored tokens only.

Requests with the same context make a *family*: one segment with the context and, behind it, each continuation
but for its last token. Families with a long common prefix go on from keys computed once.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from medbench.models.architecture.memory import is_out_of_memory, release_memory
from medbench.models.engines.native.failures import FailedRequest, failure
from medbench.models.engines.native.families import Family, ScoringPrefix, group_requests
from medbench.models.engines.native.forward import PackedModel
from medbench.models.engines.native.packing import KeyValues, Pack, Segment, tree_mask
from medbench.models.routing.counts import RoutingLabel
from medbench.models.routing.recorder import Owned, Recorder

__all__ = ["Score", "ScoreCallback", "ScoringPass", "count_owners"]


class Score(NamedTuple):
    """How likely a continuation is.

    Attributes:
        logprob: Summed log-probability of its tokens, in nats.
        is_greedy: Whether no token is likelier than any of its tokens in their places.
    """

    logprob: float
    is_greedy: bool


# (indices of the requests that a batch answered, their scores)
ScoreCallback = Callable[[Sequence[int], Sequence[Score]], None]


class _Target(NamedTuple):
    """A token to score: the pack's token that predicts it, its id, and the option it belongs to."""

    place: int
    token: int
    option: int


class ScoringPass:
    """Scores requests batch by batch.

    Args:
        model: The model.
        recorder: Counts router choices.
        max_batch_tokens: Tokens per forward; one family may be longer.
        share_prefixes: Whether prefixes common to several contexts are computed once.
    """

    def __init__(
        self, model: PackedModel, recorder: Recorder, max_batch_tokens: int, *, share_prefixes: bool = True
    ) -> None:
        self._model = model
        self._recorder = recorder
        self._budget = max_batch_tokens
        self._share = share_prefixes
        self._failed: list[FailedRequest] = []

    def run(
        self,
        requests: Sequence[tuple[Sequence[int], Sequence[int]]],
        labels: Sequence[RoutingLabel] | None,
        on_batch: ScoreCallback | None,
    ) -> list[Score]:
        """Score all requests; see :meth:`medbench.models.engines.engine.Engine.score`."""
        results: list[Score | None] = [None] * len(requests)
        empty = [index for index, (_, continuation) in enumerate(requests) if not continuation]
        for index in empty:
            results[index] = Score(0.0, True)
        if empty and on_batch is not None:
            on_batch(empty, [Score(0.0, True)] * len(empty))
        queue = deque(group_requests(requests, self._model.rope.stretch, share_prefixes=self._share))
        try:
            while queue:
                batch = self._take(queue)
                scores = self._try(batch, queue, labels)
                good = {index: score for index, score in scores.items() if score is not None}
                for index, score in good.items():
                    results[index] = score
                if good and on_batch is not None:
                    on_batch(list(good), list(good.values()))
        finally:
            self._recorder.clear()
        if self._failed:
            raise failure(self._failed, labels)
        return [score for score in results if score is not None]

    def _try(
        self, batch: Sequence[Family], queue: deque[Family], labels: Sequence[RoutingLabel] | None
    ) -> dict[int, Score | None]:
        """Score a batch; where memory runs out it goes back to the queue, and nothing is scored."""
        try:
            scores = self._batch(batch, labels)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._retreat(batch, queue)
            return {}
        self._failed += [FailedRequest.not_finite(index) for index, score in scores.items() if score is None]
        return scores

    def _take(self, queue: deque[Family]) -> list[Family]:
        batch = [queue.popleft()]
        tokens = batch[0].tokens
        while queue and queue[0].stretch == batch[0].stretch and tokens + queue[0].tokens <= self._budget:
            batch.append(queue.popleft())
            tokens += batch[-1].tokens
        return batch

    def _retreat(self, batch: Sequence[Family], queue: deque[Family]) -> None:
        """Halve the budget; a family that was alone in its batch is given up."""
        release_memory(self._model.device)
        if len(batch) == 1:
            (family,) = batch
            tokens = family.past + family.tokens
            self._failed += [FailedRequest.too_large(index, tokens) for index in family.indices()]
            self._leave(batch)
            return
        self._budget = max(1, sum(family.tokens for family in batch) // 2)
        queue.extendleft(reversed(batch))

    def _batch(
        self, batch: Sequence[Family], labels: Sequence[RoutingLabel] | None
    ) -> dict[int, Score | None]:
        prefixes = dict.fromkeys(family.prefix for family in batch if family.prefix)
        missing = [prefix for prefix in prefixes if prefix.store is None]
        while missing:
            taken = [missing.pop(0)]
            while missing and sum(p.length for p in taken) + missing[0].length <= self._budget:
                taken.append(missing.pop(0))
            self._fill(taken, batch[0].stretch)
        owners: dict[object, RoutingLabel] = {}
        owned: list[Owned] = []
        segments: list[Segment] = []
        targets: list[_Target] = []
        options: list[list[int]] = []
        ids: list[int] = []
        positions: list[int] = []
        shares: dict[ScoringPrefix, Counter[object]] = {}
        for family in batch:
            start, past = len(ids), family.past
            context = len(family.context) - past
            ids += family.context[past:]
            positions += range(past, past + context)
            asking = count_owners(self._recorder, family.indices(), labels, owners)
            owned += [
                Owned(owner, 0, start, start + context, times, family.prefix)
                for owner, times in asking.items()
            ]
            if family.prefix:
                shares.setdefault(family.prefix, Counter()).update(asking)
            for option, asked in family.options.items():
                place = len(ids)
                ids += option[:-1]
                positions += range(past + context, past + context + len(option) - 1)
                for owner, times in count_owners(self._recorder, asked, labels, owners).items():
                    owned.append(Owned(owner, 1, place, len(ids), times))
                before = [start + context - 1, *range(place, len(ids))]
                targets += [
                    _Target(at, token, len(options)) for at, token in zip(before, option, strict=True)
                ]
                options.append(asked)
            segments.append(self._segment(family, start, len(ids), positions[start:]))
        try:
            pack = Pack(segments, stretch=batch[0].stretch)
            outcome = self._score(ids, positions, pack, owned, targets, len(options))
            for prefix, counter in shares.items():
                self._recorder.share(prefix, dict(counter))
        except BaseException:
            self._recorder.discard(owners)
            raise
        self._recorder.release(owners)
        self._leave(batch)
        return {index: score for asked, score in zip(options, outcome, strict=True) for index in asked}

    def _segment(self, family: Family, start: int, stop: int, positions: Sequence[int]) -> Segment:
        device = self._model.device
        past = family.past
        mask = tree_mask(
            past, len(family.context) - past, family.branches, dtype=self._model.dtype, device=device
        )
        return Segment(
            start,
            stop,
            torch.tensor(positions, device=device),
            store=family.prefix.store if family.prefix else None,
            past=past,
            mask=mask,
        )

    def _fill(self, prefixes: Sequence[ScoringPrefix], stretch: int) -> None:
        """Compute the keys of prefixes, all in one forward."""
        device = self._model.device
        ids: list[int] = []
        positions: list[int] = []
        segments, owned = [], []
        stores = [KeyValues(1, prefix.length + prefix.room) for prefix in prefixes]
        for prefix, store in zip(prefixes, stores, strict=True):
            start = len(ids)
            ids += prefix.tokens
            positions += range(prefix.length)
            own = torch.arange(prefix.length, device=device)
            segments.append(Segment(start, len(ids), own, store=store))
            owned.append(Owned(prefix, 0, start, len(ids)))
        self._hidden(ids, positions, Pack(segments, stretch=stretch), owned)
        for prefix, store in zip(prefixes, stores, strict=True):
            prefix.store = store

    def _leave(self, batch: Sequence[Family]) -> None:
        """Let go of prefixes that no family needs any more."""
        for family in batch:
            prefix = family.prefix
            if prefix is None:
                continue
            prefix.waiting -= 1
            if not prefix.waiting:
                prefix.store = None
                self._recorder.discard([prefix])

    def _hidden(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        pack: Pack,
        owned: Sequence[Owned],
    ) -> Tensor:
        device = self._model.device
        tokens = torch.tensor(ids, device=device)
        places = torch.tensor(positions, device=device)
        return self._recorder.observe(lambda: self._model.hidden(tokens, places, pack), owned, ids, positions)

    def _score(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        pack: Pack,
        owned: Sequence[Owned],
        targets: Sequence[_Target],
        options: int,
    ) -> list[Score | None]:
        """One score per option; ``None`` where the logits are not finite."""
        hidden = self._hidden(ids, positions, pack, owned)
        ordered = sorted(targets)
        places = sorted({target.place for target in targets})
        row_of = {place: row for row, place in enumerate(places)}
        device = hidden.device
        rows = torch.tensor([row_of[target.place] for target in ordered], device=device)
        tokens = torch.tensor([target.token for target in ordered], device=device)
        scored = hidden[torch.tensor(places, device=device)]
        bounds = _bounds([row_of[target.place] for target in ordered], len(places), self._model.head_rows)
        parts = [
            self._pick(scored[low:high], rows[first:last] - low, tokens[first:last])
            for low, high, first, last in bounds
        ]
        # The only synchronisation of the batch.
        logprobs, greedy = torch.cat(parts, dim=1).tolist()
        totals = [0.0] * options
        best = [True] * options
        for target, logprob, is_best in zip(ordered, logprobs, greedy, strict=True):
            totals[target.option] += logprob
            best[target.option] &= bool(is_best)
        return [
            Score(total, is_best) if abs(total) != float("inf") and total == total else None
            for total, is_best in zip(totals, best, strict=True)
        ]

    def _pick(self, hidden: Tensor, rows: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities of chosen tokens and whether they are the likeliest, [2, targets] in float64."""
        logits = self._model.logits(hidden)
        top = logits.amax(dim=1)  # finding the place as well would take several times as long
        picked = logits[rows, tokens]
        total = logits.sub_(top[:, None]).exp_().sum(dim=1).log_()
        logprob = picked - top[rows] - total[rows]
        return torch.stack([logprob.double(), (picked == top[rows]).double()])


_NOBODY: RoutingLabel = ("", -1)


def count_owners(
    recorder: Recorder,
    indices: Iterable[int],
    labels: Sequence[RoutingLabel] | None,
    owners: dict[object, RoutingLabel],
) -> Counter[object]:
    """Who counts tokens, and how often: each document that asked, once.

    Args:
        recorder: Knows under which label a document is counted.
        indices: The requests that the tokens belong to.
        labels: The documents of all requests.
        owners: Gathers owner -> label.
    """
    if labels is None:
        owners[_NOBODY] = _NOBODY
        return Counter({_NOBODY: 1})
    counted: Counter[object] = Counter()
    for document in dict.fromkeys(labels[index] for index in indices):
        label = recorder.label(document)
        owners[label] = label
        counted[label] += 1
    return counted


def _bounds(rows: Sequence[int], count: int, step: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut rows into chunks: (first row, end, first target, end) with the targets sorted by row."""
    target = 0
    for low in range(0, count, step):
        high = min(low + step, count)
        first = target
        while target < len(rows) and rows[target] < high:
            target += 1
        yield low, high, first, target
