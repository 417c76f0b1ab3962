"""Check before any scoring that the packed engine computes the same as the model's own forward.

Requests are scored and continued by the same passes as in a run, with shared prefixes, branches, a KV cache
and many rows; the model's own forward answers them one row at a time. Some are longer than every window and
rope switch in the configuration; lengths that take too long to reach are shortened.

A model in 16 bit is tried twice. A copy in a wide format has to agree within rounding, which reveals faults
of the architecture; in its own format the packed engine may err no more than the model itself does.
"""

from __future__ import annotations

import copy
import logging
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from medbench.errors import ModelError
from medbench.models.architecture.memory import free_memory, is_out_of_memory
from medbench.models.architecture.mixtures import set_impl
from medbench.models.architecture.text_config import usable_tokens
from medbench.models.engines.lengths import affordable, rope_lengths, shortened, window_lengths
from medbench.models.engines.native.forward import PackedModel
from medbench.models.engines.native.generation_pass import GenerationPass
from medbench.models.engines.native.generation_rows import GenerationRequest
from medbench.models.engines.native.rope import RopeSwitches
from medbench.models.engines.native.scoring_pass import ScoringPass
from medbench.models.engines.reference import ReferenceModel, Tape
from medbench.models.routing.recorder import Recorder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LOG = logging.getLogger(__name__)

Tokens = tuple[int, ...]

_PREFIX = 18  # tokens that several requests share, enough to be worth sharing
_FAMILIES = 5
_SAVING = 64  # tokens that sharing a prefix has to save
_STEPS = 3  # tokens that are generated
_SHORTEST, _STEP = 24, 8  # tokens that lengths are shortened to
_BUDGET = 48  # tokens of a batch: small, to get several batches
# Largest difference in a wide format, relative to the largest logit.
_WIDE_TOLERANCE = 2e-4
# In 16 bit, the median error may be this multiple of the model's own plus this part of the median logit.
_TIMES, _PART = 3.0, 0.02
_COPY_SHARE = 0.3  # of the free memory that a wide copy may take
_LARGEST_COPY_ON_CPU = 500_000_000  # parameters
_SMALL = 50_000_000  # parameters of a model that is copied in float64


@dataclass
class _Trial:
    """The requests of one comparison.

    Attributes:
        requests: Contexts and continuations to score.
        prompts: Prompts to continue, each with the tokens it is forced to take.
    """

    requests: list[tuple[Tokens, Tokens]] = field(default_factory=list)
    prompts: list[tuple[Tokens, Tokens]] = field(default_factory=list)


class _Subjects(NamedTuple):
    """The model under test, and its copy in a wide format.

    Attributes:
        packed: The packed model.
        own: Its own forward.
        wide: The copy, packed; the model itself if its format is wide, ``None`` if there is none.
        exact: The copy's own forward.
    """

    packed: PackedModel
    own: ReferenceModel
    wide: PackedModel | None
    exact: ReferenceModel | None

    def models(self) -> list[PackedModel]:
        """The packed models, without repetition."""
        return [self.packed, *([self.wide] if self.wide is not None and self.wide is not self.packed else [])]


@torch.inference_mode()
def check_packed(packed: PackedModel, reference: ReferenceModel) -> tuple[int, ...]:
    """Compare a packed model with the model itself.

    Windows and rope switches that take too long to reach are shortened for a while, in both.

    Args:
        packed: The packed model.
        reference: The same model's own forward.

    Returns:
        Lengths in the configuration beyond which the engine was not tried.

    Raises:
        ModelError: They differ, or the packed model does not run.
    """
    limit = packed.max_length or 2**20
    lengths = [
        length
        for length in sorted({*window_lengths(packed.model), *packed.rope.switches})
        if _far(length, limit) > length
    ]
    costly = [n for n in lengths if not affordable(packed.model, _far(n, limit), packed.device)]
    wide = packed if packed.dtype.itemsize >= 4 else _wide(packed.model)
    exact = reference if wide is packed else None if wide is None else ReferenceModel(wide.model)
    subjects = _Subjects(packed, reference, wide, exact)
    _compare(subjects, _trial(packed, [n for n in lengths if n not in costly]))
    untried = _try_shortened(subjects, costly) if costly else ()
    packed.tokens = reference.tokens = 0  # the check does not count
    return untried


def _compare(subjects: _Subjects, trial: _Trial) -> None:
    packed, wide = subjects.packed, subjects.wide
    own = _Own(subjects.own)
    if wide is not None and subjects.exact is not None:
        exact = own if wide is packed else _Own(subjects.exact)
        _compare_exactly(wide, exact, trial)
    else:
        exact = own
    if wide is not packed:
        _compare_roughly(packed, own, exact, trial)


def _try_shortened(subjects: _Subjects, costly: Sequence[int]) -> tuple[int, ...]:
    """Shorten lengths that are too costly and try them; return those that cannot be shortened."""
    ids = _tokens(subjects.packed, _SHORTEST + _STEP * (len(costly) + 2))
    plain = subjects.own.logits(ids)
    shorts = {length: _SHORTEST + _STEP * place for place, length in enumerate(costly)}
    untried = []
    for length, short in shorts.items():
        with shortened(subjects.packed.model, {length: short}):
            if torch.equal(subjects.own.logits(ids), plain):
                untried.append(length)
    for length in untried:
        del shorts[length]
    if not shorts:
        return tuple(untried)
    with ExitStack() as stack:
        ropes = [(packed, packed.rope) for packed in subjects.models()]
        for packed, rope in ropes:
            stack.enter_context(shortened(packed.model, shorts))
            stack.callback(setattr, packed, "rope", rope)
            packed.rope = RopeSwitches(packed.model, packed.max_length)
        _compare(subjects, _trial(subjects.packed, list(shorts.values())))
    return tuple(untried)


def _far(length: int, limit: int) -> int:
    """Tokens of a sequence longer than a length, within the model's limit."""
    return min(length + max(4, length // 2), limit - 4)


def _tokens(packed: PackedModel, count: int) -> Tokens:
    usable = usable_tokens(packed.model, packed.vocabulary)
    drawn = torch.randint(len(usable), (count,), generator=torch.Generator().manual_seed(1)).tolist()
    return tuple(usable[place] for place in drawn)


def _trial(packed: PackedModel, lengths: Sequence[int]) -> _Trial:
    limit = packed.max_length or 2**20
    draw = torch.Generator().manual_seed(0)
    usable = usable_tokens(packed.model, packed.vocabulary)

    def some(count: int) -> Tokens:
        drawn = torch.randint(len(usable), (max(1, count),), generator=draw).tolist()
        return tuple(usable[place] for place in drawn)

    prefix = some(min(_PREFIX, limit - 8))
    tail = min(3, max(1, limit - len(prefix) - 4))
    contexts = [prefix + some(tail - place % 2) for place in range(_FAMILIES)] + [some(2)]
    trial = _Trial()
    for place, context in enumerate(contexts):
        room = max(1, min(_STEPS, limit - len(context)))
        forced = some(room)
        trial.requests += [(context, forced), (context, some(1 if place else room))]
        trial.prompts.append((context, forced))
    for length in lengths:
        far = _far(length, limit)
        around = some(far + _STEPS)
        # Sequences beyond the length that share a prefix ending before it.
        shared = around[: max(1, length - 1)]
        for _ in range(1 + -(-_SAVING // len(shared))):
            trial.requests.append((shared + some(far - len(shared)), some(1)))
        for end in (far, max(1, length - 1)):  # beyond it, and across it
            forced = around[end : end + _STEPS]
            trial.requests += [(around[:end], forced), (around[:end], some(1))]
            trial.prompts.append((around[:end], forced))
    return trial


class _Own:
    """Logits by the model's own forward; those of a prefix of a known sequence are not computed again.

    They are where a length in the configuration lies between the two.

    Args:
        reference: The model.
    """

    def __init__(self, reference: ReferenceModel) -> None:
        self._reference = reference
        self._named = rope_lengths(reference.model)
        self._known: list[tuple[Tokens, Tensor]] = []

    def logits(self, ids: Tokens, last: int) -> Tensor:
        """Logits of the last tokens of a sequence, [last, V]."""
        for known, logits in self._known:
            behind = len(known) - len(ids)
            alike = bisect_left(self._named, len(known)) == bisect_left(self._named, len(ids))
            if behind >= 0 and alike and known[: len(ids)] == ids and behind + last <= len(logits):
                end = len(logits) - behind
                return logits[end - last : end]
        logits = self._reference.logits(ids, min(len(ids), 2 * _STEPS))
        self._known.append((ids, logits))
        return logits[-last:]


def _compare_exactly(packed: PackedModel, exact: _Own, trial: _Trial) -> None:
    for kind, ours, own in (
        ("scored", _scores(packed, trial), _own_scores(exact, trial)),
        ("continued", _steps(packed, trial), _own_steps(exact, trial)),
    ):
        off = float((ours - own).abs().max())
        scale = max(1.0, float(own.abs().max()))
        if not off <= _WIDE_TOLERANCE * scale:
            raise _differs(kind, off)


def _compare_roughly(packed: PackedModel, same: _Own, exact: _Own, trial: _Trial) -> None:
    """Compare in 16 bit, by the median: a router that flips changes single tokens a lot.

    Args:
        packed: The packed model.
        same: The model itself, in its number format.
        exact: The copy in a wide format; without one, the same as ``same``.
        trial: The requests.
    """
    for kind, asked, answered in (
        ("scored", _scores, _own_scores),
        ("continued", _steps, _own_steps),
    ):
        ours, own, truth = asked(packed, trial), answered(same, trial), answered(exact, trial).float()
        size = float(truth.abs().median())
        allowed = _PART * size + _TIMES * float((own - truth).abs().median())
        off = float((ours - truth).abs().median())
        if not off <= allowed:
            raise _differs(kind, off)


def _differs(kind: str, off: float) -> ModelError:
    return ModelError(
        f"packed, the model does not compute what it computes by itself ({kind}: {off:.2g} off)"
    )


def _scores(packed: PackedModel, trial: _Trial) -> Tensor:
    scoring = ScoringPass(packed, Recorder(packed.model, "off"), _BUDGET)
    return torch.tensor([score.logprob for score in scoring.run(trial.requests, None, None)])


def _own_scores(own: _Own, trial: _Trial) -> Tensor:
    found = []
    for context, continuation in trial.requests:
        logits = own.logits(context + continuation[:-1], len(continuation))
        tokens = torch.tensor(continuation, device=logits.device)[:, None]
        found.append(float(logits.double().log_softmax(-1).gather(1, tokens).sum()))
    return torch.tensor(found)


def _steps(packed: PackedModel, trial: _Trial) -> Tensor:
    """Logits [steps of all prompts, V] of generation that is forced to take given tokens."""
    tapes = [Tape(forced) for _, forced in trial.prompts]
    requests = [
        GenerationRequest(prompt, len(forced), frozenset(), sampler=cast("Any", tape))
        for (prompt, forced), tape in zip(trial.prompts, tapes, strict=True)
    ]
    GenerationPass(packed, Recorder(packed.model, "off"), _BUDGET, len(requests)).run(requests, None, None)
    return torch.stack([logits for tape in tapes for logits in tape.logits]).cpu()


def _own_steps(own: _Own, trial: _Trial) -> Tensor:
    """The same by the model's own forward."""
    return torch.stack(
        [
            own.logits(prompt + forced[:step], 1)[0]
            for prompt, forced in trial.prompts
            for step in range(len(forced))
        ]
    ).cpu()


def _wide(model: PreTrainedModel) -> PackedModel | None:
    """A copy of a model in a wide number format; ``None`` if none can be made."""
    size = sum(parameter.numel() for parameter in model.parameters())
    dtype = torch.float64 if size <= _SMALL else torch.float32
    on_cpu = model.device.type == "cpu"
    if size * dtype.itemsize > _COPY_SHARE * free_memory(model.device) or (
        on_cpu and size > _LARGEST_COPY_ON_CPU
    ):
        return None
    if getattr(model, "hf_device_map", None) or getattr(model, "is_quantized", False):
        return None
    try:
        twin = copy.deepcopy(model)
        set_impl(twin, "stacked")
        nn.Module.to(twin, dtype)
        twin.config.dtype = dtype
        packed = PackedModel(twin)
        ReferenceModel(twin)
    except (RuntimeError, TypeError, ValueError, MemoryError, ModelError) as error:
        if is_out_of_memory(error):
            return None
        _LOG.info("the engine is tried in %s alone: %s", model.dtype, error)
        return None
    return packed
