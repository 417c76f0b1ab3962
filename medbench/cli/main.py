"""The command line: all commands, and errors as one message and an exit status."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from medbench.cli import data, models, results, routing, run, tasks
from medbench.common.terminal import printable
from medbench.errors import MedbenchError
from medbench.version import __version__

INTERRUPTED = 130

app = typer.Typer(
    name="medbench",
    help="Evaluate medical language models, and see how mixtures of LoRA experts route.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"medbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop."),
    ] = False,
) -> None:
    """Evaluate medical language models, and see how mixtures of LoRA experts route."""


for module in (run, results, routing):
    module.register(app)
for name, group in (("tasks", tasks.app), ("models", models.app), ("data", data.app)):
    app.add_typer(group, name=name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Words after ``medbench``; those of the process by default.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong usage or input, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a console with a small character set must not make commands fail
    try:
        status = app(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except MedbenchError as error:
        _complain(str(error))
        return error.exit_status
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        # Some versions of typer bundle click, so its errors are recognized by their methods, not by class.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return int(getattr(error, "exit_code", 2))
    if status == INTERRUPTED:  # some versions of typer return this status themselves
        _complain("interrupted; the same command goes on where it stopped")
    return status if isinstance(status, int) else 0


def _complain(message: str) -> None:
    print(printable(f"medbench: {message}"), file=sys.stderr)  # noqa: T201 - the one place that speaks to stderr
