"""From the names a person gives to the tasks of loaded runs that they mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from medbench.analysis.groups import Group, group_weights
from medbench.common.suggest import nearest
from medbench.errors import AnalysisError

# More names than these do not help whoever mistyped one.
_LISTED = 12


def unknown_name(kind: str, name: object, known: Iterable[str]) -> AnalysisError:
    """The error that there is nothing of a name, with what was probably meant.

    Args:
        kind: What was looked for.
        name: The name given.
        known: Names that there are.
    """
    names = list(dict.fromkeys(known))
    close = nearest(str(name), names)
    listed = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
    hint = f"did you mean {close}?" if close else f"there are {listed}" if names else "there are none"
    return AnalysisError(f"there is no {kind} {name!r} in these runs", hint=hint)


def leaf_tasks(names: Sequence[str], tasks: Iterable[str], groups: Mapping[str, Group]) -> list[str]:
    """The tasks that some names stand for, each once; a group stands for its tasks.

    Args:
        names: Tasks and groups.
        tasks: Tasks that there are.
        groups: Groups that there are.

    Raises:
        AnalysisError: A name is neither, or there is none.
    """
    known = list(dict.fromkeys(tasks))
    if not [name for name in names if name.strip()]:
        raise AnalysisError("no task is named", hint="leave the choice of tasks away to have all of them")
    found: dict[str, None] = {}
    for name in names:
        if name in known:
            found[name] = None
        elif name in groups:
            found |= dict.fromkeys(group_weights(groups, name))
        else:
            raise unknown_name("task or group", name, [*groups, *known])
    return list(found)
