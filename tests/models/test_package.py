"""The package's public names."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

import medbench.models
from medbench.models import _HOMES


def test_every_name_is_listed_and_has_a_home() -> None:
    assert sorted(medbench.models.__all__) == sorted(_HOMES) == dir(medbench.models)


def test_every_home_exists() -> None:
    for name, home in _HOMES.items():
        assert find_spec(f"medbench.models.{home}") is not None, name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        medbench.models.no_such_name  # noqa: B018


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, medbench.models; print('torch' in sys.modules, 'transformers' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]
