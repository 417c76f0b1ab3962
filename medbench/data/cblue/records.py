"""What all converters use: records with a location, and the parts of a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from medbench.errors import DataError

# PromptCBLUE separates labels and entities by the full-width comma.
COMMA = "，"


class Record(NamedTuple):
    """One record of a raw file.

    Attributes:
        where: File and position, for messages.
        key: Its identifier in the file, or its position.
        values: Its fields.
    """

    where: str
    key: str
    values: Mapping[str, Any]

    def get(self, name: str, kind: type | tuple[type, ...] = str) -> Any:
        """A required field of a given type.

        Raises:
            DataError: If it is missing or of another type.
        """
        value = self.values.get(name)
        if not isinstance(value, kind):
            found = "missing" if value is None else type(value).__name__
            raise DataError(
                f"the field {name!r} is {found}",
                where=self.where,
                hint="the file is not the raw CBLUE file of this task, or not of its labeled splits",
            )
        return value

    def items(self, name: str) -> Iterator[Record]:
        """The objects of a list field, each as a record."""
        for number, item in enumerate(self.get(name, list), start=1):
            where = f"{self.where}, {name} {number}"
            if not isinstance(item, Mapping):
                raise DataError(f"{type(item).__name__} where an object was expected", where=where)
            yield Record(where, f"{self.key}-{number}", item)


@dataclass(frozen=True)
class Part:
    """A converted record: everything in a row except the wording of its template.

    Attributes:
        key: Identifier of the row.
        fields: Texts for the template's placeholders, by name without brackets.
        target: The answer in the official form.
        choices: Labels to choose from; None if a task has none.
        cluster: Key shared with the other rows of a dialogue.
    """

    key: str
    fields: Mapping[str, str]
    target: str
    choices: Sequence[str] | None = None
    cluster: str = field(default="")


def lines(head: str, body: Sequence[str]) -> str:
    """A target: its opening line and one line per item."""
    return "\n".join([head, *body])


def rename(record: Record, name: str, labels: Mapping[str, str]) -> str:
    """The PromptCBLUE wording of a label field.

    Raises:
        DataError: If the label is unknown.
    """
    value = str(record.get(name, (str, int)))
    if value not in labels:
        raise DataError(
            f"unknown label {value!r} in {name!r}",
            where=record.where,
            hint=f"known are {', '.join(labels)}",
        )
    return labels[value]
