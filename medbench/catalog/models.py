"""Model definitions: one YAML per checkpoint, or a bare path to one."""

from __future__ import annotations

import filecmp
import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from medbench.catalog.tasks import definitions_folder
from medbench.common.choices import Dtype, Layout, Quantization, Thinking
from medbench.common.strict import Count, Name, Record, check_fields, expecting, record_of
from medbench.common.suggest import nearest
from medbench.common.yaml_files import read_yaml
from medbench.errors import CatalogError


def _unlike(pair: tuple[str, str]) -> tuple[str, str]:
    if not all(mark.strip() for mark in pair) or pair[0] == pair[1]:
        raise ValueError
    return pair


# A single pair may stand without a list around it.
_Tags = Annotated[
    tuple[Annotated[tuple[str, str], Field(strict=False), AfterValidator(_unlike)], ...],
    Field(strict=False),
    BeforeValidator(
        lambda tags: [tags] if isinstance(tags, list) and isinstance((*tags, 0)[0], str) else tags
    ),
    expecting(
        "what opens and what closes reasoning",
        'write `thinking_tags: ["<a>", "</a>"]`, or a list of such pairs',
    ),
]
_PACKAGE_PATHS = "medbench/"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


class EngineChoices(Record):
    """Settings of the engine that a definition may make; the engine decides the rest by what it runs on.

    Attributes:
        max_batch_tokens: The number of tokens in a batch, or ``auto``.
    """

    max_batch_tokens: Count | Literal["auto"] | None = None


@dataclass(frozen=True)
class ModelDefinition:
    """A checkpoint to evaluate and how to run it.

    Attributes:
        model: Name of the model; its results are in a folder of that name.
        path: Folder or hub id of the checkpoint.
        description: One line for people.
        base: Folder or hub id of the base model of an adapter.
        layout: Layout of the checkpoint's files; ``auto`` detects it.
        revision: Hub revision of the checkpoint.
        base_revision: Hub revision of the base.
        dtype: Number format of the computation; ``auto`` is float32 on the CPU.
        gpu_dtype: What ``auto`` is on a GPU; ``None``: float16 for a checkpoint in a layout of MING-MOE's
            authors, as they run it, else bfloat16.
        device: Where to compute; ``auto`` takes a GPU where there is one.
        quantization: How the base weights are stored in memory: ``none``, ``int8`` or ``nf4``.
        deterministic: Whether arithmetic is to be reproducible
            (:mod:`medbench.models.architecture.determinism`).
        chat_template: Whether prompts use the tokenizer's chat template; ``None``: if it has one.
        system_prompt: First message of the chat, empty for none; ``None``: the authors' in a chat
            with a checkpoint in their layout, else none.
        thinking: Whether the chat template is told to have the model reason before it answers: ``on``,
            ``off``, or ``auto`` for what it does by itself.
        thinking_tags: Marks that open and close its reasoning, beside those known of all models, in pairs.
        engine: Settings of the engine.
        licence: License of the weights.
        citation: The paper to cite.
        homepage: Where the weights are published.
        source: The YAML of the definition; None for a checkpoint without one.
    """

    model: Name
    path: Name
    description: str = ""
    base: str | None = None
    layout: Layout = "auto"
    revision: str | None = None
    base_revision: str | None = None
    dtype: Literal["auto", Dtype] = "auto"
    gpu_dtype: Dtype | None = None
    device: str = "auto"
    quantization: Quantization = "none"
    deterministic: bool = False
    chat_template: bool | None = None
    system_prompt: str | None = None
    thinking: Thinking = "auto"
    thinking_tags: _Tags = ()
    engine: EngineChoices = field(default_factory=EngineChoices)
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    source: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """The definition as plain values, as written in a YAML."""
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "source"}
        tags = [list(pair) for pair in self.thinking_tags]
        return plain | {"thinking_tags": tags, "engine": self.engine.model_dump(exclude_none=True)}


def _resolved(path: str, folder: Path) -> str:
    """Path of a checkpoint: in the package, relative to its YAML, or as written (absolute, or a hub id)."""
    if path.startswith(_PACKAGE_PATHS) and folder.resolve() == definitions_folder("models").resolve():
        return str(Path(__file__).resolve().parents[1] / path.removeprefix(_PACKAGE_PATHS))
    written = Path(path).expanduser()
    if written.is_absolute():
        return str(written)
    beside = folder / written
    # `./x` and `../x` always mean a folder; `org/name` is a hub id unless such a folder is beside the YAML.
    return str(beside.resolve()) if path.startswith(".") or beside.exists() else path


def read_model(path: Path) -> ModelDefinition:
    """Read a model definition.

    Relative paths in it are relative to the file; in a shipped one, ``medbench/`` begins a path inside the
    installed package.

    Raises:
        CatalogError: If a key is unknown, missing or of the wrong kind; names the line.
    """
    return ModelDefinition(**_stated(path), source=path)


def _stated(path: Path) -> dict[str, Any]:
    """The fields of a definition that it states."""
    checked = read_yaml(path, CatalogError).record(record_of(ModelDefinition, without=("source",)))
    values = {key: value for key, value in checked if key in checked.model_fields_set and value is not None}
    for key in {"path", "base"} & values.keys():
        values[key] = _resolved(values[key], path.parent)
    return values


def list_models() -> tuple[ModelDefinition, ...]:
    """The shipped model definitions, by name.

    Raises:
        CatalogError: If one is faulty.
    """
    folder = definitions_folder("models")
    return tuple(sorted((read_model(path) for path in folder.glob("*.yaml")), key=lambda model: model.model))


def find_model(name: str, *, base: str | None = None, **asked: Any) -> ModelDefinition:
    """Find a model.

    Args:
        name: Name of a shipped definition, a YAML file, or the folder or hub id of a checkpoint. However it
            is named, the checkpoint of a shipped definition uses that definition's settings.
        base: Replaces the base of the definition.
        **asked: Replaces further fields of the definition, such as ``layout``, ``dtype``, ``device``,
            ``quantization`` and ``deterministic``; those that are ``None`` or empty replace nothing.

    Raises:
        CatalogError: If there is no such model, or its definition is faulty.
    """
    if base is not None and Path(base).expanduser().is_dir():
        base = str(Path(base).expanduser().resolve())  # absolute, because workers may start in another folder
    changes = {key: value for key, value in {"base": base, **asked}.items() if value not in (None, "")}
    found = replace(_named(name), **changes)
    check_fields(found, where=lambda name: f"--{name}", error=CatalogError)
    return found


def _named(name: str) -> ModelDefinition:
    written = Path(name).expanduser()
    if written.suffix in (".yaml", ".yml"):
        if not written.is_file():
            raise CatalogError("the model definition does not exist", where=name, hint="check the path")
        stated = _stated(written)
        return replace(_checkpoint(stated["path"]), **stated, source=written)
    shipped = {path.stem: path for path in definitions_folder("models").glob("*.yaml")}
    if name in shipped:
        return read_model(shipped[name])
    by_name = {model.model: model for model in list_models()}
    if name in by_name:
        return by_name[name]
    if written.is_dir() or (written.is_file() and written.suffix == ".gguf"):
        return _checkpoint(str(written.resolve()))
    if _may_be_on_the_hub(name):
        return _checkpoint(name)
    close = nearest(name, {*shipped, *by_name})
    raise CatalogError(
        f"there is no model {name!r}, neither a definition, a YAML file, a folder nor a hub id",
        hint=f"did you mean {close}?" if close else "`medbench models list` shows the definitions",
    )


def hub_id(path: str) -> str | None:
    """The name of a checkpoint on the hub, ``owner/name``, also of a folder in the hub's cache.

    Args:
        path: Folder or hub id.
    """
    if not Path(path).is_absolute():
        return path
    repository = Path(path).resolve().parent.parent.name
    if Path(path).resolve().parent.name != "snapshots" or not repository.startswith("models--"):
        return None
    return repository.removeprefix("models--").replace("--", "/", 1)


def _may_be_on_the_hub(name: str) -> bool:
    """Whether a name can be a hub id ``owner/name`` and is not a misspelled path."""
    return _HUB_ID.fullmatch(name) is not None and not Path(name.partition("/")[0]).exists()


def _same_files(one: Path, two: Path) -> bool:
    """Whether two folders hold the same files, as a copy of the demo does; sizes are compared first."""
    if not (one.is_dir() and two.is_dir()):
        return False
    try:
        names = {path.name for path in one.iterdir()}
        return names == {path.name for path in two.iterdir()} and all(
            filecmp.cmp(one / name, two / name, shallow=False) for name in sorted(names)
        )
    except OSError:  # reported when the checkpoint is opened
        return False


def _checkpoint(path: str) -> ModelDefinition:
    """Return the shipped definition of a checkpoint, or one with the default settings.

    Args:
        path: Path of a folder, or a hub id.
    """
    on_hub = hub_id(path)
    name = Path(on_hub or path).name.removesuffix(".gguf")
    places = {path, on_hub or str(Path(path).resolve())}
    for known in list_models():
        if known.path in places or _same_files(Path(path), Path(known.path)):
            return replace(known, model=name, path=path)
    return ModelDefinition(model=name, path=path)
