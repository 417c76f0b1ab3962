"""``medbench models``: model definitions and their checkpoints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from medbench.cli.options import AsJson, Format, Output
from medbench.cli.output import print_json, say
from medbench.common.choices import Dtype

__all__ = ["app"]

app = typer.Typer(help="List, show, check and convert models.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="Name of a definition, a YAML file, or a checkpoint folder.")]
Base = Annotated[str | None, typer.Option(help="Base model of an adapter: a folder or hub id.")]


@app.command("list")
def list_command(form: Format = "text", output: Output = None, as_json: AsJson = False) -> None:
    """List the shipped model definitions."""
    from medbench.catalog import list_models
    from medbench.cli.tables import show_table
    from medbench.reports.tables import listing

    models = [model.to_dict() for model in list_models()]
    if as_json:
        print_json(models)
        return
    show_table(listing(("model", "layout", "dtype", "licence", "path", "base"), models), form, output)


@app.command("show")
def show_command(model: Model, base: Base = None, form: Format = "text", as_json: AsJson = False) -> None:
    """Show a model definition with every setting."""
    from medbench.catalog import find_model
    from medbench.cli.tables import show_facts

    definition = find_model(model, base=base)
    values = definition.to_dict() | {"definition": str(definition.source) if definition.source else None}
    if as_json:
        print_json(values)
        return
    show_facts(values, "setting", form)


@app.command("check")
def check_command(
    model: Model,
    base: Base = None,
    read: Annotated[
        bool, typer.Option("--read/--no-read", help="Read every tensor, or only names and shapes.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Check names, shapes and values of a checkpoint. Exit status 1 if it would not load."""
    from medbench.catalog import find_model
    from medbench.cli.tables import show_facts
    from medbench.models import check

    found = find_model(model, base=base)
    report = check(
        found.path,
        found.base,
        found.layout,
        revision=found.revision,
        base_revision=found.base_revision,
        read=read,
    )
    if as_json:
        print_json(report.as_dict())
    else:
        facts = {key: value for key, value in asdict(report).items() if value not in (None, (), {})}
        show_facts({key.replace("_", " "): value for key, value in facts.items()}, "fact")
        say("The checkpoint would load." if report.ok else "The checkpoint would not load.")
    if not report.ok:
        raise typer.Exit(1)


@app.command("convert")
def convert_command(
    model: Model,
    destination: Annotated[Path, typer.Argument(help="Folder to write; must not exist.")],
    base: Base = None,
    dtype: Annotated[
        Dtype | None, typer.Option(help="Store all tensors in this number format instead of their own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a MoLoRA checkpoint in medbench's own layout: one folder, safetensors, no pickles."""
    from medbench.catalog import find_model
    from medbench.models import convert
    from medbench.models.loading import DTYPES

    found = find_model(model, base=base)
    written = convert(found.path, destination, found.base, dtype=DTYPES[dtype] if dtype else None)
    if as_json:
        print_json({"written": str(written)})
        return
    say(f"written  {written}")
