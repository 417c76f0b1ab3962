"""What a task's ``generation_kwargs`` ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from medbench.common.strict import NotNegative, Record, expecting, validated
from medbench.errors import ModelError
from medbench.models.checkpoints.generation_config import DRAWING, HONORED
from medbench.models.engines.native.generation_rows import Sampling
from medbench.scoring.authors.passes import joiner, offered_letters
from medbench.scoring.exams import commits
from medbench.scoring.reasoning import TagPair, closing_mark, is_open, split

# The names under which a limit of new tokens is given.
TOKEN_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
# What asks for nothing that the engine would have to do.
_NEUTRAL = {"num_beams": 1, "num_return_sequences": 1}


def _listed(value: Any) -> Any:
    """A text as a list of texts."""
    return ([value] if value else []) if isinstance(value, str) else value


_Whole = Annotated[int, Field(ge=0), expecting("a whole number, 0 or more")]


class _SecondPassKeys(Record):
    suffix: str
    when: Literal["missing", "always"] = "always"
    marker: str | None = None
    letters: str | None = None
    join: Literal["sentence"] | None = None
    letters_of: Literal["prompt"] | None = None
    max_gen_toks: Any = None


class _Keys(Record):
    """Keys whose values are checked: a text in place of a flag or a number would be taken for another."""

    until: Annotated[list[str], BeforeValidator(_listed), expecting("text or a list of texts")] = Field(
        default_factory=list
    )
    do_sample: bool | None = None
    close_thinking: bool = False
    temperature: NotNegative | None = None
    top_k: int | None = None
    top_p: NotNegative | None = None
    repetition_penalty: NotNegative | None = None
    no_repeat_ngram_size: _Whole | None = None
    min_length: _Whole | None = None
    min_new_tokens: _Whole | None = None
    min_p: NotNegative | None = None
    typical_p: NotNegative | None = None
    constrain: str | None = None
    second_pass: _SecondPassKeys | None = None


@dataclass(frozen=True)
class SecondPass:
    """The authors' second pass: the answer phrase is appended and the answer decoded.

    Attributes:
        suffix: Appended to the first pass.
        marker: With ``when: missing``, a first pass with this in it needs no second; only of documents
            without options, of which no answer can be read.
        always: Whether there is a second pass in any case.
        letters: The letters to choose among, or the document's column that holds them; ``None``: free text.
        max_gen_toks: Limit of its tokens.
        joined: Whether a joiner stands before the suffix (:func:`medbench.scoring.authors.passes.joiner`).
        offered: Whether the letters are those that the prompt offers
            (:func:`medbench.scoring.authors.passes.offered_letters`).
    """

    suffix: str
    marker: str
    always: bool
    letters: str | tuple[str, ...] | None
    max_gen_toks: int
    joined: bool = False
    offered: bool = False

    def behind(self, prompt: str, first_pass: str, closing: str) -> SecondPass:
        """The same, settled for one first pass: what is appended, and the letters offered.

        Args:
            prompt: What was asked.
            first_pass: What the first pass wrote.
            closing: What closes its reasoning; empty where nothing is to be closed.
        """
        joined = joiner(first_pass) if self.joined and not closing else ""
        letters = tuple(offered_letters(prompt)) if self.offered else self.letters
        return replace(self, suffix=closing + joined + self.suffix, letters=letters)

    def needed(self, answer: str, document: Mapping[str, Any]) -> bool:
        """Whether a first pass must be followed by a second.

        Args:
            answer: What the first pass says outside of reasoning.
            document: The document that it answers.
        """
        if self.always:
            return True
        if document.get("letters") and document.get("options"):
            return not commits(document, answer)
        return self.marker not in answer


@dataclass(frozen=True)
class GenerationSettings:
    """How one request is to be answered.

    Attributes:
        until: Stop strings.
        max_gen_toks: Limit of new tokens.
        sample: Whether tokens are drawn.
        changes: The settings of transformers that the task has in place of the model's own.
        constrain: The document's column with the only answers, one token each.
        second_pass: What follows the first pass.
        close_thinking: Whether reasoning that was left unfinished is closed, and the answer asked for.
    """

    until: tuple[str, ...]
    max_gen_toks: int
    sample: bool
    changes: Mapping[str, Any]
    constrain: str | None
    second_pass: SecondPass | None
    close_thinking: bool = False

    @classmethod
    def parse(cls, kwargs: Mapping[str, Any], *, max_gen_toks: int, where: str) -> GenerationSettings:
        """Read ``generation_kwargs``.

        Args:
            kwargs: As lm-eval hands them over.
            max_gen_toks: The limit where they give none.
            where: The task, for error messages.

        Raises:
            ModelError: A key is unknown or a value out of range.
        """
        known = {*_Keys.model_fields, *TOKEN_LIMITS, *HONORED, *DRAWING}
        unknown = sorted(
            key
            for key, value in kwargs.items()
            if key not in known and not (key in _NEUTRAL and value in (None, _NEUTRAL[key]))
        )
        if unknown:
            raise ModelError(
                f"generation_kwargs that medbench does not carry out: {', '.join(unknown)}",
                where=where,
                hint=f"it knows {', '.join(sorted(known))}",
            )
        given = {key: value for key, value in kwargs.items() if key in _Keys.model_fields}
        keys = validated(_Keys, given, where=lambda _: where, error=ModelError, name="generation_kwargs")
        limit = next((kwargs[key] for key in TOKEN_LIMITS if kwargs.get(key) is not None), max_gen_toks)
        # As in lm-eval: a temperature draws, unless do_sample says otherwise.
        sample = (
            bool(keys.temperature) if keys.do_sample is None else keys.do_sample and keys.temperature != 0
        )
        wanted = HONORED | DRAWING if sample else HONORED
        # A neutral value is asked for as well: the model's own setting may be another.
        wanted |= _NEUTRAL.keys()
        changes = {key: kwargs[key] for key in sorted(wanted & kwargs.keys()) if kwargs[key] is not None}
        if sample:
            Sampling(keys.temperature or 1.0, keys.top_k or 0, keys.top_p or 1.0)  # in range
            changes["do_sample"] = True
        return cls(
            until=tuple(keys.until),
            max_gen_toks=_positive(limit, "max_gen_toks", where),
            sample=sample,
            changes=changes,
            constrain=keys.constrain,
            second_pass=_second_pass(keys.second_pass, where),
            close_thinking=keys.close_thinking,
        )

    @property
    def may_continue(self) -> bool:
        """Whether a second pass may follow the first."""
        return self.second_pass is not None or self.close_thinking

    def following(
        self, prompt: str, first_pass: str, document: Mapping[str, Any], tags: Sequence[TagPair]
    ) -> SecondPass | None:
        """What follows a first pass; its suffix closes reasoning that is to be closed.

        Args:
            prompt: What was asked.
            first_pass: What the first pass wrote.
            document: The document.
            tags: Marks of the model's own around reasoning.
        """
        closing = self.closing(prompt, first_pass, tags)
        said = split(first_pass, tags, opened=is_open(prompt, tags)).answer
        if self.second_pass is not None and self.second_pass.needed(said, document):
            return self.second_pass.behind(prompt, first_pass, closing)
        if closing:
            return SecondPass(closing, closing, True, None, self.max_gen_toks)
        return None

    def closing(self, prompt: str, first_pass: str, tags: Sequence[TagPair]) -> str:
        """What closes the reasoning in which a first pass ends; empty where none is, or is to be, closed."""
        return (closing_mark(first_pass, prompt, tags) or "") if self.close_thinking else ""

    def sampling(self, seed: int) -> Sampling | None:
        """What draws tokens, the logits being changed already; ``None`` for greedy decoding."""
        return Sampling(seed=seed) if self.sample else None


def _second_pass(keys: _SecondPassKeys | None, where: str) -> SecondPass | None:
    if keys is None:
        return None
    if keys.letters and keys.letters_of:
        raise ModelError(
            "second_pass takes letters or letters_of, not both",
            where=where,
            hint="letters names a column of the document; letters_of: prompt offers what the prompt does",
        )
    limit = (1 if keys.letters or keys.letters_of else 50) if keys.max_gen_toks is None else keys.max_gen_toks
    return SecondPass(
        suffix=keys.suffix,
        marker=keys.suffix if keys.marker is None else keys.marker,
        always=keys.when == "always",
        letters=keys.letters,
        max_gen_toks=_positive(limit, "second_pass.max_gen_toks", where),
        joined=keys.join == "sentence",
        offered=keys.letters_of == "prompt",
    )


def _positive(value: Any, name: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 1:
        raise ModelError(f"{name} must be a positive whole number, not {value!r}", where=where)
    return int(value)
