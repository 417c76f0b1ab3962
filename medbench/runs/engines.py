"""Which engine answered: known once a model is loaded, and written down then."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from medbench.runs.manifest import Manifest
from medbench.runs.settings import ENGINE_DETAILS

_LOG = logging.getLogger(__name__)


class EngineNotes:
    """Writes into the manifest of a run which engine answers.

    Args:
        manifest: That of the run.
        answered: Whether earlier attempts have left answers.
    """

    def __init__(self, manifest: Manifest, *, answered: bool) -> None:
        self._manifest = manifest
        self._names: list[str] = []
        self._earlier: list[str] = []
        if answered:
            for attempt in manifest.fields["attempts"][:-1]:
                self._earlier += [name for name in attempt.get("engines", ()) if name not in self._earlier]

    def __call__(self, info: Mapping[str, Any]) -> None:
        """Note what a model says of itself (:meth:`medbench.models.MedbenchLM.get_model_info`)."""
        name = info.get("engine")
        if name is None:
            return
        if name not in self._names:
            self._names.append(str(name))
        names = list(dict.fromkeys([*self._earlier, *self._names]))
        self._manifest.note_attempt({"engines": self._names})
        details = {detail: info[detail] for detail in ENGINE_DETAILS if detail in info}
        settings = self._manifest.fields["settings"]
        self._manifest.update({"settings": {**settings, **details, "engine": " and ".join(names)}})
        if len(names) > 1:
            _LOG.warning(
                "answers of this run come from several engines (%s), which agree to within rounding; "
                "--fresh has all of them from one",
                ", ".join(names),
                extra={"lasting": True},
            )
