"""Temporal as a child process: it starts, keeps its state through any end, and serves one file once.

Serves DC-03: workflows survive the restart and kill -9 of their server; nothing outlives its owner.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from temporalio import workflow
from temporalio.client import Client

from quarterdeck_embedded import AlreadyRunning, EmbeddedTemporal, StartFailed, free_port

BOUND_S = 20.0
OWNER = """
import sys, threading
from pathlib import Path
from quarterdeck_embedded import EmbeddedTemporal
server = EmbeddedTemporal(Path(sys.argv[1]))
starter = threading.Thread(target=server.start)
starter.start()
starter.join()
print(server.pid, server.address, flush=True)
sys.stdin.read()
"""


@workflow.defn
class WaitingWorkflow:
    """Never run here: only its start is recorded by the server."""

    @workflow.run
    async def run(self) -> None:
        """Wait for a signal that nobody sends."""
        await workflow.wait_condition(lambda: False)


async def begin(address: str, name: str) -> None:
    """Have the server record the start of a workflow."""
    client = await Client.connect(address)
    await client.start_workflow(
        WaitingWorkflow.run, id=name, task_queue="nobody", execution_timeout=timedelta(minutes=5)
    )


async def known(address: str, name: str) -> bool:
    """Tell whether the server has the workflow, open."""
    description = await (await Client.connect(address)).get_workflow_handle(name).describe()
    return description.status is not None and description.status.name == "RUNNING"


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_started_workflow_is_there_after_any_end(tmp_path: Path, end: str) -> None:
    with EmbeddedTemporal(tmp_path / "temporal.db") as server:
        await begin(server.address, "kept")
        getattr(server, end)()
        assert server.pid is None
        assert not server.is_ready()
        server.start()
        assert await known(server.address, "kept")


def test_listens_on_loopback_alone_without_a_web_interface(tmp_path: Path) -> None:
    with EmbeddedTemporal(tmp_path / "temporal.db") as server:
        assert server.pid is not None
        doors = [c.laddr for c in psutil.Process(server.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert {door.ip for door in doors} == {"127.0.0.1"}
        assert int(server.address.rpartition(":")[2]) in {door.port for door in doors}


async def test_named_port_and_namespace_are_used(tmp_path: Path) -> None:
    port = free_port()
    with EmbeddedTemporal(tmp_path / "temporal.db", port=port, namespace="ships") as server:
        assert server.address == f"127.0.0.1:{port}"
        client = await Client.connect(server.address, namespace="ships")
        assert [execution async for execution in client.list_workflows()] == []


def test_dynamic_configuration_reaches_the_server(tmp_path: Path) -> None:
    refused = EmbeddedTemporal(tmp_path / "refused.db", dynamic_config={"limit.maxIDLength": "not json"})
    with pytest.raises(StartFailed, match=r"limit\.maxIDLength"):
        refused.start()
    with EmbeddedTemporal(tmp_path / "taken.db", dynamic_config={"limit.maxIDLength": json.dumps(500)}) as server:
        assert server.is_ready()


def test_taken_port_is_told_with_the_servers_own_words(tmp_path: Path) -> None:
    with EmbeddedTemporal(tmp_path / "first.db") as first:
        port = int(first.address.rpartition(":")[2])
        with pytest.raises(StartFailed, match="address already in use"):
            EmbeddedTemporal(tmp_path / "second.db", port=port).start()
        assert first.is_ready()


def test_port_taken_between_look_and_use_is_chosen_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedTemporal(None) as other:
        taken = int(other.address.rpartition(":")[2])
        ports = iter([[taken, free_port()], [free_port(), free_port()]])
        monkeypatch.setattr("quarterdeck_embedded.process.free_ports", lambda _count: next(ports))
        with EmbeddedTemporal(tmp_path / "temporal.db") as server:
            assert server.address != other.address


def test_second_start_on_one_file_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    with EmbeddedTemporal(tmp_path / "temporal.db") as server:
        with pytest.raises(AlreadyRunning, match=str(server.pid)):
            EmbeddedTemporal(tmp_path / "temporal.db").start()
        with pytest.raises(AlreadyRunning, match="started here before"):
            server.start()
        assert server.is_ready()


def test_state_in_memory_leaves_no_file_behind() -> None:
    with EmbeddedTemporal(None) as server:
        log = server.log
        assert log.is_file()
    assert not log.parent.exists()


async def test_server_outlives_the_thread_that_started_it_but_not_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "temporal.db"
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    pid, address = owner.stdout.readline().decode().split()
    server = psutil.Process(int(pid))
    await begin(address, "kept")
    owner.kill()
    owner.communicate()
    end = time.monotonic() + BOUND_S
    with EmbeddedTemporal(file) as again:
        assert await known(again.address, "kept")
    while server.is_running() and time.monotonic() < end:
        time.sleep(0.01)
    assert not server.is_running()
