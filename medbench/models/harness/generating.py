"""``generate_until``: from lm-eval's requests to the engine's, the authors' second pass included."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from medbench.errors import ModelError
from medbench.models.checkpoints.generation_config import GENERATION_FILE
from medbench.models.engines.engine import Engine
from medbench.models.engines.native.generation_rows import Generation, cut_at
from medbench.models.harness.answers import Answer, AnswerStore, first_pass_key
from medbench.models.harness.encoding import Encoder
from medbench.models.harness.generation_settings import GenerationSettings, SecondPass
from medbench.models.routing.counts import RoutingLabel
from medbench.scoring.reasoning import TagPair, is_mark, is_open, split

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedTokenizerBase

_LOG = logging.getLogger(__name__)

Ready = Callable[[Mapping[int, Answer], Mapping[str, Answer]], None]


@dataclass(frozen=True)
class _Job:
    """One request on its way.

    Attributes:
        index: Its place among the requests.
        key: Its key in the answer store.
        label: Whose router choices they are.
        prompt: The prompt's text.
        doc: The document.
        settings: What its task asks for.
        where: Task and document, for messages.
    """

    index: int
    key: str
    label: RoutingLabel
    prompt: str
    doc: Mapping[str, Any]
    settings: GenerationSettings
    where: str

    @property
    def first_key(self) -> str:
        """Key of the first pass of a request with two."""
        return first_pass_key(self.key)

    @property
    def seed(self) -> int:
        """Seed of sampling, the request's own."""
        return int(self.key[:16], 16)


class Generator:
    """Answers ``generate_until`` requests.

    Args:
        engine: Generates.
        tokenizer: Decodes.
        encoder: Encodes.
        max_length: Tokens of prompt and answer together.
        max_gen_toks: New tokens where a task does not say.
        tags: Marks of the model's own around reasoning.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: PreTrainedTokenizerBase,
        encoder: Encoder,
        max_length: int,
        max_gen_toks: int,
        tags: Sequence[TagPair] = (),
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._max_length = max_length
        self._max_gen_toks = max_gen_toks
        self._tags = tuple(tags)
        self._eos = _end_tokens(engine, tokenizer)
        self._told_of_limits = False
        self._special = {
            str(token): int(number)
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }
        self._marks = {number for token, number in self._special.items() if is_mark(token, self._tags)}

    def run(
        self,
        requests: Sequence[Instance],
        keys: Sequence[str],
        labels: Sequence[RoutingLabel],
        store: AnswerStore,
        ready: Ready,
    ) -> None:
        """Answer requests.

        Args:
            requests: lm-eval's.
            keys: Their keys in the store.
            labels: Whose router choices they are.
            store: Knows the first passes that an earlier attempt kept.
            ready: Told after each batch of the answers that are complete, and of the first passes to keep, by
                key, that a second is to follow.
        """
        jobs = [
            _Job(
                index,
                key,
                label,
                request.args[0],
                request.doc,
                self._settings(request),
                f"{request.task_name}, document {request.doc_id}",
            )
            for index, (request, key, label) in enumerate(zip(requests, keys, labels, strict=True))
        ]
        kept = store.get([job.first_key for job in jobs if job.settings.may_continue])
        firsts = {job.index: kept[job.first_key] for job in jobs if job.first_key in kept}
        waiting = [job for job in jobs if job.index not in firsts]
        contexts = self._prompts(jobs)
        self._tell_of_limits({job.settings.max_gen_toks for job in jobs})

        def on_batch(indices: Sequence[int], generations: Sequence[Generation]) -> None:
            done, halves = {}, {}
            for place, generation in zip(indices, generations, strict=True):
                job = waiting[place]
                until = () if job.settings.constrain else job.settings.until
                text = self._text(generation, until, opened=is_open(job.prompt, self._tags))
                truncated = generation.finish_reason == "length" and job.settings.constrain is None
                answer = Answer(text=text, first_pass=text, truncated=truncated)
                if self._following(job, answer) is not None:
                    half = replace(answer, tokens=tuple(generation.token_ids))
                    halves[job.index] = half
                else:
                    done[job.index] = answer
            firsts.update(halves)
            # Together: the router counts of the batch are those of both.
            ready(done, {jobs[index].first_key: half for index, half in halves.items()})

        self._generate(
            waiting,
            [contexts[job.index] for job in waiting],
            limits=[job.settings.max_gen_toks for job in waiting],
            letters=[job.settings.constrain for job in waiting],
            opened=[is_open(job.prompt, self._tags) for job in waiting],
            skip=[0] * len(waiting),
            on_batch=on_batch,
        )
        self._second([jobs[index] for index in sorted(firsts)], firsts, contexts, ready)

    def _tell_of_limits(self, limits: set[int]) -> None:
        """Say once that a limit of the checkpoint's file is not the one that is kept."""
        for key, value in self._engine.decoding.left_to_tasks.items():
            if not self._told_of_limits and limits != {value}:
                self._told_of_limits = True
                _LOG.warning(
                    "%s %s of the model's %s is not kept, unlike in lm-eval's hf: those of the tasks are",
                    key,
                    value,
                    GENERATION_FILE,
                )

    def _second(
        self,
        jobs: Sequence[_Job],
        firsts: Mapping[int, Answer],
        contexts: Sequence[list[int]],
        ready: Ready,
    ) -> None:
        following = {job.index: self._following(job, firsts[job.index]) for job in jobs}
        # Kept by an attempt that thought it would need one.
        whole = {
            job.index: replace(firsts[job.index], tokens=None) for job in jobs if not following[job.index]
        }
        if whole:
            ready(whole, {})
        jobs = [job for job in jobs if job.index not in whole]
        passes = [second for job in jobs if (second := following[job.index]) is not None]
        if not passes:
            return
        before = [
            (firsts[job.index].text or "") + second.suffix for job, second in zip(jobs, passes, strict=True)
        ]
        prompts = self._encoder.encode([job.prompt + text for job, text in zip(jobs, before, strict=True)])
        skip = []
        for place, job in enumerate(jobs):
            # What the first pass lost of its prompt is lost to the second, too, which may have more room: so
            # both answer the same, and every token is counted once.
            context = contexts[job.index]
            lost = max(0, len(context) - self._longest(job.settings.max_gen_toks))
            # Tokens that the first pass counted already.
            known = _common(prompts[place], _forwarded(context, firsts[job.index]))
            prompts[place] = prompts[place][min(lost, known) :]
            skip.append(max(0, known - lost))

        def on_batch(indices: Sequence[int], generations: Sequence[Generation]) -> None:
            done = {}
            for place, generation in zip(indices, generations, strict=True):
                job, first = jobs[place], firsts[jobs[place].index]
                text = self._text(generation, () if passes[place].letters else job.settings.until)
                done[job.index] = Answer(
                    text=before[place] + text,
                    truncated=first.truncated,
                    first_pass=first.text,
                    second_pass=text,
                    closing=self._closing(job, first) or None,
                )
            ready(done, {})

        self._generate(
            jobs,
            prompts,
            limits=[second.max_gen_toks for second in passes],
            letters=[second.letters for second in passes],
            opened=[False] * len(jobs),
            skip=skip,
            on_batch=on_batch,
        )

    def _generate(
        self,
        jobs: Sequence[_Job],
        prompts: Sequence[list[int]],
        *,
        limits: Sequence[int],
        letters: Sequence[str | tuple[str, ...] | None],
        opened: Sequence[bool],
        skip: Sequence[int],
        on_batch: Callable[[Sequence[int], Sequence[Generation]], None],
    ) -> None:
        if not jobs:
            return
        fitted, rooms = self._fit(jobs, prompts, limits)
        special = [
            [self._special[stop] for stop in job.settings.until if stop in self._special] for job in jobs
        ]
        self._engine.generate(
            fitted,
            max_new_tokens=rooms,
            eos_token_ids=[[*self._eos, *ends] for ends in special],
            stop=[
                [] if column else [stop for stop in job.settings.until if stop not in self._special]
                for job, column in zip(jobs, letters, strict=True)
            ],
            allowed_token_ids=[
                None if column is None else self._letters(job, column)
                for job, column in zip(jobs, letters, strict=True)
            ],
            sampling=[job.settings.sampling(job.seed) for job in jobs],
            settings=[job.settings.changes for job in jobs],
            labels=[job.label for job in jobs],
            # Within reasoning a blank line stops nothing, nor does one right behind it.
            stops_count=[partial(self._has_begun, opened=began) for began in opened],
            counted=[
                max(0, known - (len(prompt) - len(kept)))
                for known, prompt, kept in zip(skip, prompts, fitted, strict=True)
            ],
            on_batch=on_batch,
        )

    def _following(self, job: _Job, first: Answer) -> SecondPass | None:
        """What follows a first pass, if anything does."""
        return job.settings.following(job.prompt, first.text or "", job.doc, self._tags)

    def _closing(self, job: _Job, first: Answer) -> str:
        """What closes the reasoning of a first pass, if anything does."""
        return job.settings.closing(job.prompt, first.text or "", self._tags)

    def _settings(self, request: Instance) -> GenerationSettings:
        return GenerationSettings.parse(
            request.args[1], max_gen_toks=self._max_gen_toks, where=str(request.task_name)
        )

    def _prompts(self, jobs: Sequence[_Job]) -> list[list[int]]:
        encoded = self._encoder.encode([job.prompt for job in jobs])
        return [tokens or self._eos[:1] for tokens in encoded]

    def _longest(self, limit: int) -> int:
        """Tokens that a prompt may have: an answer gets its limit or half of the model's length."""
        return self._max_length - min(limit, self._max_length // 2)

    def _fit(
        self, jobs: Sequence[_Job], prompts: Sequence[list[int]], limits: Sequence[int]
    ) -> tuple[list[list[int]], list[int]]:
        """Make prompts and limits fit the model: what a prompt has beyond its room it loses at its start."""
        fitted, rooms = [], []
        cut, short = Counter[str](), Counter[str]()
        for job, prompt, limit in zip(jobs, prompts, limits, strict=True):
            kept = prompt[-self._longest(limit) :]
            room = min(limit, self._max_length - len(kept))
            cut[job.label[0]] += len(kept) < len(prompt)
            short[job.label[0]] += room < limit
            fitted.append(kept)
            rooms.append(room)
        for task, count in cut.items():
            if count:
                _LOG.warning(
                    "%s: %d prompts were too long for the model and lost their beginning", task, count
                )
        for task, count in short.items():
            if count:
                _LOG.warning("%s: %d answers have less room than the task allows them", task, count)
        return fitted, rooms

    def _letters(self, job: _Job, chosen: str | tuple[str, ...]) -> list[int]:
        """The tokens of letters, or of those in the document's column of that name.

        Raises:
            ModelError: The document has no such column, or a letter is not one token.
        """
        letters = job.doc.get(chosen) if isinstance(chosen, str) else chosen
        if not isinstance(letters, (list, tuple)) or not letters:
            raise ModelError(f"the document has no list {chosen!r} to choose among", where=job.where)
        encoded = self._encoder.encode([str(letter) for letter in letters], add_special_tokens=False)
        longer = [letter for letter, tokens in zip(letters, encoded, strict=True) if len(tokens) != 1]
        if longer:
            raise ModelError(f"not one token each: {', '.join(map(repr, longer[:4]))}", where=job.where)
        return [tokens[0] for tokens in encoded]

    def _has_begun(self, text: str, *, opened: bool) -> bool:
        """Whether a text has come to its answer."""
        return not split(text, self._tags, opened=opened).lost

    def _text(self, generation: Generation, until: Sequence[str], *, opened: bool = False) -> str:
        """The generated text, without end tokens and what follows a stop string in the answer."""
        tokens = generation.token_ids
        if generation.finish_reason == "eos":
            tokens = tokens[:-1]
        if self._marks.isdisjoint(tokens):
            text = self._decode(tokens, skip_special_tokens=True)
        else:
            special = set(self._special.values()) - self._marks
            kept = [token for token in tokens if token not in special]
            text = self._decode(kept, skip_special_tokens=False)
        parts = split(text, self._tags, opened=opened)
        answer = text[parts.start :]
        return cut_at(text, until, parts.start + len(answer) - len(answer.lstrip()) if parts.start else 0)

    def _decode(self, tokens: list[int], *, skip_special_tokens: bool) -> str:
        return str(
            self._tokenizer.decode(
                tokens, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False
            )
        )


def _end_tokens(engine: Engine, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """End tokens that the tokenizer or the model's generation settings name, the tokenizer's first."""
    settings = getattr(engine.model, "generation_config", None)
    named = getattr(settings, "eos_token_id", None)
    more = named if isinstance(named, (list, tuple)) else [named]
    return [int(token) for token in dict.fromkeys([tokenizer.eos_token_id, *more]) if token is not None]


def _forwarded(context: Sequence[int], first: Answer) -> list[int]:
    """The tokens of a first pass that went through the model: its last was read off and went in no more."""
    return [*context, *(first.tokens or ())[:-1]]


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    for place, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return place
    return min(len(a), len(b))
