"""Answers to requests, and where they are kept so that none is computed twice."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from medbench.errors import ModelError
from medbench.models.harness.responses import Response
from medbench.models.routing.counts import RoutingCounts
from medbench.models.routing.traces import Traces
from medbench.scoring.reasoning import TagPair, is_open

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Answer:
    """The answer to one request; which fields are set depends on the kind of request.

    Attributes:
        logprob: Log-probability of a continuation or a text, in nats.
        is_greedy: Whether greedy decoding would write the continuation.
        text: Generated text: the first pass and, if there was one, what was appended and the second pass.
        truncated: Whether the first pass ran into its token limit.
        first_pass: The text of the first pass.
        second_pass: The text of the second pass, ``None`` if there was none.
        closing: What closed reasoning that was left unfinished, between the passes; ``None`` if nothing.
        tokens: Token ids of a first pass that is kept for its second.
    """

    logprob: float | None = None
    is_greedy: bool | None = None
    text: str | None = None
    truncated: bool = False
    first_pass: str | None = None
    second_pass: str | None = None
    closing: str | None = None
    tokens: tuple[int, ...] | None = None

    def response(self, prompt: str = "", tags: Sequence[TagPair] = ()) -> Response:
        """The generated text as lm-eval is given it.

        Args:
            prompt: What was asked, whose end may have opened a reasoning block.
            tags: Marks of the model's own around reasoning.
        """
        return Response(
            self.text or "",
            truncated=self.truncated,
            first_pass=self.first_pass,
            second_pass=self.second_pass,
            closing=self.closing or "",
            tags=tags,
            opened=is_open(prompt, tags),
        )

    def as_lm_eval(self, kind: str, prompt: str = "", tags: Sequence[TagPair] = ()) -> Any:
        """The answer as lm-eval is given it: a response, a number, or a number and whether it is greedy."""
        if kind == "generate_until":
            return self.response(prompt, tags)
        logprob = float(self.logprob or 0.0)
        return (logprob, bool(self.is_greedy)) if kind == "loglikelihood" else logprob

    def to_json(self) -> dict[str, Any]:
        """The fields that are set, as JSON values."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Answer:
        """Read :meth:`to_json` back.

        Raises:
            ModelError: The value has unknown fields.
        """
        tokens = value.get("tokens")
        try:
            return cls(**value | {"tokens": None if tokens is None else tuple(tokens)})
        except TypeError as error:
            raise ModelError(
                "a stored answer has unknown fields", hint="it was written by another version"
            ) from error


class AnswerStore(Protocol):
    """Keeps answers by request key."""

    def get(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Return the answers that are known, by key."""

    def put(
        self,
        answers: Mapping[str, Answer],
        routing: RoutingCounts | None = None,
        traces: Traces | None = None,
    ) -> None:
        """Keep a batch of answers and what routers did in the forwards that gave them: all or nothing."""


class MemoryStore:
    """Keeps answers and router counts for as long as the process lives."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}
        self._routing = RoutingCounts()
        self._traces: list[Traces] = []

    def get(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Return the answers that are known, by key."""
        return {key: self._answers[key] for key in keys if key in self._answers}

    def put(
        self,
        answers: Mapping[str, Answer],
        routing: RoutingCounts | None = None,
        traces: Traces | None = None,
    ) -> None:
        """Keep answers and traces, and add up router counts."""
        self._answers.update(answers)
        if traces is not None:
            self._traces.append(traces)
        if routing is not None:
            self._routing = self._routing + routing

    def answers(self) -> dict[str, Answer]:
        """All answers so far, by key."""
        return self._answers

    def routing(self) -> RoutingCounts:
        """All router counts so far."""
        return self._routing

    def traces(self) -> list[Traces]:
        """What routers chose token by token, batch by batch."""
        return self._traces


def request_key(
    task: str, document: int, index: int, repeat: int, kind: str, arguments: Sequence[Any], seed: int
) -> str:
    """Name a request: SHA-256 (hex) over canonical JSON of what determines its answer, the model aside.

    Args:
        task: Task name.
        document: Index of the document in the task.
        index: Which of the document's requests it is.
        repeat: Which of its repetitions (sampling asked for several times).
        kind: ``loglikelihood``, ``loglikelihood_rolling`` or ``generate_until``.
        arguments: The prompt and what is asked of it.
        seed: Seed of sampling.
    """
    value = [task, document, index, repeat, kind, list(arguments), seed]
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def request_keys(kind: str, requests: Sequence[Instance], seed: int) -> list[str]:
    """Name lm-eval's requests, see :func:`request_key`; equal ones of one document are told apart by number.

    Args:
        kind: ``loglikelihood``, ``loglikelihood_rolling`` or ``generate_until``.
        requests: lm-eval's requests of that kind, all that are asked at once.
        seed: Seed of sampling.
    """
    keys, seen = [], Counter[tuple[Any, ...]]()
    for request in requests:
        place = (request.task_name or "", request.doc_id or 0, request.idx)
        arguments = list(request.args)
        repeat = seen[place, str(arguments)]
        seen[place, str(arguments)] += 1
        keys.append(request_key(*place, repeat, kind, arguments, seed))
    return keys


def first_pass_key(key: str) -> str:
    """Under which the first pass of a request is kept until its second has been answered."""
    return f"{key}/first"


def as_given(kind: str, request: Instance, answer: Answer, tags: Sequence[TagPair] = ()) -> Any:
    """An answer as lm-eval is given it.

    Args:
        kind: The kind of the request.
        request: What was asked.
        answer: The answer to it.
        tags: Marks of the model's own around reasoning.
    """
    # One of a few letters is an answer, also where the prompt ends inside a reasoning block.
    free = kind == "generate_until" and not request.args[1].get("constrain")
    return answer.as_lm_eval(kind, request.args[0] if free else "", tags)


def given_answers(
    kind: str,
    requests: Sequence[Instance],
    answers: Sequence[Answer],
    tokenizer: PreTrainedTokenizerBase,
    tags: Sequence[TagPair] = (),
) -> list[Any]:
    """Answers as lm-eval is given them, the tokens of their reasoning counted.

    Args:
        kind: The kind of the requests.
        requests: What was asked.
        answers: The answer to each.
        tokenizer: The model's.
        tags: Marks of the model's own around reasoning.
    """
    given = [as_given(kind, request, answer, tags) for request, answer in zip(requests, answers, strict=True)]
    responses = [response for response in given if isinstance(response, Response)]
    reasoned = [response for response in responses if response.parts.thinking]
    texts = [str(response.parts.thinking) for response in reasoned]
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    for response, tokens in zip(reasoned, encoded, strict=True):
        response.thinking_tokens = len(tokens)
    return given
