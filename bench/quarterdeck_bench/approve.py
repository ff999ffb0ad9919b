"""`approve`: from the approver's call to a redeemable grant, over HTTP, with a thousand gates open.

Everything runs as `quarterdeck up` runs it. Temporal is off the path: the grant is minted in the append that records
the vote. Beside it, in the same rounds: what the same door costs for a request that does nothing, and for a decision.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Final

import httpx

from quarterdeck_bench.harness import Result, median, percentile
from quarterdeck_embedded import free_port

GATES: Final = int(os.environ.get("QUARTERDECK_BENCH_GATES", "1000"))
APPROVALS: Final = 200


def run(rounds: int) -> Result:
    """Open the gates, then approve in rounds beside plain reads of the same service."""
    with tempfile.TemporaryDirectory(prefix="qd-bench-") as directory:
        process, started = up(Path(directory) / "data")
        try:
            found = asyncio.run(_measure(started["url"], started["sign_in"].rsplit("/", 1)[1], rounds))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    p99 = median([percentile(sample, 0.99) * 1000 for sample in found["approve"]])
    rows: list[dict[str, Any]] = []
    limit = median([percentile(sample, 0.5) for sample in found["me"]])
    for name, label in (
        ("me", "GET /v1/me: authenticate, nothing else"),
        ("evaluate", "POST evaluation: decide and record"),
        ("approve", "POST approve: vote, grant, read the grant"),
    ):
        p50 = median([percentile(sample, 0.5) for sample in found[name]])
        tail = median([percentile(sample, 0.99) for sample in found[name]])
        rows.append({"what": label, "p50 ms": p50 * 1000, "p99 ms": tail * 1000, "x GET": p50 / limit})
    value = {"p99_ms": round(p99, 2), "gates_open": found["open"]}
    goal = {"p99_ms": 50, "gates_open": GATES}
    ok = p99 <= goal["p99_ms"] and found["open"] >= GATES
    return {"name": "approve", "value": value, "goal": goal, "ok": ok, "rows": rows}


def up(data: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """Start everything as `quarterdeck up` does; return the process and what it said when it was ready."""
    program = Path(sysconfig.get_path("scripts")) / "quarterdeck"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QUARTERDECK_")}
    environment |= {"QUARTERDECK_RATE_PER_S": "100000", "QUARTERDECK_RATE_BURST": "100000"}
    process = subprocess.Popen(
        [str(program), "up", "--json", "--data-dir", str(data), "--port", str(free_port())],
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


class _Client:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def post(self, path: str, body: Any, token: str | None = None) -> dict[str, Any]:
        headers = {"Idempotency-Key": str(uuid.uuid4())} | ({"Authorization": f"Bearer {token}"} if token else {})
        answer = await self._http.post(path, json=body, headers=headers)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    async def get(self, path: str, token: str) -> dict[str, Any]:
        answer = await self._http.get(path, headers={"Authorization": f"Bearer {token}"})
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    async def principal(self, admin: str, kind: str, name: str, roles: list[str], **extra: str) -> tuple[str, str]:
        made = await self.post(
            "/v1/commands/register_principal", {"kind": kind, "display_name": name, "roles": roles, **extra}, admin
        )
        principal = made["result"]["principal_id"]
        issued = await self.post("/v1/commands/issue_api_key", {"principal_id": principal}, admin)
        return principal, next(iter(issued["reveal"].values()))


async def _measure(url: str, sign_in: str, rounds: int) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        client = _Client(http)
        session = await client.post("/sign-in", {"token": sign_in})
        admin = next(str(value) for value in session.values() if str(value).startswith("qd_"))
        owner, _ = await client.principal(admin, "human", "Omar", ["operator"])
        _, approver = await client.principal(admin, "human", "Iris", ["approver"])
        agent, key = await client.principal(admin, "agent", "bot", ["agent"], owner=owner)
        opened = [await _open(client, agent, key, number) for number in range(GATES + rounds * APPROVALS)]
        found: dict[str, Any] = {"approve": [], "me": [], "evaluate": [], "open": GATES}
        for round_number in range(rounds):
            part = opened[round_number * APPROVALS : (round_number + 1) * APPROVALS]
            samples: dict[str, list[float]] = {"approve": [], "me": [], "evaluate": []}
            for number, approval in enumerate(part):
                shown = await client.get(f"/v1/approvals/{approval}", approver)
                digest = shown["verified"]["action_digest"]
                samples["me"].append(await _timed(client.get("/v1/me", approver)))
                samples["evaluate"].append(
                    await _timed(client.post("/access/v1/evaluation", _intent(agent, f"o-{number}", "20.00"), key))
                )
                samples["approve"].append(await _timed(_approve(client, approval, digest, approver, key)))
            for name, values in samples.items():
                found[name].append(values)
        return found


async def _approve(client: _Client, approval: str, digest: str, approver: str, key: str) -> None:
    await client.post(f"/v1/approvals/{approval}/approve", {"action_digest": digest}, approver)
    grant = await client.get(f"/v1/approvals/{approval}/grant", key)
    assert grant["grant"]


async def _open(client: _Client, agent: str, key: str, number: int) -> str:
    intent = _intent(agent, f"order-{number}", "480.00")
    context = (await client.post("/access/v1/evaluation", intent, key))["context"]
    wanted = context["access_request"]
    denial = {
        "evaluation_id": context["evaluation_id"],
        "evaluated_at": context["evaluated_at"],
        "expires_at": wanted["expires_at"],
        "binding_token": wanted["binding_token"],
    }
    request = {**intent, "context": {"business_justification": "bench"}, "denial": denial}
    return str((await client.post(wanted["endpoint"], request, key))["task"]["id"])


def _intent(agent: str, order: str, amount: str) -> dict[str, Any]:
    return {
        "subject": {"type": "agent", "id": agent},
        "action": {"name": "refund", "properties": {"amount": amount, "currency": "EUR"}},
        "resource": {"type": "order", "id": order},
    }


async def _timed(call: Any) -> float:
    begun = time.perf_counter()
    await call
    return time.perf_counter() - begun
