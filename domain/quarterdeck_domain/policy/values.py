"""The values of policy: a bundle's text, a verdict, and what is known of the principal a request is about."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from quarterdeck_domain import canonical
from quarterdeck_domain.access.events import (
    OwnershipTransferred,
    PrincipalDeactivated,
    PrincipalRegistered,
    RoleGranted,
    RoleRevoked,
)
from quarterdeck_domain.errors import InvalidInput, NotCanonical
from quarterdeck_domain.events import Event
from quarterdeck_domain.policy.events import (
    Barred,
    BundleContinued,
    BundleField,
    BundlePublished,
    Judged,
    Obligation,
    Outcome,
)

BUNDLE_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
MAX_BUNDLE_CHARACTERS: Final = 1_000_000
MAX_REASON: Final = 500
_PIECE: Final = 8_000  # characters: at most 48,000 bytes in an entry, however they are escaped
_INLINE_BYTES: Final = 40_000

SUBJECT_EVENTS: Final[tuple[type[Event], ...]] = (
    PrincipalRegistered,
    RoleGranted,
    RoleRevoked,
    OwnershipTransferred,
    PrincipalDeactivated,
)
"""The events that can change `SubjectFacts`."""


class BundleText(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of what a bundle says."""

    policies: str
    cedar_schema: str | None = None
    entities: str = "[]"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What policy answers to an intent."""

    outcome: Outcome
    determining: tuple[str, ...] = ()
    reason: str = ""
    obligations: tuple[Obligation, ...] = ()
    approval_path: str | None = None
    errors: tuple[str, ...] = ()
    judged: tuple[Judged, ...] = ()
    """Each member of a chain, where there is one; see `DecisionRecorded.judged`."""
    barred: tuple[Barred, ...] = ()
    """Objects of the estate that may not be used, if it is denied because of them."""


class SubjectFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the log knows of a principal that policy judges. `known` is False for anybody else."""

    known: bool = False
    kind: str = ""
    roles: tuple[str, ...] = ()
    owner: str | None = None
    deactivated: bool = False


UNKNOWN_SUBJECT: Final = SubjectFacts()


def check_bundle_text(text: BundleText) -> BundleText:
    """Return the text, an empty schema being none. Whether Cedar accepts it is for the policy service to say.

    Raises:
        InvalidInput: too long, or not well-formed Unicode.
    """
    pieces = (text.policies, text.cedar_schema or "", text.entities)
    length = sum(map(len, pieces))
    if length > MAX_BUNDLE_CHARACTERS:
        raise InvalidInput(
            f"the bundle has {length} characters; at most {MAX_BUNDLE_CHARACTERS}", limit=MAX_BUNDLE_CHARACTERS
        )
    try:
        "".join(pieces).encode()
    except UnicodeEncodeError:
        raise InvalidInput("the bundle has a lone surrogate; write well-formed Unicode") from None
    return msgspec.structs.replace(text, cedar_schema=text.cedar_schema or None)


def bundle_digest(text: BundleText) -> str:
    """Return `sha256-jcs-v1:<hex>` over `{cedar_schema, entities, policies}`: the same text, the same digest."""
    value = {"policies": text.policies, "cedar_schema": text.cedar_schema, "entities": text.entities}
    encoded = canonical.encode(value, max_bytes=8 * MAX_BUNDLE_CHARACTERS)
    return f"{canonical.DIGEST_ALGORITHM}:{hashlib.sha256(encoded).hexdigest()}"


def split(bundle_id: str, name: str, bundle_version: int, text: BundleText) -> tuple[Event, ...]:
    """Return the events that hold a bundle: one, or one and as many continuations as its length needs."""
    published = BundlePublished(
        bundle_id=bundle_id,
        name=name,
        bundle_version=bundle_version,
        policies=text.policies,
        cedar_schema=text.cedar_schema,
        entities=text.entities,
        digest=bundle_digest(text),
    )
    if _fits_one_entry(text):
        return (published,)
    pieces = [
        (field, whole[start : start + _PIECE])
        for field, whole in _fields(text)
        for start in range(0, len(whole), _PIECE)
    ]
    first = msgspec.structs.replace(published, policies="", cedar_schema=None, entities="", parts=len(pieces) + 1)
    rest = (
        BundleContinued(bundle_id=bundle_id, part=part, field=field, text=piece)
        for part, (field, piece) in enumerate(pieces, 2)
    )
    return (first, *rest)


def assemble(published: BundlePublished, continued: Sequence[BundleContinued] = ()) -> BundleText:
    """Return the whole text of a bundle from its events, checked against its digest.

    Raises:
        InvalidInput: a part is missing, out of order or another bundle's, or the digest differs.
    """
    text = BundleText(policies=published.policies, cedar_schema=published.cedar_schema, entities=published.entities)
    parts = [(part.bundle_id, part.part) for part in continued]
    if parts != [(published.bundle_id, number) for number in range(2, published.parts + 1)]:
        raise InvalidInput(f"bundle {published.bundle_id} has {published.parts} parts; not all are here, in order")
    if continued:
        joined: dict[BundleField, list[str]] = {"policies": [], "cedar_schema": [], "entities": []}
        for part in continued:
            joined[part.field].append(part.text)
        text = BundleText(
            policies="".join(joined["policies"]),
            cedar_schema="".join(joined["cedar_schema"]) or None,
            entities="".join(joined["entities"]),
        )
    if bundle_digest(text) != published.digest:
        raise InvalidInput(f"bundle {published.bundle_id} does not have the digest it was published with")
    return text


def fold_subject(principal_id: str, events: Iterable[Event], facts: SubjectFacts = UNKNOWN_SUBJECT) -> SubjectFacts:
    """Return what the events say of a principal, on top of what was known. Others' events change nothing."""
    for event in events:
        if getattr(event, "principal_id", None) != principal_id:
            continue
        if isinstance(event, PrincipalRegistered):
            facts = SubjectFacts(known=True, kind=event.kind, roles=tuple(sorted(set(event.roles))), owner=event.owner)
        elif isinstance(event, RoleGranted):
            facts = msgspec.structs.replace(facts, roles=tuple(sorted({*facts.roles, event.role})))
        elif isinstance(event, RoleRevoked):
            facts = msgspec.structs.replace(facts, roles=tuple(role for role in facts.roles if role != event.role))
        elif isinstance(event, OwnershipTransferred):
            facts = msgspec.structs.replace(facts, owner=event.owner)
        elif isinstance(event, PrincipalDeactivated):
            facts = msgspec.structs.replace(facts, deactivated=True)
    return facts


def _fields(text: BundleText) -> tuple[tuple[BundleField, str], ...]:
    return ("policies", text.policies), ("cedar_schema", text.cedar_schema or ""), ("entities", text.entities)


def _fits_one_entry(text: BundleText) -> bool:
    try:
        canonical.encode([whole for _, whole in _fields(text)], max_bytes=_INLINE_BYTES)
    except NotCanonical:
        return False
    return True
