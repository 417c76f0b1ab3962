"""The arrows between packages point one way, and heavy imports stay where they are needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import medbench

PACKAGE = Path(medbench.__file__).parent

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "strict": {"errors"},
    "version": set(),
    "hashing": set(),
    "catalog": {"errors", "hashing", "strict"},
    "data": {"errors", "hashing", "strict"},
    "scoring": {"errors"},
    "statistics": {"errors", "scoring"},
    "models": {"errors", "hashing", "scoring", "strict"},
    "workers": {"errors", "version", "models"},
    "runs": {
        "errors",
        "strict",
        "version",
        "hashing",
        "catalog",
        "data",
        "models",
        "scoring",
        "statistics",
        "workers",
    },
    "checks": {"errors", "strict", "catalog", "data", "runs"},
    "analysis": {"errors", "strict", "runs", "scoring", "statistics"},
    "reports": {"errors", "version", "analysis", "statistics"},
}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
        for name in names:
            parts = name.split(".")
            if parts[0] == "medbench" and len(parts) > 1:
                found.add(parts[1])
    return found


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_point_one_way(package: str) -> None:
    root = PACKAGE / package
    files = root.rglob("*.py") if root.is_dir() else [root.with_suffix(".py")]
    for path in files:
        foreign = _imports(path) - ALLOWED[package] - {package}
        assert not foreign, f"{path.relative_to(PACKAGE)} imports {sorted(foreign)}"


def test_every_package_has_its_rule() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert packages - set(ALLOWED) <= {"cli", "demo", "definitions"}


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
