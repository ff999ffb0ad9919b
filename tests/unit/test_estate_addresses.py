"""A server in quarantine does not come in by another name: what is reached where it is waits with it. Serves S0-45, S0-154."""

from __future__ import annotations

from typing import Any

import pytest
from assessed import ANN, Told
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_domain.estate.declaration import Declaration, read_declaration
from quarterdeck_domain.estate.events import AssetQuarantined
from quarterdeck_domain.estate.imports import trusted
from quarterdeck_domain.estate.offers import reached_at
from quarterdeck_domain.estate.slices import QuarantineAsset, ReleaseAsset
from quarterdeck_readmodels.estate import Asset

HERE = "https://crm.example/mcp"
CRM = "mcp_server:crm"


def offered(
    server: str, endpoint: str | None, *tools: str, source: str | None = None, digest: str = "1"
) -> Declaration:
    """Return what a server declares, as its import does."""
    said: dict[str, Any] = {f"tool:{server}/{name}": {} for name in tools} | {f"prompt:{server}/p": {}}
    attributes = {"digest": "sha256:" + digest * 64} | ({} if endpoint is None else {"endpoint": endpoint})
    said[f"mcp_server:{server}"] = {"attributes": attributes, "relations": {"exposes": list(said)}}
    read = read_declaration({"version": 1, "source": "whoever", "assets": said})
    return trusted(read, source or f"mcp {server}", None)


def shut(told: Told) -> set[str]:
    """Return what is in quarantine."""
    return {name for name, row in told.rows()[Asset].items() if row.lifecycle == "quarantined"}


def estate(endpoint: str = HERE) -> Told:
    """Return an estate with a server in quarantine."""
    told = Told().take(offered("crm", endpoint, "a"))
    return told.when(QuarantineAsset(asset=CRM, reason="it changed overnight", actor=ANN))


@pytest.mark.parametrize(
    "at",
    [
        HERE,
        "HTTPS://CRM.example:443/mcp/",
        "https://crm.example./mcp",
        "https://crm.example//mcp",
        "https://crm.example/./mcp",
        "https://crm.example/x/../mcp",
        "https://crm.example/%6dcp",
    ],
)
def test_a_second_name_of_a_server_in_quarantine_begins_there(at: str) -> None:
    """With everything that it offers, and the reason; once. Somebody releases it, and it stays released, also when it
    offers more."""
    told = estate().take(offered("crm2", at, "a", "b"))
    new = {"mcp_server:crm2", "tool:crm2/a", "tool:crm2/b", "prompt:crm2/p"}
    assert shut(told) == {CRM} | new
    reasons = {event.payload.reason for event in told.log.events if isinstance(event.payload, AssetQuarantined)}
    assert reasons == {
        "it changed overnight",
        f"mcp_server:crm2 is reached where {CRM} is, which is in quarantine",
    }
    for name in new:
        told.when(ReleaseAsset(asset=name, reason="read it", actor=ANN))
    told.take(offered("crm2", at, "a", "b", "c", digest="2")).take(offered("crm", HERE, "a", "b"))
    assert shut(told) == {CRM}


@pytest.mark.parametrize(
    ("server", "at"),
    [
        ("crm2", "https://crm.example/other"),
        ("crm2", "http://crm.example/mcp"),
        ("crm2", "https://crm.example:8443/mcp"),
        ("crm2", None),
        ("crm", HERE),
    ],
)
def test_other_places_and_the_server_itself_are_as_they_were(server: str, at: str | None) -> None:
    """Nothing else is shut."""
    assert shut(estate().take(offered(server, at, "a", "b"))) == {CRM}


def test_what_runs_here_is_not_one_server_because_one_program_starts_it() -> None:
    """Of a program, its name is all that is known."""
    assert shut(estate("python").take(offered("crm2", "python", "a"))) == {CRM}


def test_a_source_that_moves_there_is_shut_too() -> None:
    """Also where somebody released it before where it was, and where people have said something else of where it is:
    once. What it offered before is shut by its server."""
    told = estate().take(offered("crm2", "https://crm2.example/mcp", "a"))
    for command in (QuarantineAsset, ReleaseAsset):
        told.when(command(asset="mcp_server:crm2", reason="looked at", actor=ANN))
    assert shut(told.take(offered("crm2", HERE, "a", "b"))) == {CRM, "mcp_server:crm2", "tool:crm2/b"}
    said = (
        Told()
        .take(offered("crm", HERE, "a"))
        .apply({"mcp_server:m": {"attributes": {"endpoint": "https://m.example/"}}})
    )
    said.when(QuarantineAsset(asset=CRM, reason="no", actor=ANN))
    assert shut(said.take(offered("m", HERE))) == {CRM, "mcp_server:m", "prompt:m/p"}
    for name in ("mcp_server:m", "prompt:m/p"):
        said.when(ReleaseAsset(asset=name, reason="read it", actor=ANN))
    assert shut(said.take(offered("m", HERE, "b", digest="2"))) == {CRM}


def test_whoever_is_there_already_stays_and_so_does_what_is_released() -> None:
    """Quarantine is somebody's word about one server; what they left alone they have left alone."""
    told = Told().take(offered("crm", HERE, "a")).take(offered("crm2", HERE, "a"))
    told.when(QuarantineAsset(asset=CRM, reason="no", actor=ANN))
    assert shut(told.take(offered("crm2", HERE, "a", "b"))) == {CRM}
    told.when(ReleaseAsset(asset=CRM, reason="yes", actor=ANN))
    assert shut(told.take(offered("crm3", HERE, "a"))) == set()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://h", "HTTP://H:80/"),
        ("https://[::1]/mcp", "https://[::1]:443/mcp/"),
        ("https://user:x@h.example./a#b", "https://h.example:0443/a"),
        ("https://h/a?b=1", "https://h:443/a/?b=1"),
        ("https://h/mcp", "https://h//mcp//"),
        ("https://h/mcp", "https://h/./mcp/."),
        ("https://h/mcp", "https://h/../x/y/../%2E%2e/mcp?"),
        ("https://h/mcp", "https://h/%6D%63p"),
        ("https://h/\u00e9", "https://h/%c3%A9"),
        ("https://h/a?b=m", "https://h/a?b=%6d"),
    ],
)
def test_addresses_of_one_place_are_one(one: str, other: str) -> None:
    """However they are written."""
    assert reached_at(one) == reached_at(other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://h/a/b", "https://h/a"),
        ("https://h/%256d", "https://h/%6d"),
        ("https://h/a?b=1", "https://h/a?b=2"),
        ("s3://bucket/a//b", "s3://bucket/a/b"),
    ],
)
def test_other_addresses_are_others(one: str, other: str) -> None:
    """What is escaped twice is not what is escaped once, and a store's keys may hold two slashes."""
    assert reached_at(one) != reached_at(other)


@given(st.text(max_size=40) | st.none() | st.integers())
def test_whatever_is_said_to_be_an_address_is_compared_or_is_none(said: object) -> None:
    """Nothing that a stranger writes there ends the import."""
    for value in (said, f"https://{said}", f"{said}://h:{said}/{said}"):
        found = reached_at(value)
        assert found is None or "://" in found
