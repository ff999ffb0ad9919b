"""Blast radius: what is concerned if something is wrong with an object. What the words of the map mean for that. Pure.

Harm goes against the relations by which objects depend on others (who uses a bad model is concerned), and along those
by which they act on others (what a bad agent writes is concerned). What is part of the object, a version of it or
offered by it is wrong with it; what it is itself a part or a version of is concerned, but not that one's other parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from quarterdeck_domain.estate.kinds import KINDS

BlastGroup = Literal["agents", "workflows", "applications", "channels", "data", "tools", "models", "others"]
GROUPS: Final[tuple[BlastGroup, ...]] = (
    "agents",
    "workflows",
    "applications",
    "channels",
    "data",
    "tools",
    "models",
    "others",
)
_GROUP: Final[Mapping[str, BlastGroup]] = {
    "agent": "agents",
    "workflow": "workflows",
    "orchestration": "workflows",
    "application": "applications",
    "output_channel": "channels",
    "tool": "tools",
    "mcp_server": "tools",
    "tool_grant": "tools",
    "model": "models",
    "model_version": "models",
    "deployment": "models",
    "route": "models",
    "prompt": "models",
    "prompt_version": "models",
}
DEPENDS: Final = frozenset(
    {"uses", "calls", "reads", "holds", "permits", "deployed_in", "derived_from", "exposes", "chains_to"}
)
"""What is at the source is concerned by what is at the target."""
AFFECTS: Final = frozenset({"writes", "feeds", "drives", "chains_to"})
"""What is at the target is concerned by what is at the source."""
OFFERED: Final = frozenset({"exposes"})
"""What is wrong at the source is wrong at the target."""
PARTS: Final = frozenset({"part_of", "version_of"})
"""What is wrong at the target is wrong at the source; what is wrong at the source concerns the target."""
TOUCHES: Final = frozenset({"reads", "writes", "uses"})
"""How data are touched."""
USES_TOOLS: Final = frozenset({"calls", "holds", "permits", "exposes"})
"""How one comes to tools."""


def group_of(kind: str) -> BlastGroup:
    """Return to which group objects of a kind belong."""
    return "data" if KINDS[kind].holds_data else _GROUP.get(kind, "others")
