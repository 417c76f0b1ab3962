"""Under what conditions a run was made: what must agree before two scores stand side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd

from medbench.analysis.runs import Run
from medbench.runs.settings import ENGINE_DETAILS, known_settings, recorded_engine

#: What decides which questions a model is asked, and in which form. Systems are ranked together only where
#: all of it agrees.
ASKED = ("chat_template", "num_fewshot", "limit", "sources", "shuffle_options", "circular", "seed")

#: What decides how its answers are computed, and the instruction that belongs to the model. Runs of one model
#: that differ here are kept apart; two models may differ.
COMPUTED = (
    *("system_prompt", "thinking", "close_thinking", "max_gen_toks"),
    *("dtype", "quantization", "engine", "others"),
)

# Settings that say where and how fast a run was made and what it recorded, not what came out.
_ELSEWHERE = (
    *(name for name, setting in known_settings().items() if not (setting.in_identity or setting.of_model)),
    *("routing", "device", "deterministic"),
    *ENGINE_DETAILS,
)

_T = TypeVar("_T")

# The one engine of runs that name none.
_NATIVE = "native"


@dataclass(frozen=True)
class Conditions:
    """The settings of a run that can change its scores; ``None`` is unknown unless said otherwise.

    Attributes:
        chat_template: Whether prompts went through the model's chat template.
        system_prompt: Its text; empty for none.
        thinking: ``on`` or ``off`` where the chat template was told so.
        close_thinking: Whether reasoning that ran into its limit was closed, and the answer asked for.
        max_gen_toks: New tokens of a written answer, where not as the tasks say.
        dtype: Number format of the arithmetic.
        quantization: Format of the base weights, also in the GGUF file that they come from, or ``None`` for
            those of `dtype`.
        num_fewshot: Examples before each document; ``None`` where tasks have different numbers of their own.
        limit: Documents per task, from the first on (a share of them below 1); ``None`` for all.
        sources: Where documents came from, sorted: ``folder``, ``hub``, ``samples`` or ``task``.
        shuffle_options: Seed that permuted the options, or ``None`` for their order in the data.
        circular: Whether exam questions were asked in every rotation of their options.
        seed: Seed of the few-shot examples; ``None`` where there are none, for then it changes nothing.
        engine: What computed the answers.
        others: Settings that are none of these, as ``name value``, where there is a value: whatever a later
            version adds keeps runs apart until it is known not to matter.
    """

    chat_template: bool | None = None
    system_prompt: str | None = None
    dtype: str | None = None
    quantization: str | None = None
    num_fewshot: int | None = None
    limit: float | None = None
    sources: tuple[str, ...] = ()
    shuffle_options: int | None = None
    circular: bool = False
    seed: int | None = None
    engine: str | None = None
    thinking: str | None = None
    close_thinking: bool = False
    max_gen_toks: int | None = None
    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run) -> Conditions:
        """Read the conditions of a run, of whatever age, or of a results file of lm-eval."""
        manifest = run.manifest
        settings, definition = (_mapping(manifest.get(name)) for name in ("settings", "model_definition"))
        scores = run.tables.scores().to_pandas()
        tasks = scores[scores["kind"] == "task"]
        fewshot = _fewshot(settings.get("num_fewshot"), tasks)
        quantization = settings.get("quantization", definition.get("quantization"))
        gguf = _mapping(_mapping(manifest.get("fingerprint")).get("gguf")).get("quantized")
        formats = [] if quantization in (None, "", "none") else [str(quantization)]
        formats += [f"GGUF {gguf}"] if gguf else []
        engine, thinking = recorded_engine(manifest).get("engine"), settings.get("thinking")
        return cls(
            # Older runs say here what was asked for, and beside it what was used.
            chat_template=_first(bool, manifest.get("chat_template"), settings.get("chat_template")),
            system_prompt=_first(str, manifest.get("system_prompt"), settings.get("system_prompt")),
            dtype=_dtype(settings.get("dtype", definition.get("dtype"))),
            quantization=" of ".join(formats) or None,
            num_fewshot=fewshot,
            limit=_number(settings.get("limit")),
            sources=_sources(tasks),
            shuffle_options=_whole(settings.get("shuffle_options")),
            circular=bool(settings.get("circular")),
            seed=None if fewshot == 0 else _whole(settings.get("seed")),
            thinking=thinking if thinking in ("on", "off") else None,
            close_thinking=bool(settings.get("close_thinking")),
            max_gen_toks=_whole(settings.get("max_gen_toks")),
            others=_others(settings),
            engine=engine if isinstance(engine, str) else _NATIVE if run.format == "medbench" else None,
        )

    def line(self) -> str:
        """The conditions as one line of text."""
        names = ["chat_template", "system_prompt", "dtype", "num_fewshot", "limit", "sources", "engine"]
        names += [name for name in ("quantization", "shuffle_options") if getattr(self, name) is not None]
        names += [name for name in ("thinking", "max_gen_toks") if getattr(self, name) is not None]
        names += [name for name in ("close_thinking", "circular") if getattr(self, name)]
        names += ["seed"] if self.seed is not None and self.num_fewshot != 0 else []
        names += ["others"] if self.others else []
        return " · ".join(self.words(names))

    def words(self, names: Collection[str]) -> list[str]:
        """What the conditions are in some respects, a few words for each that is known.

        Args:
            names: Attributes.
        """
        return [text for name in names if (text := _WORDS[name](getattr(self, name)))]

    def differing(self, other: Conditions, names: Collection[str] = (*ASKED, *COMPUTED)) -> list[str]:
        """Attributes in which two conditions are known to differ.

        Args:
            other: The other conditions.
            names: Attributes to look at.
        """
        return [
            name
            for name in names
            if getattr(self, name) != getattr(other, name)
            and not (name in _MAY_BE_UNKNOWN and (_unknown(self, name) or _unknown(other, name)))
        ]

    def differences(self, other: Conditions, names: Collection[str] = (*ASKED, *COMPUTED)) -> list[str]:
        """What differs, as texts such as ``limit 2 against all documents``."""
        return [
            f"{_WORDS[name](getattr(self, name))} against {_WORDS[name](getattr(other, name))}"
            for name in self.differing(other, names)
        ]


# Attributes whose absence says that nobody wrote them down, not that there was nothing to write.
_MAY_BE_UNKNOWN = ("chat_template", "system_prompt", "dtype", "sources", "seed", "engine")


def _unknown(conditions: Conditions, name: str) -> bool:
    return getattr(conditions, name) in (None, ())


def _template_words(used: bool | None) -> str:
    return "chat template unknown" if used is None else f"chat template {'on' if used else 'off'}"


def _prompt_words(text: str | None) -> str:
    if text is None:
        return ""
    flat = " ".join(text.split())
    short = flat if len(flat) <= _PROMPT_LENGTH else f"{flat[: _PROMPT_LENGTH - 1]}…"
    return f"system prompt “{short}”" if flat else "no system prompt"


def _limit_words(limit: float | None) -> str:
    if limit is None:
        return "all documents"
    return f"first {100 * limit:g}% of each task" if limit < 1 else f"limit {limit:g}"


_PROMPT_LENGTH = 60

_WORDS: Mapping[str, Callable[[Any], str]] = {
    "chat_template": _template_words,
    "system_prompt": _prompt_words,
    "dtype": lambda name: name or "",
    "quantization": lambda name: name or "not quantized",
    "num_fewshot": lambda n: "few-shot as the tasks say" if n is None else f"{n}-shot",
    "limit": _limit_words,
    "sources": lambda names: f"source {', '.join(names)}" if names else "",
    "shuffle_options": lambda seed: "options in order" if seed is None else f"options shuffled (seed {seed})",
    "circular": lambda on: "circular" if on else "not circular",
    "seed": lambda seed: "" if seed is None else f"seed {seed}",
    "engine": lambda name: f"engine {name}" if name else "",
    "others": lambda texts: ", ".join(texts) or "nothing else set",
    "thinking": lambda mode: f"thinking {mode}" if mode else "thinking as the template has it",
    "close_thinking": lambda on: "unfinished thinking closed" if on else "unfinished thinking left open",
    "max_gen_toks": lambda n: "tokens as the tasks say" if n is None else f"at most {n} new tokens",
}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _first(kind: type[_T], *candidates: Any) -> _T | None:
    return next((value for value in candidates if isinstance(value, kind)), None)


def _dtype(value: Any) -> str | None:
    return str(value).removeprefix("torch.") if value else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _fewshot(asked: Any, tasks: pd.DataFrame) -> int | None:
    number = _whole(asked)
    if number is not None:
        return number
    used = set(tasks["num_fewshot"].dropna()) if "num_fewshot" in tasks else set()
    return int(next(iter(used))) if len(used) == 1 else None


def _sources(tasks: pd.DataFrame) -> tuple[str, ...]:
    names = set(tasks["data_source"].dropna()) if "data_source" in tasks else set()
    return tuple(sorted(map(str, names)))


def _others(settings: Mapping[str, Any]) -> tuple[str, ...]:
    known = {*ASKED, *COMPUTED, *_ELSEWHERE}
    # What is off or empty is as good as not said, as by versions that did not know it.
    set_ = {name: value for name, value in settings.items() if name not in known and value not in _NOTHING}
    return tuple(f"{name} {json.dumps(value, default=str)}" for name, value in sorted(set_.items()))


_NOTHING: tuple[Any, ...] = (None, False, "", "none", "auto", [], {})
