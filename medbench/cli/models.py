"""``medbench models``: model definitions and their checkpoints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medbench.cli.options import AsJson, Format, Output
from medbench.cli.output import print_json, say
from medbench.common.choices import Dtype, Layout, Quantization

if TYPE_CHECKING:
    from medbench.models import CheckReport

app = typer.Typer(help="List, show, check and convert models.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="Name of a definition, a YAML file, or a checkpoint folder.")]
Base = Annotated[str | None, typer.Option(help="Base model of an adapter: a folder or hub id.")]
HowRead = Annotated[
    Layout | None,
    typer.Option("--layout", help="How the files are read, in place of the definition's."),
]


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
    layout: HowRead = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Number format, in place of the definition's.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, …")] = None,
    quantization: Annotated[
        Quantization | None,
        typer.Option(help="Base weights in fewer bits (needs the extra `quantization`)."),
    ] = None,
    read: Annotated[
        bool,
        typer.Option("--read/--no-read", help="Load the model and try it, or compare names and shapes only."),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Say what a run would do with a checkpoint: what it is, which engine runs it and why, or what is wrong.

    Exit status 1 if it would not run.
    """
    from medbench.catalog import find_model
    from medbench.cli.tables import show_facts
    from medbench.models import check
    from medbench.models.harness.rehearsal import rehearse
    from medbench.runs.plan import on_this_machine
    from medbench.runs.protocol import model_source

    found = on_this_machine(
        find_model(model, base=base, layout=layout, dtype=dtype, device=device, quantization=quantization)
    )
    source = model_source(found)
    report = check(source, read=read)
    if read:
        report = rehearse(report, source)
    if as_json:
        print_json(report.as_dict())
    else:
        facts = {key: value for key, value in asdict(report).items() if value not in (None, (), {})}
        show_facts({key.replace("_", " "): value for key, value in facts.items()}, "fact")
        say(_verdict(report))
    if not report.ok:
        raise typer.Exit(1)


def _verdict(report: CheckReport) -> str:
    if not report.ok:
        return "The checkpoint would not run." if report.tried else "The checkpoint would not load."
    if not report.tried:
        return "Names and shapes fit; whether it would run was not tried."
    if report.engine == "reference":
        return (
            f"The checkpoint would run one row at a time, by transformers' own forward: {report.engine_why}."
        )
    return "The checkpoint would run."


@app.command("convert")
def convert_command(
    model: Model,
    destination: Annotated[Path, typer.Argument(help="Folder to write; must not exist.")],
    base: Base = None,
    layout: HowRead = None,
    dtype: Annotated[
        Dtype | None, typer.Option(help="Store all tensors in this number format instead of their own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a MoLoRA checkpoint in medbench's own layout: one folder, safetensors, no pickles."""
    from medbench.catalog import find_model
    from medbench.models import convert
    from medbench.models.checkpoints.loading import DTYPES
    from medbench.runs.protocol import model_source

    source = model_source(find_model(model, base=base, layout=layout))
    written = convert(source, destination, dtype=DTYPES[dtype] if dtype else None)
    if as_json:
        print_json({"written": str(written)})
        return
    say(f"written  {written}")
