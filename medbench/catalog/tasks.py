"""Task definitions, read from YAML without lm-eval and without running their code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from medbench.catalog.inputs import Inputs, Part
from medbench.common.yaml_files import Function, Key, YamlFile, read_yaml
from medbench.errors import CatalogError

_PACKAGE = Path(__file__).resolve().parents[1]
# lm-eval skips these folders as well.
_IGNORED_FOLDERS = frozenset({"__pycache__", ".ipynb_checkpoints"})
#: The function that reads the documents of medbench's own datasets.
LOADER = "medbench.data.load"
# A folder's register of datasets ends in .yaml too, but defines no task.
NOT_TASKS = frozenset({"sources.yaml"})


class Place(NamedTuple):
    """A file and a line in it."""

    path: Path
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}" if self.line else str(self.path)


@dataclass(frozen=True)
class Merged:
    """A YAML merged with the files it includes, as lm-eval does: its own keys take precedence.

    Attributes:
        path: The file itself.
        values: Merged keys; nested values are replaced as a whole, not merged.
        sources: The files read, the file itself last.
        owners: For each top-level key, the file it came from.
    """

    path: Path
    values: Mapping[str, Any]
    sources: tuple[YamlFile, ...]
    owners: Mapping[str, YamlFile]

    def place(self, *way: str | int) -> Place:
        """Where a key is written; if it is not, the nearest key above it, or the beginning of the file."""
        owner = self.owners.get(str(way[0])) if way else None
        if owner is None:
            own = self.sources[-1].lines
            return Place(self.path, own.get(("task",)) or own.get(("group",)) or 1)
        key: Key = way
        while key:
            if key in owner.lines:
                return Place(owner.path, owner.lines[key])
            key = key[:-1]
        return Place(owner.path, 1)


@dataclass(frozen=True)
class TaskDefinition:
    """A leaf task as its YAML defines it; its functions are not imported, its documents not read.

    Attributes:
        name: Name that selects it.
        path: Its YAML.
        shipped: Whether it comes with medbench and not from a user's folder.
        alias: Name for people.
        tags: Names that select it together with other tasks.
        version: Version of the task; results of different versions cannot be compared.
        dataset: Key of its dataset; None if it loads its documents in another way.
        language: ``zh``, ``en`` or empty.
        family: ``exam``, ``extraction``, ``classification``, ``matching``, ``generation`` or empty.
        protocol: ``letters``, ``labels``, ``generate``, ``direct``, ``cot`` or empty.
        main_metric: The metric that represents the task.
        output_type: The type of lm-eval's requests.
        functions: Functions that it names.
        merged: The YAML with its includes, for checks.
        inputs: Finds what else it reads.
        settings: What a group sets for it, as text; empty if nothing.
        builtin: Whether it comes with lm-eval.
    """

    name: str
    path: Path
    shipped: bool
    alias: str
    tags: tuple[str, ...]
    version: float | None
    dataset: str | None
    language: str
    family: str
    protocol: str
    main_metric: str
    output_type: str
    functions: tuple[Function, ...]
    merged: Merged = field(repr=False, compare=False)
    inputs: Inputs = field(repr=False, compare=False)
    settings: str = ""
    builtin: bool = False

    @property
    def folder(self) -> Path:
        """The folder of its YAML."""
        return self.path.parent

    @cached_property
    def modules(self) -> tuple[Path, ...]:
        """Python files of its functions and of what they import, without installed packages."""
        return tuple(self.inputs.modules(self.merged.path.parent, self.functions))

    @cached_property
    def digest(self) -> str:
        """Checksum over the YAML, its includes, and everything that these and their code read."""
        parts = self.inputs.parts(self.merged.values, self.merged.path.parent, self.functions)
        return digest_of(self.merged.sources, parts, self.settings)

    @property
    def own_data(self) -> bool:
        """Whether medbench reads its documents, and not lm-eval."""
        loader = self.merged.values.get("custom_dataset")
        return isinstance(loader, Function) and loader.name == LOADER

    def to_dict(self) -> dict[str, Any]:
        """The fields for a listing, as plain values."""
        return {
            "name": self.name,
            "alias": self.alias,
            "tags": list(self.tags),
            "version": self.version,
            "dataset": self.dataset,
            "language": self.language,
            "family": self.family,
            "protocol": self.protocol,
            "main_metric": self.main_metric,
            "output_type": self.output_type,
            # Files that an external task names are not read before the task is trusted.
            "digest": self.digest if self.shipped else None,
            "shipped": self.shipped,
            "path": str(self.path),
        }


def definitions_folder(kind: Literal["tasks", "models"]) -> Path:
    """The folder of shipped task or model definitions.

    Args:
        kind: ``tasks`` or ``models``.

    Raises:
        CatalogError: If there is neither, as in a broken installation.
    """
    for folder in (_PACKAGE / "definitions" / kind, _PACKAGE.parent / kind):
        if folder.is_dir():
            return folder
    raise CatalogError(
        f"the shipped {kind} definitions are missing",
        where=str(_PACKAGE / "definitions" / kind),
        hint="install the package again",
    )


def task_files(folder: Path) -> Iterator[Path]:
    """Files that may define a task or group below a folder, in the order in which lm-eval reads them."""
    found = (
        path
        for path in folder.glob("**/*.yaml")
        if path.name not in NOT_TASKS and not _IGNORED_FOLDERS.intersection(path.parts)
    )
    yield from sorted(found, key=lambda path: path.as_posix())


def functions_in(value: Any, way: Key = ()) -> Iterator[tuple[Key, Function]]:
    """Every function named below a value, with its path."""
    if isinstance(value, Function):
        yield way, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from functions_in(inner, (*way, str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from functions_in(inner, (*way, index))


def digest_of(sources: Sequence[YamlFile], parts: Iterable[Part] = (), settings: str = "") -> str:
    """Checksum over YAMLs, over everything that these and their code read, and over a group's settings."""
    digest = hashlib.sha256(settings.encode("utf-8"))
    for source in sources:
        content = source.path.read_bytes()
        digest.update(f"{source.path.name} {len(content)}\n".encode())
        digest.update(content)
    for name, checksum in sorted(parts):
        digest.update(f"\n{name} {checksum}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(str(item) for item in value) if isinstance(value, list) else (str(value),)


def require_words(merged: Merged, *keys: str) -> None:
    """Refuse values that YAML reads as something other than the written word.

    Args:
        merged: The values, and where each came from.
        keys: Keys whose values, or whose lists' items, must be words.

    Raises:
        CatalogError: A value is a truth value, a number or a date.
    """
    for key in keys:
        value = merged.values.get(key)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, (bool, int, float, date)):
                raise CatalogError(
                    f"{key} is {one!r}, which YAML reads as {type(one).__name__} and not as a word",
                    where=str(merged.place(key)),
                    hint="put it in quotes; YAML reads no, yes, on, off, numbers and dates as other values",
                )


def number(value: Any) -> float | None:
    """A version, if it is a number."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


class TaskReader:
    """Reads task YAMLs, each included template once.

    Args:
        shipped: Whether the files it reads come with medbench.
    """

    def __init__(self, *, shipped: bool) -> None:
        self.shipped = shipped
        self._files: dict[Path, YamlFile] = {}
        self.inputs = Inputs()

    def _file(self, path: Path) -> YamlFile:
        if path not in self._files:
            self._files[path] = read_yaml(path, CatalogError)
        return self._files[path]

    def _collect(self, path: Path, seen: set[Path]) -> Merged:
        path = path.resolve()
        if path in seen:
            raise CatalogError(
                f"{path.name} is included twice, or includes itself",
                where=str(path),
                hint="lm-eval refuses this as a cycle; include each template once",
            )
        seen.add(path)
        own = self._file(path)
        values: dict[str, Any] = {}
        owners: dict[str, YamlFile] = {}
        sources: list[YamlFile] = []
        includes = own.values.get("include", [])
        for include in includes if isinstance(includes, list) else [includes]:
            target = path.parent / str(include)
            if not target.is_file():
                raise CatalogError(
                    f"the included file {include!r} does not exist",
                    where=str(Place(path, own.lines.get(("include",)))),
                    hint="the name is relative to the file that includes it",
                )
            inner = self._collect(target, seen)
            sources += inner.sources
            for key, value in inner.values.items():
                if key != "task_list":
                    values[key], owners[key] = value, inner.owners[key]
        for key, value in own.values.items():
            if key != "include":
                values[str(key)], owners[str(key)] = value, own
        return Merged(path, values, (*sources, own), owners)

    def merge(self, path: Path) -> Merged:
        """Read a YAML with its includes, each file once.

        Raises:
            CatalogError: If a file cannot be read or parsed, or includes form a cycle.
        """
        return self._collect(path, set())


def define_task(
    merged: Merged, path: Path, inputs: Inputs, *, shipped: bool, settings: str = ""
) -> TaskDefinition:
    """Create the task that some values define.

    Args:
        merged: The values, and where each came from.
        path: The YAML of the task.
        inputs: Finds what else the task reads.
        shipped: Whether it came with medbench.
        settings: What a group sets for it, as text.

    Raises:
        CatalogError: The values define no task.
    """
    values = merged.values
    metadata = values.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    require_words(merged, "task", "tag", "test_split", "validation_split", "fewshot_split")
    if not isinstance(values.get("task"), str) or not values["task"]:
        raise CatalogError(
            "the file defines neither a task nor a group",
            where=str(merged.place("task")),
            hint="give it `task: name`, or rename a template so that it does not end in .yaml",
        )
    functions = tuple(dict.fromkeys(function for _, function in functions_in(values)))
    dataset = metadata.get("dataset")
    return TaskDefinition(
        name=values["task"],
        path=path,
        shipped=shipped,
        alias=str(values.get("task_alias") or values["task"]),
        tags=_texts(values.get("tag")),
        version=number(metadata.get("version")),
        dataset=None if dataset is None else str(dataset),
        language=str(metadata.get("language") or ""),
        family=str(metadata.get("family") or ""),
        protocol=str(metadata.get("protocol") or ""),
        main_metric=str(metadata.get("main_metric") or ""),
        output_type=str(values.get("output_type") or "generate_until"),
        functions=functions,
        merged=merged,
        inputs=inputs,
        settings=settings,
    )
