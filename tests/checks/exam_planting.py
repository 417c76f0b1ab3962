"""Ways to plant faults of gold, options and prompts in sound exam tasks."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from medbench.checks import new_task
from tests.checks.planting import edit, rows, write_rows

# Choosing among letters, among words, one letter written, reasoning first, several letters written.
LIKE = {
    "choose": "medqa",
    "words": "pubmedqa",
    "direct": "medqa_us_direct",
    "reason": "cmb_exam_cot",
    "several": "cmexam_multiple",
    "explain": "mmedbench_en_rationale",
}
Plant = Callable[[Path], None]


def copies(folder: Path, plants: Mapping[str, tuple[str, Plant]]) -> Path:
    """Copies of sound tasks, each under a name of its own with a fault planted in it.

    Args:
        folder: An empty folder.
        plants: By the name of the copy, which of :data:`LIKE` it is made of and what is planted.
    """
    for name, like in LIKE.items():
        new_task(f"sound_{name}", like, folder / "sound")
    for name, (like, plant) in plants.items():
        shutil.copytree(folder / "sound" / f"sound_{like}", folder / "planted" / name)
        for path in sorted(p for p in (folder / "planted" / name).rglob("*") if p.is_file()):
            path.write_text(path.read_text("utf-8").replace(f"sound_{like}", name), "utf-8")
            path.rename(path.with_name(path.name.replace(f"sound_{like}", name)))
        plant(folder / "planted" / name)
    return folder / "planted"


def text(old: str, new: str) -> Plant:
    """Replace a text of the YAML that occurs once."""
    return lambda folder: void(edit(folder / f"{folder.name}.yaml", old, new))


def void(_: object) -> None:
    return None


def prompt(new: str) -> Plant:
    """Another doc_to_text, as one line of YAML."""

    def plant(folder: Path) -> None:
        path = folder / f"{folder.name}.yaml"
        found = re.sub(
            r"doc_to_text: \|-\n(?:  .*\n|\n)+", lambda _: f"doc_to_text: {new}\n", path.read_text("utf-8")
        )
        path.write_text(found, encoding="utf-8")

    return plant


def target(new: str) -> Plant:
    def plant(folder: Path) -> None:
        path = folder / f"{folder.name}.yaml"
        path.write_text(
            re.sub(r"doc_to_target: .*\n", lambda _: f"doc_to_target: {new}\n", path.read_text("utf-8")),
            "utf-8",
        )

    return plant


def choices(new: str) -> Plant:
    return text("doc_to_choice: letters", f"doc_to_choice: {new}")


def document(number: int, **changes: object) -> Plant:
    def plant(folder: Path) -> None:
        path = folder / "samples" / f"{folder.name}.jsonl"
        documents = rows(path)
        documents[number].update(changes)
        write_rows(path, documents)

    return plant


def every(change: Callable[[dict[str, object]], dict[str, object]]) -> Plant:
    def plant(folder: Path) -> None:
        path = folder / "samples" / f"{folder.name}.jsonl"
        write_rows(path, [{**row, **change(row)} for row in rows(path)])

    return plant


def added(line: str) -> Plant:
    def plant(folder: Path) -> None:
        path = folder / f"{folder.name}.yaml"
        path.write_text(path.read_text("utf-8") + line + "\n", encoding="utf-8")

    return plant


OPTIONS = "{% for option in options %}{{letters[loop.index0]}}. {{option}}\\n{% endfor %}"


def listed(options: str = OPTIONS, *, before: str = "{{question}}", end: str = "Answer:") -> Plant:
    return prompt(f'"{before}\\n{options}{end}"')


def each(option: str, *, end: str = "Answer:") -> Plant:
    """A prompt with something for each option."""
    return listed(f"{{% for option in options %}}{option}{{% endfor %}}", end=end)
