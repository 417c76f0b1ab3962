"""Options and arguments that several commands share, each with its name and its help text.

An option with a special meaning in one command is described there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medbench.common.choices import DataSource
from medbench.errors import MedbenchError

# The model, the tasks and their data.

Model = Annotated[
    str,
    typer.Option("--model", "-m", help="Name of a model definition, a YAML file, or a checkpoint folder."),
]
Base = Annotated[
    str | None, typer.Option("--base", help="Base model of an adapter checkpoint: a folder or hub id.")
]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16 or float16.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, …")]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--tasks", "-t", help="Tasks, groups or tags, separated by commas; all bundled ones by default."
    ),
]
Limit = Annotated[
    int | None, typer.Option("--limit", help="Evaluate only the first N documents of each task.")
]
NumFewshot = Annotated[int | None, typer.Option("--num-fewshot", help="Examples before each document.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="MEDBENCH_DATA", help="Folder with the real benchmark files."),
]
Source = Annotated[
    str, typer.Option("--source", help="Where documents come from: auto, folder, hub or samples.")
]
TasksDir = Annotated[
    list[Path] | None, typer.Option("--tasks-dir", help="Another folder with task YAMLs; may be repeated.")
]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Let task folders from outside run their own Python functions.")
]
Results = Annotated[Path, typer.Option("--results", help="Folder for runs.")]

# For commands about tasks and datasets, which may use samples for datasets that a folder lacks.

AnyDataDir = Annotated[
    Path | None, typer.Option("--data-dir", envvar="MEDBENCH_DATA", help="Folder with benchmark files.")
]
AnySource = Annotated[DataSource, typer.Option("--source", help="Where documents come from.")]

# The runs to read.

TaskNames = Annotated[
    list[str] | None,
    typer.Option("--task", "-t", help="Only these tasks and groups, separated by commas; may be repeated."),
]
RunPaths = Annotated[
    list[str] | None, typer.Argument(help="Folders, run directories, lm-eval results or globs.")
]
RoutedRunPaths = Annotated[list[str] | None, typer.Argument(help="Run directories, folders or globs.")]
Baseline = Annotated[
    str | None, typer.Option("--baseline", "-b", help="Model to compare with; the first by default.")
]
RowsBy = Annotated[
    list[str] | None,
    typer.Option(
        "--by",
        help="What counts as a system: model or run. Also subject or an annotation, such as question_type: "
        "then every task by it. Separated by commas; may be repeated.",
    ),
]
SystemBy = Annotated[str, typer.Option("--by", help="What counts as a system: model or run.")]

# The output.

TableFormat = Literal["text", "markdown", "csv", "latex", "html"]
Format = Annotated[TableFormat, typer.Option("--format", "-f", help="How to print a table.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RowsAsJson = Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")]


def split_names(*values: str) -> list[str]:
    """Split values at commas; no values give no names.

    Raises:
        MedbenchError: There are values, but no names in them.
    """
    names = [name.strip() for value in values for name in value.split(",") if name.strip()]
    if values and not names:
        raise MedbenchError(
            f"{values[0]!r} names nothing",
            hint="leave the option away to select all; perhaps a shell variable is empty",
        )
    return names
