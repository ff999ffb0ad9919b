"""AuthZEN requests from bytes to intents, and the canonical texts and hashes of an intent. Pure.

Unknown fields are ignored, as the standard demands; what it leaves to implementations is strict: I-JSON
(unique keys, well-formed Unicode, numbers that a double holds), bounded size, depth and names.

Source: AuthZEN Authorization API 1.0 sections 5 to 7 and 'JSON Payload Considerations'; RFC 7493; ARAP draft,
'Binding Token Integrity'.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Collection
from typing import Any, Final, Literal, get_args

import msgspec

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.intent import Action, Entity, Intent
from quarterdeck_policy import jcs

MAX_BODY_BYTES: Final = 65_536
MAX_BATCH_BYTES: Final = 262_144
MAX_DEPTH: Final = 32
MAX_EVALUATIONS: Final = 100
MAX_REQUEST_BYTES: Final = 24_576
"""Of one evaluation's canonical text: with its proof and encryption it must fit one entry of the log."""
MAX_TYPE: Final = 100
MAX_ID: Final = 384
MAX_ACTION: Final = 256

MACHINERY: Final = frozenset({"access_request", "evaluation_id", "evaluated_at", "reason", "approval"})
"""Context members of the protocol itself: never an input to policy, never bound."""
VOLATILE: Final = frozenset({"time", "timestamp", "nonce", "request_id"})
"""Context members that differ between a denial and its re-evaluation: policy may read them, they are not bound."""

Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]


class Evaluations(msgspec.Struct, frozen=True, kw_only=True):
    """A request to the evaluations endpoint. A malformed item keeps its place as the error to answer with."""

    items: tuple[Intent | InvalidInput, ...]
    semantic: Semantic = "execute_all"
    single: bool = False
    """The request had no `evaluations`: answer as the evaluation endpoint does."""


def parse_evaluation(body: bytes) -> Intent:
    """Return the intent of an evaluation request.

    Raises:
        InvalidInput: not a valid request; the message says where and what would be right.
    """
    return intent_of(parse_json(body))


def parse_evaluations(body: bytes) -> Evaluations:
    """Return the intents of an evaluations request, top-level values being the items' defaults.

    Raises:
        InvalidInput: the payload as a whole is invalid; an item that is invalid stands in its place instead.
    """
    document = _object(parse_json(body, max_bytes=MAX_BATCH_BYTES), "the body")
    entries = document.get("evaluations", [])
    if not isinstance(entries, list):
        raise InvalidInput("evaluations must be an array", field="evaluations")
    if len(entries) > MAX_EVALUATIONS:
        raise InvalidInput(f"{len(entries)} evaluations; at most {MAX_EVALUATIONS}", limit=MAX_EVALUATIONS)
    semantic = _semantic(document.get("options", {}))
    if not entries:
        return Evaluations(items=(intent_of(document),), single=True)
    defaults: dict[str, Any] = {
        name: document[name] for name in ("subject", "action", "resource", "context") if name in document
    }
    for name, value in defaults.items():
        _object(value, name)
    return Evaluations(
        items=tuple(_item(defaults, entry, place) for place, entry in enumerate(entries)), semantic=semantic
    )


def parse_json(body: bytes, *, max_bytes: int = MAX_BODY_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Return the value of I-JSON text within the limits.

    Raises:
        InvalidInput: too long, not UTF-8, not JSON, duplicate keys, a lone surrogate, too deep, or a number that
            is not finite or is an integer beyond 2^53-1.
    """
    if len(body) > max_bytes:
        raise InvalidInput(f"{len(body)} bytes; at most {max_bytes} are allowed", limit=max_bytes)
    try:
        text = body.decode()
        value = json.loads(
            text, object_pairs_hook=_unique, parse_int=_integer, parse_float=_float, parse_constant=_constant
        )
    except UnicodeDecodeError:
        raise InvalidInput("the body is not UTF-8") from None
    except RecursionError:
        raise InvalidInput(f"deeper than {max_depth} levels", limit=max_depth) from None
    except ValueError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from None
    _check(value, max_depth)
    return value


def intent_of(value: Any, where: str = "") -> Intent:
    """Return the intent of a parsed evaluation request. Fields the standard does not know are ignored.

    Raises:
        InvalidInput: a required field is missing, of the wrong type or too long, or the request is too long.
    """
    document = _object(value, where or "the body")
    intent = Intent(
        subject=_entity(document, "subject", where),
        action=_action(document, where),
        resource=_entity(document, "resource", where),
        context=_properties(document, "context", where),
    )
    length = len(request_text(intent).encode())
    if length > MAX_REQUEST_BYTES:
        raise InvalidInput(
            f"{where}the request has {length} bytes in canonical form; at most {MAX_REQUEST_BYTES}",
            limit=MAX_REQUEST_BYTES,
        )
    return intent


class CanonicalIntent:
    """An intent's RFC 8785 texts, each part written once."""

    def __init__(self, intent: Intent) -> None:
        """Write the parts.

        Raises:
            InvalidInput: something in it is not I-JSON.
        """
        self._intent = intent
        action: dict[str, Any] = {"name": intent.action.name}
        if intent.action.properties is not None:
            action["properties"] = intent.action.properties
        self._action = jcs.encode(action)
        self._resource = jcs.encode(_entity_value(intent.resource))
        self._subject = jcs.encode(_entity_value(intent.subject))

    @property
    def intent_text(self) -> str:
        """The text of `{action, resource, subject}`: what an action digest is made over."""
        return f'{{"action":{self._action},"resource":{self._resource},"subject":{self._subject}}}'

    @property
    def request_text(self) -> str:
        """The text of the whole request; `context` is there only if it was sent."""
        if self._intent.context is None:
            return self.intent_text
        return self._with_context(jcs.encode(self._intent.context), self._subject)

    def binding_hash(self, context_members: Collection[str] = ()) -> str:
        """Return ARAP's binding hash; see `binding_hash`."""
        subject, properties = self._subject, self._intent.subject.properties or {}
        if "act" in properties:
            bound = {key: value for key, value in properties.items() if key != "act"}
            subject = jcs.encode(_entity_value(msgspec.structs.replace(self._intent.subject, properties=bound)))
        context = self._intent.context or {}
        relevant = {name: context[name] for name in context_members if name in context}
        digest = hashlib.sha256(self._with_context(jcs.encode(relevant), subject).encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _with_context(self, context: str, subject: str) -> str:
        return f'{{"action":{self._action},"context":{context},"resource":{self._resource},"subject":{subject}}}'


def intent_text(intent: Intent) -> str:
    """Return the RFC 8785 text of `{action, resource, subject}`: what an action digest is made over."""
    return CanonicalIntent(intent).intent_text


def request_text(intent: Intent) -> str:
    """Return the RFC 8785 text of the whole request; `context` is there only if it was sent."""
    return CanonicalIntent(intent).request_text


def binding_context(intent: Intent, read_by_policy: Collection[str] | None) -> tuple[str, ...]:
    """Return the names of the context members that are bound with a decision, sorted.

    They are those that policy reads, without protocol machinery and volatile members. `read_by_policy` None means
    policy uses the context as a whole: then they are the members of this request.
    """
    read = set(intent.context or {}) if read_by_policy is None else set(read_by_policy)
    return tuple(sorted(read - MACHINERY - VOLATILE))


def binding_hash(intent: Intent, context_members: Collection[str] = ()) -> str:
    """Return ARAP's binding hash: base64url without padding of SHA-256 over the RFC 8785 text of
    `{action, context, resource, subject}`.

    `context` holds the named members that the request has (`{}` for none), and the subject's `properties.act` is left
    out, because it may come back as `client.actor`.
    """
    return CanonicalIntent(intent).binding_hash(context_members)


def _entity_value(entity: Entity) -> dict[str, Any]:
    value: dict[str, Any] = {"type": entity.type, "id": entity.id}
    if entity.properties is not None:
        value["properties"] = entity.properties
    return value


def _item(defaults: dict[str, Any], entry: Any, place: int) -> Intent | InvalidInput:
    where = f"evaluations[{place}]."
    try:
        return intent_of(defaults | _object(entry, where.rstrip(".")), where)
    except InvalidInput as error:
        return error


def _semantic(options: Any) -> Semantic:
    chosen = _object(options, "options").get("evaluations_semantic", "execute_all")
    for known in get_args(Semantic):
        if chosen == known:
            return known  # type: ignore[no-any-return]
    raise InvalidInput("options.evaluations_semantic must be one of " + ", ".join(get_args(Semantic)), field="options")


def _entity(document: dict[str, Any], name: str, where: str) -> Entity:
    value = _object(_required(document, name, where), f"{where}{name}")
    inner = f"{where}{name}."
    return Entity(
        type=_text(value, "type", inner, MAX_TYPE),
        id=_text(value, "id", inner, MAX_ID),
        properties=_properties(value, "properties", inner),
    )


def _action(document: dict[str, Any], where: str) -> Action:
    value = _object(_required(document, "action", where), f"{where}action")
    inner = f"{where}action."
    return Action(name=_text(value, "name", inner, MAX_ACTION), properties=_properties(value, "properties", inner))


def _properties(value: dict[str, Any], name: str, where: str) -> dict[str, Any] | None:
    return _object(value[name], f"{where}{name}") if name in value else None


def _text(value: dict[str, Any], name: str, where: str, limit: int) -> str:
    text = _required(value, name, where)
    if not isinstance(text, str) or not 1 <= len(text) <= limit:
        raise InvalidInput(f"{where}{name} must be a string of 1 to {limit} characters", field=f"{where}{name}")
    return text


def _required(value: dict[str, Any], name: str, where: str) -> Any:
    if name not in value:
        raise InvalidInput(f"{where}{name} is missing", field=f"{where}{name}")
    return value[name]


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} must be a JSON object", field=where)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InvalidInput("an object has the same key twice")
    return result


def _integer(text: str) -> int:
    if len(text) > 17 or not -jcs.MAX_INTEGER <= (value := int(text)) <= jcs.MAX_INTEGER:
        raise InvalidInput(f"the number {text[:40]} is beyond 2^53-1; write it as a string")
    return value


def _float(text: str) -> float:
    value = float(text)
    # A large integral double is written without its point, and would not be read again.
    if not math.isfinite(value) or (value.is_integer() and abs(value) > jcs.MAX_INTEGER):
        raise InvalidInput(f"the number {text[:40]} is beyond what a double holds exactly; write it as a string")
    return value


def _constant(text: str) -> float:
    raise InvalidInput(f"{text} is not a JSON number")


def _check(value: Any, room: int) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInput("text has a lone surrogate; write well-formed Unicode") from None
    elif isinstance(value, dict | list):
        if room <= 0:
            raise InvalidInput(f"deeper than {MAX_DEPTH} levels", limit=MAX_DEPTH)
        if isinstance(value, dict):
            for key, item in value.items():
                _check(key, room)
                _check(item, room - 1)
        else:
            for item in value:
                _check(item, room - 1)
