"""What is made beside the scores, and must never cost them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from medbench.errors import MedbenchError, RunError

_LOG = logging.getLogger(__name__)


@contextmanager
def extra(what: str) -> Iterator[None]:
    """Turn a failure within into a warning that says what is missing.

    Files that cannot be written still end the run, which then can be taken up: a full disk would otherwise
    leave a run that looks whole.

    Args:
        what: Whatever is made, as in "… is left out".
    """
    try:
        yield
    except (RunError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the scores matter more
        _LOG.warning("%s is left out: %s", what, reason(error))
        _LOG.info("%s is left out", what, exc_info=True)


def reason(error: Exception) -> str:
    """One line, or a few, that say why something failed."""
    if isinstance(error, MedbenchError):
        return str(error)
    return f"{type(error).__name__}: {error}"
