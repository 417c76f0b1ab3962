"""YAML files with the line of every key, duplicate keys, and functions that are named but not imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from medbench.common.strict import Key, Record, validated, words_of
from medbench.errors import MedbenchError

__all__ = ["Function", "Key", "YamlFile", "read_yaml"]

_R = TypeVar("_R", bound=Record)
# YAML reads the words on and off as true and false.
_SWITCHED = {"True": "on", "False": "off"}

_ROOTS: dict[type, tuple[str, str]] = {
    dict: ("keys with values", "key: value"),
    list: ("a list of entries", "- key: value"),
}
# These files are a few pages of text; no real one comes near this size.
_MAX_BYTES = 1_000_000
_MAX_NODES = 50_000


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
        error: Class of the errors about it.
        lines: Line of each key, 1-based, by its path, such as ``("metric_list", 0, "metric")``.
        duplicates: Keys written twice, each with the line of the repetition.
        functions: Every ``!function`` of the file with its path and line. lm-eval imports all of them, even
            those that a repeated key or an including file replaces.
    """

    path: Path
    values: Any
    error: type[MedbenchError]
    lines: Mapping[Key, int] = field(default_factory=dict)
    duplicates: tuple[tuple[Key, int], ...] = ()
    functions: tuple[tuple[Key, int, Function], ...] = ()

    def place(self, way: Key) -> str:
        """The file, with the line of a key, or else of the nearest key above it."""
        while way and way not in self.lines:
            way = way[:-1]
        return f"{self.path}, line {self.lines[way]}" if way else str(self.path)

    def record(self, kind: type[_R]) -> _R:
        """The content as a record.

        Args:
            kind: The record.

        Raises:
            MedbenchError: A key is written twice, unknown or missing, or a value of another type.
        """
        self._refuse_duplicates()
        words = {key: words_of(field.annotation) for key, field in kind.model_fields.items()}
        values = {
            key: word if (word := _SWITCHED.get(str(value))) in words.get(key, ()) else value
            for key, value in self.values.items()
        }
        return validated(kind, values, where=self.place, error=self.error)

    def records(self, kind: type[_R]) -> list[_R]:
        """The items of a list as records.

        Args:
            kind: The record that each is.

        Raises:
            MedbenchError: As for :meth:`record`.
        """
        self._refuse_duplicates()

        def place(index: int) -> Callable[[Key], str]:
            return lambda way: self.place((index, *way))

        return [
            validated(kind, item, where=place(index), error=self.error)
            for index, item in enumerate(self.values)
        ]

    def _refuse_duplicates(self) -> None:
        for way, line in self.duplicates:
            raise self.error(
                f"the key {way[-1]!r} is written twice",
                where=f"{self.path}, line {line}",
                hint="keep one of them",
            )


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


class _TooManyError(Exception):
    """More entries than a file that people write has."""


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
            raise _TooManyError
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


def _refuse_multiplying(node: yaml.Node) -> None:
    """Refuse aliases that expand to more entries than any such file has, or that contain themselves."""
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
        raise _TooManyError


def read_yaml(
    path: Path, error: type[MedbenchError], root: type = dict, *, may_be_empty: bool = False
) -> YamlFile:
    """Read a file without running anything that it names.

    Args:
        path: The file.
        error: Class of the errors.
        root: What the file holds: ``dict`` or ``list``.
        may_be_empty: Whether an empty file counts as an empty one of these.

    Raises:
        MedbenchError: If it cannot be read or parsed, or holds something else; names the line.
    """
    where = str(path)
    try:
        raw = path.read_bytes()
    except OSError as fault:
        raise error(f"the file cannot be read: {fault.strerror}", where=where) from fault
    if len(raw) > _MAX_BYTES:
        raise error(
            f"the file has {len(raw)} bytes, which are too many", where=where, hint="is it the right file?"
        )
    notes = _Notes()
    try:
        loader = _loader_for(path.parent)(raw)
        try:
            node = loader.get_single_node()
            if node is not None:
                _walk(node, notes)
                _refuse_multiplying(node)
            values = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except _TooManyError as fault:
        raise error("the file has too many entries", where=where, hint="spell its aliases out") from fault
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        raise error(
            f"the YAML cannot be parsed: {fault.problem or fault.context}",
            where=f"{where}, line {mark.line + 1}" if mark else where,
            hint="check indentation, quotes and colons there",
        ) from fault
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as fault:
        # Impossible dates, unhashable keys, bad encodings and endless nesting raise these.
        raise error(
            f"the YAML cannot be parsed: {str(fault).partition(chr(10))[0]}",
            where=where,
            hint="correct the file there; quote dates and special characters",
        ) from fault
    if values is None and may_be_empty:
        values = root()
    if not isinstance(values, root):
        expected, example = _ROOTS[root]
        raise error(
            f"expected {expected}, found {'nothing' if values is None else type(values).__name__}",
            where=where,
            hint=f"begin with a line such as `{example}`",
        )
    functions = tuple((way, line, Function(name, path.parent)) for way, line, name in notes.functions)
    return YamlFile(path, values, error, notes.lines, tuple(notes.duplicates), functions)
