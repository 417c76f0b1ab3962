"""What was run, with what, on what."""

from __future__ import annotations

import json
from typing import Any

from medbench.analysis import Conditions, Run, Runs, systems
from medbench.analysis.systems import main_scores
from medbench.reports.columns import texts
from medbench.reports.renderers import page_table
from medbench.reports.section import Section, system_names
from medbench.reports.tables import text_table

_TASK_COLUMNS = ("task", "version", "protocol", "num_fewshot", "dataset", "data_source", "filter", "n")
_NAMES = ("run", *_TASK_COLUMNS, "data fingerprint", "revision")


def provenance(runs: Runs) -> Section:
    """Conditions, versions, fingerprints and data sources of every run, and what it answers for."""
    names = system_names(runs)
    answers: dict[str, dict[str, int]] = {name: {} for name in names}
    for system in systems(runs):
        for run in system.runs.values():
            counts = answers[names[runs.runs.index(run)]]
            counts[system.name] = counts.get(system.name, 0) + 1
    rows = []
    for run, name in zip(runs, names, strict=True):
        scores = main_scores(run)
        tasks = scores[scores["kind"] == "task"].reindex(columns=list(_TASK_COLUMNS))
        for row in tasks.itertuples(index=False, name=None):
            rows.append(dict(zip(_NAMES, [name, *map(_plain, row), *_data(run, row[4])], strict=True)))
    return Section(
        id="provenance",
        title="Provenance",
        lead="Everything needed to tell whether two scores may be compared, and to run them again.",
        template="provenance.html.j2",
        data={
            "runs": [_card(run, name, answers[name]) for run, name in zip(runs, names, strict=True)],
            "table": page_table(
                text_table(sorted(rows, key=lambda row: (row["task"], row["run"])), texts(*_NAMES))
            ),
        },
    )


def _card(run: Run, name: str, answers: dict[str, int]) -> dict[str, Any]:
    manifest = run.manifest
    attempts = manifest.get("attempts") or [{}]
    environment = attempts[-1].get("environment") or {}
    packages = environment.get("packages") or {}
    definition = manifest.get("model_definition") or {}
    spoken_for = [f"{system} ({count} task{'s' * (count != 1)})" for system, count in answers.items()]
    facts = {
        "run": run.run,
        "answers for": ", ".join(spoken_for) or "nothing: newer or larger runs under the same conditions do",
        "conditions": Conditions.of(run).line(),
        "status": manifest.get("status"),
        "started": manifest.get("started"),
        "seconds": manifest.get("seconds"),
        "documents": manifest.get("documents"),
        "attempts": len(attempts) if len(attempts) > 1 else None,
        "model": ", ".join(f"{key}: {_plain(value)}" for key, value in definition.items() if value),
        "fingerprint": _fingerprint(manifest.get("fingerprint")),
        "plan": manifest.get("plan_hash"),
        "settings": manifest.get("settings"),
        "medbench": manifest.get("medbench"),
        "python": environment.get("python"),
        "packages": ", ".join(f"{name} {number}" for name, number in packages.items() if number),
        "hardware": ", ".join(
            str(item) for item in (environment.get("machine"), *(environment.get("gpus") or [])) if item
        ),
        "failures": manifest.get("failures"),
    }
    return {
        "title": name,
        "subtitle": f"{run.format}, {manifest.get('status', 'unknown')}",
        "facts": [(name, _plain(value)) for name, value in facts.items() if value not in (None, "", {}, [])],
    }


def _fingerprint(value: Any) -> Any:
    """The hashes of a model, without those of its single files."""
    if not isinstance(value, dict):
        return value
    return ", ".join(f"{name}: {text[:16]}" for name, text in value.items() if isinstance(text, str))


def _data(run: Run, dataset: Any) -> list[str]:
    """Fingerprint and revision of the data behind a task, as far as the run knows them."""
    source = (run.manifest.get("data") or {}).get(dataset)
    if not isinstance(source, dict):
        return ["", ""]
    return [_plain(source.get("fingerprint"))[:16], _plain(source.get("revision"))]


def _plain(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
