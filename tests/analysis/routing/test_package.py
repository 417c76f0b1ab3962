"""The package's public names are what they are named, whichever module was imported before."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import medbench.analysis.routing as package


def test_public_names_are_those_of_their_modules() -> None:
    assert sorted(package._HOMES) == package.__all__ == dir(package)
    for name, home in package._HOMES.items():
        assert getattr(package, name) is getattr(import_module(f"{package.__name__}.{home}"), name)


def test_no_module_hides_a_public_name() -> None:
    modules = {path.stem for path in Path(package.__file__).parent.glob("*.py")}
    assert not modules & set(package.__all__)
