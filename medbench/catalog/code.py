"""What a task's Python code reads, found without running it: modules, files, variables, the clock.

Paths are evaluated as far as their source says: ``Path(__file__).parent / f"{name}.json"`` becomes the
pattern ``<folder>/*.json``. Paths computed in other ways are not found; :mod:`medbench.catalog.inputs`
compensates for that.
"""

from __future__ import annotations

import ast
import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_DEPTH = 40  # of expressions and of names that stand for others
_LONGEST = 4096  # characters of a path
_JOINING = frozenset({"join", "joinpath", "Path", "PurePath", "PosixPath"})
_SAME = frozenset(
    {"str", "fspath", "abspath", "realpath", "normpath", "expanduser", "resolve", "absolute", "as_posix"}
)
_LISTING = frozenset({"iterdir", "listdir", "scandir", "walk"})
_GLOBBING = frozenset({"glob", "iglob", "rglob"})
# Calls that take paths of files or folders.
_OPENING = re.compile(r"open|load|read|scan|from_|connect|append|insert|File$|Path$")
# A text with a wildcard that looks like a file pattern and not like a sentence.
_FILES = re.compile(r"[\w./*?\[\]{}-]+(/|\.\w+)[\w*?]*")
_CLOCK = frozenset({"now", "today", "utcnow", "strftime", "localtime", "gmtime", "ctime"})


@dataclass(frozen=True)
class Named:
    """A path that code names.

    Attributes:
        pattern: The path, with ``*`` for unknown parts; relative if the source does not say more.
        whole: Whether it may be a folder, of which everything is read.
    """

    pattern: str
    whole: bool


@dataclass
class CodeReads:
    """What a module reads.

    Attributes:
        imports: Modules that it imports: how many folders up (0: from anywhere), and the dotted name.
        paths: Paths that it names.
        variables: Environment variables that it names.
        clock: Whether it asks for the date or the time of day.
    """

    imports: set[tuple[int, str]] = field(default_factory=set)
    paths: set[Named] = field(default_factory=set)
    variables: set[str] = field(default_factory=set)
    clock: bool = False


def read_code(path: Path) -> CodeReads:
    """Find what a module reads; nothing if it is not valid Python."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return CodeReads()
    reads = CodeReads()
    values = _Values(path, tree)
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, opened = waiting.pop()
        if isinstance(node, ast.Import):
            reads.imports |= {(0, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            stem = node.module or ""
            reads.imports |= {(node.level, f"{stem}.{alias.name}".strip(".")) for alias in node.names}
        elif isinstance(node, (ast.Attribute, ast.Name)) and _last(node) in _CLOCK:
            reads.clock = True
        if isinstance(node, ast.expr):
            reads.variables |= set(_variables(node))
            if isinstance(node, ast.Call) and _last(node.func) in ("import_module", "__import__"):
                reads.imports |= {(0, text) for text in map(_constant, node.args[:1]) if text}
            reads.paths |= set(_named(node, values, opened=opened))
        name = _last(node.func) if isinstance(node, ast.Call) else ""
        opening = _OPENING.search(name) is not None
        for child in ast.iter_child_nodes(node):
            # The pattern of a glob was already found together with its folder.
            if name not in _GLOBBING or not isinstance(child, ast.Constant):
                waiting.append((child, opening))
    return reads


def _named(node: ast.expr, values: _Values, *, opened: bool) -> Iterator[Named]:
    """The path that an expression names; ``opened``: whether a call opens it."""
    pattern = values.pattern(node)
    if pattern is None or not _says_something(node):
        return
    joined = isinstance(node, ast.Call) or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div))
    if "*" not in pattern or opened or joined:
        yield Named(pattern, whole=opened or joined)
    text = _constant(node)
    if text and glob.has_magic(text) and _FILES.fullmatch(text):
        yield Named(text, whole=opened)


def _says_something(node: ast.expr) -> bool:
    """Whether a path has a literal part or lists a folder; the location of the code alone says nothing."""
    return any(
        (isinstance(inner, ast.Constant) and isinstance(inner.value, str) and inner.value.strip("./"))
        or (isinstance(inner, ast.Call) and _last(inner.func) in _LISTING)
        for inner in ast.walk(node)
    )


def _variables(node: ast.expr) -> Iterator[str]:
    """The environment variable that an expression reads."""
    if isinstance(node, ast.Subscript) and _last(node.value) == "environ":
        name = _constant(node.slice)
    elif isinstance(node, ast.Call) and node.args and _asks_environment(node.func):
        name = _constant(node.args[0])
    else:
        return
    if name:
        yield name


def _asks_environment(function: ast.expr) -> bool:
    if _last(function) == "getenv":
        return True
    return (
        isinstance(function, ast.Attribute) and function.attr == "get" and _last(function.value) == "environ"
    )


def _last(node: ast.expr) -> str:
    """The last name of a dotted expression."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _constant(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


class _Values:
    """Evaluates the paths of one module."""

    def __init__(self, path: Path, tree: ast.Module) -> None:
        self._own = glob.escape(str(path))
        self._assigned: dict[str, ast.expr | None] = {}
        self._known: dict[str, str | None] = {"__file__": self._own}
        for node in ast.walk(tree):
            targets: Sequence[ast.expr] = ()
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)):
                targets = [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    # The value of a name that is assigned twice is unknown.
                    value = None if target.id in self._assigned else getattr(node, "value", None)
                    self._assigned[target.id] = value

    def pattern(self, node: ast.expr | None, depth: int = 0) -> str | None:
        """The path that an expression stands for, as a pattern; None if no part of it is known."""
        found = self._pattern(node, depth) if node is not None and depth <= _DEPTH else None
        return found if found is not None and len(found) <= _LONGEST else None

    def _pattern(self, node: ast.expr, depth: int) -> str | None:
        if isinstance(node, ast.Constant):
            return glob.escape(node.value) if isinstance(node.value, str) else None
        if isinstance(node, ast.Name):
            if node.id not in self._known:
                self._known[node.id] = None  # during the lookup, because a name may refer to itself
                self._known[node.id] = self.pattern(self._assigned.get(node.id), depth + 1)
            return self._known[node.id]
        if isinstance(node, ast.JoinedStr):
            return "".join(self._piece(value, depth) for value in node.values)
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Div, ast.Add, ast.Mod)):
            return self._operation(node, depth)
        if isinstance(node, ast.Attribute) and node.attr == "parent":
            return self._up(self.pattern(node.value, depth + 1))
        if isinstance(node, ast.Subscript):
            return self._subscript(node, depth)
        return self._call(node, depth) if isinstance(node, ast.Call) else None

    def _piece(self, node: ast.expr, depth: int) -> str:
        if isinstance(node, ast.FormattedValue):
            return self.pattern(node.value, depth + 1) or "*"
        return self.pattern(node, depth + 1) or "*"

    def _operation(self, node: ast.BinOp, depth: int) -> str | None:
        left, right = self.pattern(node.left, depth + 1), self.pattern(node.right, depth + 1)
        if isinstance(node.op, ast.Mod):
            return None if left is None else re.sub(r"%\w", "*", left)
        if left is None and right is None:
            return None
        if isinstance(node.op, ast.Add):
            return (left or "*") + (right or "*")
        return None if left is None else os.path.join(left, right or "*")  # noqa: PTH118 - a pattern, no path

    def _subscript(self, node: ast.Subscript, depth: int) -> str | None:
        if _last(node.value) == "environ":
            return self._variable(node)
        if isinstance(node.value, ast.Attribute) and node.value.attr == "parents":
            found = self.pattern(node.value.value, depth + 1)
            levels = node.slice.value if isinstance(node.slice, ast.Constant) else None
            for _ in range(levels + 1 if isinstance(levels, int) and 0 <= levels < _DEPTH else 0):
                found = self._up(found)
            return found if isinstance(levels, int) else None
        return None

    def _call(self, node: ast.Call, depth: int) -> str | None:
        name = _last(node.func)
        receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
        if _asks_environment(node.func):
            return self._variable(node) or (self.pattern(node.args[1], depth + 1) if node.args[1:] else None)
        if name in ("home", "cwd", "getcwd"):
            return glob.escape(str(Path.home() if name == "home" else Path.cwd()))
        of_receiver = self.pattern(receiver, depth + 1)
        arguments = [self.pattern(argument, depth + 1) for argument in node.args]
        if name in _JOINING:
            parts = [of_receiver, *arguments] if name == "joinpath" else arguments
            if not parts or parts[0] is None:
                return None
            return os.path.join(*(part or "*" for part in parts))  # noqa: PTH118 - a pattern, no path
        if name in _SAME:
            return of_receiver if of_receiver is not None else next(iter(arguments), None)
        if name == "dirname":
            return self._up(arguments[0]) if arguments else None
        if name in ("with_name", "with_suffix") and of_receiver is not None and arguments:
            last = arguments[0] or "*"
            return f"{self._up(of_receiver)}/{last if name == 'with_name' else f'*{last}'}"
        if name == "format":
            return None if of_receiver is None else re.sub(r"\{[^}]*\}", "*", of_receiver)
        if name in _LISTING:
            folder = of_receiver if of_receiver is not None else next(iter(arguments), None)
            return None if folder is None else f"{folder}/*"
        return self._globbed(node, of_receiver) if name in _GLOBBING else None

    def _globbed(self, node: ast.Call, folder: str | None) -> str | None:
        """What ``folder.glob("*.json")`` or ``glob("folder/*.json")`` finds."""
        asked = _constant(node.args[0]) if node.args else None
        if folder is None:
            return asked or (self.pattern(node.args[0], 1) if node.args else None)
        return f"{folder}/{'**/' if _last(node.func) == 'rglob' else ''}{asked or '*'}"

    @staticmethod
    def _variable(node: ast.expr) -> str | None:
        values = [os.environ[name] for name in _variables(node) if name in os.environ]
        return glob.escape(values[0]) if values else None

    @staticmethod
    def _up(path: str | None) -> str | None:
        return None if path is None else os.path.dirname(path)  # noqa: PTH120 - a pattern, no path


_PACKAGE = Path(__file__).resolve().parents[1]


class ModuleNames(NamedTuple):
    """Names at the top of a module.

    Attributes:
        defined: Everything that is defined, assigned or imported there.
        public: What `__all__` lists; empty where there is none.
    """

    defined: frozenset[str]
    public: frozenset[str]


def _assigned(node: ast.stmt) -> tuple[list[ast.expr], ast.expr | None]:
    if isinstance(node, ast.Assign):
        return node.targets, node.value
    if isinstance(node, ast.AnnAssign):
        return [node.target], node.value
    return [], None


def _public(value: ast.expr | None) -> frozenset[str]:
    try:
        listed = ast.literal_eval(value) if value is not None else ()
    except ValueError:
        return frozenset()
    return (
        frozenset(name for name in listed if isinstance(name, str))
        if isinstance(listed, (list, tuple))
        else frozenset()
    )


@lru_cache(maxsize=256)
def _names(path: Path, _modified: int) -> ModuleNames | None:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return None
    defined: set[str] = set()
    public: frozenset[str] = frozenset()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            defined |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        targets, value = _assigned(node)
        names = {inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)}
        defined |= names
        if "__all__" in names:
            public = _public(value)
    return ModuleNames(frozenset(defined), public)


def module_names(path: Path) -> ModuleNames | None:
    """The names of a module; None if it is not valid Python."""
    return _names(path, path.stat().st_mtime_ns)


def own_module(name: str) -> Path | None:
    """The source of one of medbench's modules, found without importing anything; None if there is none."""
    first, *rest = name.split(".")
    if first != _PACKAGE.name:
        return None
    stem = _PACKAGE.joinpath(*rest)
    for path in (stem / "__init__.py", stem.with_suffix(".py")):
        if path.is_file():
            return path
    return None
