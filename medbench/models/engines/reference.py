"""The reference path: transformers' own forward and ``generate``, one row at a time.

Slow, and right for any causal language model that transformers runs. Models that the packed engine cannot
compute exactly (soft caps, state spaces, custom attention) take it.
"""

from __future__ import annotations

import inspect
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from medbench.errors import ModelError
from medbench.models.architecture.memory import is_out_of_memory
from medbench.models.architecture.text_config import max_length_of, usable_tokens, vocabulary_of
from medbench.models.engines.lengths import affordable, rope_lengths, window_lengths
from medbench.models.engines.native.generation_rows import (
    FinishReason,
    Generation,
    GenerationRequest,
    Row,
)
from medbench.models.engines.native.rope import RopeSwitches

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NOT_CAUSAL = "what the model gives for a token depends on the tokens behind it: it is not causal"
_CHANCE = "two runs of the model on the same tokens differ"
_CHECKED = 12  # tokens of the sequence that a model is tried on
_GENERATED = 6
_TEXTS = 4  # texts that are tried beyond a length
# Largest difference of two computations of the same logits, relative to the largest logit.
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 6e-2}


class NotFiniteError(Exception):
    """The logits of a step are not finite."""


class ReferenceModel:
    """A model's own forward and ``generate``.

    Args:
        model: Any transformers causal language model.

    Raises:
        ModelError: The model does not run on token ids alone, or its output for a token depends on later
            tokens or on chance.

    Attributes:
        vocabulary: Size of the vocabulary.
        max_length: The most tokens it takes, or ``None``.
        tokens: Tokens run so far.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        where = type(model).__name__
        try:
            self.vocabulary = vocabulary_of(model)
        except AttributeError as error:
            raise ModelError("the model has no vocabulary of tokens", where=where) from error
        self.max_length = max_length_of(model)
        self.tokens = 0
        parameters = inspect.signature(model.forward).parameters
        self._more: dict[str, Any] = {"use_cache": False} if "use_cache" in parameters else {}
        self._keeps = "logits_to_keep" in parameters
        self._rope: RopeSwitches | None
        try:
            self._rope = RopeSwitches(model, self.max_length)
        except ModelError:
            self._rope = None  # every step recomputes the whole sequence
        self._check(where)
        # The fault beyond each of these lengths, as far as tried; empty if there is none.
        self._windows = window_lengths(model, self.max_length)
        self._faults: list[str] = []
        for length in self._windows:
            if not affordable(model, length + 2 * _beyond(length), self.device):
                break
            self._faults.append(self._fault_beyond(length))
        # Between which of these lengths `generate` agrees with the forward, as far as tried.
        self._lengths = sorted({*self._windows, *rope_lengths(model, self.max_length)})
        self._alike: list[bool] = []
        self.tokens = 0

    @property
    def limits(self) -> list[str]:
        """Known faults of long sequences; such requests are refused."""
        pairs = zip(self._windows, self._faults, strict=False)
        return [f"in sequences of more than {length} tokens, {fault}" for length, fault in pairs if fault]

    @property
    def device(self) -> torch.device:
        """Where token ids go."""
        device: torch.device = cast("Any", self.model).get_input_embeddings().weight.device
        return device

    @torch.inference_mode()
    def logits(self, ids: Sequence[int], last: int | None = None) -> Tensor:
        """Logits of one sequence by the model's own forward, in float32 or wider.

        Args:
            ids: N tokens.
            last: Number of last tokens to give logits for; ``None``: all.

        Returns:
            [N or last, vocabulary].

        Raises:
            ModelError: In so long a sequence, outputs depend on later tokens or on chance.
        """
        self._require_sound(len(ids))
        return self._logits(ids, last)

    def _logits(self, ids: Sequence[int], last: int | None = None) -> Tensor:
        more = dict(self._more)
        if last is not None and self._keeps:
            more["logits_to_keep"] = last
        tokens = torch.tensor([list(ids)], device=self.device)
        logits: Tensor = self.model(input_ids=tokens, **more).logits[0]
        self.tokens += len(ids)
        if last is not None:
            logits = logits[-last:]
        return logits if logits.dtype == torch.float64 else logits.float()

    def continue_row(self, row: Row) -> Generation:
        """Continue a prompt to its end.

        Raises:
            NotFiniteError: The logits of a step are not finite.
        """
        longest = row.size + row.request.max_new_tokens - 1
        rope = self._rope
        reason: FinishReason | None = None
        self._require_sound(longest)
        steady = rope is not None and rope.stretch(row.size) == rope.stretch(longest)
        if steady and self._continues_alike(longest):
            reason = self._generate(row)
        while reason is None:
            reason = _take(row, self.logits(row.tokens, 1)[0])
        return Generation(row.new, reason)

    def _generate(self, row: Row) -> FinishReason | None:
        """Let transformers generate, while we choose the tokens and decide when to stop."""
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        reason: FinishReason | None = None

        def choose(ids: Tensor, scores: Tensor) -> Tensor:
            nonlocal reason
            del ids
            reason = _take(row, scores[0])
            chosen = torch.full_like(scores, float("-inf"))
            chosen[0, row.new[-1]] = 0
            return chosen

        def stop(ids: Tensor, scores: Any, **_: Any) -> Tensor:
            del scores
            return torch.full((len(ids),), reason is not None, device=ids.device)

        tokens = torch.tensor([list(row.tokens)], device=self.device)
        settings: Any = cast("Any", GenerationConfig)(
            max_new_tokens=row.request.max_new_tokens - len(row.new), do_sample=False, pad_token_id=0
        )
        with _no_defaults(self.model):
            cast("Any", self.model).generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                generation_config=settings,
                logits_processor=LogitsProcessorList([choose]),
                stopping_criteria=StoppingCriteriaList([stop]),
            )
        self.tokens += row.size - 1
        return reason

    def _check(self, where: str) -> None:
        """Try the model on token ids: twice the same, and a prefix of them."""
        try:
            ids = self._some_tokens(min(_CHECKED, self.max_length or _CHECKED))
            once = self._logits(ids)
            again = self._logits(ids)
            start = self._logits(ids[: len(ids) // 2])
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise
            raise _does_not_run(error, where) from error
        except Exception as error:  # third-party code may raise anything
            raise _does_not_run(error, where) from error
        if once.shape != (len(ids), self.vocabulary):
            raise ModelError(
                f"the model gives logits of shape {list(once.shape)} for {len(ids)} tokens and a vocabulary "
                f"of {self.vocabulary}",
                where=where,
            )
        if not bool(torch.isfinite(once).all()):
            raise ModelError(
                f"the model's logits are not finite in {self.model.dtype}",
                where=where,
                hint="use a wider number format, such as float32",
            )
        if _differ(once, again, self.model.dtype):
            raise ModelError(_CHANCE, where=where)
        if _differ(once[: len(start)], start, self.model.dtype):
            raise ModelError(
                _NOT_CAUSAL,
                where=where,
                hint="an encoder's configuration needs is_decoder: true",
            )

    def _some_tokens(self, count: int) -> list[int]:
        usable = usable_tokens(self.model, self.vocabulary)
        return [usable[5 * place % len(usable)] for place in range(count)]

    def _drawn_tokens(self, count: int, seed: int) -> list[int]:
        usable = usable_tokens(self.model, self.vocabulary)
        draw = torch.Generator().manual_seed(seed)
        return [usable[place] for place in torch.randint(len(usable), (count,), generator=draw).tolist()]

    def _require_sound(self, size: int) -> None:
        """Try sequences of so many tokens, unless that was done.

        Raises:
            ModelError: They are faulty.
        """
        while len(self._faults) < bisect_left(self._windows, size):
            self._faults.append(self._fault_beyond(self._windows[len(self._faults)]))
        for length, fault in zip(self._windows, self._faults, strict=False):
            if length < size and fault:
                raise ModelError(
                    f"in sequences of more than {length} tokens, {fault}",
                    where=type(self.model).__name__,
                    hint="ask with shorter prompts, such as with fewer examples",
                )

    @torch.inference_mode()
    def _fault_beyond(self, length: int) -> str:
        """The fault of sequences longer than a length in the configuration; empty if none is found."""
        more = _beyond(length)
        if self.max_length is not None:
            more = min(more, (self.max_length - length) // 2)
        if more < 1:
            return ""  # no sequence is longer
        before = self.tokens
        try:
            for number in range(_TEXTS):
                ids = self._drawn_tokens(length + 2 * more, number)
                start = self._logits(ids[: length + more], more)
                whole = self._logits(ids, 2 * more)[:more]
                if not bool(torch.isfinite(start).all() and torch.isfinite(whole).all()):
                    continue  # reported when a request meets it
                if _differ(start, whole, self.model.dtype):
                    once_more = self._logits(ids[: length + more], more), self._logits(ids, 2 * more)[:more]
                    chance = any(
                        _differ(one, other, self.model.dtype)
                        for one, other in zip((start, whole), once_more, strict=True)
                    )
                    return _CHANCE if chance else _NOT_CAUSAL
        finally:
            self.tokens = before
        return ""

    def _continues_alike(self, longest: int) -> bool:
        """Whether ``generate`` agrees with the forward up to so many tokens; tried when needed."""
        stretches = bisect_left(self._lengths, longest) + 1
        while len(self._alike) < stretches:
            crossed = self._lengths[len(self._alike) - 1] if self._alike else None
            self._alike.append(self._generates_alike(crossed))
        return all(self._alike[:stretches])

    @torch.inference_mode()
    def _generates_alike(self, crossed: int | None) -> bool:
        """Whether ``generate``, with its cache of keys or states, agrees with the forward.

        Args:
            crossed: The length that the sequence grows beyond; ``None``: a short sequence.
        """
        room = (self.max_length or 2**20) - _GENERATED
        if self._rope is None or room < 1:
            return False
        size = 6 if crossed is None else max(1, crossed - _GENERATED // 2)
        prompt = tuple(self._drawn_tokens(min(size, room), 0))
        tape = Tape(self._some_tokens(_GENERATED))
        row = Row(0, GenerationRequest(prompt, _GENERATED, frozenset(), sampler=cast("Any", tape)))
        before = self.tokens
        try:
            self._generate(row)
        except Exception as error:  # third-party code may raise anything; the forward will do
            if is_out_of_memory(error):
                raise
            return False
        expected = self._logits([*prompt, *row.new[:-1]], _GENERATED)
        self.tokens = before
        seen = torch.stack(tape.logits)
        return len(seen) == len(expected) and not _differ(seen, expected, self.model.dtype)


class Tape:
    """Stands in for a sampler: gives fixed tokens, and keeps the logits it was shown."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = tokens
        self.logits: list[Tensor] = []

    def rewind(self, drawn: int) -> None:
        """Go back to the state after so many tokens."""
        del self.logits[drawn:]

    def draw(self, logits: Tensor) -> int:
        """The next token."""
        self.logits.append(logits.clone())
        return self._tokens[len(self.logits) - 1]


def _take(row: Row, logits: Tensor) -> FinishReason | None:
    """Append a row's next token, chosen from logits [V]; return why the row ends with it, if it does."""
    token = row.choose(logits) if bool(torch.isfinite(logits.max())) else None
    if token is None:
        raise NotFiniteError
    row.new.append(token)
    return row.ends_with(token)


def _differ(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    """Whether logits [N, V] differ by more than rounding."""
    scale = one.abs().max().clamp(min=1.0)
    off = (one - other).abs().amax(1)
    # In 16 bit, a router that flips changes single tokens a lot.
    off = off.max() if dtype.itemsize >= 4 else off.median()
    return not bool(off <= _TOLERANCE[dtype] * scale)


def _beyond(length: int) -> int:
    """How many tokens beyond a length are tried."""
    return max(_CHECKED, length // 32)


def _does_not_run(error: Exception, where: str) -> ModelError:
    lines = str(error).strip().splitlines()
    return ModelError(f"the model does not run on token ids: {lines[0] if lines else error!r}", where=where)


@contextmanager
def _no_defaults(model: PreTrainedModel) -> Iterator[None]:
    """Hide the model's own generation settings from ``generate``."""
    from transformers import GenerationConfig

    earlier = model.generation_config
    model.generation_config = cast("Any", GenerationConfig)()
    try:
        yield
    finally:
        model.generation_config = earlier
