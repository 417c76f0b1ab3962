"""Log-likelihoods of continuations: each distinct token is computed once, the head on scored tokens only.

The path of a request from lm-eval to the stored answer::

    models/harness/adapter.py               MedbenchLM._score: requests without a stored answer
    models/harness/encoding.py              Encoder.pairs: (context, continuation) as token ids
    models/engines/engine.py                Engine.score: ids and lengths are checked
    models/engines/native/scoring_pass.py   ScoringPass.run: groups, batches, targets, scores
    models/engines/native/forward.py        PackedModel.hidden and .logits
    models/harness/adapter.py               on_batch, ready: a batch of answers goes to AnswerStore.put

Requests with the same context make a group. A group is one segment of a pack: the context, then each distinct
continuation without its last token, whose logits nobody needs. The logits of a token predict the token behind
it, so the last context token has one target for each continuation. With context ``c1 c2 c3`` and
continuations ``x1 x2`` and ``y1 y2 y3``::

    token     c1   c2   c3      x1   y1   y2
    sees      c1   ..c2 ..c3    ..x1 ..y1 ..y2    the context and its own continuation (tree_mask)
    targets             x1, y1  x2   y2   y3

    log p(x) = log p(x1 | c3) + log p(x2 | x1)
    log p(y) = log p(y1 | c3) + log p(y2 | y1) + log p(y3 | y2)

A batch is made in three steps: ``_lay_out`` packs the tokens, ``_credit_spans`` says whom they are credited
to, ``_targets`` says which tokens are scored. Contexts with a long common prefix continue from its cached
keys and values (:mod:`medbench.models.engines.native.prefixes`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from medbench.models.engines.native.forward import FailedRequest, PackedPass
from medbench.models.engines.native.packing import Pack, Segment, tree_mask
from medbench.models.engines.native.prefixes import Prefix, share_prefixes
from medbench.models.routing.counts import CreditSpan, RoutingLabel

Tokens = tuple[int, ...]

# Continuations of one segment need a mask of this many tokens squared at most.
_MAX_BRANCHES = 1024


class Score(NamedTuple):
    """How likely a continuation is.

    Attributes:
        logprob: Summed log-probability of its tokens, in nats.
        is_greedy: Whether each of its tokens is among the most likely in its place.
    """

    logprob: float
    is_greedy: bool


# (indices of the requests that a batch answered, their scores)
ScoreCallback = Callable[[Sequence[int], Sequence[Score]], None]


@dataclass
class _Group:
    """A context and its distinct continuations.

    Attributes:
        context: Token ids.
        stretch: The stretch of lengths that all its sequences lie in.
        options: Each continuation, with the indices of the requests that asked for it.
        prefix: The shared prefix that the context continues from, if any.
    """

    context: Tokens
    stretch: int
    options: dict[Tokens, list[int]] = field(default_factory=dict)
    prefix: Prefix | None = None

    @property
    def past(self) -> int:
        """Tokens of the prefix."""
        return self.prefix.length if self.prefix else 0

    @property
    def branches(self) -> list[int]:
        """Tokens to feed of each continuation."""
        return [len(option) - 1 for option in self.options]

    @property
    def tokens(self) -> int:
        """Tokens to feed, without the prefix."""
        return len(self.context) - self.past + sum(self.branches)

    def indices(self) -> Iterator[int]:
        """The requests it answers."""
        for asked in self.options.values():
            yield from asked


class _Layout(NamedTuple):
    """Where a group's tokens are in the pack.

    Attributes:
        group: The group.
        start: First token of the context behind the prefix.
        branches: (first token, one past the last) of each continuation.
        stop: One past the last token.
    """

    group: _Group
    start: int
    branches: list[tuple[int, int]]
    stop: int

    @property
    def context_stop(self) -> int:
        """One past the last token of the context."""
        return self.start + len(self.group.context) - self.group.past


class _Target(NamedTuple):
    """A token to score.

    Attributes:
        source: The pack's token whose logits predict it.
        token: Its id.
        option: Number of its continuation in the batch.
    """

    source: int
    token: int
    option: int


class ScoringPass(PackedPass):
    """Scores requests batch by batch."""

    def run(
        self,
        requests: Sequence[tuple[Sequence[int], Sequence[int]]],
        labels: Sequence[RoutingLabel] | None,
        on_batch: ScoreCallback | None,
    ) -> list[Score]:
        """Score all requests; see :meth:`medbench.models.engines.engine.Engine.score`."""
        results: list[Score | None] = [None] * len(requests)

        def answered(scores: dict[int, Score]) -> None:
            for index, score in scores.items():
                results[index] = score
            if scores and on_batch is not None:
                on_batch(list(scores), list(scores.values()))

        answered({i: Score(0.0, True) for i, (_, continuation) in enumerate(requests) if not continuation})
        queue = deque(_grouped(requests, self._model.rope.stretch, share=self._share))
        with self._model.session(self._recorder):
            while queue:
                batch = self._take(queue)
                scores = self._attempt(partial(self._batch, batch, labels))
                if scores is None:
                    self._handle_oom(batch, queue)
                    continue
                self._failed += [FailedRequest.not_finite(i) for i, score in scores.items() if score is None]
                answered({i: score for i, score in scores.items() if score is not None})
        return self._answers(results, labels)

    def _take(self, queue: deque[_Group]) -> list[_Group]:
        """The next groups, as many as the budget allows."""
        batch = [queue.popleft()]
        tokens = batch[0].tokens
        while queue and queue[0].stretch == batch[0].stretch and tokens + queue[0].tokens <= self._budget:
            batch.append(queue.popleft())
            tokens += batch[-1].tokens
        return batch

    def _handle_oom(self, batch: Sequence[_Group], queue: deque[_Group]) -> None:
        """Halve the budget and try again; a group that was alone in its batch has failed."""
        if len(batch) > 1:
            self._halve_budget(sum(group.tokens for group in batch))
            queue.extendleft(reversed(batch))
            return
        (group,) = batch
        tokens = group.past + group.tokens
        self._failed += [FailedRequest.too_large(index, tokens) for index in group.indices()]
        self._prefixes.release([group.prefix])

    def _batch(
        self, batch: Sequence[_Group], labels: Sequence[RoutingLabel] | None
    ) -> dict[int, Score | None]:
        """Score a batch: each request's score, ``None`` where the logits are not finite."""
        stretch = batch[0].stretch
        self._prefixes.fill([group.prefix for group in batch], stretch, self._budget)
        ids, positions, layouts = _lay_out(batch)
        spans = self._credit_spans(layouts, labels)
        asking = [index for group in batch for index in group.indices()]
        owners: dict[Hashable, RoutingLabel] = {
            label: label for label in self._recorder.credited(asking, labels)
        }
        try:
            pack = Pack([self._segment(layout, positions) for layout in layouts], stretch=stretch)
            hidden = self._forward(ids, positions, pack, spans)
            scores = self._score(hidden, _targets(layouts))
            self._recorder.release(owners)
        except BaseException:
            self._recorder.discard(owners)
            raise
        self._prefixes.release(group.prefix for group in batch)
        asked = [indices for group in batch for indices in group.options.values()]
        return {index: score for indices, score in zip(asked, scores, strict=True) for index in indices}

    def _credit_spans(
        self, layouts: Sequence[_Layout], labels: Sequence[RoutingLabel] | None
    ) -> list[CreditSpan]:
        """Whom the tokens are credited to.

        A context is credited to every document that asked for one of its continuations, a continuation to
        those that asked for it.
        """
        spans = []
        for layout in layouts:
            group, start, stop = layout.group, layout.start, layout.context_stop
            for label, times in self._recorder.credited(group.indices(), labels).items():
                spans.append(CreditSpan(label, 0, start, stop, times, group.prefix))
            for (first, last), asked in zip(layout.branches, group.options.values(), strict=True):
                for label, times in self._recorder.credited(asked, labels).items():
                    spans.append(CreditSpan(label, 1, first, last, times))
        return spans

    def _segment(self, layout: _Layout, positions: Sequence[int]) -> Segment:
        group, device = layout.group, self._model.device
        context = len(group.context) - group.past
        return Segment(
            layout.start,
            layout.stop,
            torch.tensor(positions[layout.start : layout.stop], device=device),
            store=group.prefix.store if group.prefix else None,
            past=group.past,
            mask=tree_mask(group.past, context, group.branches, dtype=self._model.dtype, device=device),
        )

    def _score(self, hidden: Tensor, targets: Sequence[_Target]) -> list[Score | None]:
        """One score per continuation; ``None`` where the logits are not finite.

        Args:
            hidden: [N, hidden] of the pack.
            targets: The tokens to score, ordered by continuation.
        """
        options = targets[-1].option + 1
        ordered = sorted(targets)
        sources = sorted({target.source for target in targets})
        row_of = {source: row for row, source in enumerate(sources)}
        device = hidden.device
        rows = torch.tensor([row_of[target.source] for target in ordered], device=device)
        tokens = torch.tensor([target.token for target in ordered], device=device)
        scored = hidden[torch.tensor(sources, device=device)]
        bounds = _bounds([row_of[target.source] for target in ordered], len(sources), self._model.head_rows)
        parts = [
            self._pick(scored[low:high], rows[first:last] - low, tokens[first:last])
            for low, high, first, last in bounds
        ]
        # The only synchronization of the batch.
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
        """Log-probabilities of the targets and whether they are the most likely, [2, targets] in float64."""
        logits = self._model.logits(hidden)
        top = logits.amax(dim=1)  # the index of the maximum would take several times as long
        picked = logits[rows, tokens]
        total = logits.sub_(top[:, None]).exp_().sum(dim=1).log_()
        logprob = picked - top[rows] - total[rows]
        return torch.stack([logprob.double(), (picked == top[rows]).double()])


def _lay_out(batch: Sequence[_Group]) -> tuple[list[int], list[int], list[_Layout]]:
    """Put the tokens of groups one after another.

    Returns:
        Token ids, their positions in their sequences, and where each group is.
    """
    ids: list[int] = []
    positions: list[int] = []
    layouts = []
    for group in batch:
        start, length = len(ids), len(group.context)
        ids += group.context[group.past :]
        positions += range(group.past, length)
        branches = []
        for option in group.options:
            first = len(ids)
            ids += option[:-1]
            positions += range(length, length + len(option) - 1)
            branches.append((first, len(ids)))
        layouts.append(_Layout(group, start, branches, len(ids)))
    return ids, positions, layouts


def _targets(layouts: Sequence[_Layout]) -> list[_Target]:
    """The tokens to score: the first of a continuation after the context, each other after the one before."""
    targets: list[_Target] = []
    number = 0
    for layout in layouts:
        for (first, last), option in zip(layout.branches, layout.group.options, strict=True):
            sources = [layout.context_stop - 1, *range(first, last)]
            targets += [_Target(source, token, number) for source, token in zip(sources, option, strict=True)]
            number += 1
    return targets


def _grouped(
    requests: Sequence[tuple[Sequence[int], Sequence[int]]],
    stretch_of: Callable[[int], int],
    *,
    share: bool,
) -> list[_Group]:
    """Group requests by context.

    Args:
        requests: Contexts and continuations; those with an empty continuation are left out.
        stretch_of: The stretch of lengths that a sequence of so many tokens belongs to.
        share: Whether to look for common prefixes.

    Returns:
        The groups: by stretch, and within it those with the same prefix next to each other.
    """
    by_context: dict[tuple[int, Tokens], list[_Group]] = {}
    for index, (context, continuation) in enumerate(requests):
        if not continuation:
            continue
        option = tuple(continuation)
        stretch = stretch_of(len(context) + len(option) - 1)
        groups = by_context.setdefault((stretch, tuple(context)), [])
        known = next((group for group in groups if option in group.options), None)
        if known is None:
            if not groups or sum(groups[-1].branches) + len(option) > _MAX_BRANCHES:
                groups.append(_Group(tuple(context), stretch))
            known = groups[-1]
        known.options.setdefault(option, []).append(index)
    whole = [group for groups in by_context.values() for group in groups]
    parts = [
        [group for group in whole if group.stretch == stretch]
        for stretch in sorted({group.stretch for group in whole})
    ]
    return [group for part in parts for group in (_by_prefix(part) if share else part)]


def _by_prefix(groups: list[_Group]) -> list[_Group]:
    """Find common prefixes, and put groups with the same prefix next to each other."""
    first: dict[Prefix | None, int] = {None: 0}
    for place, (group, prefix) in enumerate(
        zip(groups, share_prefixes([group.context for group in groups]), strict=True)
    ):
        group.prefix = prefix
        if prefix is not None:
            first.setdefault(prefix, place)
            prefix.room = max(prefix.room, group.tokens)
    return sorted(groups, key=lambda group: first[group.prefix])


def _bounds(rows: Sequence[int], count: int, step: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut rows into chunks: (first row, end, first target, end) with the targets sorted by row."""
    target = 0
    for low in range(0, count, step):
        high = min(low + step, count)
        first = target
        while target < len(rows) and rows[target] < high:
            target += 1
        yield low, high, first, target
