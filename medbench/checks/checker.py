"""All checks over a choice of definitions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from medbench.catalog.index import NameTakenError, TaskIndex, build_index
from medbench.catalog.tasks import Place, TaskDefinition
from medbench.catalog.trust import code_uses
from medbench.checks.behavior import Rendering, try_tasks
from medbench.checks.definitions import check_group, check_task
from medbench.checks.documents import check_columns, check_documents, check_registers
from medbench.checks.findings import LENIENT, Finding, from_error
from medbench.errors import CatalogError
from medbench.runs.askable import asking_several

# These do not keep a shipped task from being tried; warnings keep none.
_NOT_FATAL = frozenset(
    {"no-direction", "missing-licence", "missing-citation", "unpinned-source", "unknown-value"}
)


# Where lm-eval reads the documents, its rules hold: examples come from where it finds them, any of several
# targets counts, and a task may well have nothing to find in a document.
_LM_EVALS = frozenset({"any-of-gold", "empty-target", "fewshot-leak"})


class CheckReport(NamedTuple):
    """What the checks found.

    Attributes:
        checked: Names of the tasks and groups checked.
        findings: Faults, in the order of the files.
        renderings: Up to three prompts of each task that could be tried.
    """

    checked: tuple[str, ...]
    findings: tuple[Finding, ...]
    renderings: tuple[Rendering, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found but warnings."""
        return all(finding.severity == "warning" for finding in self.findings)


def check_tasks(
    paths: Sequence[str | Path] = (),
    extra_dirs: Iterable[str | Path] = (),
    *,
    allow_code: bool = False,
    behave: bool = True,
    data_dir: Path | None = None,
) -> CheckReport:
    """Check task and group definitions.

    Args:
        paths: YAML files or folders; all shipped definitions and those of `extra_dirs` by default.
        extra_dirs: Further folders with definitions.
        allow_code: Whether definitions from outside may run Python of their own while being checked.
        behave: Whether tasks are also built, rendered and scored on their samples, which imports lm-eval.
        data_dir: A folder with benchmark files, whose documents are looked at in place of the samples.

    Raises:
        CatalogError: If a path does not exist.
    """
    wanted = [Path(path).resolve() for path in paths]
    for path in wanted:
        if not path.exists():
            raise CatalogError("there is no such file or folder", where=str(path), hint="check the path")
    folders = [Path(folder) for folder in extra_dirs]
    folders += [folder for folder in map(_folder_of, wanted) if folder not in folders]
    index = build_index(_outside(folders))
    return _check(index, wanted, data_dir, allow_code=allow_code, behave=behave)


def _folder_of(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _outside(folders: Iterable[Path]) -> list[Path]:
    """Folders that are neither the shipped one nor inside another, each once."""
    from medbench.catalog.tasks import definitions_folder

    kept: list[Path] = [definitions_folder("tasks").resolve()]
    for folder in sorted({folder.resolve() for folder in folders}, key=lambda folder: len(folder.parts)):
        if not any(folder.is_relative_to(other) for other in kept):
            kept.append(folder)
    return kept[1:]


def _chosen(path: Path, wanted: Sequence[Path]) -> bool:
    resolved = path.resolve()
    return not wanted or any(
        resolved == one or (one.is_dir() and resolved.is_relative_to(one)) for one in wanted
    )


def _check(
    index: TaskIndex, wanted: Sequence[Path], data_dir: Path | None, *, allow_code: bool, behave: bool
) -> CheckReport:
    findings = [
        from_error(error, "name-taken" if isinstance(error, NameTakenError) else "unreadable", Place(path))
        for path, error in index.faults
        if _chosen(path, wanted)
    ]
    findings += _shared_names(index, wanted)
    findings += [finding for finding in check_registers(index.folders[1:]) if _chosen(finding.file, wanted)]
    groups = [group for group in index.groups.values() if _chosen(group.path, wanted)]
    tasks = [task for task in index.tasks.values() if _chosen(task.path, wanted)]
    for group in groups:
        findings += check_group(group, index)
    sound: list[TaskDefinition] = []
    for task in tasks:
        found = list(check_task(task))
        found += check_documents(task, index.folders[1:], data_dir)
        found += check_columns(task, index.folders[1:])
        found += [] if task.shipped or allow_code else _untrusted(task, index.folders[1:])
        found = found if task.shipped else [_lenient(finding, task) for finding in found]
        findings += found
        if all(finding.severity == "warning" or finding.code in _NOT_FATAL for finding in found):
            sound.append(task)
    renderings: list[Rendering] = []
    siblings = asking_several(index.tasks.values())
    tried = (
        try_tasks(sound, siblings, data_dir, index.folders[1:], allow_code=allow_code)
        if behave and sound
        else {}
    )
    for task in (task for task in sound if task.name in tried):
        behavior = tried[task.name]
        findings += [found if task.shipped else _lenient(found, task) for found in behavior.findings]
        renderings += behavior.renderings
    # A fault of a template is found in every task that includes it; it is told once.
    unique = tuple({finding._replace(task=""): finding for finding in reversed(findings)}.values())[::-1]
    return CheckReport(
        (*(group.name for group in groups), *(task.name for task in tasks)), unique, tuple(renderings)
    )


def _lenient(finding: Finding, task: TaskDefinition) -> Finding:
    """A finding about a task from outside: what only shipped tasks need is a warning."""
    if finding.code in LENIENT or (finding.code in _LM_EVALS and not task.own_data):
        return finding._replace(severity="warning")
    return finding


def _shared_names(index: TaskIndex, wanted: Sequence[Path]) -> list[Finding]:
    """Names from outside that another folder has as well."""
    found = []
    for name, others in index.shared.items():
        for longer in others:
            definition = index.tasks.get(longer) or index.groups[longer]
            if _chosen(definition.path, wanted):
                first = index.tasks.get(name) or index.groups[name]
                whose = "a shipped task or group" if first.shipped else str(first.path)
                message = f"the name {name!r} is taken by {whose}"
                found.append(
                    Finding.at(
                        Place(definition.path),
                        "name-taken",
                        message,
                        f"rename it, or ask for {longer!r}",
                        longer,
                    )._replace(severity="warning")
                )
    return found


def _untrusted(task: TaskDefinition, folders: Sequence[Path]) -> list[Finding]:
    return [
        Finding.at(
            use.place,
            "needs-leave",
            f"it runs code of its own or reaches beyond its folders: {use.what}",
            "read it, then check with --allow-code",
            task.name,
        )
        for use in code_uses(task, folders)
    ]
