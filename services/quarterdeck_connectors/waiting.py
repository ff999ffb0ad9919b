"""Spans that wait for their parent. They arrive when they end, so what an agent did arrives before the agent's own
span, often in an earlier request; until that has come, nobody can say who acted.

Kept in memory, bounded, each sender's apart from all others', so that nobody can hang another's spans under an agent of
their choice. Those that have waited too long, or are too many, are handed out as overdue: then their service acted.
What is lost with a process are relations that will be seen again; objects were recorded when they came.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple

from quarterdeck_connectors.otlp import Span
from quarterdeck_connectors.sightings import Key

LONGEST_S: Final = 600.0
MOST_OF_ONE: Final = 5_000
MOST: Final = 50_000

Sender = tuple[str, str]
"""Tenant and principal."""


class Together(NamedTuple):
    """Spans to look at together, and those of them that shall wait no longer."""

    spans: tuple[Span, ...]
    overdue: frozenset[Key]


class _Trace:
    def __init__(self, since: float) -> None:
        self.since = since
        self.spans: dict[str, Span] = {}


class Waiting:
    """The spans of every sender that wait. Times are seconds of any clock that only goes forward."""

    def __init__(self, *, longest_s: float = LONGEST_S, most_of_one: int = MOST_OF_ONE, most: int = MOST) -> None:
        self._longest_s = longest_s
        self._most_of_one = most_of_one
        self._most = most
        self._senders: OrderedDict[Sender, OrderedDict[str, _Trace]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def join(self, sender: Sender, spans: Iterable[Span], now: float) -> Together:
        """Return new spans together with those that waited in the same traces, and those that waited long enough. They
        wait no more: give back, with `keep`, those that must go on."""
        new = tuple(spans)
        traces = self._senders.get(sender, OrderedDict())
        found: dict[Key, Span] = {}
        overdue: set[Key] = set()
        mine = sum(len(trace.spans) for trace in traces.values())
        for name in tuple(traces):  # the longest waiting first
            if mine <= self._most_of_one and traces[name].since + self._longest_s > now:
                break
            mine -= len(traces[name].spans)
            overdue.update((name, span) for span in traces[name].spans)
            found |= self._pop(traces, name)
        for name in dict.fromkeys(span.trace for span in new):
            if name in traces:
                found |= self._pop(traces, name)
        found |= {(span.trace, span.id): span for span in new}
        if not traces:
            self._senders.pop(sender, None)
        return Together(tuple(found.values()), frozenset(overdue))

    def keep(self, sender: Sender, spans: Iterable[Span], now: float) -> None:
        """Let spans wait. A trace waits since its first span came, or came back."""
        for span in spans:
            traces = self._senders.setdefault(sender, OrderedDict())
            trace = traces.setdefault(span.trace, _Trace(now))
            self._count += span.id not in trace.spans
            trace.spans[span.id] = span
        if sender in self._senders:
            self._senders.move_to_end(sender)
        while self._count > self._most:
            # Whoever has sent nothing for longest, first; at last the longest waiting trace of the only one.
            oldest = next(iter(self._senders))
            traces = self._senders[oldest]
            self._pop(traces, next(iter(traces)))
            if not traces:
                del self._senders[oldest]

    def _pop(self, traces: OrderedDict[str, _Trace], name: str) -> dict[Key, Span]:
        spans = traces.pop(name).spans
        self._count -= len(spans)
        return {(name, span): found for span, found in spans.items()}
