"""ARAP, callbacks: which endpoints are accepted, and what is kept of them. Delivery is tested elsewhere.

Serves C03; RELIABILITY T19. Source: ARAP draft at e287920, 'Callback Completion', 'Callback Security'.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from access_world import OURS, assert_problem, submission, world

from quarterdeck_api.arap.callbacks import check_callback
from quarterdeck_api.arap.errors import CallbackRefused

ALLOW = (
    "agents.example.com",
    "unknown.example.com",
    "turned.example.com",
    "half.example.com",
    "listed.example.com",
    "hooks.internal:8443",
    "[fd00:2::1]:8443",
    "203.0.113.0/24",
    "10.1.0.0/16",
    "fd00:1::/32",
    "127.0.0.1",
)
NAMES = {
    "agents.example.com": ("93.184.216.34", "2606:4700::1111"),
    "turned.example.com": ("127.0.0.53",),
    "half.example.com": ("93.184.216.34", "10.0.0.5"),
    "listed.example.com": ("93.184.216.34", "10.1.0.5"),
    "hooks.internal": ("10.9.9.9",),
    "public.example.org": ("203.0.113.7",),
    "inside.example.org": ("10.1.2.3",),
    "elsewhere.example.org": ("198.51.100.1",),
    "both.example.org": ("203.0.113.7", "198.51.100.1"),
    "rebind.example.org": ("203.0.113.7", "169.254.169.254"),
    "six.example.org": ("fd00:1::5",),
}


async def resolve(host: str) -> Sequence[str]:
    """Resolve names that only this test knows."""
    return NAMES.get(host, ())


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://agents.example.com/callbacks",
        "https://AGENTS.example.com./callbacks",
        "https://agents.example.com:443/x?y=z",
        "https://unknown.example.com/x",
        "https://listed.example.com/x",
        "https://[fd00:2::1]:8443/x",
        "https://inside.example.org:8443/x",
        "https://hooks.internal:8443/x",
        "http://hooks.internal:8443/x",
        "https://203.0.113.9/x",
        "https://public.example.org/x",
        "https://inside.example.org/x",
        "https://six.example.org/x",
        "https://[fd00:1::9]/x",
        "http://127.0.0.1:8080/x",
    ],
)
async def test_allowed_endpoints(endpoint: str) -> None:
    """Named and public, or every address in a listed network, or host and port named; http only here or by the latter."""
    await check_callback(endpoint, ALLOW, resolve)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "nonsense",
        "ftp://agents.example.com/x",
        "http://agents.example.com/x",
        "http://public.example.org/x",
        "https://",
        "https://:443/x",
        "https://user@agents.example.com/x",
        "https://user:secret@agents.example.com/x",
        "https://agents.example.com/x#fragment",
        "https://agents.example.com:99999/x",
        "https://agents.example.com:9443/x",
        "https://agents.example.com:80/x",
        "https://unknown.example.com:8443/x",
        "https://turned.example.com/x",
        "https://half.example.com/x",
        "https://[fd00:2::1]/x",
        "https://agents.example.com.evil.example/x",
        "https://evil.example/agents.example.com",
        "https://evil.example\\@agents.example.com/x",
        "https://agents.example.com\n.evil.example/x",
        "https://agents.example.com /x",
        "https://agënts.example.com/x",
        "https://hooks.internal/x",
        "https://hooks.internal:8444/x",
        "https://elsewhere.example.org/x",
        "https://both.example.org/x",
        "https://rebind.example.org/x",
        "https://unknown.example.org/x",
        "https://198.51.100.1/x",
        "https://10.2.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/x",
        "https://[::1]/x",
        "https://[::ffff:169.254.169.254]/x",
        "https://0.0.0.0/x",
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://[fe80::1%25eth0]/x",
    ],
)
async def test_refused_endpoints(endpoint: str) -> None:
    """Callback Completion: MUST reject what the deployment has not allowed, internal addresses above all."""
    with pytest.raises(CallbackRefused):
        await check_callback(endpoint, ALLOW, resolve)


async def test_an_empty_list_allows_nothing() -> None:
    """The default."""
    with pytest.raises(CallbackRefused):
        await check_callback("https://public.example.org/x", (), resolve)


async def test_a_refused_callback_refuses_the_submission(module_database: str, tmp_path: Path) -> None:
    """A problem of ours: the profile has none. Nothing is recorded."""
    async with world(module_database, tmp_path, webhook_allow=("agents.example.com",)) as ars:
        intent, context = await ars.denied()
        before = await ars.position()
        for endpoint in ("https://169.254.169.254/", "http://agents.example.com/", "https://localhost:1/"):
            body = submission(intent, context, callback={"endpoint": endpoint})
            assert_problem(await ars.submit(body), 400, f"{OURS}callback_refused")
        assert await ars.position() == before


async def test_an_accepted_callback_is_recorded(module_database: str, tmp_path: Path) -> None:
    """Endpoint and events for whoever delivers; the opaque state is personal, and kept as it came."""
    async with world(module_database, tmp_path, webhook_allow=("agents.example.com",)) as ars:
        intent, context = await ars.denied()
        callback = {
            "endpoint": "https://agents.example.com/callbacks",
            "state": "session_01HX69WJ8Q0K7P4F0V0K9D6Z7N",
            "events": ["expired", "approved", "unheard-of"],
        }
        assert (await ars.submit(submission(intent, context, callback=callback))).status_code == 202
        (requested,) = await ars.log("approval.requested")
        assert requested.callback.endpoint == callback["endpoint"]
        assert requested.callback.events == ("approved", "expired")
        assert requested.callback_state == callback["state"]
        (sealed,) = [
            entry for entry in await ars.services.ledger.read_sealed(ars.tenant) if entry.type == "approval.requested"
        ]
        assert "session_01HX69WJ8Q0K7P4F0V0K9D6Z7N" not in str(sealed.data)
