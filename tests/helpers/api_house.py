"""A whole API over real PostgreSQL for tests: tenants, people and agents in them, and a client that speaks HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from pydantic import SecretStr

from quarterdeck_api.app import create_app
from quarterdeck_api.bootstrap import running, server_config
from quarterdeck_api.services import Services
from quarterdeck_domain.access.credentials import credential_text, hash_secret
from quarterdeck_domain.access.events import PrincipalKind, Role
from quarterdeck_domain.access.slices import IssueApiKey, NewAdministrator, OpenTenant, RegisterPrincipal
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.approvals.events import Stage
from quarterdeck_domain.approvals.slices import PublishApprovalPath
from quarterdeck_domain.events import Actor
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.policy.slices import ChangeBundleMode, PublishBundle
from quarterdeck_domain.slices import Slice
from quarterdeck_embedded import free_port
from quarterdeck_ledger.interface import Context, Executed
from quarterdeck_policy.starter import starter_bundle
from quarterdeck_runtime.settings import Settings

BASE_URL = "http://quarterdeck.test"


@dataclass
class House:
    """A running API. `keys` are API keys by (tenant, name); `ids` the principals behind them."""

    services: Services
    client: httpx.AsyncClient
    keys: dict[tuple[str, str], str] = field(default_factory=dict)
    ids: dict[tuple[str, str], str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    async def run(self, tenant: str, command: Slice) -> Executed:
        """Run a command as the house itself."""
        return await self.services.ledger.execute(
            command, Context(tenant=tenant, actor=SYSTEM, command_id=uuid.uuid4())
        )

    async def open_tenant(self, tenant: str) -> None:
        """Open a tenant with an administrator `admin` who holds a key, and an unused sign-in link."""
        admin, link = new_id("prn"), new_id("lnk")
        text = credential_text(tenant, link, secrets.token_urlsafe(32))
        administrator = NewAdministrator(
            principal_id=admin, display_name="Ada", link_id=link, link_hash=hash_secret(text)
        )
        await self.run(tenant, OpenTenant(tenant=tenant, display_name=tenant, administrator=administrator))
        self.links[tenant] = text
        self.ids[tenant, "admin"] = admin
        self.keys[tenant, "admin"] = await self.issue_key(tenant, admin)

    async def begin(self, tenant: str) -> None:
        """Open a tenant as a first start does: the starter policy in force, and one approval path."""
        await self.open_tenant(tenant)
        bundle = new_id("bnd")
        path = PublishApprovalPath(
            path_id="default",
            stages=(Stage(name="decide"),),
            remind_after_s=600,
            expires_after_s=3_600,
            grant_lifetime_s=900,
            actor=SYSTEM,
        )
        starter = PublishBundle(bundle, "starter", starter_bundle(), actor=SYSTEM)
        for command in (path, starter, ChangeBundleMode(bundle, "enforced", "first start", actor=SYSTEM)):
            await self.run(tenant, command)

    async def add(self, tenant: str, name: str, *roles: Role, kind: PrincipalKind = "human") -> str:
        """Register a principal with a key; return the key."""
        principal_id = new_id("prn")
        owner = None if kind == "human" else self.ids[tenant, "admin"]
        await self.run(
            tenant,
            RegisterPrincipal(
                principal_id=principal_id,
                kind=kind,
                display_name=name,
                email=None,
                owner=owner,
                purpose="",
                roles=roles,
                actor=SYSTEM,
            ),
        )
        self.ids[tenant, name] = principal_id
        self.keys[tenant, name] = await self.issue_key(tenant, principal_id)
        return self.keys[tenant, name]

    async def issue_key(self, tenant: str, principal_id: str, **options: Any) -> str:
        """Issue an API key; return its text."""
        key_id = new_id("key")
        text = credential_text(tenant, key_id, secrets.token_urlsafe(32))
        await self.run(
            tenant,
            IssueApiKey(
                tenant=tenant,
                key_id=key_id,
                principal_id=principal_id,
                secret_hash=hash_secret(text),
                actor=SYSTEM,
                **options,
            ),
        )
        return text

    def actor(self, tenant: str, name: str, kind: str = "human") -> Actor:
        """Return somebody as the actor of a command."""
        return Actor(principal=self.ids[tenant, name], kind=kind)

    def bearer(self, tenant: str, name: str) -> dict[str, str]:
        """Return the headers of a request by somebody."""
        return {"Authorization": f"Bearer {self.keys[tenant, name]}"}

    async def command(
        self, name: str, body: object, *, by: tuple[str, str] = ("acme", "admin"), key: str | None = None
    ) -> httpx.Response:
        """Send a command."""
        headers = self.bearer(*by) | ({"Idempotency-Key": key} if key is not None else {})
        return await self.client.post(f"/v1/commands/{name}", json=body, headers=headers)

    async def position(self, tenant: str = "acme") -> int:
        """Return the length of a tenant's log."""
        return (await self.services.ledger.head(tenant)).position


def new_id(prefix: str) -> str:
    """Return a fresh id."""
    return make_id(prefix, uuid.uuid4())


def key_id_of(text: str) -> str:
    """Return the id of an API key from its text."""
    return f"key_{text.split('_')[2]}"


def settings_for(url: str, data_dir: Path, **given: Any) -> Settings:
    """Return settings for a test's API."""
    values: Mapping[str, Any] = {"public_url": BASE_URL, "database_pool_size": 4, **given}
    return Settings(database_url=SecretStr(url), data_dir=data_dir, **values)


@contextlib.asynccontextmanager
async def house(
    url: str, data_dir: Path, *, tenants: tuple[str, ...] = ("acme",), **given: Any
) -> AsyncIterator[House]:
    """Run an API over a migrated database, and speak to it in this process."""
    async with running(settings_for(url, data_dir, **given)) as services:
        transport = httpx.ASGITransport(create_app(services), client=("192.0.2.1", 4711))
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
            made = House(services, client)
            for tenant in tenants:
                await made.open_tenant(tenant)
            yield made


@contextlib.asynccontextmanager
async def over_http(services: Services) -> AsyncIterator[str]:
    """Serve the same services on a real socket; yield the address."""
    settings = services.settings.model_copy(update={"port": free_port(), "public_url": None})
    server = uvicorn.Server(server_config(create_app(services), settings))
    task = asyncio.create_task(server.serve())
    try:
        async with httpx.AsyncClient(base_url=settings.base_url) as client:
            while True:
                with contextlib.suppress(httpx.ConnectError):
                    await client.get("/healthz")
                    break
        yield settings.base_url
    finally:
        server.should_exit = True
        await task
