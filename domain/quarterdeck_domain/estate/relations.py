"""The types of relations, what each may lead from and to, and whether reach goes along it.

A relation is read from its source: `agent:support calls tool:refund`. Adding a type means adding a line here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.kinds import KINDS

Role = Literal["reach", "control", "accountable", "part"]
"""What a relation means for questions: reach goes along it; its target controls its source; its target answers for its
source; or its source is a version or a part of its target."""

_ACTORS: Final = frozenset({"agent", "workflow", "orchestration", "application"})
_MODELS: Final = frozenset({"model", "model_version", "deployment", "route"})
_DATA: Final = frozenset({"dataset", "retrieval_index", "feature_store", "context_store"})
_PROMPTS: Final = frozenset({"prompt", "prompt_version"})
_MAKERS: Final = frozenset({"training_pipeline", "fine_tuning_run"})
_ANYTHING: Final = frozenset(KINDS)


class RelationType(msgspec.Struct, frozen=True, kw_only=True):
    """A type of relation. `phrase` is how it reads between two names, `inverse` how it reads backwards."""

    name: str
    phrase: str
    inverse: str
    role: Role
    sources: frozenset[str]
    targets: frozenset[str]


def _type(
    name: str, phrase: str, inverse: str, role: Role, sources: frozenset[str], targets: frozenset[str]
) -> RelationType:
    return RelationType(name=name, phrase=phrase, inverse=inverse, role=role, sources=sources, targets=targets)


_ALL: Final = (
    _type(
        "uses",
        "uses",
        "is used by",
        "reach",
        _ACTORS | _MAKERS | _MODELS | {"tool", "retrieval_index", "evaluation_suite", "guardrail"},
        _MODELS | _PROMPTS | _DATA | {"provider", "mcp_server", "guardrail"},
    ),
    _type(
        "calls",
        "calls",
        "is called by",
        "reach",
        _ACTORS | {"tool", "mcp_server"},
        _ACTORS | _MODELS | {"tool", "mcp_server"},
    ),
    _type(
        "exposes",
        "exposes",
        "is exposed by",
        "reach",
        frozenset({"mcp_server", "application"}),
        frozenset({"tool", "prompt", "dataset", "agent"}),
    ),
    _type(
        "reads", "reads", "is read by", "reach", _ACTORS | _MAKERS | {"tool", "mcp_server", "retrieval_index"}, _DATA
    ),
    _type("writes", "writes", "is written by", "reach", _ACTORS | _MAKERS | {"tool", "mcp_server"}, _DATA | _MODELS),
    _type("chains_to", "chains to", "follows", "reach", _ACTORS | _PROMPTS, _ACTORS | _PROMPTS),
    _type("drives", "drives", "is driven by", "reach", _PROMPTS, _ACTORS | {"tool"}),
    _type("feeds", "feeds", "is fed by", "reach", _ACTORS | _DATA | {"tool"}, _ACTORS | {"output_channel"}),
    _type("holds", "holds", "is held by", "reach", _ACTORS, frozenset({"tool_grant"})),
    _type(
        "permits",
        "permits the use of",
        "is permitted by",
        "reach",
        frozenset({"tool_grant"}),
        frozenset({"tool", "mcp_server"}),
    ),
    _type(
        "deployed_in",
        "is deployed in",
        "runs",
        "reach",
        _ACTORS | _MODELS | {"mcp_server", "tool"},
        frozenset({"deployment", "provider"}),
    ),
    _type(
        "derived_from",
        "is derived from",
        "is the origin of",
        "reach",
        _DATA | _MODELS | _PROMPTS | _MAKERS,
        _DATA | _MODELS | _PROMPTS | _MAKERS,
    ),
    _type(
        "version_of",
        "is a version of",
        "has the version",
        "part",
        frozenset({"model_version", "prompt_version"}),
        frozenset({"model", "prompt"}),
    ),
    _type("part_of", "is part of", "has the part", "part", _ANYTHING, frozenset({"application", "workflow"})),
    _type("governed_by", "is governed by", "governs", "control", _ANYTHING, frozenset({"policy_bundle", "guardrail"})),
    _type("gated_by", "is gated by", "gates", "control", _ANYTHING, frozenset({"approval_path"})),
    _type("funded_by", "is funded by", "funds", "control", _ANYTHING, frozenset({"budget"})),
    _type("monitored_by", "is monitored by", "monitors", "control", _ANYTHING, frozenset({"monitoring_hook"})),
    _type("guarded_by", "is guarded by", "guards", "control", _ANYTHING, frozenset({"guardrail"})),
    _type("evaluated_by", "is evaluated by", "evaluates", "control", _ANYTHING, frozenset({"evaluation_suite"})),
    _type("excepted_by", "is excepted by", "excepts", "control", _ANYTHING, frozenset({"exception_window"})),
    _type("owned_by", "is owned by", "owns", "accountable", _ANYTHING, frozenset({"team"})),
)

RELATION_TYPES: Final[Mapping[str, RelationType]] = MappingProxyType({found.name: found for found in _ALL})
"""Every type of relation by its name."""

REACH: Final = frozenset(name for name, found in RELATION_TYPES.items() if found.role == "reach")
"""The types along which reach goes, from source to target."""
CONTROL: Final = frozenset(name for name, found in RELATION_TYPES.items() if found.role == "control")
"""The types whose target controls what is at their source."""
REFUSING: Final = frozenset({"governed_by", "gated_by", "guarded_by", "funded_by"})
"""Those of them whose target can refuse: who watches or judges later does not, and an exception lets pass."""
WATCHING: Final = frozenset({"monitored_by", "evaluated_by"})
"""Those of them whose target watches, or judges later."""
GATE: Final = "gated_by"
EXCEPTING: Final = "excepted_by"
"""The one of them whose target lets pass: while it holds, nobody has to consent to what its source does."""

HIERARCHIES: Final = frozenset({"owned_by", "part_of", "derived_from", "version_of"})
"""The types of which no chain may come back to where it began."""


def hierarchy(source: str, relation: str, target: str) -> str | None:
    """Return the hierarchy in which a relation between two objects of one kind could close a circle, or None."""
    kind = source.partition(":")[0]
    return f"{relation}/{kind}" if relation in HIERARCHIES and target.startswith(f"{kind}:") else None


def find_circle(edges: Iterable[tuple[str, str]]) -> tuple[str, ...] | None:
    """Return the objects of a chain that comes back to where it began, its first twice; None if there is none."""
    out: dict[str, list[str]] = {}
    for source, target in edges:
        out.setdefault(source, []).append(target)
    done: set[str] = set()
    for root in sorted(out):
        path: list[str] = []
        on_path: dict[str, int] = {}
        stack = [(root, iter(out[root]))] if root not in done else []
        if stack:
            on_path[root] = 0
            path.append(root)
        while stack:
            here, following = stack[-1]
            there = next(following, None)
            if there is None:
                stack.pop()
                path.pop()
                del on_path[here]
                done.add(here)
            elif there in on_path:
                return (*path[on_path[there] :], there)
            elif there not in done:
                on_path[there] = len(path)
                path.append(there)
                stack.append((there, iter(out.get(there, ()))))
    return None


def check_relation(source_kind: str, relation: str, target_kind: str) -> RelationType:
    """Return a type of relation that may lead from one kind to another.

    Raises:
        InvalidInput: there is no such type, or it does not lead from the one kind to the other.
    """
    found = RELATION_TYPES.get(relation)
    if found is None:
        raise InvalidInput(f"there is no relation {relation[:60]!r}", relation=relation, known=sorted(RELATION_TYPES))
    if source_kind not in found.sources:
        raise InvalidInput(f"{relation} does not begin at a {KINDS[source_kind].title}", sources=sorted(found.sources))
    if target_kind not in found.targets:
        raise InvalidInput(f"{relation} does not lead to a {KINDS[target_kind].title}", targets=sorted(found.targets))
    return found
