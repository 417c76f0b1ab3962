"""Names of models, told apart where one name stands for several checkpoints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from medbench.analysis.runs import Problem, Run

# What a model computes follows from these; where its files lie does not matter.
_PARTS = ("weights", "config", "tokenizer", "chat_template")
_SHORTEST = 8


def tell_apart(runs: Sequence[Run], problems: list[Problem]) -> list[Run]:
    """Rename the runs of models that share a name and nothing else.

    Folders such as ``checkpoint-500`` are told apart by the folders above them; where that is not enough, by
    the beginning of the model's fingerprint.

    Args:
        runs: Runs under the names that they give themselves.
        problems: Receives which names were changed.
    """
    named: dict[str, dict[str, list[Run]]] = {}
    for run in runs:
        named.setdefault(run.model, {}).setdefault(_identity(run), []).append(run)
    renamed: dict[tuple[str, str], str] = {}
    taken = set(named)
    for name, models in named.items():
        if len(models) < 2:
            continue
        names = _distinct_names(name, models, taken - {name})
        taken |= set(names.values())
        for identity, members in models.items():
            renamed[name, identity] = names[identity]
            problems.append(
                Problem(
                    members[-1].path,
                    f"{len(models)} different models are called {name!r}; this one is shown as "
                    f"{names[identity]!r}",
                )
            )
    return [replace(run, model=renamed.get((run.model, _identity(run)), run.model)) for run in runs]


def _identity(run: Run) -> str:
    """A digest of what makes the model; empty where nothing is known of it."""
    fingerprint = run.manifest.get("fingerprint")
    if isinstance(fingerprint, Mapping):
        known: Any = {part: fingerprint.get(part) for part in _PARTS} if fingerprint.get("weights") else None
        fingerprint = known or fingerprint.get("model")
    return json.dumps(fingerprint, sort_keys=True) if fingerprint else ""


def _distinct_names(name: str, models: Mapping[str, Sequence[Run]], taken: set[str]) -> dict[str, str]:
    folders = {identity: _folders(members) for identity, members in models.items()}
    for depth in (2, 3):
        short = {identity: "/".join(parts[-depth:]) for identity, parts in folders.items()}
        names = {identity: _with_folder(name, folder) for identity, folder in short.items()}
        if all(short.values()) and len(set(names.values())) == len(names) and not taken & set(names.values()):
            return names
    digests = {identity: _digest(identity, members[-1]) for identity, members in models.items()}
    if len(set(digests.values())) < len(digests):
        digests = {identity: _hash(identity) for identity in models}
    length = _SHORTEST
    while len({digest[:length] for digest in digests.values()}) < len(digests):
        length += 1
    return {
        identity: f"{name} ({digest[:length] or 'weights unknown'})" for identity, digest in digests.items()
    }


def _with_folder(name: str, folder: str) -> str:
    return folder if folder.rpartition("/")[2] == name else f"{name} ({folder})"


def _folders(members: Sequence[Run]) -> tuple[str, ...]:
    """The last folders of the checkpoint's path, as the newest run that knows them says."""
    known = [path for run in members if isinstance(path := run.manifest.get("checkpoint"), str) and path]
    return PurePosixPath(known[-1].replace("\\", "/")).parts if known else ()


def _digest(identity: str, run: Run) -> str:
    """The model's own fingerprint as ``run.json`` shows it, or one of what is known; empty if nothing is."""
    fingerprint = run.manifest.get("fingerprint")
    shown = fingerprint.get("model") if isinstance(fingerprint, Mapping) else fingerprint
    return str(shown) if shown else _hash(identity)


def _hash(identity: str) -> str:
    return hashlib.sha256(identity.encode("utf-8")).hexdigest() if identity else ""
