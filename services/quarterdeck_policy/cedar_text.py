"""Cedar policy text cut into policies, before Cedar itself sees it.

Cedar's parser descends recursively and has no depth limit: a few hundred nested brackets overflow the stack and
end the process. So text is measured here first. The pieces are then parsed one by one, so a mistake in this reader
can only make a piece that Cedar refuses, never another meaning.

Source: Cedar language reference, grammar (comments, strings, annotations, policy).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from quarterdeck_policy.estate import ATTRIBUTES

MAX_NESTING: Final = 32
MAX_TOKENS: Final = 2_000

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n\r]*)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>[0-9]+)
    |(?P<mark>::|==|!=|<=|>=|&&|\|\||[^\s"])""",
    re.VERBOSE | re.DOTALL,
)
_OPEN: Final = frozenset("([{")
_CLOSE: Final = frozenset(")]}")
_BARE: Final = frozenset("\"'\\")
_ESTATE: Final = frozenset((*ATTRIBUTES, *(f'"{name}"' for name in ATTRIBUTES)))


class PolicyText(msgspec.Struct, frozen=True, kw_only=True):
    """One policy's text, and what its tokens tell without Cedar."""

    text: str
    line: int
    """Of its first token, from 1."""
    head: str
    """Annotations, effect and scope alone, without conditions."""
    context_members: frozenset[str] | None
    """Names of the members of `context` it reads; None if it uses `context` as a whole."""
    reads_clock: bool
    """Whether it could read `context.verified.now`."""
    reads_estate: bool
    """Whether it could read an attribute that the estate gives an entity."""
    entities_named: frozenset[tuple[str, str]] | None
    """The entities that its conditions name, by type and id; None if an escape hides which."""


class Unreadable(ValueError):
    """The text is not a sequence of policies within the limits."""


def split_policies(text: str) -> list[PolicyText]:
    """Return the policies of a text, in order.

    Raises:
        Unreadable: something that is no token, an open string, too deep, too long, or an unfinished policy.
    """
    found: list[PolicyText] = []
    tokens: list[tuple[str, int, int]] = []  # token, start, end
    depth, line, passed = 0, 1, 0
    for match in _tokens(text):
        token = match.group()
        if match.lastgroup == "space":
            continue
        if not tokens:
            line += text.count("\n", passed, match.start())
            passed = match.start()
        tokens.append((token, match.start(), match.end()))
        if token in _OPEN:
            depth += 1
        elif token in _CLOSE:
            depth -= 1
        if depth > MAX_NESTING or len(tokens) > MAX_TOKENS:
            raise Unreadable(
                f"line {line}: a policy has more than {MAX_NESTING} nested brackets or {MAX_TOKENS} tokens"
            )
        if token == ";" and depth <= 0:  # noqa: S105  a mark, not a secret
            found.append(_policy(text, tokens, line))
            tokens, depth = [], 0
    if tokens:
        raise Unreadable(f"line {line}: a policy does not end with ';' outside brackets")
    return found


def members_read(policies: Iterable[PolicyText]) -> frozenset[str] | None:
    """Return the members of `context` that any of the policies reads; None if one uses the context as a whole."""
    members: set[str] = set()
    for policy in policies:
        if policy.context_members is None:
            return None
        members |= policy.context_members
    return frozenset(members)


def check_nesting(text: str, what: str) -> None:
    """Refuse text that nests too deeply for a recursive parser; for schemas, where `<` opens too.

    Raises:
        Unreadable: too deep, or an open string.
    """
    depth = 0
    for match in _tokens(text):
        token = match.group()
        if token in _OPEN or token == "<":  # noqa: S105  a bracket, not a secret
            depth += 1
        elif token in _CLOSE or token == ">":  # noqa: S105
            depth = max(0, depth - 1)
        if depth > MAX_NESTING:
            raise Unreadable(f"{what}, line {_line(text, match.start())}: more than {MAX_NESTING} nested brackets")


def _tokens(text: str) -> list[re.Match[str]]:
    found: list[re.Match[str]] = []
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None or match.group() in _BARE:
            raise Unreadable(f"line {_line(text, place)}: {text[place : place + 20]!r} is not Cedar")
        found.append(match)
        place = match.end()
    return found


def _policy(text: str, tokens: list[tuple[str, int, int]], line: int) -> PolicyText:
    start, end = tokens[0][1], tokens[-1][2]
    names = [token for token, _, _ in tokens]
    if names.count("if") > MAX_NESTING:
        raise Unreadable(f"line {line}: a policy has more than {MAX_NESTING} 'if'")
    head_end = _head_end(names)
    body = names[head_end + 1 :]
    return PolicyText(
        text=text[start:end],
        line=line,
        head=text[start : tokens[head_end][2]] + ";",
        context_members=_context_members(body),
        reads_clock=any(name in {"now", '"now"'} or "\\" in name for name in body),
        reads_estate=any(name in _ESTATE or "\\" in name for name in body),
        entities_named=_entities_named(body),
    )


def _head_end(names: list[str]) -> int:
    # The scope is the first bracket that follows `permit` or `forbid` and is not an annotation's.
    for place, name in enumerate(names[:-1]):
        if name in {"permit", "forbid"} and names[place + 1] == "(" and (place == 0 or names[place - 1] != "@"):
            depth = 0
            for inner in range(place + 1, len(names)):
                depth += (names[inner] in _OPEN) - (names[inner] in _CLOSE)
                if depth == 0:
                    return inner
    return len(names) - 2


def _context_members(names: list[str]) -> frozenset[str] | None:
    members: set[str] = set()
    for place, name in enumerate(names):
        if name != "context" or not _is_variable(names, place):
            continue
        step, member, after = (*names[place + 1 : place + 4], "", "", "")[:3]
        if not (step in {".", "has"} or (step == "[" and after == "]" and member.startswith('"'))) or "\\" in member:
            return None
        members.add(member.strip('"'))
    return frozenset(members)


def _entities_named(names: list[str]) -> frozenset[tuple[str, str]] | None:
    found: set[tuple[str, str]] = set()
    for place, name in enumerate(names):
        if name == "::" and names[place + 1 : place + 2] and names[place + 1].startswith('"'):
            if "\\" in names[place + 1]:
                return None
            start = place - 1
            while start >= 2 and names[start - 1] == "::":
                start -= 2
            found.add(("".join(names[start:place]), names[place + 1][1:-1]))
    return frozenset(found)


def _is_variable(names: list[str], place: int) -> bool:
    # `x.context` and `x has context` name an attribute; `{context: 1}` names a member of a record literal.
    before = names[place - 1] if place else ""
    after = names[place + 1] if place + 1 < len(names) else ""
    return before not in {".", "has"} and not (before in {"{", ","} and after == ":")


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1
