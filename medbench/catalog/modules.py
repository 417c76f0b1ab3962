"""What Python modules define, found in their source without importing them."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["ModuleNames", "module_names", "own_module"]

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
    """The names of a module; None when it is no valid Python."""
    return _names(path, path.stat().st_mtime_ns)


def own_module(name: str) -> Path | None:
    """The source of one of medbench's modules, found without importing anything; None when there is none."""
    first, *rest = name.split(".")
    if first != _PACKAGE.name:
        return None
    stem = _PACKAGE.joinpath(*rest)
    for path in (stem / "__init__.py", stem.with_suffix(".py")):
        if path.is_file():
            return path
    return None
