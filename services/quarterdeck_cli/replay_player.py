"""Playing events again: which one is shown, when the next is due, and what each key does. No terminal and no clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from quarterdeck_cli.output import moment

SPEEDS: Final = (0.25, 0.5, 1.0, 5.0, 20.0, 60.0, 300.0, 1_800.0, 3_600.0, 43_200.0, 86_400.0, 604_800.0)
"""By how much faster than it was + and - play."""
MAX_GAP_S: Final = 3.0
"""Nobody waits longer than this for the next event, however long the gap was."""
FAR: Final = 25
"""How many events up and down go."""
KEYS: Final = "space pauses · + - speed · ← → one event · ↑ ↓ many · home end · q ends"


class Player:
    """A replay: events as they come from a source, the place reached, the speed."""

    def __init__(self, source: Iterator[Mapping[str, Any]], speed: float) -> None:
        """`speed` is how much faster than it was; 0: without any gaps."""
        self._source = source
        self.events: list[Mapping[str, Any]] = []
        """Those that were read so far."""
        self.shown = 0
        """How many of them have happened again."""
        self.speed = speed
        self.paused = False
        self.ended = False
        """Whether the source has no more."""
        self._due: float | None = None

    @property
    def over(self) -> bool:
        """Whether everything has happened again."""
        return not self._has(self.shown)

    def wait_s(self, now: float) -> float | None:
        """Return in how many seconds the next event is due: 0 or less if it is; None while nothing will be."""
        if self.paused or self.over:
            return None
        if self._due is None:
            self._due = now + self.gap_s()
        return self._due - now

    def gap_s(self) -> float:
        """Return for how long the next event waits after the one before, as it is played."""
        return min(self._gap_s() / self.speed, MAX_GAP_S) if self.speed > 0 else 0.0

    def skipped(self) -> timedelta | None:
        """Return how long it was until the next event, where that is more than anybody waits for."""
        gap = self._gap_s()
        return timedelta(seconds=gap) if self.speed > 0 and gap / self.speed > MAX_GAP_S else None

    def advance(self) -> Mapping[str, Any] | None:
        """Let the next event happen; return it, or None if there is none."""
        if self.over:
            return None
        self.shown += 1
        self._due = None
        return self.events[self.shown - 1]

    def press(self, key: str) -> bool:
        """Do what a key does; return whether to go on."""
        self._due = None
        if key in ("q", "Q", "escape"):
            return False
        if key == " ":
            self.paused = not self.paused
        elif key in ("+", "="):
            self.speed = next((speed for speed in SPEEDS if speed > self.speed), SPEEDS[-1])
        elif key in ("-", "_"):
            self.speed = next((speed for speed in reversed(SPEEDS) if speed < self.speed), SPEEDS[0])
        elif key in _MOVES:
            self._seek(self.shown + _MOVES[key])
        elif key == "home":
            self._seek(0)
        elif key == "end":
            while self._has(len(self.events)):
                pass
            self._seek(len(self.events))
        return True

    def _seek(self, place: int) -> None:
        """Go to a place, and stay there: whoever seeks wants to look."""
        self.paused = True
        self._has(place - 1)
        self.shown = max(0, min(place, len(self.events)))

    def _has(self, index: int) -> bool:
        """Tell whether there is an event at an index; read up to it."""
        while not self.ended and len(self.events) <= index:
            event = next(self._source, None)
            if event is None:
                self.ended = True
            else:
                self.events.append(event)
        return index < len(self.events)

    def _gap_s(self) -> float:
        if self.shown == 0 or not self._has(self.shown):
            return 0.0
        before = moment(self.events[self.shown - 1]["recordedAt"])
        after = moment(self.events[self.shown]["recordedAt"])
        return 0.0 if before is None or after is None else max(0.0, (after - before).total_seconds())


_MOVES: Final = {"left": -1, "right": 1, "up": -FAR, "down": FAR}
