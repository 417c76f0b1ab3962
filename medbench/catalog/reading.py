"""YAML files with the line of every key, duplicate keys, and functions that are named but not imported.

Also where the shipped ones are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import yaml

from medbench.common.strict import Record, validated, words_of
from medbench.errors import CatalogError, MedbenchError

__all__ = ["Function", "Key", "YamlFile", "definitions_folder", "read_yaml"]

Key = tuple[str | int, ...]
_R = TypeVar("_R", bound=Record)
# YAML reads the words on and off as true and false.
_SWITCHED = {"True": "on", "False": "off"}

_PACKAGE = Path(__file__).resolve().parents[1]
# A definition is a page of text; no real one comes near this size.
_MAX_BYTES = 1_000_000
_MAX_NODES = 50_000


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


class Function(NamedTuple):
    """A ``!function`` reference.

    Attributes:
        name: Dotted name as written.
        folder: Folder of the file that names it, which is searched for the module first.
    """

    name: str
    folder: Path

    @property
    def local_file(self) -> Path | None:
        """The module beside the YAML, if there is one; it takes precedence over packages."""
        module = self.name.rpartition(".")[0]
        path = self.folder / f"{module.replace('.', '/')}.py"
        return path if module and path.is_file() else None


@dataclass(frozen=True)
class YamlFile:
    """A parsed YAML file.

    Attributes:
        path: The file.
        values: Its content.
        lines: Line of each key, 1-based, by its path, such as ``("metric_list", 0, "metric")``.
        duplicates: Keys written twice, each with the line of the repetition.
        functions: Every ``!function`` of the file with its path and line. lm-eval imports all of them, even
            those that a repeated key or an including file replaces.
    """

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[Key, int] = field(default_factory=dict)
    duplicates: tuple[tuple[Key, int], ...] = ()
    functions: tuple[tuple[Key, int, Function], ...] = ()

    def place(self, way: Key) -> str:
        """The file, with the line of a key, or else of the nearest key above it."""
        while way and way not in self.lines:
            way = way[:-1]
        return f"{self.path}, line {self.lines[way]}" if way else str(self.path)

    def record(self, kind: type[_R], error: type[MedbenchError]) -> _R:
        """The content as a record.

        Args:
            kind: The record.
            error: Class of the errors.

        Raises:
            MedbenchError: A key is written twice, unknown or missing, or a value of another type.
        """
        for way, line in self.duplicates:
            raise error(
                f"the key {way[-1]!r} is written twice",
                where=f"{self.path}, line {line}",
                hint="keep one of them",
            )
        words = {key: words_of(field.annotation) for key, field in kind.model_fields.items()}
        values = {
            key: word if (word := _SWITCHED.get(str(value))) in words.get(key, ()) else value
            for key, value in self.values.items()
        }
        return validated(kind, values, where=self.place, error=error)


_FUNCTION = "!function"
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _loader_for(folder: Path) -> Any:
    class Loader(_BASE):  # type: ignore[misc]
        """Safe loading plus ``!function``, which becomes a name."""

    def function(loader: Any, node: yaml.Node) -> Function:
        return Function(str(loader.construct_scalar(node)), folder)

    Loader.add_constructor(_FUNCTION, function)
    return Loader


@dataclass
class _Notes:
    """What is collected while walking the nodes of a file."""

    lines: dict[Key, int] = field(default_factory=dict)
    duplicates: list[tuple[Key, int]] = field(default_factory=list)
    functions: list[tuple[Key, int, str]] = field(default_factory=list)


def _walk(node: yaml.Node, notes: _Notes) -> None:
    """Record the line of every key below a node; aliases are visited once, so that they cannot multiply."""
    lines, duplicates = notes.lines, notes.duplicates
    waiting: list[tuple[yaml.Node, Key]] = [(node, ())]
    seen: set[int] = set()
    while waiting:
        current, way = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if len(seen) > _MAX_NODES:
            raise CatalogError("the file has too many entries to be a definition")
        if current.tag == _FUNCTION:
            notes.functions.append((way, current.start_mark.line + 1, str(current.value)))
        if isinstance(current, yaml.MappingNode):
            here: set[str] = set()
            for key, value in current.value:
                name = str(key.value)
                line = key.start_mark.line + 1
                if name in here and name != "<<":
                    duplicates.append(((*way, name), line))
                here.add(name)
                lines.setdefault((*way, name), line)
                waiting.append((value, (*way, name)))
                if key.tag == _FUNCTION or not isinstance(key, yaml.ScalarNode):
                    waiting.append((key, (*way, name)))
        elif isinstance(current, yaml.SequenceNode):
            for index, value in enumerate(current.value):
                lines.setdefault((*way, index), value.start_mark.line + 1)
                waiting.append((value, (*way, index)))


def _refuse_multiplying(node: yaml.Node, where: str) -> None:
    """Refuse aliases that expand to more entries than any definition has, or that contain themselves."""
    sizes: dict[int, int] = {}

    def size(current: yaml.Node) -> int:
        if id(current) in sizes:
            return sizes[id(current)]
        sizes[id(current)] = _MAX_NODES + 1  # counts for an alias to a node that contains it
        total = 1
        if isinstance(current, yaml.MappingNode):
            total += sum(size(value) for _, value in current.value)
        elif isinstance(current, yaml.SequenceNode):
            total += sum(size(value) for value in current.value)
        sizes[id(current)] = total
        return total

    if size(node) > _MAX_NODES:
        raise CatalogError(
            "the file has too many entries to be a definition", where=where, hint="spell its aliases out"
        )


def read_yaml(path: Path) -> YamlFile:
    """Read a definition without running anything that it names.

    Args:
        path: The file.

    Raises:
        CatalogError: If it cannot be read or parsed, or is no mapping; names the line.
    """
    where = str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CatalogError(f"the file cannot be read: {error.strerror}", where=where) from error
    if len(raw) > _MAX_BYTES:
        raise CatalogError(
            f"the file has {len(raw)} bytes, too many for a definition",
            where=where,
            hint="is it the right file?",
        )
    notes = _Notes()
    try:
        loader = _loader_for(path.parent)(raw)
        try:
            node = loader.get_single_node()
            if node is not None:
                _walk(node, notes)
                _refuse_multiplying(node, where)
            values = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except CatalogError as error:
        raise CatalogError(error.what, where=where, hint=error.hint) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise CatalogError(
            f"the YAML cannot be parsed: {error.problem or error.context}",
            where=f"{where}, line {mark.line + 1}" if mark else where,
            hint="check indentation, quotes and colons there",
        ) from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        # Impossible dates, unhashable keys, bad encodings and endless nesting raise these.
        raise CatalogError(
            f"the YAML cannot be parsed: {str(error).partition(chr(10))[0]}",
            where=where,
            hint="correct the file there; quote dates and special characters",
        ) from error
    if not isinstance(values, dict):
        raise CatalogError(
            f"expected keys with values, found {'nothing' if values is None else type(values).__name__}",
            where=where,
            hint="a definition begins with lines such as `task: name`",
        )
    functions = tuple((way, line, Function(name, path.parent)) for way, line, name in notes.functions)
    return YamlFile(path, values, notes.lines, tuple(notes.duplicates), functions)
