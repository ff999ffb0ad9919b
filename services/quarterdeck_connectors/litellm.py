"""LiteLLM proxy's configuration file: routes, the deployments behind them, models, providers, guardrails, hooks.

Only what is named here is taken over: keys, tokens, headers and anything unknown are never looked at, and an address
loses user, password and query. `os.environ/NAME` is a reference to what is not in the file: an address that is kept so
is known by the variable's name.

A deployment's name is made of what it is (model, address, region), not of its place in the file: moving lines about
changes nothing. The models behind a route are pinned as they are first seen: another one there is drift of its model.

Source: docs.litellm.ai, "Config.yaml", "Load Balancing", "Fallbacks", "Guardrails - Quick Start", "MCP" (2026-10).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from quarterdeck_connectors.digests import digest_of_json
from quarterdeck_connectors.draft import Draft, Imported, address, line, lines, mapping, mappings
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.files import read_document
from quarterdeck_connectors.models import add_model
from quarterdeck_domain.estate.naming import name_of

_IDENTIFYING: Final = (
    "model",
    "api_base",
    "base_url",
    "api_version",
    "aws_region_name",
    "vertex_location",
    "region_name",
)
_ROUTER: Final = "auto_router/"
_KEPT: Final = re.compile(r"os\.environ/[A-Za-z_][A-Za-z0-9_]{0,99}")
"""A value that is kept in a variable. What a variable is called is no secret, what it holds may be."""
_GUESSES: Final = (
    (re.compile(r"(gpt-|chatgpt-|o[1-9](-|$)|text-embedding-|dall-e|whisper|tts-)"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
)
"""Whom LiteLLM means by a name without a provider; for what is not here, the file should say it."""
_STAGES: Final[Mapping[str, str]] = {
    "pre_call": "input",
    "during_call": "input",
    "post_call": "output",
    "pre_mcp_call": "tool_call",
    "during_mcp_call": "tool_call",
    "post_mcp_call": "tool_call",
}
_TRANSPORTS: Final[Mapping[str, str]] = {"http": "streamable_http", "sse": "sse", "stdio": "stdio"}
_FALLBACKS: Final[Mapping[str, str]] = {
    "fallbacks": "fallback when it fails",
    "context_window_fallbacks": "fallback when the context is too long",
    "content_policy_fallbacks": "fallback when the content is refused",
}
_CALLBACKS: Final = ("callbacks", "success_callback", "failure_callback")
_LONGEST: Final = 100
_MOST: Final = 10
_YES: Final = (True, "true", "True", "yes", "Yes", "on", "On")
"""LiteLLM reads YAML 1.1, where all of these say yes."""


def read_litellm(
    data: bytes, *, source: str = "litellm", name: str = "the LiteLLM configuration", proxy: str = ""
) -> Imported:
    """Return what a configuration file of the LiteLLM proxy declares. `proxy` tells one from another where there are
    several: routes, deployments and guardrails are named below it.

    Raises:
        UnreadableSource: it is not YAML as we read it (see `files`), or not such a file; says where.
    """
    document = read_document(data, name)
    if not isinstance(document, dict):
        raise UnreadableSource(f"{line(name)} is a mapping with `model_list`", name=name)
    if not isinstance(document.get("model_list", []), list | None):
        raise UnreadableSource(f"{line(name)}: `model_list` is a list of models", name=name)
    return _Reading(document, Draft(source), f"{proxy}/" if proxy else "").imported()


class _Reading:
    """One configuration file on its way into a draft."""

    def __init__(self, document: Mapping[str, Any], draft: Draft, below: str) -> None:
        self._below = below
        self._document = document
        self._draft = draft
        self._router = mapping(document.get("router_settings"))
        self._settings = mapping(document.get("litellm_settings"))
        self._routes: dict[str, str] = {}
        self._targets: dict[str, list[str]] = {}
        self._choices: dict[str, list[str]] = {}
        self._behind: dict[str, set[str]] = {}
        """The models and routes that each route sends calls to, as the file names them."""
        self._guardrails: dict[str, str] = {}
        self._fallbacks: dict[str, dict[str, str]] = {}
        """Of each route, by name, the routes that stand in for it, and when."""

    def imported(self) -> Imported:
        """Return all that the file declares."""
        always = self._read_guardrails()
        for place, entry in mappings(self._document.get("model_list")):
            self._read_entry(f"model_list entry {place}", entry)
        self._read_choices()
        self._read_aliases()
        self._read_fallbacks()
        hooks = self._read_hooks()
        self._read_mcp_servers()
        for called, route in self._routes.items():
            self._finish_route(called, route, always, hooks)
        if self._document.get("include"):
            self._draft.note("`include` names further files: import them as well")
        return self._draft.imported()

    # --- models -------------------------------------------------------------------------------------------------------

    def _read_entry(self, where: str, entry: Mapping[str, Any]) -> None:
        params, info = mapping(entry.get("litellm_params")), mapping(entry.get("model_info"))
        called, model = entry.get("model_name"), params.get("model")
        if not isinstance(called, str) or not called.strip() or not isinstance(model, str) or not model.strip():
            raise UnreadableSource(f"{where} has `model_name` and `litellm_params.model`, both text", where=where)
        if model.startswith(_ROUTER):
            self._read_router(called, params)
            return
        provider, plain = _provider(model, params)
        if provider is None:
            self._draft.note(f"{where}: whose model {model!r} is, is not said: write it like openai/{model}")
        endpoint = _place(params.get("api_base") or params.get("base_url"))
        deployment = self._deployment(called, params, info, provider, endpoint)
        self._route(called)
        if deployment not in self._targets[called]:
            self._targets[called].append(deployment)
        else:
            self._draft.note(f"{where} is one deployment with one before it: model_info.id would tell them apart")
        self._draft.lists(deployment, "uses", "deployed_in")
        if provider is not None:
            self._draft.relate(deployment, "deployed_in", self._draft.add("provider", provider))
        base = info.get("base_model")
        self._behind.setdefault(called, set()).add(_behind(provider, plain, base))
        self._read_model(where, deployment, provider, base if isinstance(base, str) and base.strip() else plain, base)
        for guard in lines(params.get("guardrails")):
            if guard in self._guardrails:
                self._draft.relate(deployment, "guarded_by", self._guardrails[guard])
            else:
                self._draft.note(f"{where} names the guardrail {guard!r}, which the file does not have")

    def _read_router(self, called: str, params: Mapping[str, Any]) -> None:
        """A model that is none: it chooses among other routes of the file."""
        self._route(called)
        config = mapping(params.get("adaptive_router_config"))
        available = config.get("available_models")
        listed = available if isinstance(available, list) else []
        self._choices[called] = lines([*listed, params.get("auto_router_default_model")])

    def _deployment(
        self, called: str, params: Mapping[str, Any], info: Mapping[str, Any], provider: str | None, endpoint: str
    ) -> str:
        given = info.get("id")
        if isinstance(given, str) and given.strip():
            name = f"{called}/{given}"
        else:
            known = {key: value for key in _IDENTIFYING if isinstance(value := params.get(key), str)}
            known |= {key: _place(known[key]) for key in ("api_base", "base_url") if key in known}
            name = f"{called}/{digest_of_json(known).removeprefix('sha256:')[:8]}"
        region = next((line(params[key]) for key in _IDENTIFYING[4:] if _is_said(params.get(key))), None)
        return self._draft.add(
            "deployment",
            self._below + name,
            attributes={"endpoint": endpoint, "region": region, "provider": line(provider)},
        )

    def _read_model(self, where: str, deployment: str, provider: str | None, model: str, base: object) -> None:
        if "*" in model:
            return
        if provider == "azure" and not base:
            self._draft.note(
                f"{where}: which model runs in this Azure deployment is not said: add model_info.base_model"
            )
            return
        plain = _provider(model, {})[1] if base else model
        self._draft.relate(deployment, "uses", add_model(self._draft, plain))

    def _route(self, called: str) -> str:
        if called not in self._routes:
            self._routes[called] = self._draft.add("route", self._below + called)
            self._targets[called] = []
        return self._routes[called]

    # --- where calls go -----------------------------------------------------------------------------------------------

    def _read_choices(self) -> None:
        for called, others in self._choices.items():
            for other in others:
                if other in self._routes and other != called:
                    self._targets[called].append(self._routes[other])
                    self._behind.setdefault(called, set()).add(f"route {other}")
                elif other != called:
                    self._draft.note(f"{called!r} chooses {other!r}, which is not in model_list")
            if not others:
                self._draft.note(f"among which models {called!r} chooses, is not in the file")

    def _read_aliases(self) -> None:
        for alias, target in mapping(self._router.get("model_group_alias")).items():
            meant = target.get("model") if isinstance(target, dict) else target
            if not isinstance(meant, str) or meant not in self._routes:
                self._draft.note(f"model_group_alias {alias!r} leads to nothing in model_list")
            elif alias in self._routes:
                self._draft.note(f"model_group_alias {alias!r} is also in model_list, which holds")
            elif alias.strip():
                self._route(alias)
                self._targets[alias].append(self._routes[meant])
                self._behind.setdefault(alias, set()).add(f"route {meant}")

    def _read_fallbacks(self) -> None:
        for settings in (self._router, self._settings):
            for kind, evidence in _FALLBACKS.items():
                for called, others in _pairs(settings.get(kind)):
                    for known in list(self._routes) if called == "*" else [called]:
                        self._fall_back(known, others, evidence)
            for known in list(self._routes):
                self._fall_back(known, settings.get("default_fallbacks"), "fallback of every route")

    def _fall_back(self, called: str, others: object, evidence: str) -> None:
        if called not in self._routes:
            self._draft.note(f"a fallback is given for {called!r}, which is not in model_list")
            return
        for other in others if isinstance(others, list) else ():
            meant = other.get("model") if isinstance(other, dict) else other
            if not isinstance(meant, str) or meant not in self._routes:
                self._draft.note(f"{called!r} falls back to {meant!r}, which is not in model_list")
            elif meant != called:
                self._fallbacks.setdefault(called, {}).setdefault(meant, evidence)

    def _finish_route(self, called: str, route: str, always: Iterable[str], hooks: Iterable[str]) -> None:
        self._draft.lists(route, "uses")
        for target in self._targets[called]:
            self._draft.relate(route, "uses", target)
        for other, evidence in self._fallbacks.get(called, {}).items():
            self._draft.relate(route, "uses", self._routes[other], evidence=evidence)
        strategy = line(self._router.get("routing_strategy")) or "simple-shuffle"
        digest, parts = _pin(self._behind.get(called, set()))
        others = [self._routes[other] for other in self._fallbacks.get(called, {})]
        self._draft.add(
            "route",
            self._below + called,
            attributes={
                "targets": self._targets[called][:200],
                "fallbacks": others[:200],
                "strategy": strategy,
                "digest": digest,
                "parts": parts,
            },
            first={"pinned": digest, "pinned_parts": parts},
        )
        for guard in always:
            self._draft.relate(route, "guarded_by", guard)
        for hook in hooks:
            self._draft.relate(route, "monitored_by", hook)

    # --- what governs it ----------------------------------------------------------------------------------------------

    def _read_guardrails(self) -> list[str]:
        """Return the guardrails that every call passes, and remember all."""
        always = []
        for place, entry in mappings(self._document.get("guardrails")):
            called, params = entry.get("guardrail_name"), mapping(entry.get("litellm_params"))
            if not isinstance(called, str) or not called.strip():
                self._draft.note(f"guardrail {place} has no `guardrail_name`")
                continue
            stages = {_STAGES[mode] for mode in _modes(params.get("mode")) if mode in _STAGES}
            if len(stages) > 1:
                self._draft.note(f"guardrail {called!r} works on {' and '.join(sorted(stages))}: no one stage is set")
            asset = self._draft.add(
                "guardrail",
                self._below + called,
                {"description": f"{line(params.get('guardrail'), limit=80)} guardrail of LiteLLM".strip()},
                {"stage": stages.pop() if len(stages) == 1 else None},
            )
            self._guardrails[line(called)] = asset
            if params.get("default_on") in _YES:
                always.append(asset)
        return always

    def _read_hooks(self) -> list[str]:
        called: dict[str, None] = {}
        for setting in _CALLBACKS:
            said = self._settings.get(setting)
            called |= dict.fromkeys(lines([said] if isinstance(said, str) else said))
        return [self._draft.add("monitoring_hook", name, attributes={"signal": "model calls"}) for name in called]

    def _read_mcp_servers(self) -> None:
        for called, entry in mapping(self._document.get("mcp_servers")).items():
            said = mapping(entry)
            if called.strip():
                transport = said.get("transport", "sse" if said.get("url") else None)
                self._draft.add(
                    "mcp_server",
                    called,
                    {"description": "" if transport == "stdio" else line(said.get("description"))},
                    {
                        "endpoint": _place(said.get("url")),
                        "transport": _TRANSPORTS.get(transport) if isinstance(transport, str) else None,
                    },
                )


def _place(value: object) -> str:
    """Return an address, or the reference to where one is kept; empty if it is neither."""
    return line(value) if isinstance(value, str) and _KEPT.fullmatch(value) else address(value)


def _behind(provider: str | None, plain: str, base: object) -> str:
    """Return which model an entry leads to. An Azure deployment is named at will, and may say the model besides."""
    said = f"{provider}/{plain}" if provider else plain
    if not isinstance(base, str) or not base.strip():
        return f"model {said}"
    return f"model {base}" if provider == "azure" else f"model {said} ({base})"


def _pin(behind: Iterable[str]) -> tuple[str | None, dict[str, str] | None]:
    """Return the digest of what a route sends calls to, and of each part of that: a model that is swapped is drift."""
    named = sorted(behind)
    if not named:
        return None, None
    parts = {name_of(line(each))[:_LONGEST].replace("-", " ", 1): digest_of_json(each) for each in named}
    return digest_of_json(named), parts if len(named) == len(parts) <= _MOST else {"models": digest_of_json(named)}


def _is_said(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not value.startswith("os.environ/")


def _provider(model: str, params: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return whose model it is, as LiteLLM names providers, and the model's own name."""
    prefix, slash, rest = model.partition("/")
    given = params.get("custom_llm_provider")
    if isinstance(given, str) and _is_said(given):
        return given, rest if slash and prefix == given and rest else model
    if slash and prefix.strip() and rest.strip():
        return prefix, rest
    return next((provider for pattern, provider in _GUESSES if pattern.match(model)), None), model


def _pairs(said: object) -> Iterator[tuple[str, Any]]:
    """Yield what a list of mappings, or one mapping, says: both are found in such files."""
    for item in said if isinstance(said, list) else [said]:
        yield from mapping(item).items()


def _modes(said: object) -> list[str]:
    if isinstance(said, dict):
        return [mode for value in (said.get("default"), *mapping(said.get("tags")).values()) for mode in _modes(value)]
    return [said] if isinstance(said, str) else lines(said)
