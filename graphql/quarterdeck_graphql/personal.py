"""Personal data in answers: in clear for whoever may see it, and otherwise said to be withheld, and why."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from enum import Enum
from typing import Any

import strawberry

from quarterdeck_graphql.context import Context
from quarterdeck_ledger.keys import KeyStore, SubjectKey
from quarterdeck_ledger.sealing import PREFIX, open_sealed


@strawberry.enum(description="Why a personal field is not shown.")
class Withholding(Enum):
    SEALED = strawberry.enum_value("sealed", description="It concerns somebody else, and you may not see it.")
    ERASED = strawberry.enum_value(
        "erased", description="The person's key was destroyed: nobody can read it any more, at any moment."
    )


@strawberry.type(description="A personal field that was given and is not shown.")
class Withheld:
    field: str = strawberry.field(description="Name of the field.")
    reason: Withholding = strawberry.field(description="Why it is not shown.")


class Remembered:
    """A key store that looks up each data subject once, for one page: one destroyed meanwhile is missed by the next."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._found: dict[tuple[str, str], SubjectKey | None] = {}

    async def get(self, tenant: str, subject: str) -> SubjectKey | None:
        """Return the key of a data subject, if there is one."""
        place = (tenant, subject)
        if place not in self._found:
            self._found[place] = await self._keys.get(tenant, subject)
        return self._found[place]

    async def get_or_create(self, tenant: str, subject: str) -> SubjectKey:
        """Return the key of a data subject, made if there was none."""
        return await self._keys.get_or_create(tenant, subject)

    async def destroy(self, tenant: str, subject: str) -> bool:
        """Destroy the key of a data subject; tell whether there was one."""
        self._found.pop((tenant, subject), None)
        return await self._keys.destroy(tenant, subject)

    async def destroy_all(self, tenant: str) -> int:
        """Destroy the keys of all data subjects of a tenant; return how many there were."""
        self._found.clear()
        return await self._keys.destroy_all(tenant)


async def shown(
    keys: KeyStore,
    tenant: str,
    subject: str,
    event_id: uuid.UUID,
    fields: Sequence[tuple[str, str | None]],
    *,
    visible: bool,
) -> tuple[dict[str, str | None], list[Withheld]]:
    """Return the personal fields of one event as the caller may see them, and what is withheld.

    `fields` are names and texts as the log or a read model holds them, sealed; `subject` is whose they are.
    """
    clear: dict[str, str | None] = {}
    withheld: list[Withheld] = []
    for name, text in fields:
        clear[name] = None
        if text is None:
            continue
        if not text.startswith(PREFIX):
            clear[name] = text if visible else None
        elif visible:
            clear[name] = await open_sealed(keys, tenant, subject, event_id, name, text)
        if clear[name] is None:
            withheld.append(Withheld(field=name, reason=Withholding.ERASED if visible else Withholding.SEALED))
    return clear, withheld


async def show_data(
    context: Context, event_type: str, event_id: uuid.UUID, data: dict[str, Any], *, visible: bool
) -> tuple[dict[str, Any], list[Withheld]]:
    """Return an event's data as the caller may see it, and which personal fields are withheld."""
    registry = context.log.registry
    names = [name for name in registry.personal(event_type) if data.get(name) is not None]
    if not names:
        return data, []
    subject = str(data[registry.subject_field(event_type)])
    sealed = [(name, data[name]) for name in names]
    clear, withheld = await shown(context.log.keys, context.tenant, subject, event_id, sealed, visible=visible)
    return data | clear, withheld
