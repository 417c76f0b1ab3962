"""Scoring stored answers anew: after a change to a metric or to answer extraction, without the model."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.common.files import read_only_address
from medbench.errors import RunError
from medbench.runs.directory import RunDirectory, read_json, replacing, safe_name
from medbench.runs.settings import ENGINE_DETAILS, known_settings, recorded_settings

if TYPE_CHECKING:
    from medbench.runs.plan import RunPlan
    from medbench.runs.store import ResponseStore

_LOG = logging.getLogger(__name__)
_FINISHED = ("complete", "partial")
# Settings that change neither the prompts nor what is recorded of the answers.
_OF_COMPUTATION = (
    *(
        name
        for name, setting in known_settings().items()
        if not setting.in_identity and name not in ("data_dir", "data_source")
    ),
    *("engine", *ENGINE_DETAILS),
)
# Settings that decide which documents are asked of and what is kept of the routers, and not how is asked.
_OF_EXTENT = ("limit", "data_source", "routing")


def find_answered(plan: RunPlan, results: Path) -> tuple[RunDirectory, dict[str, Any]]:
    """Find the finished run whose answers are this model's to these data, with its manifest.

    The newest of those that were asked in the same form, if there is any, else the newest of all.

    Raises:
        RunError: There is none.
    """
    data = {name: source.fingerprint for name, source in plan.sources.items()}
    now = plan.settings_used()
    found = []
    for directory, manifest in _finished(results, plan.model.model):
        earlier = manifest.get("data") or {}
        if manifest.get("answer_identity") == plan.answer_identity and all(
            name not in earlier or earlier[name].get("fingerprint") == fingerprint
            for name, fingerprint in data.items()
        ):
            if _same_settings(recorded_settings(manifest), now, except_for=(*_OF_COMPUTATION, *_OF_EXTENT)):
                return directory, manifest
            found.append((directory, manifest))
    if found:
        return found[0]
    raise RunError(
        f"no finished run holds answers of this very {plan.model.model} in {plan.model.dtype} to these data",
        where=str(results / safe_name(plan.model.model)),
        hint="run without --rescore first; weights, tokenizer, chat template and dtype must be those of then",
    )


def copy_answers(source: RunDirectory, target: RunDirectory) -> None:
    """Copy the response store of a finished run, as one consistent state.

    Raises:
        RunError: The store is missing or damaged, or the copy cannot be written.
    """
    if not source.responses.is_file():
        raise RunError(
            "the run has no stored answers", where=str(source.path), hint="run without --rescore to ask again"
        )
    with replacing(target.responses) as temporary:
        try:
            reader = sqlite3.connect(read_only_address(source.responses), uri=True)
            writer = sqlite3.connect(temporary)
            try:
                reader.backup(writer)
            finally:
                writer.close()
                reader.close()
        except sqlite3.Error as error:
            raise RunError(
                f"the stored answers cannot be copied: {error}",
                where=str(source.responses),
                hint="check free space; if the file is damaged, run without --rescore to ask again",
            ) from error


def asked_alike(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two manifests tell of the same questions: then router counts of one are those of the other."""
    return set(earlier["tasks"]) == set(now["tasks"]) and _same_settings(
        recorded_settings(earlier), recorded_settings(now), except_for=_OF_COMPUTATION
    )


def _same_settings(one: Mapping[str, Any], two: Mapping[str, Any], *, except_for: Sequence[str]) -> bool:
    """Whether two runs had the same settings."""
    names = (one.keys() | two.keys()) - set(except_for)
    return all(one.get(name) == two.get(name) for name in names)


def more_answered(lm: Any, store: ResponseStore) -> bool:
    """Whether a store answers more than was asked of it: then its router counts are not those of the scores.

    Args:
        lm: The :class:`~medbench.models.StoredLM` that all tasks asked.
        store: Where it looked.
    """
    return not store.answered() <= lm.asked


def _finished(results: Path, model: str) -> Iterator[tuple[RunDirectory, dict[str, Any]]]:
    """Finished runs of a model, the newest first."""
    for folder in sorted((results / safe_name(model)).glob("*/run.json"), reverse=True):
        try:
            manifest = read_json(folder)
        except RunError as error:
            _LOG.warning("left out: %s", error)
            continue
        if isinstance(manifest, dict) and manifest.get("status") in _FINISHED:
            yield RunDirectory(folder.parent), manifest
