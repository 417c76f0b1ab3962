from __future__ import annotations

import logging

import pytest

from medbench.workers.notices import Notice, Warnings, collected

LOGGER = logging.getLogger("medbench.models.somewhere")


def test_warnings_travel_and_counts_add_up(caplog: pytest.LogCaptureFixture) -> None:
    batches: list[list[Notice]] = [[], []]
    for count, notices in zip((3, 4), batches, strict=True):
        with collected(notices):
            LOGGER.info("not worth it")
            LOGGER.warning("%s: %d prompts were longer than %d tokens", "cmexam", count, 64)
            LOGGER.warning("the same %s", ["for", "all"])
    assert not caplog.messages
    warnings = Warnings()
    for notices in batches:
        warnings.add(notices)
    warnings.log()
    assert caplog.messages == ["cmexam: 7 prompts were longer than 64 tokens", "the same ['for', 'all']"]
