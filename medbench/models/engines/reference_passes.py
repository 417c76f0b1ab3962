"""Scoring and generation on the reference path, one request at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medbench.models.architecture.memory import is_out_of_memory, release_memory
from medbench.models.engines.native.forward import FailedRequest, failure
from medbench.models.engines.native.generation_rows import (
    Generation,
    GenerationCallback,
    GenerationRequest,
    Row,
)
from medbench.models.engines.native.scoring_pass import Score, ScoreCallback
from medbench.models.engines.reference import NotFiniteError, ReferenceModel
from medbench.models.routing.counts import UNLABELED, CreditSpan, RoutingLabel
from medbench.models.routing.recorder import Recorder

Tokens = tuple[int, ...]


class ReferenceScoring:
    """Scores requests one row at a time, as ``ScoringPass`` of the native engine scores batches of them."""

    def __init__(self, model: ReferenceModel, recorder: Recorder) -> None:
        self._model = model
        self._recorder = recorder

    def run(
        self,
        requests: Sequence[tuple[Sequence[int], Sequence[int]]],
        labels: Sequence[RoutingLabel] | None,
        on_batch: ScoreCallback | None,
    ) -> list[Score]:
        """Score all requests; see :meth:`medbench.models.engines.engine.Engine.score`."""
        results: dict[int, Score] = {}
        failed: list[FailedRequest] = []
        contexts: dict[Tokens, list[int]] = {}
        for index, (context, _) in enumerate(requests):
            contexts.setdefault(tuple(context), []).append(index)
        with self._recorder.session():
            for context, indices in contexts.items():
                scores = self._context(context, indices, requests, labels, failed)
                results |= scores
                if scores and on_batch is not None:
                    on_batch(list(scores), list(scores.values()))
        if failed:
            raise failure(failed, labels)
        return [results[index] for index in range(len(requests))]

    def _context(
        self,
        context: Tokens,
        indices: Sequence[int],
        requests: Sequence[tuple[Sequence[int], Sequence[int]]],
        labels: Sequence[RoutingLabel] | None,
        failed: list[FailedRequest],
    ) -> dict[int, Score]:
        """Score the continuations of one context; equal inputs run once."""
        scores: dict[int, Score] = {}
        fed: dict[Tokens, list[int]] = {}
        for index in indices:
            continuation = tuple(requests[index][1])
            if continuation:
                fed.setdefault(continuation[:-1], []).append(index)
            else:
                scores[index] = Score(0.0, True)
        asking = self._recorder.credited([index for group in fed.values() for index in group], labels)
        spans = [CreditSpan(label, 0, 0, len(context), times) for label, times in asking.items()]
        for more, group in fed.items():
            ids = [*context, *more]
            spans += [
                CreditSpan(label, 1, len(context), len(ids), times)
                for label, times in self._recorder.credited(group, labels).items()
            ]
            try:
                logits = self._run(ids, len(more) + 1, spans)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                release_memory(self._model.device)
                failed += [FailedRequest.too_large(index, len(ids)) for index in group]
                continue
            spans = []
            for index in group:
                score = _score(logits, requests[index][1])
                if score is None:
                    failed.append(FailedRequest.not_finite(index))
                else:
                    scores[index] = score
        self._recorder.release({label: label for label in asking})
        return scores

    def _run(self, ids: Sequence[int], last: int, spans: Sequence[CreditSpan]) -> Tensor:
        return self._recorder.observe(lambda: self._model.logits(ids, last), spans, ids, range(len(ids)))


class ReferenceGeneration:
    """Continues prompts one at a time, as ``GenerationPass`` of the native engine continues batches."""

    def __init__(self, model: ReferenceModel, recorder: Recorder) -> None:
        self._model = model
        self._recorder = recorder

    @torch.inference_mode()
    def run(
        self,
        requests: Sequence[GenerationRequest],
        labels: Sequence[RoutingLabel] | None,
        on_batch: GenerationCallback | None,
    ) -> list[Generation]:
        """Continue all prompts; see :meth:`medbench.models.engines.engine.Engine.generate`."""
        results: list[Generation] = []
        failed: list[FailedRequest] = []
        with self._recorder.session():
            for index, request in enumerate(requests):
                row = Row(index, request, counted=request.counted)
                try:
                    generation = self._model.continue_row(row)
                    self._count(row)
                except NotFiniteError:
                    failed.append(FailedRequest.not_finite(index))
                    continue
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    release_memory(self._model.device)
                    failed.append(FailedRequest.too_large(index, row.size))
                    continue
                self._recorder.release({row: labels[index] if labels is not None else UNLABELED})
                results.append(generation)
                if on_batch is not None:
                    on_batch([index], [generation])
        if failed:
            raise failure(failed, labels)
        return results

    def _count(self, row: Row) -> None:
        """Count the router choices of a row, with one more forward over its tokens."""
        if self._recorder.active:
            ids = row.tokens[:-1]
            spans = list(row.credit_spans(0, len(ids), 0))
            self._recorder.observe(lambda: self._model.logits(ids, 1), spans, ids, range(len(ids)))


def _score(logits: Tensor, continuation: Sequence[int]) -> Score | None:
    """The score of a continuation, from the logits [N, V] that predict its N tokens."""
    tokens = torch.tensor(list(continuation), device=logits.device)[:, None]
    picked = logits.log_softmax(-1).gather(1, tokens)
    total = float(picked.double().sum())
    if total != total or abs(total) == float("inf"):
        return None
    return Score(total, bool((logits.gather(1, tokens)[:, 0] == logits.amax(1)).all()))
