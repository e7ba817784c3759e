"""How far a long piece of work is: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from deft.core.durations import short_duration

PROGRESS_EVERY_S = 5.0


class Progress:
    """Counts pictures; a line every few seconds says rate and time left."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what, self.done = total, what, 0
        self.bar = tqdm(total=total, desc=what, unit="img", disable=not sys.stderr.isatty())
        self.began = self.said = time.monotonic()

    def __call__(self, count: int) -> None:
        """Report ``count`` further pictures."""
        self.done += count
        self.bar.update(count)
        now = time.monotonic()
        if self.bar.disable and now - self.said > PROGRESS_EVERY_S:
            self.said = now
            rate = self.done / (now - self.began)
            left = short_duration((self.total - self.done) / rate)
            print(
                f"{self.what}: {self.done}/{self.total}, {rate:.3g} img/s, {left} left", flush=True
            )

    def close(self) -> None:
        """Close the bar."""
        self.bar.close()
