"""The settings of a run as options of a command, or from a file.

A command takes one parameter ``settings``; :func:`with_settings` puts an option for each field in its place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from medbench.common.strict import words_of
from medbench.errors import MedbenchError
from medbench.runs.settings import RunSettings, Setting, known_settings


def with_settings(*, without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace the parameter ``settings`` of a command by one option for each setting.

    Args:
        without: Settings that the command does not use; they keep their defaults.
    """
    names = [name for name in known_settings() if name not in without]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            parameters += map(_parameter, names) if parameter.name == "settings" else [parameter]

        @wraps(command)
        def expanded(**given: Any) -> None:
            asked = {name: _value(name, given.pop(name)) for name in names if name in given}
            command(settings=RunSettings(**asked), **given)

        keyword = inspect.Parameter.KEYWORD_ONLY
        expanded.__signature__ = signature.replace(  # type: ignore[attr-defined] # typer reads it
            parameters=[parameter.replace(kind=keyword) for parameter in parameters]
        )
        expanded.__annotations__ = {}
        return expanded

    return decorate


def _parameter(name: str) -> inspect.Parameter:
    setting = known_settings()[name]
    default = getattr(RunSettings, name)
    names = [setting.option or f"--{name.replace('_', '-')}"]
    if setting.switch_off:
        names = [f"{names[0]}/{setting.switch_off}"]
    option = typer.Option(*names, help=setting.help, metavar=setting.metavar, envvar=setting.envvar)
    # One of the choices, a number, a flag or text.
    words = words_of(setting.type)
    kinds = _kinds(setting)
    kind: Any = StrEnum(name, dict(zip(words, words, strict=True))) if words else kinds[0]
    if len(kinds) > 1:
        kind = str
    if default is None:
        kind = kind | None
    elif words:
        default = kind(default)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _kinds(setting: Setting) -> list[Any]:
    """The types that a setting may have, except None."""
    parts = () if get_origin(setting.type) is Literal else get_args(setting.type)
    return [kind for kind in parts or (setting.type,) if kind is not type(None)]


def _value(name: str, given: Any) -> Any:
    if isinstance(given, StrEnum):
        return given.value
    return number_or_word(given) if len(_kinds(known_settings()[name])) > 1 else given


def number_or_word(value: str | None) -> int | str | None:
    """A word as a whole number if it is one, else the word."""
    if value is not None and value.isascii() and value.removeprefix("-").isdigit():
        return int(value)
    return value


def _take_over(context: typer.Context, path: Path | None) -> Path | None:
    """Make the values of a file the defaults of a command; the command line takes precedence."""
    if path is None:
        return None
    from medbench.runs.config import read_config

    said = read_config(path)
    known = {parameter.name for parameter in context.command.params}
    for key in said:
        if key not in known:
            raise MedbenchError(f"{context.info_name} does not take {key!r}", where=str(path))
    context.default_map = {**(context.default_map or {}), **said}
    return path


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        is_eager=True,
        callback=_take_over,
        help="YAML with settings by name, or the run.json of a run; options given here take precedence.",
    ),
]
