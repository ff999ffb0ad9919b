"""Lists of models, as OpenAI-compatible and Anthropic-compatible servers give them, read over real HTTP.

Serves C02 (filling the inventory), S0-43, S0-44, S0-149.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imported_twice import settles
from scripted_server import DROP, SILENCE, Reply, Scripted, scripted

from quarterdeck_connectors import models, models_fetch
from quarterdeck_connectors.errors import SourceAway, UnreadableSource
from quarterdeck_connectors.models import read_models
from quarterdeck_connectors.models_fetch import fetch_models
from quarterdeck_domain.checks import optional_line

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "estate"
OPENAI = (VECTORS / "models-openai.json").read_bytes()
VLLM = (VECTORS / "models-vllm.json").read_bytes()
ANTHROPIC = tuple((VECTORS / f"models-anthropic-{page}.json").read_bytes() for page in (1, 2))


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    """A server that answers as it is told."""
    async with scripted() as made:
        yield made


def test_a_pinned_name_is_a_version_of_its_model() -> None:
    """S0-44: two snapshots are two versions of one model; a name without a date is the model."""
    found = read_models([OPENAI], dialect="openai", provider="openai", endpoint="https://api.openai.com/v1?key=s3cret")
    assets = found.declaration.assets
    assert sorted(assets) == [
        "model:gpt-4o",
        "model:text-embedding-3-small",
        "model_version:gpt-4o-2024-08-06",
        "model_version:gpt-4o-2024-11-20",
        "provider:openai",
    ]
    assert assets["model_version:gpt-4o-2024-08-06"].facts["attributes.pin"] == "gpt-4o-2024-08-06"
    assert [link.to for link in assets["model_version:gpt-4o-2024-08-06"].relations["version_of"]] == ["model:gpt-4o"]
    assert assets["model:gpt-4o"].facts["attributes.provider"] == "openai"
    assert assets["model:gpt-4o"].facts["attributes.origin"] == "https://api.openai.com/v1"
    assert [link.to for link in assets["model:gpt-4o"].relations["deployed_in"]] == ["provider:openai"]
    settles(found)


def test_a_server_of_ones_own_says_more() -> None:
    """S0-43: vLLM says how long a context may be, and of which model an adapter is derived."""
    found = read_models([VLLM], dialect="openai", provider="rack 7")
    assets = found.declaration.assets
    assert assets["model:meta-llama/Llama-3.1-8B-Instruct"].facts["attributes.context_tokens"] == 131072
    assert [link.to for link in assets["model:support-lora"].relations["derived_from"]] == [
        "model:meta-llama/Llama-3.1-8B-Instruct"
    ]
    settles(found)


def test_all_pages_are_one_list() -> None:
    """S0-149: Anthropic's list in pages; a second import changes nothing."""
    found = read_models(ANTHROPIC, dialect="anthropic", provider="anthropic")
    versions = [name for name in found.declaration.assets if name.startswith("model_version:")]
    assert len(versions) == 3
    assert found.declaration.assets["model_version:claude-sonnet-4-5-20250929"].facts["title"] == "Claude Sonnet 4.5"
    assert "model:claude-3-5-haiku" in found.declaration.assets
    settles(found)


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (b"<html>", "page 1 of the list of models, line 1, column 1: this is not JSON"),
        (b"[]", "an object with `data`"),
        (b'{"error": {"message": "no such\\u202e key"}}', "is an error: no such\\u{202e} key"),
        (b'{"object": "list"}', "no list `data`"),
        (b'{"data": [{"object": "model"}]}', "model 1 has no `id`"),
    ],
)
def test_what_is_no_list_is_refused(page: bytes, why: str) -> None:
    """The error says where, and what would be right."""
    with pytest.raises(UnreadableSource) as refused:
        read_models([page], dialect="openai", provider="x")
    assert why in refused.value.message


def test_too_many_models_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list without an end does not become an estate without one."""
    monkeypatch.setattr(models, "MAX_MODELS", 3)
    with pytest.raises(UnreadableSource, match="more than 3 models"):
        read_models([OPENAI], dialect="openai", provider="x")


hostile = st.text(st.characters() | st.sampled_from("\u202e\u200b\x07\x00-@"), max_size=12)
anything = st.none() | st.integers() | hostile | st.lists(hostile, max_size=2)
entries = st.fixed_dictionaries(
    {"id": hostile.filter(str.strip)},
    optional=dict.fromkeys(("display_name", "max_model_len", "max_input_tokens", "parent", "root"), anything),
)


@given(st.lists(entries, max_size=4), st.sampled_from(["openai", "anthropic"]), hostile.filter(str.strip))
def test_hostile_lists_are_read_or_refused(data: Any, dialect: models.Dialect, provider: str) -> None:
    """Whatever models are called: a declaration that settles, or an error of ours."""
    try:
        found = read_models([json.dumps({"data": data}).encode()], dialect=dialect, provider=provider)
    except UnreadableSource as refused:
        optional_line(refused.message, "message", limit=2_000)
    else:
        settles(found)


async def test_a_list_is_fetched_with_its_key(server: Scripted) -> None:
    """OpenAI-compatible: one page, the key as a bearer token."""
    server.on("GET", "/v1/models", Reply(body=OPENAI))
    assert await fetch_models(f"{server.url}/v1", dialect="openai", key="s3cret", internal=True) == (OPENAI,)
    (seen,) = server.seen
    assert seen.headers["authorization"] == "Bearer s3cret"
    assert seen.headers["host"] == server.url.removeprefix("http://")


async def test_pages_are_followed_to_the_last(server: Scripted) -> None:
    """Anthropic-compatible: `after_id` is the `last_id` of the page before, until there is no more."""
    server.on("GET", "/v1/models?limit=1000", Reply(body=ANTHROPIC[0]))
    server.on("GET", "/v1/models?limit=1000&after_id=claude-opus-4-1-20250805", Reply(body=ANTHROPIC[1]))
    assert await fetch_models(f"{server.url}/v1/", dialect="anthropic", key="s3cret", internal=True) == ANTHROPIC
    assert {seen.headers["x-api-key"] for seen in server.seen} == {"s3cret"}
    assert {seen.headers["anthropic-version"] for seen in server.seen} == {"2023-06-01"}


async def test_pages_without_an_end_are_refused(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says the same page again, or always another one, is given up; so is one that does not say after
    what there is more."""
    again = Reply(body={"data": [], "has_more": True, "last_id": "a"})
    server.on("GET", "/v1/models?limit=1000", again)
    server.on("GET", "/v1/models?limit=1000&after_id=a", again)
    with pytest.raises(UnreadableSource, match="does not end after 2 pages"):
        await fetch_models(f"{server.url}/v1", dialect="anthropic", internal=True)
    server.on("GET", "/v1/models?limit=1000&after_id=a", Reply(body={"data": [], "has_more": True, "last_id": "b&c=d"}))
    server.on(
        "GET", "/v1/models?limit=1000&after_id=b%26c%3Dd", Reply(body={"data": [], "has_more": True, "last_id": "e"})
    )
    monkeypatch.setattr(models_fetch, "MAX_PAGES", 3)
    with pytest.raises(UnreadableSource, match="does not end after 3 pages"):
        await fetch_models(f"{server.url}/v1", dialect="anthropic", internal=True)
    server.on("GET", "/v1/models?limit=1000", Reply(body={"data": [], "has_more": True, "last_id": None}))
    with pytest.raises(UnreadableSource, match="`last_id` is missing"):
        await fetch_models(f"{server.url}/v1", dialect="anthropic", internal=True)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(302, headers={"Location": "http://169.254.169.254/latest/meta-data"}), "leads elsewhere"),
        (Reply(401, body={"error": {"message": "no key"}}), "answered 401|status 401"),
        (Reply(200, body=gzip.compress(b"x" * 1000), headers={"Content-Encoding": "gzip"}), "compressed"),
        (DROP, "does not answer"),
        (Reply(200, body=b" " * 3_000), "more than 2000 bytes"),
    ],
)
async def test_other_answers_are_typed_errors(
    server: Scripted, reply: Reply, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirect to the metadata service, an error, a compressed bomb, a dropped connection, too much."""
    monkeypatch.setattr(models_fetch, "MAX_BYTES", 2_000)
    server.on("GET", "/v1/models", reply)
    with pytest.raises(SourceAway if reply is DROP else UnreadableSource, match=why):
        await fetch_models(f"{server.url}/v1", dialect="openai", internal=True)
    assert len(server.seen) == 1


async def test_a_server_that_is_silent_is_given_up(server: Scripted) -> None:
    """The whole reading has an end, whatever the server does."""
    server.on("GET", "/v1/models", SILENCE)
    with pytest.raises(SourceAway):
        await fetch_models(f"{server.url}/v1", dialect="openai", internal=True, seconds=0.05)


async def test_internal_addresses_are_not_read_for_a_request(server: Scripted) -> None:
    """Without the word of somebody on their own machine, an address the internet does not lead to is not connected to."""
    for host in ("127.0.0.1", "localhost", "[::1]", "0", "[::ffff:127.0.0.1]", "2130706433"):
        url = f"http://{host}:{server.url.rpartition(':')[2]}/v1"
        with pytest.raises((UnreadableSource, SourceAway)):
            await fetch_models(url, dialect="openai")
    assert server.seen == []
