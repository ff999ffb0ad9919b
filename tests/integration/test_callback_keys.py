"""What receivers verify callbacks with, all of it got through the API by whom the guide names. Serves DC-03, DC-07.

Source: Standard Webhooks 1.0, 'Signature scheme' and 'Webhook headers'; ARAP draft, 'Callback Completion'.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from journey_house import TENANT, Journey, journey
from standardwebhooks import Webhook, WebhookVerificationError

from quarterdeck_domain.access.slices import RotateSigningKey
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_ledger.signing import FileSigningKeys, SigningKey
from quarterdeck_workflows.callback_delivery.activities import CallbackDeliveryActivities
from quarterdeck_workflows.callback_delivery.destination import Destinations
from quarterdeck_workflows.callback_delivery.types import CallbackDeliveryInput

GUIDE = Path(__file__).parents[2] / "docs" / "agents.md"
Message = tuple[dict[str, str], bytes]


def guide() -> Callable[[Mapping[str, str], bytes, Iterable[str]], bool]:
    """Return the function that the guide gives to receivers."""
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, GUIDE.name, "exec"), names)  # noqa: S102  our own guide
    verified: Callable[[Mapping[str, str], bytes, Iterable[str]], bool] = names["verified"]
    return verified


VERIFIED = guide()


@dataclass
class Receiver:
    """A house, an endpoint beside it, and what a worker sent there."""

    there: Journey
    url: str
    received: list[Message] = field(default_factory=list)

    async def told(self) -> Message:
        """Let something be asked, denied and told of, by a worker with keys from the same directory; return the message."""
        async with self.there.client() as bot:
            decision = await bot.ask(
                "refund", f"order:{uuid.uuid4()}", properties={"amount": "120.00", "currency": "EUR"}
            )
            task = await bot.request_approval(decision, callback=self.url)
        await self.there.decide(task.id, "deny")
        services = self.there.house.services
        worker = CallbackDeliveryActivities(
            services.ledger,
            FileSigningKeys(services.settings.keys / "signing"),
            Destinations(services.settings.webhook_allow),
            services.settings.base_url,
        )
        await worker.send_callback(CallbackDeliveryInput(TENANT, task.id, str(uuid.uuid4())))
        return self.received[-1]

    async def keys(self, by: str = "bot") -> list[str]:
        """Return the public keys as somebody gets them."""
        answer = await self.there.as_(by, "GET", "/v1/callbacks/keys")
        assert answer.status_code == 200, answer.text
        return [key["public_key"] for key in answer.json()["keys"]]

    async def secret(self, endpoint: str, by: str = "admin") -> str:
        """Return the secret of an endpoint as an administrator gets it."""
        answer = await self.there.as_(by, "POST", "/v1/callbacks/secret", json={"endpoint": endpoint})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["reveal"]["secret"])


@pytest.fixture
async def receiver(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[Receiver]:
    """A house on a real socket, and an endpoint that acknowledges everything."""
    async with journey(migrated_database(), tmp_path) as there, endpoint() as (url, received):
        yield Receiver(there, url, received)


@asynccontextmanager
async def endpoint() -> AsyncIterator[tuple[str, list[Message]]]:
    """A small HTTP server on this machine."""
    received: list[Message] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        received.append((headers, await reader.readexactly(int(headers["content-length"]))))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?x=1", received


async def test_an_agent_verifies_what_it_is_told_as_the_guide_says(receiver: Receiver) -> None:
    """With public keys that it could get before anything was ever called back; nothing altered is believed."""
    keys = await receiver.keys()
    headers, body = await receiver.told()
    assert VERIFIED(headers, body, keys)
    assert json.loads(body)["task"]["status"] == "denied"
    assert not VERIFIED(headers, body.replace(b"denied", b"approved"), keys)
    for name, value in (
        ("webhook-id", str(uuid.uuid4())),
        ("webhook-timestamp", str(int(headers["webhook-timestamp"]) + 1)),
        ("webhook-timestamp", str(int(headers["webhook-timestamp"]) - 301)),
        ("webhook-timestamp", "now"),
        ("webhook-signature", headers["webhook-signature"].split()[0]),
        ("webhook-signature", "v1a,AAAA v1a,?"),
        ("webhook-signature", ""),
    ):
        assert not VERIFIED(headers | {name: value}, body, keys), name
    assert not VERIFIED({}, body, keys)


async def test_the_key_is_in_the_public_set_under_its_id(receiver: Receiver) -> None:
    """For receivers that are nobody here: found by `kid`, the same bytes in both forms, and never the private half."""
    headers, body = await receiver.told()
    (listed,) = (await receiver.there.as_("bot", "GET", "/v1/callbacks/keys")).json()["keys"]
    async with httpx.AsyncClient(base_url=receiver.there.url, trust_env=False) as nobody:
        published = (await nobody.get(f"/.well-known/jwks/{TENANT}.json")).json()["keys"]
        assert (await nobody.get("/v1/callbacks/keys")).status_code == 401
    (jwk,) = [key for key in published if key["kid"] == listed["key_id"]]
    assert (jwk["kty"], jwk["crv"], jwk["use"], jwk["alg"], "d" in jwk) == ("OKP", "Ed25519", "sig", "EdDSA", False)
    raw = base64.urlsafe_b64decode(jwk["x"] + "=")
    assert listed["public_key"] == f"whpk_{base64.b64encode(raw).decode()}"
    assert VERIFIED(headers, body, [f"whpk_{base64.b64encode(raw).decode()}"])


async def test_a_library_that_knows_only_v1_verifies_with_the_endpoints_secret(receiver: Receiver) -> None:
    """Any spelling of its origin gives it; another port's secret is another, and does not fit."""
    headers, body = await receiver.told()
    port = httpx.URL(receiver.url).port
    secrets = {await receiver.secret(url) for url in (receiver.url, f"HTTP://127.0.0.1:{port}/other/path")}
    (secret,) = secrets
    assert Webhook(secret).verify(body.decode(), headers)["task"]["status"] == "denied"
    for elsewhere in ("http://127.0.0.1:1/", f"https://127.0.0.1:{port}/", "https://agents.example.com/"):
        other = await receiver.secret(elsewhere)
        with pytest.raises(WebhookVerificationError):
            Webhook(other).verify(body.decode(), headers)


async def test_whoever_is_given_a_secret_is_in_the_log_and_the_secret_is_not(receiver: Receiver) -> None:
    """Each time, before it is shown; a repeated request is given it once."""
    command = {"json": {"endpoint": "https://Agents.example.com/hook"}}
    for by in ("bot", "iris", "otto", "audra"):
        assert (await receiver.there.as_(by, "POST", "/v1/callbacks/secret", **command)).status_code == 403
    for bad in (
        {"endpoint": "ftp://agents.example.com"},
        {"endpoint": "http://agents.example.com"},
        {"endpoint": 1},
        {},
    ):
        assert (await receiver.there.as_("admin", "POST", "/v1/callbacks/secret", json=bad)).status_code == 400
    assert await receiver.there.events("callback_secret.revealed") == []
    first = (await receiver.there.as_("admin", "POST", "/v1/callbacks/secret", **command)).json()
    key_id = (await receiver.there.as_("bot", "GET", "/v1/callbacks/keys")).json()["keys"][0]["key_id"]
    fact = {"origin": "https://agents.example.com:443", "key_id": key_id}
    assert first["result"] == fact
    assert await receiver.there.events("callback_secret.revealed") == [fact]
    ledger = receiver.there.house.services.ledger
    (event,) = [event for event in await ledger.read(TENANT) if event.type == "callback_secret.revealed"]
    assert (event.actor.principal, event.position) == (receiver.there.house.ids[TENANT, "admin"], first["position"])
    secret = first["reveal"]["secret"]
    assert secret.startswith("whsec_")
    assert secret.removeprefix("whsec_") not in str(await ledger.read_sealed(TENANT))


async def test_the_secret_on_the_command_line(receiver: Receiver) -> None:
    """Alone on standard output, for administrators."""
    words = ("keys", "callback-secret", receiver.url)
    headers, body = await receiver.told()
    code, out, err = await receiver.there.cli(*words, by="admin")
    assert code == 0, err
    Webhook(out.strip()).verify(body.decode(), headers)
    assert out.strip() not in err
    code, out, err = await receiver.there.cli(*words, by="iris")
    assert (code, out) == (1, "")
    code, out, err = await receiver.there.cli(*words, "--json", by="admin")
    assert json.loads(out)["reveal"]["secret"].startswith("whsec_")


async def test_a_key_is_replaced_without_a_message_that_cannot_be_verified(receiver: Receiver) -> None:
    """While both serve, either verifies, and so do both secrets; the retired one signs and verifies nothing more."""
    house, signing = receiver.there.house, receiver.there.house.services.signing
    old = signing.current(TENANT, "webhook")
    (old_key,), old_secret = await receiver.keys(), await receiver.secret(receiver.url)

    async def in_use(key: SigningKey, overlap_s: int) -> None:
        public = key.public.hex()
        rotated = RotateSigningKey(
            purpose="webhook", key_id=key.id, public_key=public, overlap_s=overlap_s, actor=SYSTEM
        )
        await house.run(TENANT, rotated)

    await in_use(old, 0)
    await in_use(signing.rotate(TENANT, "webhook"), 300)
    new_key, still = await receiver.keys()
    assert still == old_key
    headers, body = await receiver.told()
    assert all(VERIFIED(headers, body, [key]) for key in (old_key, new_key))
    new_secret = await receiver.secret(receiver.url)
    assert new_secret != old_secret
    for secret in (old_secret, new_secret):
        Webhook(secret).verify(body.decode(), headers)

    await in_use(signing.rotate(TENANT, "webhook"), 0)
    newest, *before = await receiver.keys()
    assert before == [old_key]  # its 300 seconds are not over
    headers, body = await receiver.told()
    assert VERIFIED(headers, body, [newest])
    assert not VERIFIED(headers, body, [new_key])


async def test_no_tenant_verifies_or_signs_for_another(receiver: Receiver) -> None:
    """Each has keys and secrets of its own, and is shown no others."""
    await receiver.there.house.open_tenant("globex")
    headers, body = await receiver.told()
    url, bearer = receiver.there.url, receiver.there.house.bearer("globex", "admin")
    async with httpx.AsyncClient(base_url=url, headers=bearer, trust_env=False) as globex:
        (theirs,) = (await globex.get("/v1/callbacks/keys")).json()["keys"]
        secret = (await globex.post("/v1/callbacks/secret", json={"endpoint": receiver.url})).json()["reveal"]["secret"]
        published = (await globex.get(f"/.well-known/jwks/{TENANT}.json")).json()["keys"]
    assert theirs["public_key"] not in await receiver.keys()
    assert theirs["key_id"] not in [key["kid"] for key in published]
    assert not VERIFIED(headers, body, [theirs["public_key"]])
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body.decode(), headers)
