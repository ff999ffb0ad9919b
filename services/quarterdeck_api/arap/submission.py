"""An access request from JSON to values. Pure.

Members that the profile does not know are ignored, wherever they are; those it knows are checked.

Source: ARAP draft, 'Access Request Submission', 'Callback Completion'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from quarterdeck_api.arap.errors import InvalidDenialBinding
from quarterdeck_api.authzen.subjects import Actor, act_chain, optional_text
from quarterdeck_api.authzen.wire import bounded_object, bounded_text, parse_stamp
from quarterdeck_domain.approvals.bundles import MAX_ITEMS
from quarterdeck_domain.approvals.events import Callback
from quarterdeck_domain.approvals.slices_request import MAX_ENDPOINT, MAX_OPAQUE
from quarterdeck_domain.checks import MAX_COMMENT
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.intent import Intent
from quarterdeck_policy import jcs
from quarterdeck_policy.authzen import intent_of

MAX_EVALUATION_ID: Final = 100
JUSTIFICATION: Final = "business_justification"
EVENTS: Final = ("approved", "denied", "expired", "cancelled", "failed", "partial")


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """The denial that a request names. It has an evaluation id, a token, or both."""

    expires_at: datetime
    evaluation_id: str | None = None
    binding_token: str | None = None


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One action that is asked for."""

    intent: Intent
    denial: Denial
    requested_until: datetime | None = None
    emergency: bool = False


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A whole request. `bundled`: it came with `items`, and is answered with them."""

    items: tuple[Item, ...]
    bundled: bool
    justification: str | None = None
    client: str | None = None
    """`client` as RFC 8785 text."""
    actors: tuple[Actor, ...] = ()
    """The delegation chain that `client.actor` claims, from the immediate actor outward."""
    callback: Callback | None = None
    callback_state: str | None = None


def parse_submission(body: Mapping[str, Any]) -> Submission:
    """Return the values of a submission.

    Raises:
        InvalidInput: a member is missing or malformed.
        InvalidDenialBinding: a denial is missing or malformed.
    """
    bundled = "items" in body
    context = bounded_object(body.get("context", {}), "context")
    client = None if "client" not in body else bounded_object(body["client"], "client")
    return Submission(
        items=tuple(_items(body)) if bundled else (_item(body, body, "", "denial"),),
        bundled=bundled,
        justification=_justification(context),
        client=None if client is None else _client_text(client),
        actors=() if client is None else tuple(_actors(client)),
        callback=_callback(body),
        callback_state=_callback_state(body),
    )


def _items(body: Mapping[str, Any]) -> Iterator[Item]:
    items = body["items"]
    for name in ("resource", "action"):
        if name in body:
            raise InvalidInput(f"{name} must be omitted where there are items", field=name)
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_ITEMS:
        raise InvalidInput(f"items must be an array of 1 to {MAX_ITEMS} objects", field="items", limit=MAX_ITEMS)
    for place, value in enumerate(items):
        where = f"items[{place}]"
        item = bounded_object(value, where)
        whole = {name: body[name] for name in ("subject", "context", "denial") if name in body} | item
        access = {
            **bounded_object(body.get("requested_access", {}), "requested_access"),
            **bounded_object(item.get("requested_access", {}), f"{where}.requested_access"),
        }
        yield _item(whole | {"requested_access": access}, body, f"{where}.", f"{where}.denial")


def _item(value: Mapping[str, Any], body: Mapping[str, Any], where: str, denial: str) -> Item:
    # Subject and context are of the whole request: an item cannot have its own.
    intent = intent_of(
        {name: value[name] for name in ("action", "resource") if name in value}
        | {name: body[name] for name in ("subject", "context") if name in body},
        where,
    )
    access = bounded_object(value.get("requested_access", {}), "requested_access")
    until = access.get("requested_until")
    emergency = access.get("emergency", False)
    if not isinstance(emergency, bool):
        raise InvalidInput("requested_access.emergency must be true or false", field="requested_access.emergency")
    return Item(
        intent=intent,
        denial=_denial(value, denial),
        requested_until=None if until is None else parse_stamp(until, "requested_access.requested_until"),
        emergency=emergency,
    )


def _denial(value: Mapping[str, Any], where: str) -> Denial:
    """Return what binds the request. A request without it, or with it malformed, cannot be bound."""
    try:
        if "denial" not in value:
            raise InvalidInput(f"{where} is missing", field=where)
        denial = bounded_object(value["denial"], where)
        found = Denial(
            expires_at=parse_stamp(denial.get("expires_at"), f"{where}.expires_at"),
            evaluation_id=optional_text(denial, "evaluation_id", where),
            binding_token=optional_text(denial, "binding_token", where),
        )
        if found.evaluation_id is None and found.binding_token is None:
            raise InvalidInput(f"{where} has neither evaluation_id nor binding_token", field=where)
        if found.evaluation_id is not None and not 1 <= len(found.evaluation_id) <= MAX_EVALUATION_ID:
            raise InvalidInput(f"{where}.evaluation_id is none of ours", field=where)
    except InvalidInput as error:
        raise InvalidDenialBinding(error.message, **error.details) from None
    return found


def _justification(context: Mapping[str, Any]) -> str | None:
    if context.get(JUSTIFICATION) is None:
        return None
    return bounded_text(context[JUSTIFICATION], f"context.{JUSTIFICATION}", MAX_COMMENT)


def _client_text(client: Mapping[str, Any]) -> str:
    text = jcs.encode(client)
    if len(text) > MAX_OPAQUE:
        raise InvalidInput(f"client has {len(text)} characters; at most {MAX_OPAQUE}", field="client", limit=MAX_OPAQUE)
    return text


def _actors(client: Mapping[str, Any]) -> Iterator[Actor]:
    for name in ("id", "name"):
        optional_text(dict(client), name, "client")
    if "source" in client:
        bounded_object(client["source"], "client.source")
    if "actor" not in client:
        return
    actor = bounded_object(client["actor"], "client.actor")
    yield Actor(
        id=bounded_text(actor.get("id"), "client.actor.id", MAX_OPAQUE),
        issuer=optional_text(actor, "issuer", "client.actor"),
    )
    yield from act_chain(actor.get("act"), "client.actor.act")


def _callback(body: Mapping[str, Any]) -> Callback | None:
    if "callback" not in body:
        return None
    callback = bounded_object(body["callback"], "callback")
    events = callback.get("events", [])
    if not isinstance(events, list) or not all(isinstance(name, str) for name in events):
        raise InvalidInput("callback.events must be an array of event names", field="callback.events")
    # Names that the profile does not define are never sent, so they need not be kept.
    known = tuple(name for name in EVENTS if name in events)
    if events and not known:
        raise InvalidInput(f"callback.events has none of {', '.join(EVENTS)}", field="callback.events")
    return Callback(endpoint=bounded_text(callback.get("endpoint"), "callback.endpoint", MAX_ENDPOINT), events=known)


def _callback_state(body: Mapping[str, Any]) -> str | None:
    callback = body.get("callback")
    state = callback.get("state") if isinstance(callback, Mapping) else None
    if state is not None and not isinstance(state, str):
        raise InvalidInput("callback.state must be a string", field="callback.state")
    return state
