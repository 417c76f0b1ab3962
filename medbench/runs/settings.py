"""The settings of a run, checked, and the hash of everything that can change an answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

from pydantic import Field

from medbench.common.choices import DataSource, Dtype, Layout, Quantization, RoutingLevel, Thinking
from medbench.common.strict import Count, check_fields, expecting
from medbench.errors import RunError

# Recorded beside the engine's name.
ENGINE_DETAILS = ("engine_why", "engine_refuses", "engine_untried")
_ENGINE_FIELDS = ("engine", *ENGINE_DETAILS)
_ENGINE_NAMES = {"packed": "native"}  # its name in earlier versions


class Setting(NamedTuple):
    """Description of a field of :class:`RunSettings`.

    Attributes:
        help: One line for people.
        option: Name on the command line; by default the field's name with dashes.
        switch_off: Option that turns off a flag whose default is None.
        metavar: Placeholder for the value in help texts.
        envvar: Environment variable that gives the value.
        in_identity: Whether it is part of :meth:`RunSettings.identity`. It is not if it changes no answer, or
            if its effect is in the plan (the fingerprint of the data, the model as it is run).
        of_model: Whether it replaces the field of that name in a model's definition.
        type: The type of the field, taken from its annotation.
    """

    help: str
    option: str = ""
    switch_off: str = ""
    metavar: str | None = None
    envvar: str | None = None
    in_identity: bool = True
    of_model: bool = False
    type: Any = None


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run besides the model and the tasks.

    A field is written here and nowhere else: the command line makes an option of it, ``run.json`` records it,
    and it is part of the run's identity if it changes answers. ``medbench run --help`` describes each.
    """

    limit: Annotated[
        Annotated[int, Field(ge=1), expecting("a positive whole number", "leave it out to evaluate all")]
        | None,
        Setting("Evaluate only the first N documents of each task."),
    ] = None
    num_fewshot: Annotated[
        Annotated[int, Field(ge=0), expecting("a number of examples, 0 or more")] | None,
        Setting("Examples before each document; by default as the task says."),
    ] = None
    seed: Annotated[int, Setting("Seeds few-shot sampling and the harness.")] = 1234
    data_dir: Annotated[
        str | None,
        Setting("Folder with the real benchmark files.", envvar="MEDBENCH_DATA", in_identity=False),
    ] = None
    data_source: Annotated[
        DataSource, Setting("Where documents come from.", option="--source", in_identity=False)
    ] = "auto"
    shuffle_options: Annotated[
        int | None, Setting("Permute the options of exam questions.", metavar="SEED")
    ] = None
    circular: Annotated[bool, Setting("Ask exam questions in every rotation of their options.")] = False
    chat_template: Annotated[
        bool | None,
        Setting(
            "Whether prompts go through the chat template. By default as the model definition says, else "
            "where the tokenizer has one.",
            switch_off="--no-chat-template",
        ),
    ] = None
    system_prompt: Annotated[
        str | None,
        Setting("Replaces the system prompt of the model definition or the authors; '' for none."),
    ] = None
    add_bos_token: Annotated[
        bool | None,
        Setting(
            "Whether BOS and other special tokens go in front of prompts; by default as the tokenizer has "
            "it.",
            switch_off="--no-add-bos-token",
        ),
    ] = None
    thinking: Annotated[Thinking | None, Setting("Whether the chat template has the model reason first.")] = (
        None
    )
    close_thinking: Annotated[
        bool, Setting("Close reasoning that was left unfinished, and ask for the answer.")
    ] = False
    max_gen_toks: Annotated[
        Count | None,
        Setting("New tokens of a written answer, reasoning included, instead of what tasks say."),
    ] = None
    routing: Annotated[RoutingLevel, Setting("Router statistics to record.")] = "documents"
    max_batch_tokens: Annotated[
        Count | Literal["auto"] | None,
        Setting("Token budget of a batch, or auto. Changes speed, not answers.", in_identity=False),
    ] = None
    layout: Annotated[
        Layout | None,
        Setting(
            "How the checkpoint's files are read, in place of the definition's.",
            in_identity=False,
            of_model=True,
        ),
    ] = None
    dtype: Annotated[
        Literal["auto", Dtype] | None,
        Setting("Number format, in place of the definition's.", in_identity=False, of_model=True),
    ] = None
    device: Annotated[
        str | None,
        Setting(
            "Where to compute, in place of the definition's: auto, cpu, cuda, cuda:1, …",
            in_identity=False,
            of_model=True,
        ),
    ] = None
    quantization: Annotated[
        Quantization | None,
        Setting(
            "Base weights in fewer bits (needs the extra `quantization`), in place of the definition's.",
            in_identity=False,
            of_model=True,
        ),
    ] = None
    deterministic: Annotated[
        bool | None,
        Setting(
            "Reproducible arithmetic, where there is a choice.",
            switch_off="--not-deterministic",
            in_identity=False,
            of_model=True,
        ),
    ] = None

    def __post_init__(self) -> None:
        check_fields(self, where=_option, error=RunError)

    def identity(self) -> dict[str, Any]:
        """The settings that can change an answer or a score."""
        known = known_settings()
        return {name: value for name, value in asdict(self).items() if known[name].in_identity}

    def of_model(self) -> dict[str, Any]:
        """The settings that replace those of a model's definition (:func:`medbench.catalog.find_model`)."""
        return {name: getattr(self, name) for name, known in known_settings().items() if known.of_model}


@cache
def known_settings() -> dict[str, Setting]:
    """The fields of :class:`RunSettings` in their order, each with its description."""
    annotated, plain = get_type_hints(RunSettings, include_extras=True), get_type_hints(RunSettings)
    return {name: kind.__metadata__[0]._replace(type=plain[name]) for name, kind in annotated.items()}


def _option(setting: str) -> str:
    """The option of a setting on the command line."""
    return known_settings()[setting].option or f"--{setting.replace('_', '-')}"


def recorded_settings(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run as they were used, from its ``run.json``.

    Earlier versions recorded the requested values among the settings, and the values used beside them.
    """
    beside = {name: manifest[name] for name in ("chat_template", "system_prompt") if name in manifest}
    return {**(manifest.get("settings") or {}), **beside}


def recorded_engine(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a ``run.json``, also of an earlier version, says about the engine.

    Earlier versions always wrote ``native``, and recorded beside it what the model reported.
    """
    settings, info = (_mapping(manifest.get(name)) for name in ("settings", "model_info"))
    return {
        name: _ENGINE_NAMES.get(str(value), value)
        for name in _ENGINE_FIELDS
        if (value := info.get(name) if _more_said(settings, info) else settings.get(name)) is not None
    }


def _more_said(settings: Mapping[str, Any], info: Mapping[str, Any]) -> bool:
    """Whether the model reported another engine than the settings name."""
    return info.get("engine") == "reference" and settings.get("engine") == "native"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def canonical_hash(value: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of ``value`` as canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
