"""The engine: log-likelihoods and generation in batches, with answers that do not depend on the batch.

:mod:`medbench.models.engines.native.scoring_pass` shows the path of a request.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

from medbench.errors import ModelError
from medbench.models.engines.native.budget import batch_tokens
from medbench.models.engines.native.decode_graphs import Capture, CudaCapture
from medbench.models.engines.native.decoding import Decoding
from medbench.models.engines.native.generation_pass import GenerationPass
from medbench.models.engines.native.generation_rows import (
    Generation,
    GenerationCallback,
    GenerationRequest,
    Sampler,
    Sampling,
    StopStrings,
)
from medbench.models.engines.native.scoring_pass import Score, ScoreCallback, ScoringPass
from medbench.models.engines.paths import EngineKind, choose_path
from medbench.models.engines.reference_passes import ReferenceGeneration, ReferenceScoring
from medbench.models.routing.counts import RoutingCounts, RoutingLabel
from medbench.models.routing.recorder import Recorder
from medbench.models.routing.router_finding import why_unread
from medbench.models.routing.traces import Traces

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LOG = logging.getLogger(__name__)

_T = TypeVar("_T")

# (task, document), or a task alone
Label = RoutingLabel | str


class Engine:
    """Answers requests with a causal language model, in batches by token budget.

    Sequences are packed without padding (:mod:`medbench.models.engines.native.packing`). In float32, results
    do not depend on what else is in the batch: tokens are the same, log-probabilities equal within rounding.
    Models that cannot be packed exactly take the reference path, one row at a time
    (:mod:`medbench.models.engines.paths`).

    Args:
        model: A transformers causal language model, plain or with mixtures of LoRA experts.
        tokenizer: Only needed for stop strings.
        pad_token_id: The model's padding token. Nothing is padded; a prompt may still contain it.
        max_batch_tokens: Tokens per forward, or ``auto``: by free memory. Changes speed, not answers.
        routing: What to record of the routers: ``tasks``, ``documents``, ``tokens`` or ``off``.
        max_rows: Sequences that generate at the same time; ``None``: 64 on a CPU, 256 elsewhere.
        share_prefixes: Whether common prefixes of requests are computed once.
        decode_graphs: Whether decoding steps run as CUDA graphs, if the whole model is on one GPU.

    Raises:
        ModelError: The model does not run, or a setting is out of range.

    Attributes:
        kind: ``packed`` or ``reference``.
        why_reference: Why the model cannot be packed; empty if it is.
        decoding: The generation settings of the model.
        described: What a run records of how the model runs.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        pad_token_id: int = 0,
        max_batch_tokens: int | str = "auto",
        *,
        routing: str = "tasks",
        max_rows: int | None = None,
        share_prefixes: bool = True,
        decode_graphs: bool = True,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.pad_token_id = pad_token_id
        self.share_prefixes = share_prefixes
        path = choose_path(model)
        self.kind: EngineKind = path.kind
        self.why_reference = path.why
        self.described = path.described()
        self._untried = list(path.untried)
        path.tell()
        self._packed, self._reference, self._runs = path.packed, path.reference, path.runs
        self.max_batch_tokens = batch_tokens(max_batch_tokens, self._packed)
        device = self._runs.device
        self.max_rows = 1 if self._packed is None else max_rows or (64 if device.type == "cpu" else 256)
        self._recorder = Recorder(model, routing)
        if routing != "off" and (why := why_unread(model)):
            _LOG.warning("the model's routers are not recorded: %s", why)
        self.decoding = Decoding(model)
        devices = {parameter.device for parameter in model.parameters()}
        on_one_gpu = len(devices) == 1 and device.type == "cuda"
        self._capture: Capture | None = CudaCapture(device) if decode_graphs and on_one_gpu else None

    @property
    def max_length(self) -> int | None:
        """The most tokens the model takes; ``None`` if it does not say."""
        return self._runs.max_length

    @property
    def tokens(self) -> int:
        """Tokens run through the model so far; a shared prefix counts once."""
        return self._runs.tokens

    @torch.inference_mode()
    def score(
        self,
        requests: Iterable[tuple[Sequence[int], Sequence[int]]],
        labels: Sequence[Label] | None = None,
        on_batch: ScoreCallback | None = None,
    ) -> list[Score]:
        """Score continuations.

        Args:
            requests: (context, continuation) token ids; the context has at least one token. An empty
                continuation has log-probability 0.
            labels: For each request whose router choices are counted under which (task, document), or task.
            on_batch: Called after each batch with the indices it answered and their scores. If it calls
                :meth:`routing` each time, it gets the counts of this batch. It may ask any engine, but must
                not run the model itself.

        Returns:
            A score per request, in their order.

        Raises:
            ModelError: A request is invalid (nothing was computed), or some requests failed: they do not fit
                into memory, or their logits are not finite. The error names them; all others were answered.
        """
        asked = [(list(context), list(continuation)) for context, continuation in requests]
        for index, (context, continuation) in enumerate(asked):
            self._check(index, context, len(continuation) - 1, continuation)
        scoring: ScoringPass | ReferenceScoring
        if self._packed is None:
            scoring = ReferenceScoring(self._reference, self._recorder)
        else:
            scoring = ScoringPass(
                self._packed, self._recorder, self.max_batch_tokens, share_prefixes=self.share_prefixes
            )
        return scoring.run(asked, _labels(labels, len(asked)), on_batch)

    @torch.inference_mode()
    def generate(
        self,
        prompts: Iterable[Sequence[int]],
        max_new_tokens: int | Sequence[int] = 64,
        eos_token_ids: Sequence[int] | Sequence[Sequence[int]] = (),
        stop: Sequence[str] | Sequence[Sequence[str]] | None = None,
        allowed_token_ids: Sequence[Sequence[int] | None] | None = None,
        sampling: Sampling | Sequence[Sampling | None] | None = None,
        settings: Sequence[Mapping[str, Any] | None] | None = None,
        labels: Sequence[Label] | None = None,
        counted: Sequence[int] | None = None,
        stops_count: Sequence[Callable[[str], bool]] | None = None,
        on_batch: GenerationCallback | None = None,
    ) -> list[Generation]:
        """Continue prompts.

        Args:
            prompts: Token ids, at least one each.
            max_new_tokens: Limit, for all or for each.
            eos_token_ids: End tokens, for all or for each.
            stop: Stop strings, for all or for each; needs a tokenizer.
            allowed_token_ids: For each prompt the only tokens to choose from, or ``None``.
            sampling: Random decoding, for all or for each; ``None``: the most likely token. Given for all,
                each prompt gets its own seed, derived from the seed and the prompt.
            settings: For each prompt the generation settings of transformers that override the model's own
                (:mod:`medbench.models.engines.native.decoding`).
            labels: For each prompt whose router choices are counted under which (task, document), or task.
            counted: For each prompt the number of leading tokens to leave out of the router counts, because
                an earlier request counted them.
            stops_count: For each prompt a function of the text so far: whether stop strings count yet;
                ``None``: always.
            on_batch: Called when requests have finished, with their indices and continuations; as in
                :meth:`score`.

        Returns:
            A continuation per prompt, in their order.

        Raises:
            ModelError: As :meth:`score`.
        """
        asked = [tuple(prompt) for prompt in prompts]
        count = len(asked)
        limits = [max_new_tokens] * count if isinstance(max_new_tokens, int) else list(max_new_tokens)
        ends = _per_request(eos_token_ids, count, int)
        stops = _per_request(stop or (), count, str)
        only = list(allowed_token_ids) if allowed_token_ids is not None else [None] * count
        samplings = _samplings(sampling, asked)
        known = list(counted) if counted is not None else [0] * count
        counts = list(stops_count) if stops_count is not None else [None] * count
        changes = list(settings) if settings is not None else [None] * count
        given: dict[str, Sequence[object]] = {
            "stops_count": counts,
            "max_new_tokens": limits,
            "allowed_token_ids": only,
            "sampling": samplings,
            "settings": changes,
            "counted": known,
        }
        for name, values in given.items():
            if len(values) != count:
                raise ModelError(f"{name} has {len(values)} entries for {count} prompts")
        if any(stops) and self.tokenizer is None:
            raise ModelError("stop strings need a tokenizer", hint="Engine(model, tokenizer=…)")
        for index, (prompt, limit, allowed) in enumerate(zip(asked, limits, only, strict=True)):
            if limit < 1:
                raise ModelError(f"max_new_tokens must be 1 or more, not {limit}", where=f"request {index}")
            if allowed is not None and not allowed:
                raise ModelError("no token is allowed", where=f"request {index}")
            self._check(index, prompt, limit - 1, allowed or ())
        generation: GenerationPass | ReferenceGeneration
        if self._packed is None:
            generation = ReferenceGeneration(self._reference, self._recorder)
        else:
            generation = GenerationPass(
                self._packed,
                self._recorder,
                self.max_batch_tokens,
                self.max_rows,
                share_prefixes=self.share_prefixes,
                capture=self._capture,
            )
        rows = [
            GenerationRequest(
                prompt,
                limits[index],
                frozenset(ends[index]),
                StopStrings(self.tokenizer, stops[index], counts[index]) if stops[index] else None,
                _tuple(only[index]),
                None if (chosen := samplings[index]) is None else Sampler(chosen),
                self.decoding.processors(prompt, limits[index], changes[index]),
                known[index],
            )
            for index, prompt in enumerate(asked)
        ]
        return generation.run(rows, _labels(labels, count), on_batch)

    def routing(self) -> RoutingCounts:
        """Router counts of the requests answered since the last call."""
        return self._recorder.drain()

    def traces(self) -> Traces | None:
        """Router choices token by token of the requests answered since the last call, with ``tokens``."""
        return self._recorder.drain_traces()

    def _check(self, index: int, context: Sequence[int], more: int, others: Sequence[int]) -> None:
        where = f"request {index}"
        if not context:
            raise ModelError(
                "a context needs at least one token", where=where, hint="start it with BOS or EOS"
            )
        low, high = min(min(context), min(others, default=0)), max(max(context), max(others, default=0))
        if low < 0 or high >= self._runs.vocabulary:
            raise ModelError(
                f"token {low if low < 0 else high} is not in the vocabulary of {self._runs.vocabulary}",
                where=where,
                hint="use the tokenizer that belongs to the model",
            )
        total = len(context) + max(more, 0)
        if self.max_length is not None and total > self.max_length:
            raise ModelError(
                f"{total} tokens are more than the {self.max_length} the model takes",
                where=where,
                hint="shorten the prompt or the limit of new tokens",
            )
        for length in [length for length in self._untried if length < total]:
            self._untried.remove(length)
            _LOG.warning(
                "some sequences have more than %d tokens, on which packing could not be tried beforehand",
                length,
            )


def _labels(labels: Sequence[Label] | None, count: int) -> list[RoutingLabel] | None:
    if labels is None:
        return None
    if len(labels) != count:
        raise ModelError(f"labels has {len(labels)} entries for {count} requests")
    return [(label, -1) if isinstance(label, str) else label for label in labels]


def _per_request(
    values: Sequence[_T] | Sequence[Sequence[_T]], count: int, kind: type[_T]
) -> list[Sequence[_T]]:
    """One list for all requests, or one list for each."""
    if all(isinstance(value, kind) for value in values):
        return [cast("Sequence[_T]", values)] * count
    if len(values) != count:
        raise ModelError(f"{len(values)} lists of {kind.__name__} were given for {count} prompts")
    return list(cast("Sequence[Sequence[_T]]", values))


def _samplings(
    sampling: Sampling | Sequence[Sampling | None] | None, prompts: Sequence[tuple[int, ...]]
) -> list[Sampling | None]:
    if sampling is None:
        return [None] * len(prompts)
    if not isinstance(sampling, Sampling):
        return list(sampling)
    return [
        Sampling(sampling.temperature, sampling.top_k, sampling.top_p, _seed(sampling.seed, prompt))
        for prompt in prompts
    ]


def _seed(seed: int, prompt: tuple[int, ...]) -> int:
    digest = hashlib.sha256(f"{seed}:{','.join(map(str, prompt))}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def _tuple(ids: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if ids is None else tuple(ids)
