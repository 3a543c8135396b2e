"""Signals stop a run after the batch at hand."""

import os
import signal
import threading

import pytest

from rl_trainers import GracefulStop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_only_asks(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    """One signal sets `requested` and says what happens; leaving puts the old handlers back."""
    before = signal.getsignal(number)
    with GracefulStop() as stop:
        requested = [stop.requested]
        os.kill(os.getpid(), number)
        requested.append(stop.requested)
    assert requested == [False, True]
    assert signal.getsignal(number) is before
    assert f"{number.name}: stopping after this batch" in capsys.readouterr().err


def test_second_signal_aborts() -> None:
    """The second signal raises `KeyboardInterrupt`."""
    with GracefulStop():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_other_threads_do_without() -> None:
    """In a thread, where handlers cannot be set, it does nothing and does not fail."""
    seen: list[bool] = []

    def work() -> None:
        with GracefulStop() as stop:
            seen.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
