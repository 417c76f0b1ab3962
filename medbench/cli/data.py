"""``medbench data``: datasets and their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medbench.cli.options import AnyDataDir, AnySource, AsJson, Format, Output
from medbench.cli.output import print_json, say
from medbench.errors import DataError

if TYPE_CHECKING:
    from medbench.data import Source
    from medbench.data.registry import PinnedFile

app = typer.Typer(help="List, fetch, verify, lock and convert datasets.", no_args_is_help=True)

TasksDir = Annotated[
    list[Path] | None, typer.Option("--tasks-dir", help="A folder whose sources.yaml adds datasets.")
]
Names = Annotated[list[str] | None, typer.Argument(help="Datasets; all by default.")]


@app.command("list")
def list_command(
    data_dir: AnyDataDir = None,
    source: AnySource = "auto",
    tasks_dir: TasksDir = None,
    form: Format = "text",
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """List the datasets and their current sources."""
    from medbench.cli.tables import show_table
    from medbench.data import dataset_names, get_entry
    from medbench.data.sources import summarize
    from medbench.reports.tables import listing

    folders = tasks_dir or []
    rows = []
    for name in dataset_names(folders):
        entry = get_entry(name, folders)
        rows.append(
            {
                "dataset": name,
                "title": entry.title,
                "language": entry.language,
                **summarize(name, data_dir, source, folders),
                "hub": entry.hub.id if entry.hub else None,
                "revision": (entry.hub.revision or "not pinned") if entry.hub else None,
                "citation": entry.citation,
                "homepage": entry.homepage,
                "contamination": entry.contamination,
            }
        )
    if as_json:
        print_json(rows)
        return
    shown = ("dataset", "language", "n", "source", "licence", "hub", "revision")
    show_table(listing(shown, rows), form, output)


@app.command("fetch")
def fetch_command(
    names: Names = None,
    data_dir: AnyDataDir = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite files that differ.")] = False,
    base: Annotated[
        str | None, typer.Option("--from", help="A mirror: another server with the same paths.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download pinned files and verify them. Uses the network."""
    from medbench.cli.tables import show_table
    from medbench.data.fetching import RAW_BASE, fetch
    from medbench.reports.tables import listing

    folder = _folder(data_dir)
    results = list(fetch(folder, _files_of(names), base=base or RAW_BASE, replace=replace))
    rows = [result._asdict() for result in results]
    if as_json:
        print_json(rows)
        return
    show_table(listing(("path", "outcome", "note"), rows))
    by_hand = sum(result.outcome == "by hand" for result in results)
    if by_hand:
        say(f"{by_hand} files must be copied there by hand: no repository with them is known.")


@app.command("verify")
def verify_command(names: Names = None, data_dir: AnyDataDir = None, as_json: AsJson = False) -> None:
    """Compare a folder with the pinned checksums. Exit status 1 if a file differs or all are missing."""
    from medbench.cli.tables import show_table
    from medbench.data.fetching import verify
    from medbench.reports.tables import listing

    states = verify(_folder(data_dir), _files_of(names))
    counts = Counter(state.state for state in states)
    if as_json:
        print_json([state._asdict() for state in states])
    else:
        show_table(listing(("path", "state"), [state._asdict() for state in states]))
        say(", ".join(f"{n} {state}" for state, n in sorted(counts.items())))
    if counts["differs"] or not counts["ok"]:
        raise typer.Exit(1)


@app.command("lock")
def lock_command(
    names: Names = None,
    data_dir: AnyDataDir = None,
    source: AnySource = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Lock file; by default MEDBENCH_LOCK, or medbench-data.lock.json in this folder.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Record the revision and checksum of the current data; later runs on other data warn."""
    from medbench.cli.tables import show_table
    from medbench.data import dataset_names, resolve, settle
    from medbench.data.loading import lock_of
    from medbench.data.locking import lock_path, write_lock
    from medbench.reports.tables import listing

    target = output or lock_path()
    found: list[Source] = []
    skipped = []
    for name in names or dataset_names():
        try:
            found.append(settle(resolve(name, data_dir, source)))
        except DataError as error:
            if names:
                raise
            skipped.append((name, error.what))
    if not found:
        raise DataError("no dataset was found to lock", hint="name a folder with --data-dir, or --source hub")
    entries = [lock_of(here) for here in found]
    write_lock(target, entries)
    if as_json:
        print_json(
            {"lock": str(target), "locked": [entry.dataset for entry in entries], "skipped": dict(skipped)}
        )
        return
    rows = [
        {
            "dataset": e.dataset,
            "kind": e.kind,
            "documents": sum(e.documents.values()),
            "fingerprint": e.fingerprint[:12],
        }
        for e in entries
    ]
    show_table(listing(("dataset", "kind", "documents", "fingerprint"), rows))
    for name, why in skipped:
        say(f"left out: {name}: {why}")
    say(f"written  {target}")


@app.command("duplicates")
def duplicates_command(
    names: Names = None,
    data_dir: AnyDataDir = None,
    source: AnySource = "auto",
    limit: Annotated[int, typer.Option(help="How many of them to print.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Find repeated questions (within or between datasets, or as example and test) and repeated options."""
    from medbench.cli.tables import show_table
    from medbench.data import dataset_names, read, resolve
    from medbench.data.duplicates import find_duplicates, find_repeated_options
    from medbench.reports.tables import listing

    documents = {}
    for name in names or dataset_names():
        try:
            documents[name] = read(resolve(name, data_dir, source)).documents
        except DataError:
            if names:
                raise
    found, options = find_duplicates(documents), find_repeated_options(documents)
    if as_json:
        print_json(
            [{"kind": "question", **duplicate._asdict()} for duplicate in found]
            + [{"kind": "options", **one._asdict()} for one in options]
        )
        return
    pairs = Counter(" + ".join(sorted({name for name, _, _ in d.documents})) for d in found)
    show_table(
        listing(
            ("datasets", "questions"), [{"datasets": key, "questions": n} for key, n in pairs.most_common()]
        )
    )
    for duplicate in found[:limit]:
        places = ", ".join("/".join(place) for place in duplicate.documents)
        say(
            places
            + ("  different answers" if duplicate.conflicting else "")
            + ("  leak" if duplicate.leaks else "")
        )
    for one in options[:limit]:
        say(f"{'/'.join(one.document)}  options {', '.join(one.letters)} are alike{'  gold' * one.gold}")
    say(f"{len(found)} questions occur more than once among {len(documents)} datasets")
    golden = sum(one.gold for one in options)
    say(f"{len(options)} questions have options with the same text, {golden} of them the right one")


@app.command("convert-cblue")
def convert_command(
    raw: Annotated[Path, typer.Argument(help="A raw CBLUE file, such as CMeEE-V2_dev.json.")],
    task: Annotated[str, typer.Option("--task", help="PromptCBLUE's name of the task, such as CMeEE-V2.")],
    templates: Annotated[Path, typer.Option("--templates", help="PromptCBLUE's templates.json.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="File to write, such as <data-dir>/promptcblue/<task>.jsonl, where runs find it.",
        ),
    ],
    seed: Annotated[int, typer.Option(help="Seed for the wording of each row.")] = 0,
    split: Annotated[str, typer.Option(help="Name of the split in the sample ids.")] = "dev",
    as_json: AsJson = False,
) -> None:
    """Convert a raw CBLUE file to PromptCBLUE rows."""
    from medbench.data.cblue import convert, read_templates, write_rows

    rows = convert(raw, task, read_templates(templates), seed=seed, split=split)
    write_rows(output, rows)
    if as_json:
        print_json({"written": str(output), "rows": len(rows)})
        return
    say(f"written  {output} ({len(rows)} rows)")


def _folder(data_dir: Path | None) -> Path:
    if data_dir is None:
        raise DataError("no data folder was named", hint="use --data-dir, or set MEDBENCH_DATA")
    return data_dir


def _files_of(names: Sequence[str] | None) -> list[PinnedFile]:
    """The pinned files of datasets, including files of keys; all if no dataset is named."""
    from medbench.data import get_entry, pinned_files

    pins = pinned_files()
    if not names:
        return list(pins.values())
    wanted = []
    for name in names:
        entry = get_entry(name)
        keys = [key for split in entry.splits for key in (split.only_keys, split.except_keys) if key]
        wanted += [path for path in (*entry.expected_files, *keys) if path in pins]
    return [pins[path] for path in dict.fromkeys(wanted)]
