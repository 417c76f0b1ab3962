"""Checks by doing: prompts are rendered and answers scored, the gold one and an empty one, as in a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medbench.catalog.tasks import TaskDefinition
from medbench.checks.exams import check_exam
from medbench.checks.findings import Finding, from_error
from medbench.checks.golds import check_golds
from medbench.checks.leaks import check_leaks
from medbench.data.sources import Source, resolve
from medbench.errors import MedbenchError
from medbench.runs.golds import GoldError, is_exam

_SHOWN = 3
# Faults of documents alone, whatever a task makes of them.
_OF_DOCUMENTS = frozenset({"repeated-option", "lettered-options"})
# Metrics of lm-eval's that the gold answer has in full.
_SHARES = frozenset({"acc", "exact_match"})
# ROUGE implementations add 1e-8 to denominators, so that a perfect score falls short by about that.
_SLACK = 1e-6


class Rendering(NamedTuple):
    """One prompt as a model would see it.

    Attributes:
        task: Name of the task.
        document: Identifier of the document.
        prompt: The text, without a chat template.
        target: What the task takes for the right answer.
    """

    task: str
    document: str
    prompt: str
    target: str


class Behavior(NamedTuple):
    """What came of trying a task."""

    findings: tuple[Finding, ...]
    renderings: tuple[Rendering, ...]


def try_tasks(
    tasks: Sequence[TaskDefinition],
    siblings: Mapping[str, str],
    data_dir: Path | None = None,
    folders: Sequence[Path] = (),
    *,
    allow_code: bool = False,
) -> dict[str, Behavior]:
    """Build tasks through lm-eval on their samples, render prompts, and score gold and empty answers.

    Args:
        tasks: The definitions; their functions are imported and run.
        siblings: Who asks questions with several right answers, by dataset.
        data_dir: A folder with benchmark files, whose documents are tried in place of the samples it has.
        folders: Folders from outside whose registers add datasets.
        allow_code: Whether their templates are rendered without the sandbox.

    Returns:
        What came of each, by name.
    """
    from medbench.runs.harness import quiet_harness
    from medbench.runs.loading import load_tasks
    from medbench.runs.settings import RunSettings

    samples = RunSettings(data_source="samples")
    real = samples if data_dir is None else RunSettings(data_source="folder", data_dir=str(data_dir))
    tried: dict[str, Behavior] = {}
    with quiet_harness(allow_code=allow_code):
        # One after the other: with real files, the documents of all tasks at once would fill the memory.
        for task in tasks:
            source = _folder_source(task, data_dir, folders)
            settings = samples if source is None else real
            built, failures = load_tasks([task], settings, siblings)
            failed = failures.get(task.name)
            tried[task.name] = (
                _try(task, built[task.name], settings, siblings)
                if failed is None
                else Behavior((_failure(task, failed),), ())
            )
            if source is not None and all(file.pinned for file in source.files):
                tried[task.name] = _as_published(tried[task.name])
    return tried


def _folder_source(task: TaskDefinition, data_dir: Path | None, folders: Sequence[Path]) -> Source | None:
    """What a folder has for a task that reads its documents through a register."""
    if data_dir is None or task.dataset is None or not task.own_data:
        return None
    found = resolve(task.dataset, data_dir, "folder-or-samples", folders)
    return None if found.is_samples else found


def _as_published(behavior: Behavior) -> Behavior:
    """What came of trying published files, whose documents nobody here can mend."""
    findings = [
        finding._replace(severity="warning", hint="it was published so; scores on such documents say little")
        if finding.code in _OF_DOCUMENTS
        else finding
        for finding in behavior.findings
    ]
    return behavior._replace(findings=tuple(findings))


def _try(task: TaskDefinition, built: Any, settings: Any, siblings: Mapping[str, str]) -> Behavior:
    findings = [*_ambiguous_gold(task, built), *check_golds(task, built, siblings)]
    findings += [*check_exam(task, built), *check_leaks(task, built)]
    gold, why = _best_gold(built, settings, task)
    if gold is None:
        place = task.merged.place("process_results")
        message = f"scoring the gold answer failed: {why}"
        findings.append(Finding.at(place, "gold-crash", message, "correct the scoring function", task.name))
        return Behavior(tuple(findings), ())
    findings += _below_maximum(task, built, gold)
    empty, found = _empty(task, built, settings)
    findings += found
    findings += _wrong(task, built, settings, gold)
    findings += _blank(task, gold.samples)
    findings += _without_interval(task, gold, gold if empty is None else empty)
    return Behavior(tuple(findings), tuple(_rendering(task, sample) for sample in gold.samples[:_SHOWN]))


def _failure(task: TaskDefinition, error: Exception) -> Finding:
    if isinstance(error, GoldError):
        place = task.merged.place("doc_to_target")
        return Finding.at(place, "wrong-gold", error.what, error.hint or "", task.name)
    if isinstance(error, MedbenchError):
        return from_error(error, "cannot-build", task.merged.place(), task.name)
    first = str(error).strip().partition("\n")[0] or type(error).__name__
    return Finding.at(
        task.merged.place(),
        "cannot-build",
        f"lm-eval cannot build the task: {type(error).__name__}: {first}",
        "see the message; templates, functions and splits are the usual causes",
        task.name,
    )


def _evaluate(model: Any, built: Any, settings: Any) -> Any:
    from medbench.runs.harness import evaluate_task

    return evaluate_task(model, built, settings, chat_template=False, system=None)


def _main_metric(result: Any) -> str:
    from medbench.runs.metrics import main_metric

    scored = dict.fromkeys(name for sample in result.samples for name in sample["metrics"])
    return main_metric(result.task, scored)


def _main_value(result: Any) -> float:
    from medbench.runs.metrics import as_number

    value = as_number(result.scores.get(f"{_main_metric(result)},{result.filter}"))
    return math.nan if value is None else value


def _best_gold(built: Any, settings: Any, task: TaskDefinition) -> tuple[Any | None, str]:
    """The result of the gold answer in the form that scores highest, or why there is none."""
    from medbench.checks.oracles import GoldLM, gold_texts

    first = dict(next(iter(built.eval_docs)))
    best, error_text = None, ""
    for form in range(len(gold_texts(built, first)) if built.OUTPUT_TYPE == "generate_until" else 1):
        try:
            result = _evaluate(GoldLM(built, form), built, settings)
        except Exception as error:  # noqa: BLE001 - a task's own scoring may raise anything; it is reported
            error_text = f"{type(error).__name__}: {error}"
            continue
        if best is None or _main_value(result) > _main_value(best):
            best = result
    return best, error_text


def _below_maximum(task: TaskDefinition, built: Any, result: Any) -> Iterator[Finding]:
    metadata = task.merged.values.get("metadata") or {}
    maximum = metadata.get("maximum", 1.0)
    value = _main_value(result)
    metric = _main_metric(result)
    if "maximum" not in metadata and (
        not built.higher_is_better().get(metric, True)
        # What a task from outside scores by need not have a maximum of 1.
        or not (task.main_metric or metric in _SHARES)
    ):
        return
    # Not `value < maximum`: a score that is not a number must be found as well.
    if not value >= float(maximum) - _SLACK:
        yield Finding.at(
            task.merged.place("metadata", "main_metric"),
            "gold-not-maximum",
            f"the gold answer scores {value:.6g} in {metric}, the maximum is {maximum}",
            "compare the target with what the scoring reads; metadata.maximum can state another one",
            task.name,
        )


def _empty(task: TaskDefinition, built: Any, settings: Any) -> tuple[Any | None, list[Finding]]:
    """The result of saying nothing, and what is wrong with it."""
    from medbench.checks.oracles import EmptyLM

    place = task.merged.place("process_results")
    try:
        result = _evaluate(EmptyLM(built), built, settings)
    except Exception as error:  # noqa: BLE001 - a task's own scoring may raise anything; it is reported
        message = f"an empty answer makes the scoring fail: {type(error).__name__}: {error}"
        hint = "an empty answer is wrong, not an error"
        return None, [Finding.at(place, "empty-answer-crash", message, hint, task.name)]
    if task.main_metric and math.isnan(_main_value(result)):
        message = "an empty answer has a score that is not a number"
        hint = "an empty answer scores the least there is"
        return result, [Finding.at(place, "empty-answer-crash", message, hint, task.name)]
    return result, []


def _wrong(task: TaskDefinition, built: Any, settings: Any, gold: Any) -> Iterator[Finding]:
    """Whether wrong answers to exam questions score as right ones do."""
    from medbench.checks.oracles import WrongLM

    metric, right = _main_metric(gold), _main_value(gold)
    if not all(is_exam(doc) for doc in built.eval_docs) or not built.higher_is_better().get(metric, True):
        return
    place = task.merged.place("process_results")
    try:
        value = _main_value(_evaluate(WrongLM(built), built, settings))
    except Exception as error:  # noqa: BLE001 - a task's own scoring may raise anything; it is reported
        message = f"scoring a wrong answer failed: {type(error).__name__}: {error}"
        yield Finding.at(
            place, "wrong-answer-crash", message, "let the scoring function accept any text", task.name
        )
        return
    if value >= right:
        yield Finding.at(
            place,
            "wrong-answer-scores",
            f"answers that are all wrong score {value:.6g} in {metric}, the right ones {right:.6g}",
            "compare what the scoring reads with the document's answer",
            task.name,
        )


def _without_interval(task: TaskDefinition, gold: Any, empty: Any) -> Iterator[Finding]:
    """Metrics whose scores no run can give an interval, tried on right and empty answers together."""
    from medbench.runs.estimates import ALL_ALIKE, estimate
    from medbench.runs.metrics import as_number

    aggregations = gold.task.aggregation() or {}
    for metric in dict.fromkeys(name for sample in gold.samples for name in sample["metrics"]):
        values = [
            sample[metric]
            for result in (gold, empty)
            for sample in result.samples
            if metric in sample["metrics"]
        ]
        function = aggregations.get(metric)
        try:
            value = as_number(function(values)) if function is not None else 0.0
        except Exception:  # noqa: BLE001, S112 - right and empty answers together may be too odd a mixture
            continue
        if function is None or value is None or not math.isfinite(value):
            continue
        clusters = [str(i) for i in range(len(values))]
        found = estimate(metric, value, values, function, clusters=clusters, seed=0)
        if found.why not in ("", ALL_ALIKE):  # answers of a model will differ where these do not
            yield Finding.at(
                task.merged.place("metric_list"),
                "no-interval",
                f"the score {metric!r} will have no interval: {found.why}",
                "it is given without one; an aggregation of single documents' values can have one",
                task.name,
            )._replace(severity="warning")


def _ambiguous_gold(task: TaskDefinition, built: Any) -> Iterator[Finding]:
    """Several right answers in lm-eval's multiple_choice are scored any-of, which flatters every model."""
    if built.OUTPUT_TYPE != "multiple_choice":
        return
    for doc in built.eval_docs:
        target = built.doc_to_target(doc)
        if isinstance(target, list) and len(target) > 1:
            yield Finding.at(
                task.merged.place("doc_to_target"),
                "any-of-gold",
                f"the document {doc.get('id')!r} has several right answers, of which any one would count",
                "keep documents with one answer (process_docs), or generate and compare sets",
                task.name,
            )
            return


def _blank(task: TaskDefinition, samples: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    for key, code, read in (
        ("doc_to_text", "empty-prompt", _prompt),
        ("doc_to_target", "empty-target", _target),
    ):
        empty = [sample for sample in samples if not read(sample).strip()]
        if empty:
            yield Finding.at(
                task.merged.place(key),
                code,
                f"{key} renders nothing for {len(empty)} of {len(samples)} documents, "
                f"such as {_identifier(empty[0])!r}",
                "check the columns that it reads",
                task.name,
            )


def _prompt(sample: dict[str, Any]) -> str:
    arguments = sample.get("arguments") or [("",)]
    return str(arguments[0][0])


def _target(sample: dict[str, Any]) -> str:
    return str(sample.get("target", ""))


def _identifier(sample: dict[str, Any]) -> str:
    return str(sample["doc"].get("id", sample["doc_id"]))


def _rendering(task: TaskDefinition, sample: dict[str, Any]) -> Rendering:
    return Rendering(task.name, _identifier(sample), _prompt(sample), _target(sample))
