"""medbench's engine as an lm-eval model, registered as ``ming-moe`` and ``molora``.

lm-eval finds no models outside itself: importing this module registers them. Every batch of answers goes to
the answer store together with its router counts, so that a run that breaks off goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Both must be imported before anything is registered, or lm-eval's own models and metrics vanish.
import lm_eval.api.metrics
import lm_eval.models  # noqa: F401
from lm_eval.api.instance import Instance
from lm_eval.api.registry import model_registry
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from medbench.errors import ModelError
from medbench.models.architecture.mixtures import mixtures_of
from medbench.models.checkpoints.chat import AS_TEMPLATE_SAYS, Thinking, switches_thinking
from medbench.models.checkpoints.folder import CheckpointSource
from medbench.models.checkpoints.loading import load_model
from medbench.models.checkpoints.tokenizer import load_tokenizer
from medbench.models.engines.engine import Engine
from medbench.models.harness.answers import (
    Answer,
    AnswerStore,
    MemoryStore,
    as_given,
)
from medbench.models.harness.encoding import Encoder
from medbench.models.harness.generating import Generator, Ready
from medbench.models.harness.hf_arguments import HFArguments, device_for, dtype_name
from medbench.models.harness.stored import StoredLM
from medbench.models.routing.counts import RoutingCounts, RoutingLabel
from medbench.models.routing.router_finding import describe_routers, routers_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LOG = logging.getLogger(__name__)
_ROLLING_BATCH = 16  # texts whose windows are scored before their answers are stored
_DEFAULT_LENGTH = 2048  # for a model that does not say what it takes


class MedbenchLM(StoredLM):
    """Answers lm-eval's requests with :class:`~medbench.models.engines.engine.Engine`.

    Args:
        pretrained: Folder or hub id of the checkpoint; not needed with ``model``.
        model: A loaded model, instead of ``pretrained``.
        tokenizer: Its tokenizer; ``None`` loads the checkpoint's.
        base: Folder or hub id of an adapter's base model.
        dtype: See :func:`~medbench.models.checkpoints.loading.load_model`.
        device: Likewise.
        layout: Likewise.
        impl: Likewise.
        revision: Likewise.
        base_revision: Likewise.
        max_batch_tokens: Tokens per forward, or ``auto``.
        store: Where answers are kept; ``None``: in memory.
        routing: What to record of the routers: ``tasks``, ``documents``, ``tokens`` or ``off``.
        seed: Seed of sampling.
        progress: Called after each stored batch with the share of the requests answered (0 to 1) and the
            tokens run since the last call; may raise to stop.
        system_prompt: System message of chats that have none.
        thinking: Whether the model is to reason, and how it marks that.
        max_gen_toks: New tokens where a task does not say.
        max_length: Tokens of prompt and answer together; ``None``: what the model takes.
        add_bos_token: Whether BOS and other special tokens go in front of prompts; ``None`` leaves it to
            the tokenizer.
        prefix_token_id: The token that stands in for an empty context; by default BOS, else the end of text.
        **more: Other arguments of lm-eval's ``hf`` (:mod:`medbench.models.harness.hf_arguments`).
    """

    def __init__(
        self,
        pretrained: str | None = None,
        *,
        model: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | str | None = None,
        base: str | None = None,
        dtype: Any = "float32",
        device: str | None = None,
        layout: str = "auto",
        impl: str = "auto",
        revision: str | None = None,
        base_revision: str | None = None,
        max_batch_tokens: int | str = "auto",
        store: AnswerStore | None = None,
        routing: str = "tasks",
        seed: int = 1234,
        progress: Callable[[float, int], None] | None = None,
        system_prompt: str | None = None,
        thinking: Thinking = AS_TEMPLATE_SAYS,
        max_gen_toks: int = 256,
        max_length: int | None = None,
        add_bos_token: bool | None = None,
        prefix_token_id: int | None = None,
        **more: Any,
    ) -> None:
        settled = HFArguments.settle(more, pretrained, base, thinking)
        pretrained, base, thinking = settled.pretrained, settled.base, settled.thinking
        if model is None:
            if pretrained is None:
                raise ModelError("no model was given", hint="pretrained=<folder or hub id>, or model=")
            source = CheckpointSource(pretrained, base, layout, revision, base_revision)
            model = load_model(
                source, dtype=dtype_name(dtype), device=device_for(device), impl=impl, spread=settled.spread
            )
        if tokenizer is None:
            if pretrained is None:
                raise ModelError("a loaded model needs its tokenizer", hint="tokenizer=load_tokenizer(…)")
            tokenizer = load_tokenizer(CheckpointSource(pretrained, base, layout, revision, base_revision))
        elif isinstance(tokenizer, (str, Path)):
            tokenizer = load_tokenizer(tokenizer)
        super().__init__(
            tokenizer,
            store if store is not None else MemoryStore(),
            seed=seed,
            thinking=thinking,
            system_prompt=system_prompt,
            chat_arguments=settled.chat,
        )
        if settled.thinking.mode != "auto" and not switches_thinking(self.tokenizer):
            raise ModelError(
                "the chat template has no switch for thinking",
                where="model argument enable_thinking",
                hint="leave it out; a system prompt may say it instead",
            )
        self._prefix_token = prefix_token_id
        self.engine = Engine(model, tokenizer, max_batch_tokens=max_batch_tokens, routing=routing)
        self.max_length = max_length or self.engine.max_length or _DEFAULT_LENGTH
        self._device = model.device
        self._progress = progress
        self._told = self.engine.tokens  # tokens that ``progress`` has heard of
        self._encoder = Encoder(tokenizer, self.prefix_token_id, add_bos_token)
        self._generator = Generator(
            self.engine, tokenizer, self._encoder, self.max_length, max_gen_toks, thinking.tags
        )
        self._compute: dict[str, Callable[[Sequence[Instance], Sequence[str], Ready], None]] = {
            "loglikelihood": self._score,
            "loglikelihood_rolling": self._score_texts,
            "generate_until": self._generate,
        }

    @property
    def prefix_token_id(self) -> int:
        """The token that stands in for an empty context."""
        if self._prefix_token is not None:
            return self._prefix_token
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    def get_model_info(self) -> dict[str, Any]:
        """What ran: size and number format of the model, and the engine's settings."""
        mixtures = mixtures_of(self.engine.model)
        return {
            "model_num_parameters": sum(p.numel() for p in self.engine.model.parameters()),
            "model_dtype": str(self.engine.model.dtype),
            "device": str(self._device),
            "max_length": self.max_length,
            **self.engine.described,
            "max_batch_tokens": self.engine.max_batch_tokens,
            "max_rows": self.engine.max_rows,
            "share_prefixes": self.engine.share_prefixes,
            "molora_linears": len(mixtures),
            "impl": mixtures[0].impl if mixtures else None,
            **describe_routers(routers_of(self.engine.model)),
        }

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Encode one text."""
        return self._encoder.encode([string], add_special_tokens)[0]

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        scores = self.engine.score([(context, continuation) for _, context, continuation in requests])
        return [(score.logprob, score.is_greedy) for score in scores]

    def answer(self, kind: str, requests: Sequence[Instance], keys: Sequence[str]) -> list[Answer]:
        """Answer requests from the store, and compute and store what it lacks; see the base class.

        Raises:
            ModelError: Some could not be answered; what could is in the store.
        """
        answers = self._store.get(keys)
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in answers}
        names = list(missing)

        def ready(batch: Mapping[int, Answer], kept: Mapping[str, Answer]) -> None:
            named = {names[index]: answer for index, answer in batch.items()}
            routing: RoutingCounts = self.engine.routing()
            self._store.put({**named, **kept}, routing or None, self.engine.traces())
            answers.update(named)
            for index, answer in batch.items():
                request = missing[names[index]]
                given = as_given(kind, request, answer, self._thinking.tags)
                self.cache_hook.add_partial(kind, request.args, given)
            self._tell(len(answers) / len(set(keys)))

        if missing:
            # What an earlier, failed call left behind belongs to no stored answer.
            self.engine.routing()
            self.engine.traces()
            self._compute[kind](list(missing.values()), names, ready)
        else:
            self._tell(1.0)
        return [answers[key] for key in keys]

    def _tell(self, fraction: float) -> None:
        if self._progress is not None:
            tokens, self._told = self.engine.tokens - self._told, self.engine.tokens
            self._progress(fraction, tokens)

    def _score(self, missing: Sequence[Instance], _keys: Sequence[str], ready: Ready) -> None:
        for request in missing:
            if not request.args[1]:
                raise ModelError(
                    "an empty continuation has no likelihood",
                    where=f"{request.task_name}, document {request.doc_id}",
                    hint="every option needs a text",
                )
        pairs = self._fit(self._encoder.pairs([request.args for request in missing]), missing)

        def on_batch(indices: Sequence[int], scores: Sequence[Any]) -> None:
            ready(
                {
                    index: Answer(logprob=score.logprob, is_greedy=score.is_greedy)
                    for index, score in zip(indices, scores, strict=True)
                },
                {},
            )

        self.engine.score(pairs, _labels(missing), on_batch)

    def _score_texts(self, missing: Sequence[Instance], _keys: Sequence[str], ready: Ready) -> None:
        texts = self._encoder.encode([request.args[0] for request in missing])
        labels = _labels(missing)
        for start in range(0, len(texts), _ROLLING_BATCH):
            which = range(start, min(start + _ROLLING_BATCH, len(texts)))
            windows = [(index, window) for index in which for window in self._windows(texts[index])]
            scores = self.engine.score(
                [window for _, window in windows], [labels[index] for index, _ in windows]
            )
            totals = dict.fromkeys(which, 0.0)
            for (index, _), score in zip(windows, scores, strict=True):
                totals[index] += score.logprob
            ready({index: Answer(logprob=total) for index, total in totals.items()}, {})

    def _generate(self, missing: Sequence[Instance], keys: Sequence[str], ready: Ready) -> None:
        self._generator.run(missing, keys, _labels(missing), self._store, ready)

    def _fit(
        self, pairs: Sequence[tuple[list[int], list[int]]], requests: Sequence[Instance]
    ) -> list[tuple[list[int], list[int]]]:
        """Cut contexts from the left where they and their continuation exceed what the model takes."""
        fitted, cut = [], Counter[str]()
        for (context, continuation), request in zip(pairs, requests, strict=True):
            room = self.max_length + 1 - len(continuation)
            if room < 1:
                raise ModelError(
                    f"a continuation of {len(continuation)} tokens is longer than the model takes",
                    where=f"{request.task_name}, document {request.doc_id}",
                )
            if len(context) > room:
                cut[str(request.task_name)] += 1
            fitted.append((context[-room:], continuation))
        for task, count in cut.items():
            _LOG.warning(
                "%s: %d prompts were longer than %d tokens and lost their beginning",
                task,
                count,
                self.max_length,
            )
        return fitted

    def _windows(self, tokens: list[int]) -> list[tuple[list[int], list[int]]]:
        return [
            make_disjoint_window(window)
            for window in get_rolling_token_windows(
                token_list=tokens,
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
        ]


def register_models() -> None:
    """Make lm-eval know :class:`MedbenchLM` by its names; calling it again changes nothing."""
    for name in ("ming-moe", "molora"):
        if name not in model_registry:
            model_registry.register(name, target=MedbenchLM)


def _labels(requests: Sequence[Instance]) -> list[RoutingLabel]:
    return [(request.task_name or "", request.doc_id or 0) for request in requests]


register_models()
