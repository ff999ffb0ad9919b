"""Callbacks: signed, delivered once for each task, only where the operator allows. Serves DC-03, DC-07."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from gate_world import House, open_approval, recorded, running_worker, settled
from standardwebhooks import Webhook, WebhookVerificationError

from quarterdeck_domain.approvals.bundles import as_bundle, bundle_id, item_ids
from quarterdeck_domain.approvals.events import (
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRequested,
    Callback,
    CallbackAbandoned,
    CallbackDelivered,
)
from quarterdeck_domain.events import Cause, NewEvent, event_id
from quarterdeck_domain.slices import boundary
from quarterdeck_workflows.callback_delivery import destination
from quarterdeck_workflows.callback_delivery.destination import Destinations, RefusedDestination
from quarterdeck_workflows.callback_delivery.signature import shared_secret
from quarterdeck_workflows.callback_delivery.task import task_of
from quarterdeck_workflows.callback_delivery.workflow import TRY

DIGEST = "sha256-action-v1:" + "a" * 64
Received = tuple[dict[str, str], bytes]


@asynccontextmanager
async def endpoint(*statuses: int) -> AsyncIterator[tuple[str, list[Received]]]:
    """A small HTTP server that answers with these statuses in turn, the last one for ever."""
    received: list[Received] = []
    answers = list(statuses)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        received.append((headers, await reader.readexactly(int(headers["content-length"]))))
        status = answers.pop(0) if len(answers) > 1 else answers[0]
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nlocation: http://169.254.169.254/\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?x=1", received


async def test_delivered_and_signed(house: House) -> None:
    """A first failure is retried with the same message id; any Standard Webhooks library verifies the message."""
    async with endpoint(503, 204) as (url, received), running_worker(house, Destinations(["127.0.0.0/8"])):
        approval = await open_approval(house, expires_in_s=3600, callback=Callback(endpoint=url))
        await settled(house, ApprovalDenied(approval_id=approval, action_digest=DIGEST))
        await house.dispatcher.advance("acme")
        await _until(house, approval, CallbackDelivered.type)
    assert len(received) == 2
    assert received[0][0]["webhook-id"] == received[1][0]["webhook-id"]
    headers, body = received[-1]
    (key,) = house.signing.all("acme", "webhook")
    origin = url.partition("/hook")[0]
    Webhook(shared_secret(key, origin)).verify(body.decode(), headers)
    for secret in (shared_secret(key, f"{origin}0"), shared_secret(house.signing.current("globex", "webhook"), origin)):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body.decode(), headers)
    signature = headers["webhook-signature"].split("v1a,")[1]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key.private.public_key().verify(base64.b64decode(signature), signed)
    assert json.loads(body) == {
        "state": "opaque",
        "task": {
            "id": approval,
            "status": "denied",
            "status_endpoint": f"https://quarterdeck.example/access/v1/requests/{approval}",
        },
    }


async def test_an_event_nobody_asked_for_is_not_sent(house: House) -> None:
    """`callback.events` narrows what is sent."""
    async with endpoint(204) as (url, received), running_worker(house, Destinations(["127.0.0.0/8"])):
        deaf = await open_approval(house, expires_in_s=3600, callback=Callback(endpoint=url, events=("approved",)))
        told = await open_approval(house, expires_in_s=3600, callback=Callback(endpoint=url, events=("denied",)))
        for approval in (deaf, told):
            await settled(house, ApprovalDenied(approval_id=approval, action_digest=DIGEST))
        await house.dispatcher.advance("acme")
        await _until(house, told, CallbackDelivered.type)
    assert [json.loads(body)["task"]["id"] for _, body in received] == [told]


async def bundle_of_two(house: House, callback: Callback) -> tuple[str, tuple[str, ...]]:
    """Record two requests that were asked for together, as one command does; return their task's id and their own."""
    pattern = await open_approval(house, expires_in_s=3600, callback=callback)
    (event,) = await house.ledger.read("acme", boundary(((ApprovalRequested,), (f"approval:{pattern}",))))
    value, command = as_bundle(uuid.uuid4()), uuid.uuid4()
    ids = item_ids(value, 2)
    items = [
        NewEvent(
            id=event_id(command, index),
            payload=msgspec.structs.replace(event.payload, approval_id=name),
            actor=event.actor,
            cause=Cause(command_id=str(command)),
        )
        for index, name in enumerate(ids)
    ]
    await house.ledger.append("acme", items)
    return bundle_id(value), ids


async def test_a_bundle_is_told_of_once_by_its_own_handle(house: House) -> None:
    """The requester knows one task: it hears when the last item has ended, and what the task came to."""
    async with endpoint(204) as (url, received), running_worker(house, Destinations(["127.0.0.0/8"])):
        mixed, (first, second) = await bundle_of_two(house, Callback(endpoint=url, events=("partial",)))
        deaf, (third, fourth) = await bundle_of_two(house, Callback(endpoint=url, events=("approved", "partial")))
        until = await house.ledger.now()
        await settled(house, ApprovalGranted(approval_id=second, action_digest=DIGEST, approved_until=until))
        await house.dispatcher.advance("acme")
        for approval in (first, third, fourth):
            await settled(house, ApprovalDenied(approval_id=approval, action_digest=DIGEST))
        await house.dispatcher.advance("acme")
        await _until(house, first, CallbackDelivered.type)
    ((_, body),) = received
    assert json.loads(body) == {
        "state": "opaque",
        "task": {
            "id": mixed,
            "status": "partial",
            "status_endpoint": f"https://quarterdeck.example/access/v1/requests/{mixed}",
        },
    }
    for approval in (second, third, fourth):
        assert CallbackDelivered.type not in await recorded(house, approval)
    task = await task_of(house.ledger, "acme", fourth)
    assert task is not None
    assert (task.id, task.status) == (deaf, "denied")


def test_an_endpoint_may_be_away_for_a_day() -> None:
    """The first tries come quickly, the last one after more than a day; then it is a dead letter."""
    waits_s: list[float] = []
    for number in range(TRY.maximum_attempts - 1):
        assert TRY.maximum_interval is not None
        wait = TRY.initial_interval * TRY.backoff_coefficient**number
        waits_s.append(min(wait, TRY.maximum_interval).total_seconds())
    assert sum(waits_s[:4]) < 60
    assert 24 * 3600 < sum(waits_s) < 36 * 3600


async def test_an_internal_address_is_a_dead_letter(house: House) -> None:
    """Nothing is sent to an internal address that nobody allowed; the refusal is recorded."""
    async with endpoint(204) as (url, received), running_worker(house):
        approval = await open_approval(house, expires_in_s=3600, callback=Callback(endpoint=url))
        await settled(house, ApprovalDenied(approval_id=approval, action_digest=DIGEST))
        await house.dispatcher.advance("acme")
        await _until(house, approval, CallbackAbandoned.type)
    assert received == []


async def test_redirects_are_not_followed() -> None:
    """A 302 to the metadata service is only an answer that is not 2xx."""
    async with endpoint(302) as (url, received):
        assert await Destinations(["127.0.0.0/8"]).post(url, b"{}", {}) == 302
    assert len(received) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.1.2.3/",
        "https://192.168.0.1/",
        "https://172.16.0.1/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://224.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "http://93.184.216.34/",
        "https://user:secret@93.184.216.34/",
        "ftp://93.184.216.34/",
        "file:///etc/passwd",
        "gopher://93.184.216.34:70/_x",
        "https://",
        "https://exa mple/",
        "https://93.184.216.34:99999/",
        "not a url",
        "",
    ],
)
def test_refused_destinations(url: str) -> None:
    """Internal, odd and plain-text addresses are refused, whatever their spelling."""
    with pytest.raises(RefusedDestination):
        Destinations().check(url)


def test_every_address_of_a_name_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """One address that is not listed refuses the name, a public one too; so does a name without addresses."""

    def resolve(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, 1, 6, "", ("93.184.216.34", 443)), (socket.AF_INET, 1, 6, "", ("10.0.0.1", 443))]

    monkeypatch.setattr(destination.socket, "getaddrinfo", resolve)
    by_name = ["Rebinding.example."]
    for listed in ([], ["10.0.0.0/8"], ["93.184.216.0/24"], ["other.example"], ["rebinding.example:8443"], by_name):
        with pytest.raises(RefusedDestination, match="webhook_allow"):
            Destinations(listed).check("https://rebinding.example/")
    for listed in (["10.0.0.0/8", "93.184.216.34"], [*by_name, "10.0.0.0/8"], ["rebinding.example:443"]):
        assert len(Destinations(listed).check("https://rebinding.example./")[0]) == 2
    monkeypatch.setattr(destination.socket, "getaddrinfo", lambda *_, **__: [])
    with pytest.raises(RefusedDestination):
        Destinations(["0.0.0.0/0", "::/0"]).check("https://rebinding.example/")


INTERNAL = (
    "127.0.0.1",
    "10.0.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104  it is refused
    "192.0.0.192",
    "192.88.99.1",
    "198.18.0.1",
    "224.0.0.251",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::a00:1",
    "2002:a00:1::1",
    "2001:0:a00:1::1",
    "2001:db8::1",
    "3fff::1",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
)


@pytest.mark.parametrize("address", INTERNAL)
def test_a_listed_name_does_not_lead_inward(address: str) -> None:
    """Whoever has a name's DNS can point it anywhere: only public addresses are called by a name alone."""
    target = Destinations(["cb.example.com"]).target("https://cb.example.com/hook")
    found = [ipaddress.ip_address(address)]
    for inward in (found, [ipaddress.ip_address("93.184.216.34"), *found]):
        with pytest.raises(RefusedDestination, match="not all its addresses are public"):
            Destinations(["cb.example.com"]).require(target, inward)
    Destinations(["cb.example.com:443"]).require(target, found)


def test_a_listed_name_is_called_on_its_port() -> None:
    """443, unless the entry says another."""
    public = [ipaddress.ip_address("93.184.216.34"), ipaddress.ip_address("2606:4700::1111")]
    listed = Destinations(["cb.example.com", "other.example.com:8443"])
    for allowed in ("https://cb.example.com/", "https://CB.example.com.:443/", "https://other.example.com:8443/"):
        listed.require(listed.target(allowed), public)
    for refused in ("https://cb.example.com:22/", "https://cb.example.com:8443/", "https://other.example.com/"):
        with pytest.raises(RefusedDestination, match="webhook_allow"):
            listed.require(listed.target(refused), public)


def test_a_public_endpoint_is_listed_as_every_other() -> None:
    """What is refused at submission is refused at delivery, in the same words."""
    with pytest.raises(RefusedDestination, match="webhook_allow"):
        Destinations().check("https://93.184.216.34/")
    Destinations(["93.184.216.34"]).check("https://93.184.216.34/")
    with pytest.raises(RefusedDestination, match="https"):
        Destinations(["93.184.216.34"]).check("http://93.184.216.34/")
    Destinations(["93.184.216.34:80", "93.184.216.34"]).check("http://93.184.216.34/")


async def _until(house: House, approval: str, event_type: str) -> None:
    async with asyncio.timeout(30):
        async for event in house.ledger.subscribe("acme"):
            if event.type == event_type and f"approval:{approval}" in event.tags:
                return
    await recorded(house, approval)
