"""The client where things fail: it waits through drops, repeats with the same key, and never runs without permission.

Serves DC-03, DC-07; invariants 2 and 6 of the design. The server here speaks HTTP on a real socket.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from scripted_server import (
    DENY,
    DROP,
    PERMIT,
    REDEEMED,
    SILENCE,
    TASK,
    Reply,
    Scripted,
    approving,
    problem,
    scripted,
    task,
)

from quarterdeck import (
    ActionChanged,
    ApprovalExpired,
    ApprovalPending,
    BadAnswer,
    Denied,
    Entity,
    GrantSpent,
    Intent,
    NotConfigured,
    Quarterdeck,
    QuarterdeckError,
    Refused,
    SyncQuarterdeck,
    Unreachable,
    effect_key,
    gate,
)

EVALUATION, REQUESTS, REDEEM = "/access/v1/evaluation", "/access/v1/requests", "/v1/grants/redeem"
REPORT, GRANT_PATH = "/v1/effects/eff_1/report", "/v1/approvals/apr_1/grant"
BUSY = Reply(503, {"type": "urn:quarterdeck:problem:busy", "detail": "busy"}, {"Retry-After": "0"})


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    """A server on which a whole approval goes well, until a test says otherwise."""
    async with scripted() as made:
        approving(made)
        yield made


def connect(server: Scripted, **given: float) -> Quarterdeck:
    """Return a client with little patience."""
    options: dict[str, float] = {"timeout_s": 0.5, "patience_s": 0.6} | given
    return Quarterdeck(server.url, "qd_token", **options)


def gated(client: Quarterdeck, ran: list[str], **settings: Any) -> Callable[[str], Coroutine[Any, Any, str]]:
    """Return a gated refund that notes that it ran."""

    @gate("refund", resource="order:1", client=client, **({"wait_s": 5} | settings))
    async def refund(amount: str) -> str:
        ran.append(amount)
        return "done"

    return refund


@pytest.mark.parametrize(
    "reply",
    [
        DROP,
        SILENCE,
        BUSY,
        Reply(500, {"type": "urn:quarterdeck:problem:internal"}),
        Reply(502, b"<html>bad gateway</html>"),
        Reply(200, b"<html>a captive portal</html>"),
        Reply(200, b'{"decision": true'),
        Reply(200, {"decision": "true"}),
        Reply(200, {"decision": 1}),
        Reply(200, {"permitted": True}),
        Reply(200, [True]),
        Reply(204, b""),
        Reply(302, b"", {"Location": "http://elsewhere.test/"}),
        Reply(200, b" " * (5 << 20)),
        problem(401, "unauthenticated"),
        problem(403, "not_allowed"),
        problem(400, "invalid_input"),
        DENY,
    ],
    ids=lambda reply: f"{reply.status}-{str(reply.body)[:20]}",
)
async def test_anything_but_a_permit_does_not_run(server: Scripted, reply: Reply) -> None:
    """Whatever comes instead of a decision, the function stays where it is, and the error is one of ours."""
    server.on("POST", EVALUATION, reply)
    ran: list[str] = []
    async with connect(server) as client:
        with pytest.raises(QuarterdeckError):
            await gated(client, ran)("5.00")
    assert ran == []


async def test_nobody_listens(server: Scripted) -> None:
    """No connection at all is unreachable, within the patience."""
    await server.stop()
    ran: list[str] = []
    async with connect(server) as client:
        with pytest.raises(Unreachable, match="does not answer"):
            await gated(client, ran)("5.00")
    assert ran == []


async def test_a_permit_after_a_drop_and_a_busy_server(server: Scripted) -> None:
    """What is over soon is waited for."""
    server.on("POST", EVALUATION, DROP, BUSY, PERMIT)
    ran: list[str] = []
    async with connect(server, patience_s=5) as client:
        assert await gated(client, ran)("5.00") == "done"
    assert (ran, len(server.to(EVALUATION))) == (["5.00"], 3)


async def test_retry_after_is_honoured_and_bounded(server: Scripted) -> None:
    """A server that is away for an hour is not waited for: the caller hears it at once."""
    server.on("POST", EVALUATION, Reply(503, {"detail": "maintenance"}, {"Retry-After": "3600"}))
    async with connect(server) as client:
        with pytest.raises(Unreachable, match="maintenance") as caught:
            await client.ask("read", "order:1")
    assert len(server.to(EVALUATION)) == 1
    assert caught.value.problem is not None
    assert caught.value.problem.status == 503


async def test_a_request_is_filed_once(server: Scripted) -> None:
    """The answer was lost twice: the same key again, so that the server files one."""
    server.on("POST", REQUESTS, DROP, DROP, task("pending", 202))
    ran: list[str] = []
    async with connect(server, patience_s=5) as client:
        await gated(client, ran)("120.00")
    keys = {item.headers["idempotency-key"] for item in server.to(REQUESTS)}
    bodies = {str(item.body) for item in server.to(REQUESTS)}
    assert (len(server.to(REQUESTS)), len(keys), len(bodies)) == (3, 1, 1)


async def test_a_grant_is_redeemed_with_one_key(server: Scripted) -> None:
    """The answer to the redemption was lost: repeated with its key, it is still the one redemption."""
    server.on("POST", REDEEM, DROP, BUSY, REDEEMED)
    ran: list[str] = []
    async with connect(server, patience_s=5) as client:
        await gated(client, ran)("120.00")
    assert len({item.headers["idempotency-key"] for item in server.to(REDEEM)}) == 1
    assert ran == ["120.00"]


async def test_a_lost_redemption_does_not_run_and_names_its_key(server: Scripted) -> None:
    """Redeemed or not, nobody knows: the function does not run, and the key can settle it later."""
    server.on("POST", REDEEM, DROP)
    ran: list[str] = []
    async with connect(server) as client:
        with pytest.raises(Unreachable) as caught:
            await gated(client, ran)("120.00")
    assert ran == []
    assert caught.value.idempotency_key == server.to(REDEEM)[0].headers["idempotency-key"]
    assert server.to(REPORT) == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (problem(409, "wrong_state", effect_id="eff_9"), GrantSpent),
        (problem(409, "digest_mismatch"), ActionChanged),
        (problem(410, "grant_expired"), ApprovalExpired),
        (problem(403, "not_allowed", reason="policy_denied", says="frozen"), Denied),
        (problem(403, "not_allowed"), Refused),
        (problem(400, "invalid_grant"), Refused),
        (Reply(200, {"effect": "?"}), BadAnswer),
    ],
)
async def test_a_refused_redemption_does_not_run(server: Scripted, reply: Reply, kind: type[Exception]) -> None:
    """Each refusal has the error that says what to do."""
    server.on("POST", REDEEM, reply)
    ran: list[str] = []
    async with connect(server) as client:
        with pytest.raises(kind) as caught:
            await gated(client, ran)("120.00")
    assert type(caught.value) is kind
    assert ran == []


@pytest.mark.parametrize("status", ["redeemed", "revoked", "expired", "unused"])
async def test_a_grant_without_a_token_is_not_tried(server: Scripted, status: str) -> None:
    """Used, revoked, too late, or somebody else's: known without asking."""
    server.on("GET", GRANT_PATH, Reply(200, {"id": "grt_1", "approval_id": "apr_1", "status": status}))
    ran: list[str] = []
    async with connect(server) as client:
        with pytest.raises((GrantSpent, ApprovalExpired, Refused)):
            await gated(client, ran)("120.00")
    assert (ran, server.to(REDEEM)) == ([], [])


async def test_waiting_survives_drops_and_restarts(server: Scripted) -> None:
    """Connections break, the server goes away and comes back on the same port; the wait ends with the answer."""
    server.on("GET", TASK, DROP, BUSY, task("pending", Retry_After="0"), SILENCE)
    port = int(server.url.rpartition(":")[2])
    async with connect(server) as client:
        waiting = asyncio.create_task(client.wait("apr_1"))
        while len(server.to(TASK)) < 4:
            server.arrived.clear()
            await server.arrived.wait()
        await server.stop()
        server.on("GET", TASK, task("approved"))
        await server.start(port)
        assert (await waiting).status == "approved"
    preferred = [item.headers.get("prefer") for item in server.to(TASK)]
    assert preferred == ["wait=25"] * 5


async def test_waiting_ends_with_its_time(server: Scripted) -> None:
    """Undecided, it returns the task as it was seen; unreachable all the time, it says so."""
    server.on("GET", TASK, task("pending", Retry_After="1"))
    async with connect(server) as client:
        assert (await client.wait("apr_1", 0.2)).pending
        assert (await client.wait("apr_1", 0)).pending
        server.on("GET", TASK, task("pending", Retry_After="0"), DROP)
        assert (await client.wait("apr_1", 0.3)).pending
        await server.stop()
        with pytest.raises(Unreachable):
            await client.wait("apr_1", 0.2)


async def test_waiting_does_not_go_on_for_nothing(server: Scripted) -> None:
    """What will not get better by waiting is told at once, also without a timeout."""
    for reply, kind in (
        (problem(404, "unknown_task"), Refused),
        (problem(401, "unauthenticated"), Refused),
        (Reply(200, b"<html>"), BadAnswer),
        (Reply(200, {"task": {"id": "apr_1", "status": "granted"}}), BadAnswer),
    ):
        server.on("GET", TASK, reply)
        async with connect(server) as client:
            with pytest.raises(kind):
                await client.wait("apr_1")


async def test_a_filed_request_is_never_lost(server: Scripted) -> None:
    """The server is gone once the request is filed: the error carries the task, for later."""
    server.on("GET", TASK, DROP)
    ran: list[str] = []
    async with connect(server) as client:
        with pytest.raises(ApprovalPending) as caught:
            await gated(client, ran, wait_s=0.3)("120.00")
    assert (caught.value.task.id, ran) == ("apr_1", [])


async def test_the_token_goes_nowhere_else(server: Scripted) -> None:
    """Addresses in answers are not called: every request came here, and the elsewhere was never asked."""
    ran: list[str] = []
    async with connect(server) as client:
        await gated(client, ran)("120.00")
    paths = [item.path for item in server.seen if item.path != "/v1/me"]
    assert paths == [EVALUATION, REQUESTS, TASK, GRANT_PATH, REDEEM, REPORT]
    assert {item.headers["host"] for item in server.seen} == {server.url.removeprefix("http://")}


async def test_what_is_sent_is_the_standard(server: Scripted) -> None:
    """The evaluation, the request echoing its denial, and the redemption of the same intent, to the letter."""
    async with connect(server) as client:
        decision = await client.ask("refund", "order:1", properties={"amount": "120.00"}, context={"why": "lost"})
        await client.request_approval(decision, justification="lost parcel", callback="https://agent.test/hook")
    intent = {
        "subject": {"type": "agent", "id": "prn_bot"},
        "action": {"name": "refund", "properties": {"amount": "120.00"}},
        "resource": {"type": "order", "id": "1"},
        "context": {"why": "lost"},
    }
    assert server.to(EVALUATION)[0].body == intent
    assert server.to(REQUESTS)[0].body == intent | {
        "context": {"why": "lost", "business_justification": "lost parcel"},
        "denial": {"evaluation_id": "dec_1", "expires_at": "2999-01-01T00:00:00Z"},
        "callback": {"endpoint": "https://agent.test/hook"},
    }
    assert server.to(EVALUATION)[0].headers["authorization"] == "Bearer qd_token"


async def test_an_unreported_outcome_keeps_the_result(server: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    """The money moved: losing the report must not look like a refusal. It is logged with the effect's id."""
    server.on("POST", REPORT, DROP)
    ran: list[str] = []
    async with connect(server) as client:
        with caplog.at_level(logging.WARNING, "quarterdeck"):
            assert await gated(client, ran)("120.00") == "done"
    assert "eff_1" in caplog.text
    assert "qd_token" not in caplog.text


async def test_cancelled_while_redeeming_is_reported_as_not_done(server: Scripted) -> None:
    """The grant may be used up, but nothing ran: that is what the log is told."""
    server.on("POST", REDEEM, SILENCE, REDEEMED)
    ran: list[str] = []
    async with connect(server, patience_s=5) as client:
        call = asyncio.create_task(gated(client, ran)("120.00"))
        while not server.to(REDEEM):
            server.arrived.clear()
            await server.arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert ran == []
    assert [item.body["outcome"] for item in server.to(REPORT)] == ["failed"]


async def test_cancelled_while_waiting_runs_nothing(server: Scripted) -> None:
    """The request stays open; nothing is redeemed."""
    server.on("GET", TASK, SILENCE)
    ran: list[str] = []
    async with connect(server) as client:
        call = asyncio.create_task(gated(client, ran)("120.00"))
        while not server.to(TASK):
            server.arrived.clear()
            await server.arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert (ran, server.to(REDEEM)) == ([], [])


async def test_the_effect_class_is_declared(server: Scripted) -> None:
    """How the effect may be repeated is said with the redemption."""
    async with connect(server) as client:
        await gated(client, [], effect_class="idempotent")("120.00")
    assert server.to(REDEEM)[0].body["effect_class"] == "idempotent"


async def test_many_threads_share_a_sync_client(server: Scripted) -> None:
    """Each call is its own; the plain function runs in the thread that called it."""
    threads: list[int] = []

    def work() -> tuple[int, str]:
        return threading.get_ident(), refund("120.00")

    with SyncQuarterdeck(server.url, "qd_token", timeout_s=2, patience_s=2) as client:

        @gate("refund", resource="order:1", client=client, wait_s=5)
        def refund(amount: str) -> str:
            threads.append(threading.get_ident())
            return amount

        found = await asyncio.gather(*(asyncio.to_thread(work) for _ in range(8)))
        await asyncio.to_thread(client.close)
    assert [result for _, result in found] == ["120.00"] * 8
    assert sorted(threads) == sorted(ident for ident, _ in found)
    assert len(server.to(REPORT)) == 8


async def test_a_sync_function_that_defers_its_effect_is_refused(server: Scripted) -> None:
    """What it returns would act later, outside the gate: unknown, and an error, not committed."""

    async def later() -> None:
        raise AssertionError("never awaited")

    def call() -> None:
        with SyncQuarterdeck(server.url, "qd_token") as client:

            @gate("refund", resource="order:1", client=client, wait_s=5)
            def refund() -> object:
                return later()

            with pytest.raises(NotConfigured, match="to await"):
                refund()

    await asyncio.to_thread(call)
    assert [item.body["outcome"] for item in server.to(REPORT)] == ["unknown"]


async def test_an_async_function_that_defers_its_effect_is_refused(server: Scripted) -> None:
    """A coroutine returned instead of awaited is the classic slip: nothing happened yet, so it is not committed."""

    async def later() -> None:
        raise AssertionError("never awaited")

    async with connect(server) as client:

        @gate("refund", resource="order:1", client=client, wait_s=5)
        async def refund() -> object:
            return later()

        with pytest.raises(NotConfigured, match="to await"):
            await refund()
    assert [item.body["outcome"] for item in server.to(REPORT)] == ["unknown"]


async def test_the_key_of_the_effect(server: Scripted) -> None:
    """Inside the function it is the effect's id; outside, and afterwards, there is none."""
    keys: list[str | None] = []
    async with connect(server) as client:

        @gate("refund", resource="order:1", client=client, wait_s=5)
        async def refund() -> None:
            keys.append(effect_key())

        await refund()
        server.on("POST", EVALUATION, PERMIT)
        await refund()
    assert (keys, effect_key()) == (["eff_1", "dec_1"], None)


async def test_a_client_stays_in_its_loop_and_process(server: Scripted) -> None:
    """Elsewhere its connections are somebody else's: refused in words, not by a crash."""
    async with connect(server) as client:
        await client.me()
        server.on("POST", EVALUATION, PERMIT)
        assert (await client.ask("read", "order:1")).permitted
        with pytest.raises(NotConfigured, match="another event loop"):
            await asyncio.to_thread(
                lambda: asyncio.run(client.evaluate(Intent(Entity("a", "b"), "c", Entity("d", "e"))))
            )


FORKED = """
import os, sys
from quarterdeck import NotConfigured, SyncQuarterdeck
parent = SyncQuarterdeck(sys.argv[1], "qd_fork")
assert parent.ask("read", "order:1").permitted
child = os.fork()
if child == 0:
    try:
        parent.ask("read", "order:1")
    except NotConfigured:
        with SyncQuarterdeck(sys.argv[1], "qd_fork") as own:
            os._exit(0 if own.ask("read", "order:1").permitted else 2)
    os._exit(3)
assert parent.ask("read", "order:1").permitted
parent.close()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


async def test_a_forked_child_makes_its_own(server: Scripted) -> None:
    """The parent's client is refused in the child, one of its own works, and the parent goes on."""
    server.on("POST", EVALUATION, PERMIT)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", FORKED, server.url)
    assert await process.wait() == 0


async def test_the_environment_is_enough(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a client the gate finds address and token by itself, and leaves no connection behind."""
    monkeypatch.setenv("QUARTERDECK_URL", server.url)
    monkeypatch.setenv("QUARTERDECK_TOKEN", "qd_token")

    @gate("refund", resource="order:1")
    async def refund(amount: str) -> str:
        return amount

    @gate("refund", resource="order:1")
    def sync_refund(amount: str) -> str:
        return amount

    assert await refund("120.00") == "120.00"
    assert await asyncio.to_thread(sync_refund, "121.00") == "121.00"
    assert [item.body["intent"]["action"]["properties"]["amount"] for item in server.to(REDEEM)] == ["120.00", "121.00"]


async def test_an_open_request_is_joined(server: Scripted) -> None:
    """Already asked: the task that is open is waited for."""
    server.on("POST", REQUESTS, problem(409, "already_requested", approval_id="apr_1"))
    ran: list[str] = []
    async with connect(server) as client:
        assert await gated(client, ran)("120.00") == "done"


async def test_who_i_am_is_asked_once(server: Scripted) -> None:
    """A credential belongs to one principal for ever."""
    server.on("POST", EVALUATION, PERMIT)
    for _ in range(3):
        async with Quarterdeck(server.url, "qd_another") as client:
            await client.ask("read", "order:1")
    assert len(server.to("/v1/me")) == 1
