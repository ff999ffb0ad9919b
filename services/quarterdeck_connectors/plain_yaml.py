"""YAML files as plain values, or an error that says where. Read event by event: nothing is made that was not written.

Plain words are read as YAML 1.2's core schema does: `no` and `on` are text. References (`*name`) and merge keys (`<<`,
which YAML 1.1 had and everybody writes) stand for what they name, as long as that is little: what they stand for is
counted each time, before it is there.

Source: YAML 1.2.2, sections 7.1 (alias nodes) and 10.3 (core schema); YAML 1.1 type repository, merge.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator
from typing import Any, Final, NoReturn

import yaml

from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.reading import Bounds, Unsound, float_of, integer_of, is_sound, place_of, refuse
from quarterdeck_domain.checks import legible

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL: Final = re.compile(r"null|Null|NULL|~|")
_TRUE: Final = re.compile(r"true|True|TRUE")
_FALSE: Final = re.compile(r"false|False|FALSE")
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = "<<"
_OUTERMOST: Final = 2
"""How many are open while the outermost mapping is read: what holds it, too."""


def read_yaml(text: str, name: str, bounds: Bounds, as_written: Collection[str] = ()) -> Any:
    """Return the value that a YAML text is; None if there is nothing in it. A number that the outermost mapping has
    under one of the keys `as_written` is the text that it is written as: else `1.10` is no other than `1.1`.

    Raises:
        UnreadableSource: it is not YAML, or holds what such a file has no need of; says the line and column.
    """
    return _Yaml(text, name, bounds, as_written).document()


class _Yaml:
    """One YAML text, read event by event."""

    def __init__(self, text: str, name: str, bounds: Bounds, as_written: Collection[str]) -> None:
        self._text = text
        self._as_written = as_written
        self._name = name
        self._bounds = bounds
        self._values = self._copied = 0
        self._named: dict[str, tuple[Any, int]] = {}
        """What has a name, and how many values that are."""

    def document(self) -> Any:
        """Return the one document there is; None if there is nothing in it."""
        events = self._events()
        value: Any = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, "a second document begins: one file is one document")
                value = self._value(next(events), events)
        return value

    def _events(self) -> Iterator[Any]:
        try:
            yield from yaml.parse(self._text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = legible(str(error.problem or error.context), limit=200)
            if mark is None:
                raise UnreadableSource(f"{self._name} is not YAML: {what}", name=self._name) from None
            refuse(self._name, mark.line, mark.column, f"this is not YAML: {what}")
        except yaml.YAMLError as error:
            line, column = place_of(self._text, min(getattr(error, "position", 0) or 0, len(self._text)))
            what = legible(getattr(error, "reason", None) or "unreadable", limit=200)
            refuse(self._name, line, column, f"this is not YAML: {what}")

    def _value(self, first: Any, events: Iterator[Any]) -> Any:
        """Return the value that begins with an event. Iterative: depth is bounded by us, not by Python's stack."""
        root = _Open([], "", 0)
        stack = [root]
        event = first
        while True:
            opened = stack[-1]
            if isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                self._close(stack.pop(), event)
            else:
                self._count(event, 1)
                if opened.wants_key:
                    opened.key = self._key(event, opened)
                elif isinstance(event, yaml.AliasEvent):
                    opened.put(self._copy(event, len(stack)))
                elif isinstance(event, yaml.ScalarEvent):
                    written = len(stack) == _OUTERMOST and opened.key in self._as_written
                    opened.put(self._remember(event.anchor, self._scalar(event, written), 1))
                elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
                    made = self._begin(event)
                    opened.put(made)
                    stack.append(_Open(made, event.anchor, self._values))
                    self._named.pop(event.anchor or "", None)  # a name given again is not yet what it will be
                    if len(stack) > self._bounds.depth + 1:
                        self._refuse(event, f"this is nested deeper than {self._bounds.depth} levels")
            if len(stack) == 1:
                return root.of[0]
            event = next(events)

    def _count(self, event: Any, values: int) -> None:
        self._values += values
        if self._values > self._bounds.values:
            self._refuse(event, f"there are more than {self._bounds.values} values")

    def _close(self, opened: _Open, event: Any) -> None:
        for merged in opened.merges:
            for item in merged if isinstance(merged, list) else [merged]:
                if not isinstance(item, dict):
                    self._refuse(event, f"{_MERGE} takes mappings in, or a list of them")
                for key, value in item.items():
                    opened.of.setdefault(key, value)
        self._remember(opened.anchor, opened.of, self._values - opened.began + 1)

    def _remember(self, anchor: str | None, value: Any, values: int) -> Any:
        if anchor is not None:
            self._named[anchor] = (value, values)
        return value

    def _copy(self, event: Any, depth: int) -> Any:
        """Return what a reference stands for. Counted before it is made: a few lines can stand for gigabytes."""
        if event.anchor not in self._named:
            name = legible(event.anchor, limit=60)
            self._refuse(event, f"*{name} stands for nothing: &{name} comes before it, and not around it")
        value, values = self._named[event.anchor]
        self._copied += values
        if self._copied > self._bounds.copied:
            self._refuse(event, f"references stand for more than {self._bounds.copied} values: write it out")
        self._count(event, values)
        if depth + _height(value) > self._bounds.depth + 1:
            self._refuse(event, f"this is nested deeper than {self._bounds.depth} levels")
        return copy.deepcopy(value)

    def _begin(self, event: Any) -> Any:
        of: Any = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        tag = "seq" if isinstance(event, yaml.SequenceStartEvent) else "map"
        if event.tag not in (None, "!", _TAG + tag):
            self._refuse(event, f"the tag {legible(event.tag, limit=60)} is not read: only plain values are")
        return of

    def _key(self, event: Any, opened: _Open) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._refuse(event, "a key is text")
        if event.tag not in (None, "!", _TAG + "str"):
            self._refuse(event, f"the tag {legible(event.tag, limit=60)} is not read: only plain values are")
        key: str = event.value
        if not key and not event.style:
            self._refuse(event, "a key is missing before the colon")
        self._sound(event)
        if key == _MERGE and not event.style and event.tag is None:
            opened.merging = True
            return key
        if key in opened.of:
            self._refuse(event, f"the key {legible(key, limit=60)!r} is given twice")
        return key

    def _scalar(self, event: Any, as_written: bool) -> Any:
        said: str = event.value
        self._sound(event)
        if event.tag in ("!", _TAG + "str") or (event.tag is None and event.style):
            return said
        if event.tag is not None:
            self._refuse(event, f"the tag {legible(event.tag, limit=60)} is not read: only plain values are")
        if _NULL.fullmatch(said):
            return None
        if _TRUE.fullmatch(said) or _FALSE.fullmatch(said):
            return said[0] in "tT"
        if as_written:
            return said
        try:
            if _INTEGER.fullmatch(said):
                return integer_of(said)
            if _FLOAT.fullmatch(said):
                return float_of(said)
        except Unsound as error:
            self._refuse(event, str(error))
        if _NO_NUMBER.fullmatch(said):
            self._refuse(event, f"{said} is not a number of JSON; in quotes it is text")
        return said

    def _sound(self, event: Any) -> None:
        if not is_sound(event.value):
            self._refuse(event, "this text has half a character in it (a lone surrogate)")

    def _refuse(self, event: Any, what: str) -> NoReturn:
        refuse(self._name, event.start_mark.line, event.start_mark.column, what)


class _Open:
    """A list or mapping of which the end has not been read yet."""

    def __init__(self, of: Any, anchor: str | None, began: int) -> None:
        self.of = of
        self.anchor = anchor
        self.began = began
        self.key: str | None = None
        self.merging = False
        self.merges: list[Any] = []
        """What is taken in where the mapping itself does not say otherwise."""
        self._is_mapping = isinstance(of, dict)

    @property
    def wants_key(self) -> bool:
        """Whether what comes next is a key."""
        return self._is_mapping and self.key is None

    def put(self, value: Any) -> None:
        """Take the next value."""
        if self.merging:
            self.merges.append(value)
            self.merging, self.key = False, None
        elif self._is_mapping:
            self.of[self.key] = value
            self.key = None
        else:
            self.of.append(value)


def _height(value: Any) -> int:
    """Return how many levels of lists and mappings a value is."""
    levels, here = 0, [value]
    while here := [item for item in here if isinstance(item, dict | list)]:
        levels += 1
        here = [below for item in here for below in (item.values() if isinstance(item, dict) else item)]
    return levels
