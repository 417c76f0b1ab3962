"""What a person asks of a run, checked, and the hash that names everything able to change an answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple, TypeVar

from medbench.common.choices import DATA_SOURCES, DTYPES, QUANTIZATIONS, ROUTING_LEVELS, THINKING
from medbench.common.strict import COUNT, FLAG, TEXT, Kind, check_mapping, choice, either
from medbench.errors import RunError

__all__ = [
    "ENGINE_DETAILS",
    "RunSettings",
    "Setting",
    "canonical_hash",
    "known_settings",
    "recorded_engine",
    "recorded_settings",
]

# What is recorded beside the engine's name.
ENGINE_DETAILS = ("engine_why", "engine_refuses", "engine_untried")
_ENGINE_FIELDS = ("engine", *ENGINE_DETAILS)
_ENGINE_NAMES = {"packed": "native"}  # as earlier versions called it
_WHOLE = Kind("a whole number", lambda value: type(value) is int)
_T = TypeVar("_T")


class Setting(NamedTuple):
    """What is known of a field of :class:`RunSettings`: its meaning, its values, its name for a person.

    Attributes:
        help: One line for people.
        kind: What a value may be.
        option: How it is called on the command line; by default as the field, with dashes.
        switch_off: What turns a flag off on the command line, where it can be left undecided.
        metavar: What the command line shows in place of a value.
        envvar: Environment variable that gives the value.
        in_identity: Whether :meth:`RunSettings.identity` holds it: not where it changes no answer, or stands
            in the plan as what it comes to (the fingerprint of the data, the model as it is run).
    """

    help: str
    kind: Kind
    option: str = ""
    switch_off: str = ""
    metavar: str | None = None
    envvar: str | None = None
    in_identity: bool = True


def _setting(default: _T, text: str, kind: Kind, **known: Any) -> _T:
    """A field with its :class:`Setting`; typed as its default, as :func:`dataclasses.field` is."""
    value: _T = field(default=default, metadata={"setting": Setting(text, kind, **known)})
    return value


@dataclass(frozen=True)
class RunSettings:
    """Choices of one run that are neither the model nor the tasks.

    A field is written here and nowhere else: the command line makes its options of them, ``run.json``
    records them, and what changes answers is part of the run's identity. ``medbench run --help`` says what
    each means.
    """

    limit: int | None = _setting(
        None,
        "Evaluate only the first N documents of each task.",
        COUNT._replace(hint="leave --limit away to evaluate every document"),
    )
    num_fewshot: int | None = _setting(
        None,
        "Examples before each document; by default as the task says.",
        Kind("a number of examples, 0 or more", lambda value: type(value) is int and value >= 0),
    )
    seed: int = _setting(1234, "Seeds few-shot sampling and the harness.", _WHOLE)
    data_dir: str | None = _setting(
        None, "Folder with the real benchmark files.", TEXT, envvar="MEDBENCH_DATA", in_identity=False
    )
    data_source: str = _setting(
        "auto", "Where documents come from.", choice(*DATA_SOURCES), option="--source", in_identity=False
    )
    shuffle_options: int | None = _setting(
        None, "Permute the options of exam questions.", _WHOLE, metavar="SEED"
    )
    circular: bool = _setting(False, "Ask exam questions in every rotation of their options.", FLAG)
    chat_template: bool | None = _setting(
        None,
        "Whether prompts go through the chat template. By default as the model definition says, else where "
        "the tokenizer has one.",
        FLAG,
        switch_off="--no-chat-template",
    )
    system_prompt: str | None = _setting(
        None, "Replaces the system prompt of the model definition or the authors; '' for none.", TEXT
    )
    add_bos_token: bool | None = _setting(
        None,
        "Whether BOS and other special tokens go in front of prompts; by default as the tokenizer has it.",
        FLAG,
        switch_off="--no-add-bos-token",
    )
    thinking: str | None = _setting(
        None, "Whether the chat template has the model reason first.", choice(*THINKING)
    )
    close_thinking: bool = _setting(
        False, "Close reasoning that was left unfinished, and ask for the answer.", FLAG
    )
    max_gen_toks: int | None = _setting(
        None, "New tokens of a written answer, reasoning included, instead of what tasks say.", COUNT
    )
    routing: str = _setting("documents", "Router statistics to record.", choice(*ROUTING_LEVELS))
    max_batch_tokens: int | str | None = _setting(
        None,
        "Token budget of a batch, or auto. Changes speed, not answers.",
        either(COUNT, choice("auto"))._replace(hint="give a number such as 8192, or auto"),
        in_identity=False,
    )
    dtype: str | None = _setting(
        None, "Number format, in place of the definition's.", choice("auto", *DTYPES), in_identity=False
    )
    device: str | None = _setting(
        None,
        "Where to compute, in place of the definition's: auto, cpu, cuda, cuda:1, …",
        TEXT,
        in_identity=False,
    )
    quantization: str | None = _setting(
        None,
        "Base weights in fewer bits (needs the extra `quantization`), in place of the definition's.",
        choice(*QUANTIZATIONS),
        in_identity=False,
    )
    deterministic: bool | None = _setting(
        None,
        "Reproducible arithmetic, where there is a choice.",
        FLAG,
        switch_off="--not-deterministic",
        in_identity=False,
    )

    def __post_init__(self) -> None:
        kinds = {name: setting.kind for name, setting in known_settings().items()}
        check_mapping(asdict(self), kinds, where=_option, error=RunError)

    def identity(self) -> dict[str, Any]:
        """The settings that can change an answer or a score; speed and place are left out."""
        known = known_settings()
        return {name: value for name, value in asdict(self).items() if known[name].in_identity}

    def of_model(self) -> dict[str, Any]:
        """What replaces parts of a model's definition (:func:`medbench.catalog.find_model`)."""
        names = ("dtype", "device", "quantization", "deterministic")
        return {name: getattr(self, name) for name in names}


def known_settings() -> dict[str, Setting]:
    """What is known of each field of :class:`RunSettings`, in their order."""
    return {each.name: each.metadata["setting"] for each in fields(RunSettings)}


def _option(setting: str | None) -> str:
    """How a setting is called on the command line."""
    known = known_settings().get(str(setting))
    return (known.option if known else "") or f"--{str(setting).replace('_', '-')}"


def recorded_settings(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run as they were used, from its ``run.json``.

    Earlier versions wrote what was asked for among the settings, and what was used beside them.
    """
    beside = {name: manifest[name] for name in ("chat_template", "system_prompt") if name in manifest}
    return {**(manifest.get("settings") or {}), **beside}


def recorded_engine(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a ``run.json`` of whatever age says of the engine, by the names of its settings.

    Earlier versions wrote ``native`` whatever ran, and beside it what the model said of itself.
    """
    settings, info = (_mapping(manifest.get(name)) for name in ("settings", "model_info"))
    return {
        name: _ENGINE_NAMES.get(str(value), value)
        for name in _ENGINE_FIELDS
        if (value := info.get(name) if _more_said(settings, info) else settings.get(name)) is not None
    }


def _more_said(settings: Mapping[str, Any], info: Mapping[str, Any]) -> bool:
    """Whether what the model says of itself is more than the settings say."""
    return info.get("engine") == "reference" and settings.get("engine") == "native"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def canonical_hash(value: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of ``value`` as canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
