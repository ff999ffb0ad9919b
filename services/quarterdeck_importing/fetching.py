"""Reading a registered source: by its kind, within bounds, from where the operator allows, as far as it is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from quarterdeck_connectors import mcp_server
from quarterdeck_connectors.a2a import read_card
from quarterdeck_connectors.cyclonedx_reading import read_cyclonedx
from quarterdeck_connectors.destinations import Allowed, RefusedDestination, Target
from quarterdeck_connectors.document_fetch import fetch_document
from quarterdeck_connectors.draft import Imported
from quarterdeck_connectors.errors import AddressNotAllowed
from quarterdeck_connectors.files import read_estate
from quarterdeck_connectors.hiding import refuse_repeated, without
from quarterdeck_connectors.litellm import read_litellm
from quarterdeck_connectors.models import read_models
from quarterdeck_connectors.models_fetch import fetch_models
from quarterdeck_connectors.openapi_tools import read_openapi
from quarterdeck_connectors.spdx_reading import read_spdx
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_domain.estate.imports import trusted
from quarterdeck_domain.estate.sources import Source
from quarterdeck_importing.credentials import Credentials

_DOCUMENTS: Final[Mapping[str, Callable[[bytes, str], Imported]]] = MappingProxyType(
    {
        "litellm": lambda data, name: read_litellm(data, source=name, proxy=name),
        "openapi": lambda data, name: read_openapi(data, source=name, api=name),
        "a2a": lambda data, name: read_card(data, source=name, agent=name),
        "cyclonedx": read_cyclonedx,
        "spdx": read_spdx,
        "estate": lambda data, name: Imported(declaration=read_estate(data)),
    }
)


class Fetching:
    """Reads sources."""

    def __init__(self, allowed: Allowed, credentials: Credentials) -> None:
        """`allowed` is the setting `import_allow`, `credentials` is `import_secrets`."""
        self._allowed = allowed
        self._credentials = credentials

    def check(self, tenant: str, address: str, credential: str | None) -> None:
        """Refuse what could not be read whatever is there; nothing is resolved or asked.

        Raises:
            AddressNotAllowed: the operator does not list it.
            CredentialNotConfigured: nor such a secret for it.
        """
        target = self._target(address)
        if not self._allowed.may(target):
            raise AddressNotAllowed(
                f"imports are not allowed from {target.authority[:100]}; the operator lists every host, address and "
                "network that may be read in import_allow, a host with its port unless that is 443"
            )
        if credential is not None:
            self._credentials.require(tenant, credential, target)

    async def read(self, tenant: str, source: Source, *, seconds: float) -> Imported:
        """Return what a source declares now, as far as a source may say it.

        Raises:
            SourceAway: it does not answer, or answers too slowly.
            UnreadableSource, InvalidInput: what it answers is not what it should be, too much or without an end; says
                what would be right.
            AddressNotAllowed, CredentialNotConfigured: the operator has not allowed it.
        """
        secret = None
        if source.credential is not None:
            target = self._target(source.address)
            secret = await asyncio.to_thread(self._credentials.value, tenant, source.credential, target)
        try:
            found = await self._read(source, secret, seconds)
            declaration = await asyncio.to_thread(trusted, found.declaration, source.said_by, source.environment)
            declaration = msgspec.structs.replace(declaration, on_drift=source.on_drift)
            found = Imported(declaration=declaration, notes=found.notes)
            if secret is not None:
                await asyncio.to_thread(refuse_repeated, found, secret)
        except QuarterdeckError as error:
            if secret is None:
                raise
            raise without(error, secret) from None
        return found

    async def _read(self, source: Source, secret: str | None, seconds: float) -> Imported:
        bearer = {} if secret is None else {"authorization": f"Bearer {secret}"}
        name, address = source.source_id, source.address
        if source.kind == "mcp":
            limits = msgspec.structs.replace(mcp_server.LIMITS, seconds=seconds)
            return await mcp_server.import_mcp_server(
                address, name, headers=bearer, allowed=self._allowed, on_drift=source.on_drift, limits=limits
            )
        if source.kind == "models":
            pages = await fetch_models(
                address, dialect=source.dialect, key=secret, allowed=self._allowed, seconds=seconds
            )
            return await asyncio.to_thread(
                read_models, pages, dialect=source.dialect, provider=name, source=name, endpoint=address
            )
        data = await fetch_document(address, headers=bearer, allowed=self._allowed, seconds=seconds)
        return await asyncio.to_thread(_DOCUMENTS[source.kind], data, name)

    def _target(self, address: str) -> Target:
        try:
            return self._allowed.target(address)
        except RefusedDestination as error:
            raise AddressNotAllowed(str(error)) from None
