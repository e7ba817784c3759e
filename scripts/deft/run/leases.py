"""Which GPU a job gets on a machine with several: a lease per card, held by a lock on a file.

Snakemake counts GPUs but names none, so two jobs beside each other would both take the first. A
stage takes its cards before torch looks for any, and shows torch those alone. The lock is the
process's: the kernel releases it however the process ends. A scheduler that gave the job its cards
(``CUDA_VISIBLE_DEVICES`` with no more than are wanted) has the last word, and no lease is taken.

Leases are a user's own, on one machine. Standard library only: torch must not be imported yet.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deft.core.hardware import gpu_ids

VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
FOLDER = "DEFT_GPU_LEASES"  # environment variable: another folder for the locks
LEASED = "DEFT_GPUS_LEASED"  # for the processes that a training starts: theirs are taken already
POLL_S = 0.5
TELL_EVERY_S = 60.0
Log = Callable[[str], None]

# Whoever waits says so before he waits, to a pipe or a file too.
AT_ONCE: Log = functools.partial(print, flush=True)


@dataclass
class Leases:
    """The cards of this process. Nothing is taken before :meth:`begin`."""

    holder: str | None = None
    handles: dict[str, int] = field(default_factory=dict)

    def begin(self, holder: str) -> None:
        """Take leases from now on; ``holder`` says to others who has a card."""
        self.holder = holder

    def take(
        self, count: int = 1, chosen: Sequence[int] | None = None, *, log: Log = AT_ONCE
    ) -> None:
        """Wait for ``count`` cards, or for those numbered ``chosen``, and show torch these alone.

        Chosen numbers stay valid: then all cards stay visible. No effect without a GPU, in a
        process that has its cards already, and where fewer cards are visible than wanted.
        """
        if self.holder is None or self.handles or os.environ.get(LEASED):
            return
        there = visible()
        if chosen is not None:
            if not chosen or max(chosen) >= len(there):
                return  # told by whoever wanted them
            wanted = [there[i] for i in chosen]
            self._wait(wanted, len(wanted), log)
        elif count > len(there) or (given() and count == len(there)):
            return
        else:
            taken = self._wait(there, count, log)
            os.environ[VISIBLE] = ",".join(card.token for card in there if card in taken)
        os.environ[LEASED] = ",".join(sorted(self.handles))

    def release(self) -> None:
        """Give the cards back; the end of the process does the same."""
        for handle in self.handles.values():
            os.close(handle)
        if self.handles:
            os.environ.pop(LEASED, None)
        self.handles = {}

    def _wait(self, cards: Sequence[Card], count: int, log: Log) -> list[Card]:
        """Lock ``count`` of ``cards``; one process at a time waits, so that none starves."""
        folder = lease_folder()
        told = -TELL_EVERY_S
        began = time.monotonic()
        turn = _open(folder / "turn.lock")
        try:
            while True:
                if _locked(turn):
                    for card in cards:
                        if len(self.handles) < count and card.key not in self.handles:
                            self._try(folder, card)
                    if len(self.handles) == count:
                        return [card for card in cards if card.key in self.handles]
                waited = time.monotonic() - began
                if waited - told >= TELL_EVERY_S:
                    told = waited
                    log(_waiting(folder, cards, count, waited))
                time.sleep(POLL_S)
        except BaseException:
            self.release()
            raise
        finally:
            os.close(turn)

    def _try(self, folder: Path, card: Card) -> None:
        handle = _open(folder / f"{card.key}.lock")
        if not _locked(handle):
            os.close(handle)
            return
        # Only a note for those who wait: what counts is the lock, on a full disk too.
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps({"pid": os.getpid(), "holder": self.holder}).encode(), 0)
        self.handles[card.key] = handle


LEASES = Leases()


@dataclass(frozen=True)
class Card:
    """A card as ``CUDA_VISIBLE_DEVICES`` names it, and as it is named whatever is visible."""

    token: str
    identity: str

    @property
    def key(self) -> str:
        """Name of its lock file."""
        plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in self.identity)
        if plain == self.identity:
            return plain
        return f"{plain}-{hashlib.sha256(self.identity.encode()).hexdigest()[:8]}"


def given() -> list[str]:
    """Return what ``CUDA_VISIBLE_DEVICES`` names; a scheduler or the user set it."""
    return [token.strip() for token in os.environ.get(VISIBLE, "").split(",") if token.strip()]


def visible() -> list[Card]:
    """Return the cards that torch would see, in its order; none without a driver.

    Cards go by their unique ids where these are sure, so that jobs see the same lock whichever
    numbers they know a card by. CUDA numbers unlike cards by speed and not by slot, unless
    ``CUDA_DEVICE_ORDER=PCI_BUS_ID``; a number then stands for itself.
    """
    known = gpu_ids()
    if not known:
        return []
    if VISIBLE not in os.environ:
        return [Card(identity, identity) for identity, _ in known]
    alike = len({name for _, name in known}) == 1 or os.environ.get(ORDER) == "PCI_BUS_ID"
    cards = []
    for token in given():
        if token.isdigit():
            if int(token) >= len(known):
                break  # CUDA ignores this one and all after it
            identity = known[int(token)][0] if alike else f"number-{token}"
        else:
            whole = [full for full, _ in known if full.startswith(token)]
            if not whole:
                break
            identity = whole[0]
        cards.append(Card(token, identity))
    return cards


def lease_folder() -> Path:
    """Return the folder of the locks: this user's own, one for all sessions."""
    named = os.environ.get(FOLDER)
    path = Path(named) if named else Path("/tmp") / f"deft-gpus-{os.getuid()}"
    path.mkdir(mode=0o700, parents=bool(named), exist_ok=True)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise PermissionError(f"{path} is not a folder of this user; set {FOLDER} to one that is")
    return path


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _waiting(folder: Path, cards: Sequence[Card], count: int, waited: float) -> str:
    holders = []
    for card in cards:
        # Empty or half written just now, or anything at all: only a note for those who wait.
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            path = folder / f"{card.key}.lock"
            note = json.loads(path.read_text(encoding="utf-8") if path.is_file() else "null")
            if note["pid"] != os.getpid():
                holders.append(f"{note['holder']} (process {note['pid']})")
    of = f"{count} of {len(cards)} GPU{'s' if len(cards) > 1 else ''}"
    used = f"; in use by {', '.join(holders)}" if holders else ""
    return f"waiting for {of} for {waited:.0f} s{used}"
