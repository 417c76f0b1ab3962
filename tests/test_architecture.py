"""Imports follow the table of docs/architecture.md, form no cycle, and stay light where it matters.

An import counts wherever it stands: at the top, in a function, or for type checking only.
"""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

import medbench

PACKAGE = Path(medbench.__file__).parent
TABLE = PACKAGE.parent / "docs" / "architecture.md"
_ROW = re.compile(r"\| `(medbench[\w.]*)` \|[^|]+\| ([^|]+) \|")


def import_graph(package: Path) -> dict[str, set[str]]:
    """For each module of a package, those of its modules that it names in an import anywhere."""
    files = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {
        name: {found for target in _targets(name, path) if (found := _module(target, files))} - {name}
        for name, path in files.items()
    }


def _targets(name: str, path: Path) -> Iterable[str]:
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _module(target: str, known: Mapping[str, Path]) -> str:
    """The longest beginning of a dotted name that is a module; empty for those of other packages."""
    while target and target not in known:
        target = target.rpartition(".")[0]
    return target


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that all reach each other, two modules or more."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        pending, seen = [start], set[str]()
        while pending:
            for following in graph[pending.pop()] - seen:
                seen.add(following)
                pending.append(following)
        reached[start] = seen
    groups = {tuple(sorted(b for b in reached[a] if a in reached[b])) for a in graph if a in reached[a]}
    return [list(group) for group in sorted(groups)]


def allowed_imports(table: str) -> dict[str, set[str] | None]:
    """What each row of the table may import, by full names; ``None`` for everything."""
    rules: dict[str, set[str] | None] = {}
    for name, names in _ROW.findall(table):
        listed = {part.strip() for part in names.split(",")} - {"nothing"}
        rules[name] = None if listed == {"all"} else {f"medbench.{part}" for part in listed}
    return rules


def forbidden(graph: Mapping[str, set[str]], rules: Mapping[str, set[str] | None]) -> list[str]:
    """Imports that no row of the table allows."""
    found = []
    for module, imported in graph.items():
        row = _row(module, rules)
        allowed = rules[row]
        for target in sorted(imported):
            there = _row(target, rules)
            inside = there == row or allowed is None
            if not (inside or any(_within(there, one) for one in allowed or ())):
                found.append(f"{module} imports {target}")
    return found


def _row(module: str, rules: Iterable[str]) -> str:
    return max((rule for rule in rules if _within(module, rule)), key=len)


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


RULES = allowed_imports(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
needs_docs = pytest.mark.skipif(not RULES, reason="an installed package has no docs/")


def test_files_import_each_other_in_no_cycle() -> None:
    assert cycles(import_graph(PACKAGE)) == []


@needs_docs
def test_imports_follow_the_table() -> None:
    assert forbidden(import_graph(PACKAGE), RULES) == []


@needs_docs
def test_every_package_has_a_row() -> None:
    top = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {f"medbench.{name}" for name in top if not name.startswith("__")} <= set(RULES)


@needs_docs
def test_every_row_names_what_exists() -> None:
    graph = import_graph(PACKAGE)
    assert {name for allowed in RULES.values() for name in allowed or ()} | set(RULES) <= set(graph)


@needs_docs
def test_rows_allow_each_other_in_no_cycle() -> None:
    assert cycles({name: set(allowed or ()) & set(RULES) for name, allowed in RULES.items()}) == []


A_TO_B = [
    "import medbench_like.b",
    "import medbench_like.b as other",
    "from medbench_like import b",
    "from medbench_like import b as other",
    "from medbench_like.b import something",
    "from . import b",
    "from .b import something",
    "def f():\n    from medbench_like.b import something\n",
    "def f():\n    import medbench_like.b\n",
    "if TYPE_CHECKING:\n    from medbench_like.b import Something\n",
    "try:\n    from .b import something\nexcept ImportError:\n    pass\n",
    "class C:\n    def f(self):\n        from . import b\n",
]


@pytest.mark.parametrize("source", A_TO_B)
def test_a_cycle_is_found_wherever_the_import_stands(tmp_path: Path, source: str) -> None:
    package = tmp_path / "medbench_like"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text(source)
    (package / "b.py").write_text("import json\n")
    (package / "c.py").write_text("from medbench_like import a, b\n")
    assert cycles(import_graph(package)) == []
    (package / "b.py").write_text("def g():\n    from medbench_like import a\n")
    assert cycles(import_graph(package)) == [["medbench_like.a", "medbench_like.b"]]
    (package / "b.py").write_text("from medbench_like import c\n")
    assert cycles(import_graph(package)) == [["medbench_like.a", "medbench_like.b", "medbench_like.c"]]


@pytest.mark.parametrize(
    ("module", "target", "fine"),
    [
        ("medbench.low.x", "medbench.low.y", True),
        ("medbench.high.x", "medbench.low.x", True),
        ("medbench.high.x", "medbench.low", True),
        ("medbench.low.x", "medbench.high.x", False),
        ("medbench.low.x", "medbench.high", False),
        ("medbench.lowest", "medbench.low.x", False),
        ("medbench.low.x", "medbench.lowest", True),
        ("medbench.top", "medbench.high.inner.x", True),
        ("medbench.high.x", "medbench.high.inner.x", False),
        ("medbench.high.inner.x", "medbench.high.x", True),
        ("medbench.high.inner.x", "medbench.low.x", False),
        ("medbench.middle.x", "medbench.high.inner.x", True),
    ],
)
def test_the_table_is_read_as_written(module: str, target: str, fine: bool) -> None:
    rules = allowed_imports(
        """
| package | owns | may import |
|---|---|---|
| `medbench.lowest` | a `word` | nothing |
| `medbench.low` | more | lowest |
| `medbench.high` | most | low, lowest |
| `medbench.high.inner` | a part of it | high |
| `medbench.middle` | between | high |
| `medbench.top` | everything | all |
"""
    )
    found = forbidden({module: {target}}, rules)
    assert found == ([] if fine else [f"{module} imports {target}"])


def test_help_imports_nothing_heavy() -> None:
    script = "import sys, medbench.cli.main; print('\\n'.join(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {
        "torch",
        "transformers",
        "lm_eval",
        "pandas",
        "datasets",
        "scipy",
        "sklearn",
        "pyarrow",
        "ray",
    }
    assert not heavy & set(loaded)


def test_help_takes_little_time() -> None:
    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    times = []
    for _ in range(5):  # the shortest, for others may use the same processor
        start = spent()
        subprocess.run([sys.executable, "-m", "medbench", "--help"], capture_output=True, check=True)
        times.append(spent() - start)
    assert min(times) < 0.3
