"""What changed, in words: a sentence for each object that is not the same at two moments."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from quarterdeck_domain.estate.periods import joined
from quarterdeck_domain.estate.relations import RELATION_TYPES
from quarterdeck_readmodels.estate import DATED

MAX_VALUE: Final = 80
"""So much of a value is shown."""
_STATES: Final = {
    "draft": "is a draft",
    "live": "is live",
    "deprecated": "is deprecated",
    "quarantined": "is in quarantine",
    "retired": "is retired",
}
_SILENT: Final = frozenset({"source", "confidence", "registered_at", "valid_from", "contested"})
"""Fields that follow from others, or say where these come from."""

Field = tuple[Any, Any]
"""What it was, and what it is."""


def sentence(kind: str, object_id: str, fields: Mapping[str, Field], *, added: bool, removed: bool, after: Any) -> str:
    """Return what happened to an object. `after` is its row at the later moment, None if it is not there."""
    told = _WORDS.get(kind)
    if removed:
        return f"{_named(kind, object_id)} is not there any more"
    if told is not None:
        return told(object_id, fields, added, after)
    if added:
        return f"{_named(kind, object_id)} began"
    return f"{_named(kind, object_id)}: {_listed(fields)}"


def _asset(object_id: str, fields: Mapping[str, Field], added: bool, after: Any) -> str:
    if added:
        owner = f"owned by {_shown(after.owner)}" if after.owner else "owned by nobody"
        return f"{object_id} is there now: it {_STATES.get(after.lifecycle, after.lifecycle)}, {owner}"
    parts: list[str] = []
    for name, (old, new) in fields.items():
        if name == "lifecycle":
            was = _STATES.get(old, str(old)).replace("is", "was", 1)
            parts.append(f"{_STATES.get(new, new)} ({was}){_effect(name, new, after)}")
        elif name in ("owner", "team"):
            parts.append(_answers(name, old, new) + _effect(name, new, after))
        elif name == "merged_into":
            parts.append("is by itself again" if new is None else f"is part of {new}")
        elif name == "attributes":
            parts += [
                _became(key, old.get(key), new.get(key)) + _effect(f"attributes.{key}", new.get(key), after)
                for key in sorted({*old, *new})
                if old.get(key) != new.get(key)
            ]
        elif name == "dated":
            parts += [_said(item) for item in new if item not in old]
        elif name not in _SILENT:
            parts.append(_became(name, old, new) + _effect(name, new, after))
    return f"{object_id} {'; '.join(parts) or _listed(fields)}"


def _effect(name: str, value: Any, after: Any) -> str:
    """Return from when on a fact holds, where that was said: nothing need have been recorded then."""
    begins = [item["begins"] for item in after.dated if name in item["facts"] and item["facts"][name] == value]
    return f", which takes effect at {begins[-1]}" if begins else ""


def _answers(name: str, old: Any, new: Any) -> str:
    whose = "owned by" if name == "owner" else "of team"
    was = f" (before: {_shown(old)})" if old else " (before: nobody)"
    return f"is {whose} {_shown(new)}{was}" if new else f"is {whose} nobody{was}"


def _became(name: str, old: Any, new: Any) -> str:
    if new in (None, [], {}, ""):
        return f"has no {_word(name)} any more (before: {_shown(old)})"
    return f"has the {_word(name)} {_shown(new)}" + (f" (before: {_shown(old)})" if old not in (None, [], {}) else "")


def _said(item: Mapping[str, Any]) -> str:
    until = f" until {item['ends']}" if item.get("ends") else ""
    facts = ", ".join(f"{name} {_shown(value)}" for name, value in item["facts"].items())
    return f"is said to have, from {item['begins']}{until}: {facts}"


def _relation(object_id: str, fields: Mapping[str, Field], added: bool, after: Any) -> str:
    source, relation, target = object_id.split(" ")
    reads = f"{source} {RELATION_TYPES[relation].phrase} {target}"
    declared, observed = fields.get("declared", (None, None)), fields.get("observed", (None, None))
    held = [] if after is None else joined(after.intervals)
    now = f"{source} now {RELATION_TYPES[relation].phrase} {target}"
    if declared[1] or (added and after.declared):
        since = f", which takes effect at {held[-1][0]}" if after.timed == DATED and held else ""
        return f"{now} (declared by {_shown(after.said_by)}){since}"
    if declared[0]:
        if after.timed == DATED and held and held[-1][1] and not after.observed:
            return f"{reads} no more, since {held[-1][1]}"
        return f"{reads} no more: that was withdrawn" + (", and it was seen" if after.observed else "")
    if observed[1] or (added and after.observed):
        return f"it was seen that {reads}" + ("" if after.declared else ", and nobody declares it")
    if added:
        return f"{reads}: that was declared and is no more"
    parts = [_became(name, *values) for name, values in fields.items() if name not in ("periods", "seen", *_SILENT)]
    if "seen" in fields:
        parts.append(f"was seen {fields['seen'][1]} times (before: {fields['seen'][0]})")
    if "periods" in fields:
        parts.append(f"is declared to hold {_spans(fields['periods'][1])} (before: {_spans(fields['periods'][0])})")
    return f"{reads}: it {'; '.join(parts) or _listed(fields)}"


def _spans(spans: Iterable[Mapping[str, Any]]) -> str:
    told = [f"from {span['from']}" + (f" until {span['to']}" if span["to"] else "") for span in spans]
    return " and ".join(told) or "never"


def _drift(_: str, fields: Mapping[str, Field], added: bool, after: Any) -> str:
    if added:
        found = f"pinned as {_shown(after.expected)}, found {_shown(after.found)}"
        return f"{after.asset} is not as pinned: {after.field} was {found}" + (
            "; it was put into quarantine" if after.quarantined else ""
        )
    if "state" in fields:
        return f"what was found of {after.asset} ({after.field}) was accepted as the new pin"
    return f"the drift of {after.asset}: {_listed(fields)}"


_WORDS: Final[Mapping[str, Callable[[str, Mapping[str, Field], bool, Any], str]]] = {
    "asset": _asset,
    "relation": _relation,
    "drift": _drift,
}


def _listed(fields: Mapping[str, Field]) -> str:
    told = [f"{_word(name)} {_shown(new)} (before: {_shown(old)})" for name, (old, new) in fields.items()]
    return "; ".join(told) or "the same, but for what is not shown"


def _named(kind: str, object_id: str) -> str:
    return object_id if kind in _WORDS else f"{_word(kind)} {object_id}"


def _word(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        text = ", ".join(value) or "nothing"
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
