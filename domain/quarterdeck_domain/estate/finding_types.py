"""The kinds of findings there are: what each means, how bad it is, and what mends it. `docs/findings.md` is this table.

A fix is a command line of `quarterdeck`; what only people can say stands in it in capitals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

FindingType = Literal[
    "out_of_scope",
    "forbidden_use",
    "drifted",
    "suspicious",
    "unregistered",
    "unowned",
    "ungated",
    "over_permissioned",
    "expired",
    "ungoverned",
    "forged",
    "unread",
    "contested",
    "alleged_use",
    "undeclared_relation",
    "retired_relation",
    "gone",
    "sunset",
    "unpromoted",
    "unmonitored",
    "unfunded",
    "duplicate",
    "unseen_relation",
    "incomplete",
    "isolated",
]
Severity = Literal["critical", "high", "moderate", "low"]
SEVERITIES: Final[tuple[Severity, ...]] = ("critical", "high", "moderate", "low")


class FindingKind(msgspec.Struct, frozen=True, kw_only=True):
    """A type of finding in words: what it means, why it matters, and how it is mended."""

    severity: Severity
    title: str
    meaning: str
    mend: str


def _kind(severity: Severity, title: str, meaning: str, mend: str) -> FindingKind:
    return FindingKind(severity=severity, title=title, meaning=meaning, mend=mend)


FINDING_TYPES: Final[Mapping[FindingType, FindingKind]] = MappingProxyType(
    {
        "out_of_scope": _kind(
            "critical",
            "Called beyond its grants",
            "It was seen to call a tool whose use needs a grant, and none that it holds permits it or enough of it.",
            "Keep it from acting (`quarantine`), then find out why; or let a grant permit it, if it should.",
        ),
        "forbidden_use": _kind(
            "critical",
            "Used although it is out of use",
            "Something retired or in quarantine was seen in use after it was taken out of use.",
            "Keep whoever uses it from acting (`quarantine`), or stop it where it runs.",
        ),
        "drifted": _kind(
            "high",
            "Not as it was pinned",
            "One of the five inputs of behaviour (model, prompt, retrieval, tools, input mix) is not as reviewed.",
            "Read what was found, then `accept-drift`; or keep it from being used (`quarantine`).",
        ),
        "suspicious": _kind(
            "high",
            "May be meant to deceive",
            "What it says of itself has marks of an attempt to instruct a model, or hides something from people.",
            "Read it. `quarantine` it, or say that it is fine: `change … --unset attributes.cautions`.",
        ),
        "unregistered": _kind(
            "high",
            "Seen and not registered",
            "It was seen in use, and nobody has declared it.",
            "`change` it: whoever says what it is for declares it. Or `retire` it.",
        ),
        "unowned": _kind(
            "high",
            "Nobody answers for it",
            "No owner is named, and no team; nor for what it is a version of, or what exposes it.",
            "`transfer` it to somebody.",
        ),
        "ungated": _kind(
            "high",
            "No approval before what has consequences",
            "It can write, trigger or route, and no approval path stands before that: at itself, at all that it is "
            "part of, at its grant, at the server or at the tool.",
            "`relate` it, or the tool, to an approval path by `gated_by`.",
        ),
        "over_permissioned": _kind(
            "high",
            "More than it needs",
            "A grant gives privileges that no tool behind it needs, or tools that nobody used while it was watched.",
            "Take away what is not needed: `change` the grant's privileges, or `unrelate` it.",
        ),
        "expired": _kind(
            "high",
            "Past its end",
            "A grant, an exception window or something on its way out is still there after its last day.",
            "`retire` it; what still leads to it shows then.",
        ),
        "ungoverned": _kind(
            "high",
            "No policy governs it",
            "It acts, and neither it nor all that it is part of is governed by a policy bundle or guardrail in use.",
            "`relate` it to a policy bundle by `governed_by`.",
        ),
        "forged": _kind(
            "high",
            "Perhaps forged",
            "A key of another principal said in a trace that it did something, and speaks for nobody else.",
            "Look at whose key that is. `deactivate` that principal; or make whoever collects for others an operator. "
            "What it is said to have done proves nothing against it.",
        ),
        "unread": _kind(
            "high",
            "Its source cannot be read",
            "The last import of a source failed: what changes there goes unseen, and what is not as pinned is used on.",
            "Mend the source by what its last run says, then `sources run` it; or `sources remove` it.",
        ),
        "contested": _kind(
            "moderate",
            "Sources disagree",
            "Two sources say different things of a fact; what a person said of it holds, or else what was said first.",
            "`change` the fact: what a person says by command settles it until a source says something else again.",
        ),
        "alleged_use": _kind(
            "moderate",
            "Said to be used wrongly",
            "A trace says that it used something that is out of use or beyond its grants; whoever sent it is not known "
            "to be it.",
            "Look at the sender. If that is it, say so: `change … --set attributes.principal=…`; else `deactivate` the "
            "sender.",
        ),
        "undeclared_relation": _kind(
            "moderate",
            "Seen and not declared",
            "Two objects were seen to be related, and that follows from nothing that was declared.",
            "`relate` them, or keep it from happening.",
        ),
        "retired_relation": _kind(
            "moderate",
            "Leads to what is retired",
            "It is declared to be related to something that was retired or merged into another.",
            "`unrelate` it; after a merge, `relate` it to the survivor first.",
        ),
        "gone": _kind(
            "moderate",
            "Its source no longer offers it",
            "The import that it came from was read whole, and it was not in it any more.",
            "`retire` it, if it is no more.",
        ),
        "sunset": _kind(
            "moderate",
            "Depends on what ends soon",
            "It depends on something deprecated whose last day is near or over.",
            "`relate` it to the successor and `unrelate` it from what ends.",
        ),
        "unpromoted": _kind(
            "moderate",
            "Tier one in fact, not in name",
            "So many objects depend on it that it is a tier-one dependency, and nobody has said so.",
            "`promote` it; it needs an owner for that.",
        ),
        "unmonitored": _kind(
            "moderate",
            "Nobody watches it",
            "It acts, and neither it nor all that it is part of is monitored by a hook in use.",
            "`relate` it to a monitoring hook by `monitored_by`.",
        ),
        "unfunded": _kind(
            "moderate",
            "No budget bounds it",
            "It acts, and neither it nor all that it is part of is funded by a budget in use.",
            "`relate` it to a budget by `funded_by`.",
        ),
        "duplicate": _kind(
            "moderate",
            "Perhaps the same as another",
            "Two objects of a kind have names that differ only in case or punctuation, or one endpoint, or one digest.",
            "`merge` them; if one is in quarantine, `quarantine` the other, too, or `release` that one.",
        ),
        "unseen_relation": _kind(
            "low",
            "Declared and not seen",
            "A declared use was not seen for long, although its source was watched all that time.",
            "`unrelate` it, if it is no more.",
        ),
        "incomplete": _kind(
            "low",
            "Something is not known of it",
            "Nobody has said its purpose, where it runs, how sensitive its data is, or what its kind should say.",
            "`change` it.",
        ),
        "isolated": _kind(
            "low",
            "Related to nothing",
            "Nothing leads to it or from it: it is in the catalogue and not on the map.",
            "`relate` it.",
        ),
    }
)
"""Every type of finding, the worst first: the order in which findings are told."""

_RANK: Final[Mapping[str, int]] = {name: place for place, name in enumerate(FINDING_TYPES)}


_PLAIN: Final = re.compile(r"[\w@%+=:,./-]+", re.ASCII)

Commands = tuple[tuple[str, ...], ...]
"""Command lines that are run one after the other, in words."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something missing or wrong about one object, in words, and what would mend it.

    `subject` is what else it is about, such as a relation's other end: type, object and subject name a finding.
    """

    type: FindingType
    asset: str
    message: str
    mend: Commands
    subject: str = ""

    @property
    def fix(self) -> str:
        """The command line that would mend it, as a shell takes it."""
        return line_of(self.mend)

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return FINDING_TYPES[self.type].severity

    @property
    def place(self) -> tuple[int, str, str]:
        """Where it stands among the others: the worst first, then by object."""
        return (_RANK[self.type], self.asset, self.subject)


def _quoted(word: str) -> str:
    """Return a word as a POSIX shell takes it for one."""
    return word if _PLAIN.fullmatch(word) else "'" + word.replace("'", "'\"'\"'") + "'"


def line_of(commands: Commands) -> str:
    """Return command lines as a shell takes them."""
    return " && ".join(" ".join(map(_quoted, words)) for words in commands)


def command(*words: str) -> Commands:
    """Return a command line of the estate's."""
    return (("quarterdeck", "estate", *words),)
