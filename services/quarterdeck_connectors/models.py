"""The models that a server offers, as OpenAI-compatible and Anthropic-compatible servers list them.

Answers in, declaration out; `models_fetch` asks a server for them.

A name that ends in a date is a pinned version of what stands before it: so both vendors name their snapshots.

Source: OpenAI API reference, "List models"; Anthropic API reference, "List Models" (`has_more`,
`last_id`); vLLM's server adds `max_model_len`, and `parent` to adapters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from quarterdeck_connectors.draft import Draft, Imported, address, line, mapping, mappings
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.files import read_document
from quarterdeck_connectors.reading import Bounds

Dialect = Literal["openai", "anthropic"]

MAX_PAGE: Final = 8 * 2**20
MAX_MODELS: Final = 10_000

_SNAPSHOT: Final = re.compile(r"(?P<model>.*[^-@])[-@](?:20[0-9]{6}|20[0-9]{2}-[0-9]{2}-[0-9]{2})(?:-v[0-9:]+)?")
_CONTEXT: Final = ("max_model_len", "max_input_tokens", "context_window", "context_length")


def add_model(draft: Draft, called: str, facts: Mapping[str, Any] | None = None, **attributes: Any) -> str:
    """Say that there is a model and return the id of what a request names by it: a version, if its name is pinned."""
    pinned = _SNAPSHOT.fullmatch(called)
    if pinned is None:
        return draft.add("model", called, facts, attributes)
    model = draft.add("model", pinned["model"], None, {key: attributes.get(key) for key in ("provider",)})
    version = draft.add("model_version", called, facts, {"pin": line(called)})
    draft.relate(version, "version_of", model)
    return version


def read_models(
    pages: Iterable[bytes], *, dialect: Dialect, provider: str, source: str = "models", endpoint: str = ""
) -> Imported:
    """Return the models of a provider, from the answers to `GET /v1/models`, all pages of them.

    Raises:
        UnreadableSource: an answer is not such a list; says where.
    """
    draft = Draft(source)
    server = draft.add("provider", provider)
    found = 0
    for number, page in enumerate(pages, 1):
        where = f"page {number} of the list of models"
        for place, item in mappings(_listed(_answer(page, where), where)):
            called = item.get("id")
            if not isinstance(called, str) or not called.strip():
                raise UnreadableSource(f"{where}: model {place} has no `id`", where=where)
            found += 1
            if found > MAX_MODELS:
                raise UnreadableSource(f"there are more than {MAX_MODELS} models", limit=MAX_MODELS)
            _model(draft, server, item, called, dialect=dialect, provider=provider, endpoint=address(endpoint))
    return draft.imported()


def _model(
    draft: Draft, server: str, item: Mapping[str, Any], called: str, *, dialect: Dialect, provider: str, endpoint: str
) -> None:
    context = next((size for key in _CONTEXT if type(size := item.get(key)) is int and 0 < size < 2**53), None)
    made = add_model(
        draft,
        called,
        {"title": line(item.get("display_name")) if dialect == "anthropic" else ""},
        provider=line(provider),
        origin=endpoint,
        context_tokens=context,
    )
    draft.relate(made, "deployed_in", server)
    parent = item.get("parent")
    if isinstance(parent, str) and parent.strip() and parent != called:
        draft.relate(made, "derived_from", add_model(draft, parent))


def _answer(page: bytes, where: str) -> Mapping[str, Any]:
    answer = read_document(page, where, form="json", bounds=Bounds(size=MAX_PAGE, values=500_000))
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        raise UnreadableSource(f"{where} is an error: {line(mapping(answer['error']).get('message'))}", where=where)
    if not isinstance(answer, dict):
        raise UnreadableSource(f"{where} is an object with `data`", where=where)
    return answer


def _listed(answer: Mapping[str, Any], where: str) -> list[Any]:
    data = answer.get("data")
    if not isinstance(data, list):
        raise UnreadableSource(f"{where} has no list `data`: is this the address of an API?", where=where)
    return data


def next_page(page: bytes, number: int) -> str | None:
    """Return after what there is more, as an Anthropic-compatible answer says; None if there is no more.

    Raises:
        UnreadableSource: it is no list, or says that there is more and not after what.
    """
    where = f"page {number} of the list of models"
    answer = _answer(page, where)
    if answer.get("has_more") is not True:
        return None
    after = answer.get("last_id")
    if not isinstance(after, str) or not after or len(after) > 500:
        raise UnreadableSource(
            f"{where} says that there is more, and not after what: `last_id` is missing", where=where
        )
    return after
