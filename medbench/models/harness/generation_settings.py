"""What a task's ``generation_kwargs`` ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medbench.common.strict import FLAG, MAPPING, NUMBER, TEXT, Kind, check_mapping, choice, either, list_of
from medbench.errors import ModelError
from medbench.models.checkpoints.generation_config import DRAWING, HONORED
from medbench.models.engines.native.sampling import Sampling
from medbench.scoring.authors.passes import joiner, offered_letters
from medbench.scoring.exams import commits
from medbench.scoring.reasoning import TagPair, closing_mark, is_open, split

__all__ = ["TOKEN_LIMITS", "GenerationSettings", "SecondPass"]

# The names under which a limit of new tokens is given.
TOKEN_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_KNOWN = {
    "until",
    "constrain",
    "second_pass",
    "close_thinking",
    *TOKEN_LIMITS,
    *HONORED,
    *DRAWING,
}
# What asks for nothing that the engine would have to do.
_NEUTRAL = {"num_beams": 1, "num_return_sequences": 1}
_SECOND_PASS = {"suffix", "join", "when", "marker", "letters", "letters_of", "max_gen_toks"}
# A text where a flag or a number is meant would be taken for one that it does not name.
_NOT_NEGATIVE = Kind("a number that is not negative", lambda value: NUMBER.accepts(value) and value >= 0)
_WHOLE = Kind("a whole number, 0 or more", lambda value: type(value) is int and value >= 0)
_KINDS = {
    "until": either(TEXT, list_of(TEXT)),
    "do_sample": FLAG,
    "close_thinking": FLAG,
    "temperature": _NOT_NEGATIVE,
    "top_k": Kind("a whole number", lambda value: type(value) is int),
    "top_p": _NOT_NEGATIVE,
    "repetition_penalty": _NOT_NEGATIVE,
    "no_repeat_ngram_size": _WHOLE,
    "min_length": _WHOLE,
    "min_new_tokens": _WHOLE,
    "min_p": _NOT_NEGATIVE,
    "typical_p": _NOT_NEGATIVE,
    "constrain": TEXT,
    "second_pass": MAPPING,
}
_SECOND_PASS_KINDS = {
    "suffix": TEXT,
    "when": choice("missing", "always"),
    "marker": TEXT,
    "letters": TEXT,
    "join": choice("sentence"),
    "letters_of": choice("prompt"),
}


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
        unknown = sorted(
            key
            for key, value in kwargs.items()
            if key not in _KNOWN and not (key in _NEUTRAL and value in (None, _NEUTRAL[key]))
        )
        if unknown:
            raise ModelError(
                f"generation_kwargs that medbench does not carry out: {', '.join(unknown)}",
                where=where,
                hint=f"it knows {', '.join(sorted(_KNOWN))}",
            )
        _check_kinds(kwargs, _KINDS, "generation_kwargs", where)
        until = kwargs.get("until") or ()
        limit = next((kwargs[key] for key in TOKEN_LIMITS if kwargs.get(key) is not None), max_gen_toks)
        temperature, drawn = kwargs.get("temperature"), kwargs.get("do_sample")
        # As in lm-eval: a temperature draws, unless do_sample says otherwise.
        sample = bool(temperature) if drawn is None else drawn and temperature != 0
        wanted = HONORED | DRAWING if sample else HONORED
        # A neutral value is asked for as well: the model's own setting may be another.
        wanted |= _NEUTRAL.keys()
        changes = {key: kwargs[key] for key in sorted(wanted & kwargs.keys()) if kwargs[key] is not None}
        if sample:
            Sampling(temperature or 1.0, kwargs.get("top_k") or 0, kwargs.get("top_p") or 1.0)  # in range
            changes["do_sample"] = True
        return cls(
            until=(until,) if isinstance(until, str) else tuple(until),
            max_gen_toks=_positive(limit, "max_gen_toks", where),
            sample=sample,
            changes=changes,
            constrain=kwargs.get("constrain"),
            second_pass=_second_pass(kwargs.get("second_pass"), where),
            close_thinking=bool(kwargs.get("close_thinking")),
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


def _second_pass(value: Any, where: str) -> SecondPass | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or not set(value) <= _SECOND_PASS or "suffix" not in value:
        raise ModelError(
            f"second_pass cannot be {value!r}",
            where=where,
            hint=f"a mapping with suffix, and of {', '.join(sorted(_SECOND_PASS))} what is needed",
        )
    _check_kinds(value, _SECOND_PASS_KINDS, "second_pass", where)
    when = value.get("when") or "always"
    join, letters, letters_of = value.get("join"), value.get("letters"), value.get("letters_of")
    if letters and letters_of:
        raise ModelError(
            "second_pass takes letters or letters_of, not both",
            where=where,
            hint="letters names a column of the document; letters_of: prompt offers what the prompt does",
        )
    limit = value.get("max_gen_toks", 1 if letters or letters_of else 50)
    return SecondPass(
        suffix=value["suffix"],
        marker=value["suffix"] if value.get("marker") is None else value["marker"],
        always=when == "always",
        letters=letters,
        max_gen_toks=_positive(limit, "second_pass.max_gen_toks", where),
        joined=join == "sentence",
        offered=letters_of == "prompt",
    )


def _check_kinds(given: Mapping[str, Any], kinds: Mapping[str, Kind], name: str, where: str) -> None:
    """Check the values of those keys whose kind is known here."""
    known = {key: value for key, value in given.items() if key in kinds}
    check_mapping(known, kinds, where=lambda _: where, error=ModelError, name=name)


def _positive(value: Any, name: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 1:
        raise ModelError(f"{name} must be a positive whole number, not {value!r}", where=where)
    return int(value)
