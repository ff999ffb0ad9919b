"""Which request a command came with, so that its repetition is known from another request with the same key.

The digest of a request covers everything it said: whoever could make it again could confirm a guess at what the
events seal. So the log has it only under keys that stand apart from it, one after the other: the key of every data
subject of the command's events, or, where they have none, one of the tenant's own. To destroy any of them is to end it:
a repetition is then refused like another request.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec

from quarterdeck_domain.events import Event, EventRegistry, RecordedEvent
from quarterdeck_ledger.interface import Context
from quarterdeck_ledger.keys import KeyStore, SubjectKey
from quarterdeck_ledger.sealing import data_subject

NOBODY: Final = "requests"
"""In whose name the tenant's own key is kept. No data subject is called so: theirs are `prn_…` or `type:id`."""
_PREFIX: Final = "hmac-sha256-v1:"
_PURPOSE: Final = b"quarterdeck request v1"

_Load = Callable[[str, str], Awaitable[SubjectKey | None]]


async def keyed(keys: KeyStore, registry: EventRegistry, context: Context, payloads: Iterable[Event]) -> Context:
    """Return the context with which a command's events are recorded. Keys that are not there yet are made."""
    made = await _digest(keys.get_or_create, registry, context, payloads)
    return context if made is None else msgspec.structs.replace(context, fingerprint=made)


async def same(keys: KeyStore, registry: EventRegistry, context: Context, events: Iterable[RecordedEvent]) -> bool:
    """Tell whether what a command recorded came with this very request. Nobody can, once one of its keys is gone."""
    found = list(events)
    made = await _digest(keys.get, registry, context, (event.payload for event in found))
    return made is not None and all(
        event.cause.fingerprint is not None and hmac.compare_digest(event.cause.fingerprint, made) for event in found
    )


async def _digest(load: _Load, registry: EventRegistry, context: Context, payloads: Iterable[Event]) -> str | None:
    if context.fingerprint is None:
        return None
    # With the command in it, equal requests do not look equal.
    value = f"{context.command_id}\0{context.fingerprint}".encode()
    for subject in sorted(_subjects(registry, payloads)) or [NOBODY]:
        key = await load(context.tenant, subject)
        if key is None:
            return None
        value = hmac.digest(hmac.digest(key.secret, _PURPOSE, hashlib.sha256), value, hashlib.sha256)
    return _PREFIX + value.hex()


def _subjects(registry: EventRegistry, payloads: Iterable[Event]) -> set[str]:
    # By type, not by what a field holds: once erased it holds nothing.
    return {
        data_subject(str(getattr(payload, registry.subject_field(payload.type))))
        for payload in payloads
        if registry.personal(payload.type)
    }
