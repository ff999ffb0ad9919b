"""What may be one thing under two names, and what is not. Serves S0-04, S0-154."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from assessed import ANN, Told

from quarterdeck_domain.estate.slices import QuarantineAsset

HERE = "https://crm.example/mcp"


def servers(*endpoints: str, of: str = "mcp_server") -> Told:
    """Return an estate with objects at some addresses, called `a`, `b`, …"""
    attribute = "location" if of == "dataset" else "endpoint"
    said = {f"{of}:{chr(97 + at)}": {"attributes": {attribute: place}} for at, place in enumerate(endpoints)}
    return Told(said)


def duplicates(told: Told) -> set[tuple[str, str, str]]:
    """Return which objects may be which others, and the verb of what is proposed."""
    found = told.findings("duplicate")
    return {(item.asset, str(item.subject), item.fix.split()[2]) for item in found}


@pytest.mark.parametrize("program", ["python3", "npx", "uvx", "/usr/bin/python3", "python3 server.py"])
def test_what_one_program_runs_is_not_one_server(program: str) -> None:
    """Of a program, its name is all that is known: that is no address."""
    assert duplicates(servers(program, program)) == set()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (HERE, "https://CRM.example:443//mcp/", True),
        (HERE, "http://crm.example/mcp", False),
        (HERE, "https://crm.example:8443/mcp", False),
    ],
)
def test_addresses_are_compared_with_scheme_and_port(one: str, other: str, same: bool) -> None:
    """However they are written."""
    assert duplicates(servers(one, other)) == ({("mcp_server:b", "mcp_server:a", "merge")} if same else set())


def test_a_store_is_known_by_its_address() -> None:
    """As a server is."""
    assert duplicates(servers("s3://shop/orders", "s3://shop/orders/", of="dataset")) == {
        ("dataset:b", "dataset:a", "merge")
    }


def test_nothing_is_merged_with_what_is_in_quarantine() -> None:
    """Whatever else is there may have to be shut as well; once it is, nothing is left to be said."""
    told = servers(HERE, HERE, HERE)
    assert duplicates(told) == {(f"mcp_server:{name}", "mcp_server:a", "merge") for name in "bc"}
    told.when(QuarantineAsset(asset="mcp_server:b", reason="no", actor=ANN))
    assert duplicates(told) == {(f"mcp_server:{name}", "mcp_server:b", "quarantine") for name in "ac"}
    messages = {item.message for item in told.findings("duplicate")}
    assert messages == {"it may be the same as mcp_server:b, which is in quarantine: they are at one address"}
    for item in told.findings("duplicate"):
        told.mend(item.fix, REASON="the same")
    assert duplicates(told) == set()


def offered(source: str | None, *names: str, whole: bool = False) -> Mapping[str, Any]:
    """Return how an import declares tools."""
    how: dict[str, Any] = {} if source is None else {"source": source, "confidence": "imported", "whole": whole}
    return {"assets": {name: {} for name in names}} | how


@pytest.mark.parametrize(
    ("first", "then", "same"),
    [
        (offered("api", "tool:t/DELETE-/b", "tool:t/delete-/b"), None, False),
        (offered("api", "tool:t/DELETE-/b"), offered("other", "tool:t/delete-/b"), True),
        (offered("api", "tool:t/DELETE-/b"), offered(None, "tool:t/delete-/b"), True),
        (offered("api", "tool:t/a", "tool:T/a"), None, True),
        (
            offered("api", "tool:t/DELETE-/b", whole=True),
            offered("api", "tool:t/delete-/b", whole=True),
            True,
        ),
    ],
)
def test_what_one_source_tells_apart_is_two(
    first: Mapping[str, Any], then: Mapping[str, Any] | None, same: bool
) -> None:
    """Two operations of one document, say; unless one of them is what the other was called before."""
    told = Told()
    for said in (first, then):
        if said is not None:
            told.apply(**said)
    assert bool(duplicates(told)) is same
