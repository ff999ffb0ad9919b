"""What is within reach, told naively of all rows: each name stands for what it was merged into, and so on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from quarterdeck_domain.estate.reach import Edge, Graph
from quarterdeck_domain.estate.relations import REACH
from quarterdeck_readmodels.estate import Asset, Relation


def stands_for(assets: Mapping[str, Asset], name: str) -> str:
    """Return what a name stands for."""
    for _ in assets:
        item = assets.get(name)
        name = name if item is None or item.merged_into is None else item.merged_into
    return name


def opens(row: Asset, moment: datetime) -> bool:
    """Tell whether something of an object is open: it is in use and no other by now, and a grant whose time is over
    opens nothing."""
    if row.lifecycle not in {"live", "deprecated"} or row.merged_into:
        return False
    try:
        end = datetime.fromisoformat(row.attributes["expires_at"])
    except (KeyError, ValueError):
        return True
    return row.kind != "tool_grant" or moment < (end if end.tzinfo else end.replace(tzinfo=UTC))


def graph_of(assets: Mapping[str, Asset], holding: Iterable[Relation], moment: datetime) -> Graph:
    """Return the graph of relations that hold, between what is open at a moment."""
    ends = [(stands_for(assets, row.source), row.relation, stands_for(assets, row.target)) for row in holding]
    live = {name for name, row in assets.items() if opens(row, moment)}
    return Graph(
        Edge(source=source, relation=relation, target=target)
        for source, relation, target in ends
        if relation in REACH and {source, target} <= live and source != target
    )
