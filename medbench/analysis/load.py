"""Finding runs: folders that medbench wrote, and results files of lm-eval itself."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from medbench.analysis.lm_eval_files import lm_eval_runs
from medbench.analysis.model_names import tell_apart
from medbench.analysis.runs import ParquetTables, Problem, Run, Runs
from medbench.analysis.soundness import table_fault
from medbench.common.files import load_json
from medbench.errors import AnalysisError


def load_runs(where: str | PathLike[str] | Sequence[str | PathLike[str]]) -> Runs:
    """Load every run below some folders.

    Args:
        where: A folder, a run directory, a results file of lm-eval, a glob, or several of them.

    Returns:
        The runs; tables are read when asked for. Runs that cannot be used are listed in ``problems``.

    Raises:
        AnalysisError: A path does not exist, or no usable run lies below any of them.
    """
    paths = [where] if isinstance(where, (str, PathLike)) else list(where)
    found: dict[Path, Run] = {}
    problems: list[Problem] = []
    for path in _expand(paths):
        for run in _runs_below(path, problems):
            found.setdefault(run.path.resolve(), run)
    if not found:
        listed = "; ".join(f"{problem.path}: {problem.what}" for problem in problems)
        raise AnalysisError(
            "no finished run was found" + (f" ({listed})" if listed else ""),
            where=", ".join(str(path) for path in paths),
            hint="a run directory holds run.json and scores.parquet; `medbench run` makes one",
        )
    apart = tell_apart(sorted(found.values(), key=_age), problems)
    runs = sorted(apart, key=lambda run: (run.model, *_age(run)))
    return Runs(tuple(_distinct(runs, problems)), tuple(dict.fromkeys(problems)))


def _age(run: Run) -> tuple[str, str, str]:
    """Sorts runs from the oldest to the newest."""
    return str(run.manifest.get("started") or ""), run.run, str(run.path)


def _expand(paths: Iterable[str | PathLike[str]]) -> list[Path]:
    expanded: list[Path] = []
    for path in paths:
        if Path(path).exists():
            expanded.append(Path(path))
            continue
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - absolute patterns too
        if not matches:
            raise AnalysisError(
                "there is no such file or folder", where=str(path), hint="give the folder with the results"
            )
        expanded.extend(Path(match) for match in matches)
    return expanded


def _runs_below(path: Path, problems: list[Problem]) -> list[Run]:
    if path.is_file():
        if path.name == "run.json":
            return _runs_below(path.parent, problems)
        if path.suffix != ".json":
            problems.append(Problem(path, "neither a run directory nor a results file; not read"))
            return []
        return lm_eval_runs([path], problems)
    runs: list[Run] = []
    results: list[Path] = []
    pending = [path]
    while pending:
        folder = pending.pop()
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            problems.append(Problem(folder, f"cannot be listed: {error.strerror}"))
            continue
        if any(entry.name == "run.json" for entry in entries):
            # What lies below is this run's own, lm-eval's files among it.
            runs.extend(_medbench_run(folder, problems))
            continue
        pending.extend(entry for entry in entries if entry.is_dir() and not entry.is_symlink())
        results.extend(
            entry for entry in entries if entry.name.startswith("results") and entry.suffix == ".json"
        )
    return runs + lm_eval_runs(results, problems)


def _medbench_run(folder: Path, problems: list[Problem]) -> list[Run]:
    try:
        manifest: Any = load_json(folder / "run.json")
    except (OSError, ValueError) as error:
        problems.append(Problem(folder / "run.json", f"cannot be read ({error}); run left out"))
        return []
    if not isinstance(manifest, dict):
        problems.append(Problem(folder / "run.json", "holds no JSON object; run left out"))
        return []
    status = manifest.get("status", "unknown")
    for name in ("scores.parquet", "samples.parquet"):
        if not (folder / name).exists():
            problems.append(Problem(folder, f"has no {name} (status: {status}); run left out"))
            return []
    if (fault := table_fault(folder)) is not None:
        problems.append(Problem(fault[0], f"{fault[1]}; run left out"))
        return []
    failures = manifest.get("failures")
    for task, why in failures.items() if isinstance(failures, dict) else ():
        problems.append(Problem(folder, f"{task} failed and is missing: {why}"))
    if status not in ("complete", "partial"):
        problems.append(Problem(folder, f"status is {status}; its scores are read as they stand"))
    model = manifest.get("model")
    name = model if isinstance(model, str) and model else folder.parent.name
    return [Run(name, folder.name, folder, "medbench", manifest, ParquetTables(folder))]


def _distinct(runs: Sequence[Run], problems: list[Problem]) -> list[Run]:
    """Drop copies: the same run of the same model found in two places."""
    kept: dict[tuple[str, str], Run] = {}
    for run in runs:
        first = kept.setdefault((run.model, run.run), run)
        if first is not run:
            problems.append(Problem(run.path, f"has the model and run id of {first.path}; left out"))
    return list(kept.values())
