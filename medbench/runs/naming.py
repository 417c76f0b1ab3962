"""What models are called: one name for one model, told apart from others of the same name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.catalog.models import hub_id
from medbench.errors import RunError
from medbench.runs.directory import read_json, safe_name
from medbench.runs.settings import canonical_hash

if TYPE_CHECKING:
    from medbench.runs.plan import RunPlan

_COMPONENTS = 3  # of a checkpoint's path that are told: enough to know it again, too few to find it
_DIGITS = 8  # of a digest that stands for a model in its name
_LONGEST = 120  # characters; file systems take 255 bytes

_PARTS = ("weights", "config")  # of a fingerprint, that make it another model
_Weights = tuple[Any, ...]


def check_names(names: Sequence[str], models: int) -> None:
    """Check the names that a person gives to models, if any.

    Raises:
        RunError: They are not one for each, or one of them cannot be the name of a folder or cannot be shown.
    """
    if names and len(names) != models:
        raise RunError(
            f"{len(names)} names for {models} models",
            where="--name",
            hint="--name once for each --model, in the same order",
        )
    for name in names:
        _check_name(name)


def _check_name(name: str) -> None:
    if not name.strip() or name != name.strip() or name in (".", ".."):
        what = "is not a name"
    elif any(sign in name for sign in "/\\"):
        what = "has a path separator"
    elif not name.isprintable():
        what = "has characters that cannot be printed"
    elif len(name) > _LONGEST:
        what = f"is longer than {_LONGEST} characters"
    else:
        return
    raise RunError(f"the model's name {name!r} {what}", where="--name", hint="letters, digits, dots, hyphens")


def checkpoint_place(path: str) -> str:
    """The end of a checkpoint's path, by which its owner knows it, or its hub id.

    Args:
        path: Folder, or hub id.
    """
    return hub_id(path) or "/".join(_components(path))


def name_plans(
    plans: Sequence[RunPlan], results: Path, names: Sequence[str] = ()
) -> tuple[list[RunPlan], list[str]]:
    """Give the models of one command names under which no other model is or will be known.

    Models are the same if weights and configuration are, wherever they lie. Where a name is another model's,
    in the command or in the results folder, parent folders are put before it (``a.checkpoint-500``), and
    where these do not tell the two apart, a digest of the weights behind it. A model that has runs in the
    results folder keeps the name that they have.

    Args:
        plans: What the command is to do, model by model.
        results: Folder for results.
        names: The names a person gives them instead, one each (:func:`check_names`).

    Returns:
        The plans with their models renamed, and what is to be said about it, one line each.

    Raises:
        RunError: Two models are given one name.
    """
    if names:
        return _named_as(plans, results, names)
    models = [_Model.of(plan) for plan in plans]
    named: dict[str, _Model] = {}
    renamed, notes = [], []
    for plan, model in zip(plans, models, strict=True):
        name = _choose(model, models, named, results)
        named.setdefault(name, model)
        renamed.append(replace(plan, model=replace(plan.model, model=name)))
        if name != model.names[0]:
            notes.append(f"{model.place} is called {name}: {model.names[0]} is the name of another model")
    return renamed, list(dict.fromkeys(notes))


def _named_as(
    plans: Sequence[RunPlan], results: Path, names: Sequence[str]
) -> tuple[list[RunPlan], list[str]]:
    """Give models the names that a person wants."""
    named: dict[str, _Weights] = {}
    notes = []
    for name, plan in zip(names, plans, strict=True):
        weights = _weights(plan.fingerprint)
        if named.setdefault(safe_name(name), weights) != weights:
            raise RunError(f"two models cannot both be called {name!r}", where="--name")
        if any(others != weights for others, _ in _known_as(name, results)):
            notes.append(f"another model has been evaluated as {name}; tables tell the two apart")
    renamed = [
        replace(plan, model=replace(plan.model, model=name)) for name, plan in zip(names, plans, strict=True)
    ]
    return renamed, notes


@dataclass(frozen=True)
class _Model:
    """A model that needs a name.

    Attributes:
        names: Names it may have, the plain one first; the last has a digest of its weights in it.
        weights: Digests of weights and configuration.
        place: The end of its path.
    """

    names: tuple[str, ...]
    weights: _Weights
    place: str

    @classmethod
    def of(cls, plan: RunPlan) -> _Model:
        name, path = plan.model.model, plan.model.path
        *parents, last = checkpoint_place(path).split("/")
        # A name that a definition gives says more than the folders do.
        longer = [".".join([*parents[-n:], name]) for n in range(1, len(parents) + 1)] if name == last else []
        weights = _weights(plan.fingerprint)
        digest = canonical_hash(dict(zip(_PARTS, weights, strict=True)))[:_DIGITS]
        return cls((name, *longer, f"{name}.{digest}"), weights, checkpoint_place(path))


def _choose(model: _Model, models: Sequence[_Model], named: Mapping[str, _Model], results: Path) -> str:
    plain = model.names[0]
    for name, other in named.items():
        if other.weights == model.weights and other.names[0] == plain:
            return name
    names = [name for name in model.names if name not in named]  # those named so have other weights
    runs = {name: _known_as(name, results) for name in names}
    for name, known in runs.items():
        if known and all(weights == model.weights for weights, _ in known):
            return name
    # Where another model was at this very place, folders do not say which of the two is meant.
    strangers = [run for known in runs.values() for run in known if run[0] != model.weights]
    moved_in = any(place == model.place for _, place in strangers)
    rivals = [other for other in models if other.weights != model.weights and other.names[0] == plain]
    for name in names[:-1]:
        clear = not runs[name] and all(name not in other.names for other in rivals)
        if clear and (name == plain or not moved_in):
            return name
    return model.names[-1]


def _known_as(name: str, results: Path) -> list[tuple[_Weights, Any]]:
    """Weights and place of each run in the folder of a name."""
    found = []
    for path in sorted((results / safe_name(name)).glob("*/run.json")):
        try:
            manifest = read_json(path)
        except RunError:  # whoever reads runs says so
            continue
        if isinstance(manifest, dict) and isinstance(manifest.get("fingerprint"), dict):
            found.append((_weights(manifest["fingerprint"]), manifest.get("checkpoint")))
    return found


def _weights(fingerprint: Mapping[str, Any]) -> _Weights:
    return tuple(fingerprint.get(part) for part in _PARTS)


def _components(path: str) -> list[str]:
    """The last components of a folder's path, none of which names a person's home."""
    folder = Path(path).expanduser().resolve()
    home = Path.home().resolve()
    parts = folder.relative_to(home).parts if folder.is_relative_to(home) else folder.parts[1:]
    return list(parts[-_COMPONENTS:])
