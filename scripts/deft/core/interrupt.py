"""Ending in order when a scheduler or a user asks for it.

SLURM sends SIGTERM some seconds before SIGKILL (and ``--signal`` an earlier SIGUSR1), a terminal
SIGINT. A stage answers by raising :class:`Interrupted` at once; a training notes the signal and
raises it at its next safe point (:class:`Requests`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end; what it says is for the user.

    Like ``KeyboardInterrupt`` it is no ``Exception``, so that no library swallows it.
    """

    def __init__(self, number: int, text: str = "") -> None:
        self.number, self.told = int(number), text
        super().__init__(self.text())

    @property
    def status(self) -> int:
        """Exit status by the shell's convention: 143 for SIGTERM."""
        return 128 + self.number

    def text(self) -> str:
        """Return one line: the signal, and what becomes of the work."""
        name = signal.Signals(self.number).name
        return f"stopped by {name}" + (f": {self.told}" if self.told else "")

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {"number": self.number, "text": self.told}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Interrupted:
        """Return what :meth:`as_dict` described; raises ``ValueError`` for anything else."""
        try:
            return cls(signal.Signals(data["number"]), str(data["text"]))
        except (TypeError, KeyError, IndexError) as error:
            raise ValueError(f"not the record of a signal ({error})") from None


def raise_on_signals(numbers: Sequence[int] = SIGNALS) -> dict[int, Any]:
    """Have the first signal raise :class:`Interrupted`; later ones must not disturb the leaving.

    Returns the handlers that were there, for :func:`restore`.
    """

    def obey(number: int, frame: FrameType | None) -> None:
        _install(signal.SIG_IGN, numbers)
        raise Interrupted(number)

    return _install(obey, numbers)


def restore(before: Mapping[int, Any]) -> None:
    """Put handlers back."""
    for number, handler in before.items():
        signal.signal(number, handler)


def _install(handler: Any, numbers: Sequence[int] = SIGNALS) -> dict[int, Any]:
    if threading.current_thread() is not threading.main_thread():
        return {}  # Python allows handlers in the main thread alone
    return {number: signal.signal(number, handler) for number in numbers}


class Requests:
    """As a context: signals are noted in ``asked`` (the first one's number), not obeyed.

    ``on_signal`` is called with each signal's number, in the main thread, between two of its steps;
    it must not print.
    """

    def __init__(self, on_signal: Callable[[int], None] | None = None) -> None:
        self.asked: int | None = None
        self.on_signal = on_signal
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Requests:
        self._before = _install(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        restore(self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked = number
        if self.on_signal is not None:
            self.on_signal(number)
