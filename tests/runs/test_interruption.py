from __future__ import annotations

import os
import signal

import pytest

from medbench.runs.interruption import GracefulStop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_for_the_check_and_the_second_does_not(number: signal.Signals) -> None:
    said: list[str] = []
    before = signal.getsignal(number)
    with GracefulStop(said.append) as stop:
        stop.check()
        os.kill(os.getpid(), number)
        assert len(said) == 1
        with pytest.raises(KeyboardInterrupt):
            stop.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
