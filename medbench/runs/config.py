"""A run asked for in a file: a YAML with settings, or the ``run.json`` of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medbench.catalog.models import list_models
from medbench.catalog.reading import read_yaml
from medbench.common.strict import COUNT, FLAG, TEXT, Kind, check_mapping, choice, either, list_of
from medbench.errors import RunError
from medbench.runs.directory import read_json
from medbench.runs.settings import known_settings, recorded_settings

__all__ = ["read_config"]

_NAMES = either(TEXT, list_of(TEXT))
# What a file may say beside the settings. Leave to run code (--allow-code) is given by hand only.
_BESIDE = {
    "model": _NAMES,
    "name": _NAMES,
    "tasks": _NAMES,
    "base": TEXT,
    "results": TEXT,
    "tasks_dir": _NAMES,
    "report": FLAG,
    "workers": either(COUNT, choice("auto")),
    "ray_address": TEXT,
    "gpus_per_worker": COUNT,
}
_LISTS = [name for name, kind in _BESIDE.items() if kind is _NAMES]


def read_config(path: Path) -> dict[str, Any]:
    """Read what a file asks for.

    Args:
        path: A YAML whose keys are ``model``, ``tasks`` and the like and the fields of
            :class:`~medbench.runs.settings.RunSettings`, or a ``run.json``. Paths in it are relative to the
            working folder, as on the command line.

    Returns:
        Values by name, checked; lists where several may be named.

    Raises:
        MedbenchError: It cannot be read, or holds a key that is unknown or a value of another kind.
    """
    said = _of_run(path) if path.suffix == ".json" else _of_yaml(path)
    return {
        key: [value] if key in _LISTS and isinstance(value, str) else value for key, value in said.items()
    }


def _of_yaml(path: Path) -> dict[str, Any]:
    file = read_yaml(path)

    def place(key: str | None) -> str:
        line = file.lines.get(()) if key is None else file.lines.get((key,))
        return f"{path}:{line}" if line else str(path)

    for way, line in file.duplicates:
        raise RunError(
            f"the key {way[-1]!r} is written twice", where=f"{path}:{line}", hint="keep one of them"
        )
    if "allow_code" in file.values:
        raise RunError(
            "a file cannot let tasks run code", where=place("allow_code"), hint="give --allow-code by hand"
        )
    kinds: dict[str, Kind] = {name: setting.kind for name, setting in known_settings().items()} | _BESIDE
    said = {key: _word(value, kinds.get(key)) for key, value in file.values.items()}
    values = check_mapping(said, kinds, where=place, error=RunError)
    return {key: value for key, value in values.items() if value is not None}


def _word(value: Any, kind: Kind | None) -> Any:
    """YAML reads ``on`` and ``off`` as truth values."""
    word = "on" if value else "off"
    return word if isinstance(value, bool) and kind is not None and word in kind.choices else value


def _of_run(path: Path) -> dict[str, Any]:
    """The model and the tasks of a manifest, and its settings as used."""
    manifest = read_json(path)
    if not isinstance(manifest, Mapping) or not isinstance(manifest.get("tasks"), Mapping):
        raise RunError(
            "this is not the run.json of a run", where=str(path), hint="give a YAML, or a run.json"
        )
    used = recorded_settings(manifest)
    known = known_settings()
    said = {key: value for key, value in used.items() if key in known and value is not None}
    groups: Any = manifest.get("groups") or {}
    grouped = {member for group in groups.values() for member in group["members"]}
    said["tasks"] = [*groups, *(task for task in manifest["tasks"] if task not in grouped)]
    definition: Any = manifest.get("model_definition") or {}
    if manifest.get("model") in {model.model for model in list_models()}:
        return said | {"model": manifest["model"]}
    # Of a folder only its end is recorded, which no model is found by: whoever has it names it.
    places = {"model": definition.get("path"), "base": definition.get("base")}
    return said | {key: place for key, place in places.items() if place}
