"""What was run, with what, on what."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from medbench.analysis import Run, Runs
from medbench.reports.section import Section

__all__ = ["provenance"]

_TASK_COLUMNS = ("task", "version", "protocol", "num_fewshot", "dataset", "data_source", "filter", "n")


def provenance(runs: Runs, scores: pd.DataFrame, systems: list[str]) -> Section:
    """Versions, fingerprints and data sources of every run."""
    tasks = scores[(scores["kind"] == "task") & scores["main"].fillna(False).astype(bool)]
    rows = tasks[["system", *_TASK_COLUMNS]].sort_values(["task", "system"], kind="stable")
    return Section(
        id="provenance",
        title="Provenance",
        lead="Everything needed to tell whether two scores may be compared, and to run them again.",
        template="provenance.html.j2",
        data={
            "runs": [_card(run, system) for run, system in zip(runs, systems, strict=True)],
            "task_columns": ["system", *_TASK_COLUMNS],
            "task_rows": [[_plain(value) for value in row] for row in rows.itertuples(index=False)],
        },
    )


def _card(run: Run, system: str) -> dict[str, Any]:
    manifest = run.manifest
    attempts = manifest.get("attempts") or [{}]
    environment = attempts[-1].get("environment") or {}
    packages = environment.get("packages") or {}
    definition = manifest.get("model_definition") or {}
    facts = {
        "run": run.run,
        "status": manifest.get("status"),
        "started": manifest.get("started"),
        "seconds": manifest.get("seconds"),
        "documents": manifest.get("documents"),
        "attempts": len(attempts) if len(attempts) > 1 else None,
        "model": ", ".join(f"{key}: {_plain(value)}" for key, value in definition.items() if value),
        "fingerprint": manifest.get("fingerprint"),
        "plan": manifest.get("plan_hash"),
        "settings": manifest.get("settings"),
        "data": manifest.get("data"),
        "medbench": manifest.get("medbench"),
        "python": environment.get("python"),
        "packages": ", ".join(f"{name} {number}" for name, number in packages.items() if number),
        "hardware": ", ".join(
            str(item) for item in (environment.get("machine"), *(environment.get("gpus") or [])) if item
        ),
        "failures": manifest.get("failures"),
    }
    return {
        "title": system,
        "subtitle": f"{run.format}, {manifest.get('status', 'unknown')}",
        "facts": [(name, _plain(value)) for name, value in facts.items() if value not in (None, "", {}, [])],
    }


def _plain(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
