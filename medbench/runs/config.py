"""Settings of a run from a file: a YAML, or the ``run.json`` of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medbench.catalog.models import list_models
from medbench.common.strict import Count, record_of
from medbench.common.yaml_files import read_yaml
from medbench.errors import RunError
from medbench.runs.directory import read_json
from medbench.runs.settings import RunSettings, known_settings, recorded_settings


@dataclass(frozen=True)
class _Beside:
    """Keys of a file besides the settings. Permission to run code (--allow-code) is given by hand only."""

    model: str | list[str] | None = None
    name: str | list[str] | None = None
    tasks: str | list[str] | None = None
    base: str | None = None
    results: str | None = None
    tasks_dir: str | list[str] | None = None
    report: bool | None = None
    workers: Count | Literal["auto"] | None = None
    ray_address: str | None = None
    gpus_per_worker: Count | None = None


_LISTS = ("model", "name", "tasks", "tasks_dir")


def read_config(path: Path) -> dict[str, Any]:
    """Read the settings of a run from a file.

    Args:
        path: A YAML whose keys are ``model``, ``tasks`` and the like and the fields of
            :class:`~medbench.runs.settings.RunSettings`, or a ``run.json``. Paths in it are relative to the
            working folder, as on the command line.

    Returns:
        Checked values by name; lists for what may be named several times.

    Raises:
        MedbenchError: It cannot be read, a key is unknown, or a value has the wrong type.
    """
    said = _of_run(path) if path.suffix == ".json" else _of_yaml(path)
    return {
        key: [value] if key in _LISTS and isinstance(value, str) else value for key, value in said.items()
    }


def _of_yaml(path: Path) -> dict[str, Any]:
    file = read_yaml(path, RunError)

    if "allow_code" in file.values:
        raise RunError(
            "a file cannot let tasks run code",
            where=file.place(("allow_code",)),
            hint="give --allow-code by hand",
        )
    said = file.record(record_of(RunSettings, _Beside))
    return {key: value for key, value in said if key in file.values and value is not None}


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
    # Only the end of a local path is recorded, so the model cannot be found: users name it themselves.
    places = {"model": definition.get("path"), "base": definition.get("base")}
    return said | {key: place for key, place in places.items() if place}
