"""LiteLLM proxy's configuration becomes routes, deployments, models, providers, guardrails and hooks.

Serves C02 (filling the inventory), S0-43, S0-44, S0-45, S0-49, S0-149.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from imported_twice import after, settles

from quarterdeck_connectors.draft import Imported
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.litellm import read_litellm
from quarterdeck_domain.checks import optional_line
from quarterdeck_domain.estate.declaration import digest_of
from quarterdeck_domain.estate.events import AssetQuarantined, DriftDetected
from quarterdeck_domain.estate.plan import make_plan
from quarterdeck_domain.estate.standing import Standing

SAMPLE = (Path(__file__).resolve().parents[1] / "vectors" / "estate" / "litellm.yaml").read_bytes()


@pytest.fixture(scope="module")
def sample() -> Imported:
    """The sample, read once."""
    return read_litellm(SAMPLE)


def attributes(found: Imported, asset: str) -> dict[str, Any]:
    """Return what is said of an object, attributes by their names."""
    facts = found.declaration.assets[asset].facts
    return {name.removeprefix("attributes."): value for name, value in facts.items()}


def related(found: Imported, asset: str, relation: str) -> list[str]:
    """Return what an object is related to."""
    return [link.to for link in found.declaration.assets[asset].relations.get(relation, ())]


def test_what_many_entries_share_may_be_said_once() -> None:
    """As people write such files: an anchor, and a merge into each entry's parameters."""
    written = b"""
x: &eu {api_base: https://eu.example/v1, api_version: "2024-10-21"}
model_list:
- {model_name: a, litellm_params: {<<: *eu, model: azure/gpt-4o}}
- {model_name: b, litellm_params: {<<: *eu, model: azure/gpt-4o-mini}}
"""
    found = read_litellm(written)
    endpoints = {attributes(found, name).get("endpoint") for name in found.declaration.assets if "deployment:" in name}
    assert endpoints == {"https://eu.example/v1"}
    assert {"route:a", "route:b"} <= found.declaration.assets.keys()


def test_deployments_whose_addresses_are_kept_elsewhere_are_told_apart() -> None:
    """S0-45: the usual form of load balancing; what a variable is called says where the address is kept."""
    written = b"""
model_list:
- {model_name: gpt-4o, litellm_params: {model: azure/gpt-4o, api_base: os.environ/AZURE_API_BASE_EU}}
- {model_name: gpt-4o, litellm_params: {model: azure/gpt-4o, api_base: os.environ/AZURE_API_BASE_US}}
- {model_name: gpt-4o, litellm_params: {model: azure/gpt-4o, api_base: os.environ/AZURE_API_BASE_US}}
- {model_name: odd, litellm_params: {model: azure/gpt-4o, api_base: os.environ/ghp_0123456789abcdef0123456789abcdef0123}}
"""
    found = read_litellm(written)
    endpoints = [attributes(found, name).get("endpoint") for name in related(found, "route:gpt-4o", "uses")]
    assert endpoints == ["os.environ/AZURE_API_BASE_EU", "os.environ/AZURE_API_BASE_US"]
    assert [note for note in found.notes if "entry 3 is one deployment with one before it" in note]
    assert b"ghp_" not in msgspec.json.encode(found)


def test_routes_lead_to_deployments_models_and_providers(sample: Imported) -> None:
    """S0-45: a deployment has its endpoint, region and provider; S0-44: a pinned name is a version of a model."""
    europe, sweden = related(sample, "route:gpt-4o", "uses")[:2]
    assert attributes(sample, europe) == {"endpoint": "https://acme-weu.openai.azure.com/", "provider": "azure"}
    assert attributes(sample, sweden)["endpoint"] == "https://acme-swe.openai.azure.com/"
    assert related(sample, europe, "deployed_in") == ["provider:azure"]
    assert related(sample, europe, "uses") == ["model_version:gpt-4o-2024-08-06"]
    assert related(sample, sweden, "uses") == []
    assert related(sample, "model_version:gpt-4o-2024-08-06", "version_of") == ["model:gpt-4o"]
    (bedrock,) = attributes(sample, "route:claude")["targets"]
    assert attributes(sample, bedrock)["region"] == "eu-central-1"
    assert related(sample, bedrock, "uses") == ["model_version:anthropic.claude-sonnet-4-5-20250929-v1:0"]
    assert related(sample, "deployment:local-llama/llama-rack-7", "uses") == ["model:meta-llama/Llama-3.1-8B-Instruct"]
    (cheap,) = attributes(sample, "route:cheap")["targets"]
    assert related(sample, cheap, "deployed_in") == ["provider:openai"]
    (anything,) = attributes(sample, "route:openai/*")["targets"]
    assert attributes(sample, anything) == {"endpoint": "os.environ/OPENAI_BASE", "provider": "openai"}


def test_fallbacks_and_aliases_are_relations_between_routes(sample: Imported) -> None:
    """Both the router's and the module's settings count, each fallback with when it is used."""
    links = {link.to: link.evidence for link in sample.declaration.assets["route:gpt-4o"].relations["uses"]}
    assert links["route:claude"] == links["route:cheap"] == "fallback when it fails"
    assert links["route:local-llama"] == "fallback of every route"
    assert attributes(sample, "route:gpt-4o")["fallbacks"] == ["route:claude", "route:cheap", "route:local-llama"]
    assert attributes(sample, "route:gpt-4o")["strategy"] == "latency-based-routing"
    assert "fallback when the context is too long" in {
        link.evidence for link in sample.declaration.assets["route:cheap"].relations["uses"]
    }
    assert related(sample, "route:gpt-4", "uses")[0] == "route:gpt-4o"
    assert related(sample, "route:hidden-gpt", "uses")[0] == "route:gpt-4o"
    assert "route:lost" not in sample.declaration.assets


def test_a_router_that_chooses_leads_to_other_routes() -> None:
    """A model `auto_router/…` is no provider's: it uses the routes it may choose; one that is not there is noted."""
    found = read_litellm(
        b"model_list:\n"
        b"- {model_name: smart, litellm_params: {model: auto_router/adaptive_router, adaptive_router_config: "
        b"{available_models: [fast, gone]}, auto_router_default_model: fast}}\n"
        b"- {model_name: fast, litellm_params: {model: openai/gpt-4o-mini}}\n"
    )
    assert related(found, "route:smart", "uses") == ["route:fast"]
    assert attributes(found, "route:smart")["targets"] == ["route:fast"]
    assert "provider:auto_router" not in found.declaration.assets
    assert any("'gone'" in note for note in found.notes)
    settles(found)


@pytest.mark.parametrize("info", ["", "    model_info: {id: d1}\n"])
def test_another_model_behind_a_route_is_drift_of_its_model(info: str) -> None:
    """Whatever its deployments are called: noted or kept from being used as any other drift; more of the same is none."""

    def route(*models: str) -> Imported:
        entries = "".join(f"  - model_name: chat\n    litellm_params: {{model: {model}}}\n{info}" for model in models)
        alias = "router_settings: {model_group_alias: {best: chat}}\n"
        return read_litellm(f"model_list:\n{entries}{alias}".encode())

    def planned(before: Imported, after: Imported) -> list[Any]:
        stands = Standing(
            facts={name: {**entry.first, **entry.facts} for name, entry in before.declaration.assets.items()},
            relations={},
            offered_by=dict.fromkeys(before.declaration.assets, before.declaration.source),
        )
        wanted = msgspec.structs.replace(after.declaration, on_drift="quarantine")
        return [
            event
            for event in make_plan(wanted, stands, "run_1").events
            if isinstance(event, (DriftDetected, AssetQuarantined))
        ]

    one = route("openai/gpt-4o")
    assert planned(one, one) == planned(one, route("openai/gpt-4o", "openai/gpt-4o")) == []
    drift, shut = planned(one, route("openai/gpt-3.5-turbo"))
    assert (drift.asset, drift.input, drift.quarantined) == ("route:chat", "model", True)
    assert drift.field == "model openai/gpt-3.5-turbo, model openai/gpt-4o"
    assert shut.asset == "route:chat"
    assert [event.asset for event in planned(one, route("openai/gpt-4o", "openai/o3"))] == ["route:chat"] * 2


def test_two_proxies_stay_apart() -> None:
    """What is called the same in two proxies is two things, below each proxy's name; models and providers are shared."""
    east, west = (set(read_litellm(SAMPLE, proxy=name).declaration.assets) for name in ("east", "west"))
    assert {name.partition(":")[0] for name in east & west} == {
        "model",
        "model_version",
        "monitoring_hook",
        "mcp_server",
        "provider",
    }
    assert "route:east/gpt-4o" in east
    assert "guardrail:west/pii-mask" in west
    settles(read_litellm(SAMPLE, proxy="east"))


def test_guardrails_and_hooks_govern_what_passes_through(sample: Imported) -> None:
    """A guardrail that is always on guards every route (LiteLLM's `yes` is YAML 1.1); one that is named, its deployment."""
    assert attributes(sample, "guardrail:pii-mask")["stage"] == "input"
    assert "stage" not in attributes(sample, "guardrail:toxicity")
    routes = [name for name in sample.declaration.assets if name.startswith("route:")]
    assert len(routes) == 7
    for route in routes:
        assert related(sample, route, "guarded_by") == ["guardrail:toxicity"]
        assert related(sample, route, "monitored_by") == ["monitoring_hook:langfuse", "monitoring_hook:sentry"]
    (bedrock,) = attributes(sample, "route:claude")["targets"]
    assert related(sample, bedrock, "guarded_by") == ["guardrail:pii-mask"]


def test_mcp_servers_are_known_by_address_and_transport(sample: Imported) -> None:
    """S0-49: endpoint and transport; of a program on the proxy's machine nothing but that it is there."""
    assert attributes(sample, "mcp_server:github") == {
        "endpoint": "https://api.githubcopilot.com/mcp/",
        "transport": "streamable_http",
    }
    assert attributes(sample, "mcp_server:files") == {"transport": "stdio"}


def test_no_secret_is_taken_over(sample: Imported) -> None:
    """Whatever is planted in keys, headers, addresses, arguments and credentials: none of it is in the declaration, the
    notes, nor in a digest that could be tried out."""
    text = repr(sample)
    for planted in ("planted", "hunter2", "API_KEY", "sk-", "postgresql"):
        assert planted not in text
    changed = SAMPLE.replace(b"planted-", b"another-").replace(b"hunter2", b"hunter3")
    assert digest_of(read_litellm(changed).declaration) == digest_of(sample.declaration)


def test_what_was_left_out_is_said(sample: Imported) -> None:
    """Each thing that could not be taken over is a note that says what and why."""
    for said in (
        "model_list entry 2: which model runs in this Azure",
        "'lost' leads to nothing",
        "'toxicity' works on",
    ):
        assert any(said in note for note in sample.notes), sample.notes


def test_a_second_import_changes_nothing(sample: Imported) -> None:
    """S0-149: importing is idempotent, and so is importing a file of which the lines were moved about."""
    standing = settles(sample)
    document = yaml.safe_load(SAMPLE)
    document["model_list"] = [entry for entry in document["model_list"] if entry["model_name"] != "gpt-4o"] + [
        entry for entry in document["model_list"] if entry["model_name"] == "gpt-4o"
    ]
    moved = read_litellm(yaml.safe_dump(document).encode())
    assert make_plan(moved.declaration, standing, "run_2").steps == ()


def test_what_is_gone_from_the_file_is_unrelated(sample: Imported) -> None:
    """A deployment that the file no longer has is no longer used by its route; if nothing says that another has its model,
    that is drift of the route. Nothing else changes."""
    standing = settles(sample)
    document = yaml.safe_load(SAMPLE)
    del document["model_list"][1]
    plan = make_plan(read_litellm(yaml.safe_dump(document).encode()).declaration, standing, "run_2")
    assert [(step.action, step.subject.split("/")[0]) for step in plan.steps] == [
        ("change", "route:gpt-4o"),
        ("drift", "route:gpt-4o"),
        ("unrelate", "route:gpt-4o uses deployment:gpt-4o"),
    ]
    assert (
        make_plan(read_litellm(yaml.safe_dump(document).encode()).declaration, after(plan, standing), "run_3").steps
        == ()
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"- a", "mapping with `model_list`"),
        (b"model_list: gpt-4o", "`model_list` is a list"),
        (b"model_list: [{model_name: x}]", "entry 1 has `model_name` and `litellm_params.model`"),
        (b"model_list: [{model_name: *default}]", "line 1, column 27: *default stands for nothing"),
        (b"model_list:\n- model_name: *\n", "line 2"),
        (
            b"model_list: [{model_name: a b, litellm_params: {model: x/y}}, {model_name: a-b, litellm_params: {model: x/y}}]",
            "would both be called",
        ),
    ],
)
def test_what_is_no_such_file_is_refused(text: bytes, why: str) -> None:
    """The error says where, and what would be right."""
    with pytest.raises(UnreadableSource) as refused:
        read_litellm(text)
    assert why in refused.value.message


hostile = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\u202e\u200b\x07/*: "), max_size=12)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | hostile,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile, inner, max_size=3),
    max_leaves=6,
)
named = st.sampled_from(["a", "b", "*", "ü", "a/b", "openai/*", "azure/x"]) | hostile.filter(str.strip)
params = st.fixed_dictionaries(
    {"model": named}, optional=dict.fromkeys(("api_base", "guardrails", "aws_region_name"), anything | named)
)
entries = st.fixed_dictionaries(
    {"model_name": named, "litellm_params": params},
    optional={"model_info": st.fixed_dictionaries({}, optional={"id": anything, "base_model": anything}) | anything},
)
documents = st.fixed_dictionaries(
    {"model_list": st.lists(entries, max_size=4) | st.lists(entries | anything, max_size=2)},
    optional={
        "router_settings": st.fixed_dictionaries(
            {}, optional={"model_group_alias": anything, "fallbacks": anything, "routing_strategy": anything}
        ),
        "litellm_settings": st.fixed_dictionaries(
            {}, optional={"default_fallbacks": anything, "callbacks": anything, "fallbacks": anything}
        ),
        "guardrails": anything
        | st.lists(st.fixed_dictionaries({"guardrail_name": anything, "litellm_params": anything})),
        "mcp_servers": anything,
    },
)


@given(documents)
def test_hostile_configurations_are_read_or_refused(document: Any) -> None:
    """Whatever stands where something else belongs, and whatever it is called: a declaration that settles, or an error."""
    data = yaml.safe_dump(document, allow_unicode=False).encode()
    try:
        found = read_litellm(data)
    except UnreadableSource as refused:
        optional_line(refused.message, "message", limit=2_000)
    else:
        settles(found)
        for note in found.notes:
            optional_line(note, "note", limit=2_000)
