"""How what strangers call things becomes names of ours: one way, for whoever records objects and whoever asks for them.

Names in the log are plain ASCII and bounded. Servers, gateways and traces call things as they like; importers rename
those, and a request that says what the server says must find the same object. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final

from quarterdeck_domain.estate.values import MAX_NAME

TAGGED: Final = re.compile(r"[!-~]{1,200}")
"""The names that tags are made of."""
MAX_WITH_ADDRESS: Final = 1_000
"""How long a text may be that is looked through for addresses where somebody asks for it by name."""
_SUFFIX: Final = 9
_APART: Final = 32
_UNNAMED: Final = "unnamed"
_PLAIN: Final = re.compile(r"(?!-)[!-?A-~]{1,200}(?<!-)")
_ADDRESS: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}")
_EXPANDED: Final = re.compile(r"\{[?&#][^{}]*\}")
_USER: Final = re.compile(r"//[^/]*@")


def name_of(called: str) -> str:
    """Return the name of what somebody calls something: the same for the same text, always, and another for another
    wherever letters that our names do not have, or the end of a long one, are all that tells two apart."""
    made = re.sub(r"[^!-~]+", "-", called.strip()).strip("-")[:MAX_NAME] or _UNNAMED
    plain = all(" " <= char <= "~" for char in called) and len(called.strip()) <= MAX_NAME
    if plain and made != _UNNAMED:
        return made
    return f"{made[: MAX_NAME - _SUFFIX]}~{_digest(called)}"


def seen_name_of(called: str) -> str:
    """Return the name of what a trace calls something: what looks like a person's address is not kept."""
    return name_of(without_addresses(called))


def apart(called: str) -> str:
    """Return the name of what would be called the same as another thing beside it: one of its own."""
    return f"{name_of(called)[: MAX_NAME - _APART - 1]}~{_digest(called, _APART)}"


def names_for(kind: str, called: str) -> tuple[str, ...]:
    """Return every name that an object of a kind may have which somebody calls so. The last is without what may be a
    secret or a person's address."""
    if _PLAIN.fullmatch(called) and called != _UNNAMED and kind != "dataset":
        return (called,)  # as nearly all are: decisions ask this of every name
    found = list(_names_for(kind, called))
    return tuple(name for place, name in enumerate(found) if name not in found[place + 1 :])


def _names_for(kind: str, called: str) -> Iterator[str]:
    if TAGGED.fullmatch(called):
        yield called
    if name_of(called) != called:
        yield apart(called)
    yield name_of(called)
    if "@" in called and len(called) <= MAX_WITH_ADDRESS:
        yield seen_name_of(called)
    if kind == "dataset":
        yield name_of(resource_name(called))
        server, slash, uri = called.partition("/")
        yield name_of(f"{server}{slash}{resource_name(uri)}")


def resource_name(uri: str) -> str:
    """Return what a resource of a server is called: its URI, or a template of one, without what may be a secret."""
    place = place_of(uri)
    return place if place == uri else f"{place}~{_digest(uri)}"


def place_of(uri: str) -> str:
    """Return a URI, or a template of one, without what may be a secret: user, password, query, fragment."""
    plain = _EXPANDED.sub("", uri)
    return _USER.sub("//", re.split(r"[?#]", plain, maxsplit=1)[0], count=1)


def without_addresses(text: str) -> str:
    """Return a text with a digest in the place of what looks like a person's address."""
    return _ADDRESS.sub(lambda found: f"address-{_digest(found.group())}", text)


def tagged(text: str) -> str:
    """Return what stands for a text in a tag: the text itself where it can, else a digest that is its own."""
    return text if TAGGED.fullmatch(text) else f"~{_digest(text, 32)}"


def _digest(text: str, length: int = _SUFFIX - 1) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:length]
