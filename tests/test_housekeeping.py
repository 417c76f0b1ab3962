"""What a package promises about itself: dependencies, license, version, types, documentation."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

import medbench

_ROOT = Path(__file__).parents[1]
_PROJECT: dict[str, Any] = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Imported where an extra is installed, and only there.
_EXTRAS = ("plots", "ray", "quantization", "fused", "gguf", "sentencepiece")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _names(requirements: list[str]) -> set[str]:
    return {_normal(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in requirements}


def _imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"medbench"}


def _all_imported() -> set[str]:
    files = (_ROOT / "medbench").rglob("*.py")
    return set().union(*(_imported(ast.parse(path.read_text(encoding="utf-8"))) for path in files))


def test_what_is_imported_is_declared() -> None:
    optional = _PROJECT["optional-dependencies"]
    declared = _names(_PROJECT["dependencies"]).union(*(_names(optional.get(extra, [])) for extra in _EXTRAS))
    homes = packages_distributions()
    missing = {
        module
        for module in _all_imported()
        if not {_normal(name) for name in homes.get(module, [module])} & declared
    }
    assert not missing


def test_what_is_declared_is_imported() -> None:
    homes = packages_distributions()
    used = {_normal(name) for module in _all_imported() for name in homes.get(module, [module])}
    assert _names(_PROJECT["dependencies"]) <= used


@pytest.mark.parametrize("name", ["LICENSE", "CONTRIBUTING.md", "CITATION.cff", "medbench/py.typed"])
def test_files_that_a_package_has(name: str) -> None:
    assert (_ROOT / name).is_file()


def test_the_license_is_the_one_that_is_declared() -> None:
    assert _PROJECT["license"] == "Apache-2.0"
    text = (_ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


def test_one_version() -> None:
    citation = yaml.safe_load((_ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == medbench.__version__
    newest = re.search(r"^## (\S+)", (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == medbench.__version__


def test_every_page_is_in_the_navigation() -> None:
    # A tag such as !ENV would need mkdocs; this file has none.
    site = yaml.safe_load((_ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def pages(entries: Any) -> set[str]:
        if isinstance(entries, str):
            return {entries}
        parts = entries.values() if isinstance(entries, dict) else entries
        return set().union(*map(pages, parts))

    assert pages(site["nav"]) == {path.name for path in (_ROOT / "docs").glob("*.md")}
