"""What manifests and logs must not tell: secrets, and where a person's files lie."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY", re.IGNORECASE)
_SHORTEST_SECRET = 8  # shorter values are switches and numbers, and would be struck out everywhere
_HIDDEN = "***"
_PATTERNS = (
    re.compile(r"\bhf_[A-Za-z0-9]{16,}"),  # access tokens of the hub
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),  # user and password in an address
    re.compile(r"(?<=[?&]token=)[^&\s]+", re.IGNORECASE),
)


def scrub(text: str) -> str:
    """Strike secrets out of a text, and shorten paths in the home and the working folder.

    Secrets are the values of environment variables that are called like one, access tokens of the hub, and
    what an address gives away before its ``@``.
    """
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, _HIDDEN)
    for pattern in _PATTERNS:
        text = pattern.sub(_HIDDEN, text)
    for folder, sign in ((Path.cwd(), "."), (Path.home(), "~")):
        if folder != Path(folder.anchor):
            text = re.sub(re.escape(str(folder)) + r"(?![\w.-])", sign, text)
    return text


def scrub_values(value: Any) -> Any:
    """The same for every text within lists and mappings, keys included."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {scrub(str(key)): scrub_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrub_values(item) for item in value]
    if isinstance(value, Path):
        return scrub(str(value))
    return value


def name_only(path: str | None) -> str | None:
    """A folder of this machine by its name alone; hub ids and relative paths as they are."""
    return f"…/{Path(path).name}" if path is not None and Path(path).is_absolute() else path
