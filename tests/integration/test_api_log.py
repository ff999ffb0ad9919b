"""The log over HTTP: checkpoints, tiles, proofs, exports that verify elsewhere. Serves C01, DC-03; threats T14, T16."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest
from api_house import House, house, over_http

from quarterdeck_domain import merkle
from quarterdeck_ledger.bundle import Export
from quarterdeck_ledger.checkpoints import LogRewound, held_path
from quarterdeck_ledger.errors import Unavailable
from quarterdeck_ledger.notes import VerifierKey, decode_base64, parse_vkey, verify_checkpoint
from quarterdeck_ledger.tiles import decode_entries, decode_tile, tiles_of

VERIFIER = Path(__file__).parents[2] / "services" / "quarterdeck" / "verifier.py"


@pytest.fixture
async def api(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[House]:
    """An API with two tenants, an auditor, and some hundred events, so that the first tile is full."""
    async with house(migrated_database(), tmp_path, tenants=("acme", "globex")) as made:
        await made.add("acme", "audrey", "auditor")
        yield made


async def grow(api: House, to: int) -> None:
    """Grow acme's log to at least a size."""
    admin = {"principal_id": api.ids["acme", "audrey"], "role": "approver"}
    while (size := await api.position()) < to:
        for name in ("grant_role", "revoke_role")[: to - size]:
            assert (await api.command(name, admin)).status_code == 200


async def get(api: House, path: str, **params: object) -> httpx.Response:
    """Read something as the auditor."""
    query = {name.rstrip("_"): value for name, value in params.items()}
    answer = await api.client.get(f"/v1/log/{path}", params=query, headers=api.bearer("acme", "audrey"))  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return answer


async def keys(api: House) -> list[VerifierKey]:
    """Return the log's published keys."""
    return [parse_vkey(line) for line in (await get(api, "vkeys")).text.splitlines()]


async def test_a_checkpoint_covers_the_whole_log_and_verifies(api: House) -> None:
    """Asked for again without growth it is the same note; after growth it is a later one that extends it."""
    note = (await get(api, "checkpoint")).content
    vkeys = await keys(api)
    first = verify_checkpoint(note, vkeys, origin="quarterdeck/acme")
    assert first.size == await api.position()
    assert (await get(api, "checkpoint")).content == note
    await grow(api, first.size + 3)
    second = verify_checkpoint((await get(api, "checkpoint")).content, vkeys, origin="quarterdeck/acme")
    assert second.size >= first.size + 3
    proof = (await get(api, "proof/consistency", from_=first.size, to=second.size)).json()
    hashes = [decode_base64(text) for text in proof["hashes"]]
    assert merkle.verify_consistency(first.size, second.size, first.root, second.root, hashes)
    assert decode_base64(proof["old_root"]) == first.root
    assert decode_base64(proof["root"]) == second.root


async def test_every_event_has_an_inclusion_proof(api: House) -> None:
    """In the tree of every size it belongs to; against a checkpoint's root, not one the proof brings along."""
    await grow(api, 20)
    signed = verify_checkpoint((await get(api, "checkpoint")).content, await keys(api))
    for position in (1, 2, signed.size // 2, signed.size):
        proof = (await get(api, "proof/inclusion", position=position, size=signed.size)).json()
        entry = await api.services.ledger.store.read("acme", None, position - 1, position, None, False)
        leaf = merkle.leaf_hash(entry[0][1])
        hashes = [decode_base64(text) for text in proof["hashes"]]
        assert decode_base64(proof["leaf"]) == leaf
        assert merkle.verify_inclusion(leaf, position - 1, signed.size, hashes, signed.root)


async def test_tiles_lead_to_the_checkpoint_as_any_client_of_tiles_would_go(api: House) -> None:
    """Over more than one full tile: every tile that the size implies exists, and together they make the root."""
    await grow(api, 300)
    signed = verify_checkpoint((await get(api, "checkpoint")).content, await keys(api))
    full = await get(api, "tile/0/000")
    assert full.headers["cache-control"].endswith("immutable")
    assert full.headers["content-type"] == "application/octet-stream"
    leaves = decode_tile(full.content)
    for tile in tiles_of(signed.size):
        data = (await get(api, tile.path())).content
        if tile.level == 0:
            leaves += decode_tile(data, tile.width)
        elif tile.level == 1:
            assert decode_tile(data, tile.width) == [merkle.subtree_root(leaves[:256])]
    assert merkle.root(merkle.append_leaves(b"", 0, leaves), len(leaves)) == signed.root
    entries = decode_entries((await get(api, "tile/entries/000")).content)
    assert [merkle.leaf_hash(entry) for entry in entries] == leaves[:256]
    rest = decode_entries((await get(api, f"tile/entries/001.p/{signed.size - 256}")).content, signed.size - 256)
    assert [merkle.leaf_hash(entry) for entry in rest] == leaves[256:]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("tile/0/999", 404),
        ("tile/1/000", 404),
        ("tile/entries/x001/000", 404),
        ("tile/0/000.p/256", 400),
        ("tile/0/0", 400),
        ("tile/64/000", 400),
        ("tile/-1/000", 400),
        ("tile/0/../../../etc/passwd", 404),
        ("tile/entries/%2e%2e", 400),
        ("proof/inclusion", 400),
        ("proof/inclusion?position=0", 400),
        ("proof/inclusion?position=1&size=999999", 400),
        ("proof/inclusion?position=9&size=5", 400),
        ("proof/inclusion?position=1e3", 400),
        ("proof/inclusion?position=99999999999999999999", 400),
        ("proof/consistency?from=5&to=3", 400),
        ("proof/consistency?from=-1", 400),
        ("events?after=-1", 400),
        ("events?limit=0", 400),
        ("events?format=xml", 400),
        ("export/proof", 400),
        ("export/proof?position=99999", 400),
        ("export/proof?position=1&held=99999", 400),
    ],
)
async def test_what_the_log_does_not_have_is_a_typed_problem(api: House, path: str, status: int) -> None:
    """Never a 500, never a guess."""
    answer = await api.client.get(f"/v1/log/{path}", headers=api.bearer("acme", "audrey"))
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_export_is_verified_by_the_standalone_program(api: House, tmp_path: Path) -> None:
    """Streamed over a real socket, the same bytes twice, and the program that imports nothing of ours accepts it."""
    await grow(api, 30)
    note = (await get(api, "checkpoint")).content
    async with over_http(api.services) as address, httpx.AsyncClient(base_url=address) as client:
        bodies = []
        for _ in range(2):
            answer = await client.get("/v1/log/export", headers=api.bearer("acme", "audrey"))
            bodies.append(answer.content)
    assert bodies[0] == bodies[1]
    assert len(list(Export(io.BytesIO(bodies[0]), await keys(api)).entries())) == await api.position()
    (tmp_path / "export").write_bytes(bodies[0])
    (tmp_path / "checkpoint").write_bytes(note)
    command = [str(tmp_path / "export"), "--checkpoint", str(tmp_path / "checkpoint")]
    for key in await keys(api):
        command += ["--vkey", str(key)]
    accepted = await _verify(tmp_path, *command)
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    broken = bodies[0].replace(b'"approver"', b'"operator"', 1)
    (tmp_path / "export").write_bytes(broken)
    refused = await _verify(tmp_path, *command)
    assert refused.returncode == 1, refused.stdout + refused.stderr


async def test_a_proof_export_holds_only_what_was_chosen(api: House) -> None:
    """Three events with their proofs, and the proof that a checkpoint held from before still stands."""
    await grow(api, 20)
    answer = await get(api, "export/proof", position=[2, 7, 11], held=[5, 9])
    export = Export(io.BytesIO(answer.content), await keys(api))
    assert [position for position, _ in export.entries()] == [2, 7, 11]
    assert [item.size for item in export.header.consistency or ()] == [5, 9]


async def test_events_in_bulk_are_the_entries_themselves(api: House) -> None:
    """In pages that meet without gap or repetition; filtered by type and tag; personal data stays sealed."""
    await grow(api, 25)
    lines: list[bytes] = []
    while True:
        after = json.loads(lines[-1])["position"] if lines else 0
        page = (await get(api, "events", after=after, limit=7)).content.splitlines()
        if not page:
            break
        lines += page
    stored = await api.services.ledger.store.read("acme", None, 0, None, None, False)
    assert lines == [entry for _, entry in stored]
    assert b"audrey" not in b"".join(lines)
    assert b"sealed:v1:" in b"".join(lines)
    tag = f"principal:{api.ids['acme', 'audrey']}"
    granted = (await get(api, "events", type="principal.role_granted", tag=tag)).content.splitlines()
    assert granted
    assert {json.loads(line)["type"] for line in granted} == {"principal.role_granted"}
    assert (await get(api, "events", until=3)).content.count(b"\n") == 3


async def test_events_as_cloudevents(api: House) -> None:
    """The official library reads every one, in lines and as a batch, and finds what the entry says."""
    from cloudevents.core.bindings.http import HTTPMessage, from_http_event
    from cloudevents.core.formats.json import JSONFormat

    answer = await get(api, "events", format="cloudevents")
    entries = await api.services.ledger.store.read("acme", None, 0, None, None, False)
    for line, (position, entry) in zip(answer.content.splitlines(), entries, strict=True):
        message = HTTPMessage({"content-type": "application/cloudevents+json"}, line)
        event = from_http_event(message, JSONFormat())
        recorded = json.loads(entry)
        assert event.get_id() == recorded["id"]
        assert event.get_source() == "//quarterdeck/acme"
        assert event.get_type() == f"quarterdeck.{recorded['type']}"
        assert event.get_time().isoformat()[:19] == recorded["recorded_at"][:19]
        assert int(event.get_extension("sequence")) == position
        assert event.get_data() == recorded["data"]
    batch = await get(api, "events", format="cloudevents-batch")
    assert batch.headers["content-type"] == "application/cloudevents-batch+json"
    assert batch.json() == [json.loads(line) for line in answer.content.splitlines()]
    assert (await get(api, "events", format="cloudevents-batch", after=await api.position())).json() == []


async def test_each_tenant_has_its_own_log(api: House) -> None:
    """The other tenant's auditor sees the other log: another origin, other keys, other events."""
    await api.add("globex", "gus", "auditor")
    headers = api.bearer("globex", "gus")
    note = (await api.client.get("/v1/log/checkpoint", headers=headers)).content
    theirs = [parse_vkey(line) for line in (await api.client.get("/v1/log/vkeys", headers=headers)).text.splitlines()]
    assert verify_checkpoint(note, theirs, origin="quarterdeck/globex").size == await api.position("globex")
    assert {key.public_key for key in theirs}.isdisjoint(key.public_key for key in await keys(api))
    events = (await api.client.get("/v1/log/events", headers=headers)).content
    assert b'"tenant":"acme"' not in events
    assert api.ids["acme", "audrey"].encode() not in events


async def test_only_auditors_and_administrators_read_the_log(api: House) -> None:
    """An operator, an approver and an agent do not."""
    await api.add("acme", "olga", "operator", "approver")
    await api.add("acme", "bot", "agent", kind="agent")
    for name, expected in (("admin", 200), ("audrey", 200), ("olga", 403), ("bot", 403)):
        for path in ("checkpoint", "vkeys", "events", "export", "proof/inclusion?position=1"):
            answer = await api.client.get(f"/v1/log/{path}", headers=api.bearer("acme", name))
            assert answer.status_code == expected, (name, path)


async def test_after_a_rotation_both_keys_sign(api: House) -> None:
    """Whoever holds only the key before can follow to the next; one rotation later it cannot."""
    old = (await keys(api))[0]
    api.services.signing.rotate("acme", "checkpoint")
    await grow(api, await api.position() + 1)
    note = (await get(api, "checkpoint")).content
    assert verify_checkpoint(note, [old]).size == await api.position()
    new = (await keys(api))[-1]
    assert new != old
    assert verify_checkpoint(note, [new]).size == await api.position()


async def test_an_idle_log_is_signed_again_and_only_when_due(api: House) -> None:
    """By the clock of the database; of several processes that look, the one that is due signs."""
    checkpointer = api.services.checkpointer
    first = await checkpointer.checkpoint("acme")
    await checkpointer.round(idle=timedelta(hours=1))
    latest = await checkpointer.latest("acme")
    assert latest is not None
    assert latest.signed_at == first.signed_at
    await checkpointer.round(idle=timedelta(0))
    latest = await checkpointer.latest("acme")
    assert latest is not None
    assert latest.signed_at > first.signed_at
    assert (latest.size, latest.note) == (first.size, first.note)


async def test_concurrent_checkpoints_agree(api: House) -> None:
    """While the log grows, every checkpoint anyone gets is of one history."""

    async def read() -> bytes:
        return (await get(api, "checkpoint")).content

    notes = await asyncio.gather(*(read() for _ in range(10)), grow(api, await api.position() + 10))
    vkeys = await keys(api)
    final = verify_checkpoint((await get(api, "checkpoint")).content, vkeys)
    for note in notes[:-1]:
        assert note is not None
        seen = verify_checkpoint(note, vkeys)
        hashes = await api.services.checkpointer.consistency("acme", seen.size, final.size)
        assert merkle.verify_consistency(seen.size, final.size, seen.root, final.root, hashes)


async def test_an_older_database_signs_nothing_more(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """A restored copy lacks what was signed: the file kept apart from it says so, and the answer does not guess."""
    async with house(migrated_database(), tmp_path) as newer:
        await newer.add("acme", "audrey", "auditor")
        await newer.services.checkpointer.checkpoint("acme")
    assert held_path(tmp_path / "keys" / "checkpoints", "acme").exists()
    async with house(migrated_database(), tmp_path) as older:
        with pytest.raises(LogRewound):
            await older.services.checkpointer.checkpoint("acme")
        answer = await older.client.get("/v1/log/checkpoint", headers=older.bearer("acme", "admin"))
        assert (answer.status_code, answer.json()["type"]) == (500, "urn:quarterdeck:problem:log_rewound")
        assert str(tmp_path) not in answer.text


async def test_an_altered_log_signs_nothing_more(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """Somebody with the database's own rights rewrites history below the head: the next checkpoint refuses."""
    url = migrated_database()
    async with house(url, tmp_path) as api:
        await api.services.checkpointer.checkpoint("acme")
        connection = await asyncpg.connect(url)
        await connection.execute("ALTER TABLE ledger.heads NO FORCE ROW LEVEL SECURITY")
        acme = await connection.fetchval("SELECT ledger.enter('acme')")
        await connection.execute("UPDATE ledger.heads SET frontier[1] = sha256(frontier[1]) WHERE tenant_id = $1", acme)
        await connection.close()
        with pytest.raises(LogRewound):
            await api.services.checkpointer.checkpoint("acme")


async def test_an_altered_checkpoint_is_signed_again(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """What the database gives back as signed is not believed."""
    url = migrated_database()
    async with house(url, tmp_path) as api:
        checkpointer = api.services.checkpointer
        first = await checkpointer.checkpoint("acme")
        connection = await asyncpg.connect(url)
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("UPDATE ledger.checkpoints SET note = 'x'")
        await connection.close()
        again = await checkpointer.checkpoint("acme")
        assert (again.size, again.root) == (first.size, first.root)
        assert verify_checkpoint(again.note, checkpointer.vkeys("acme"), origin=api.services.settings.origin("acme"))


async def test_a_held_file_that_is_no_checkpoint_is_no_fault_of_the_client(
    migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """Nothing is signed until somebody has looked; the message names the file."""
    async with house(migrated_database(), tmp_path) as api:
        held = api.services.settings.keys / "checkpoints" / "acme.checkpoint"
        held.parent.mkdir(parents=True, exist_ok=True)
        held.write_bytes(b"\x00garbage")
        with pytest.raises(Unavailable, match=r"acme\.checkpoint is no checkpoint"):
            await api.services.checkpointer.checkpoint("acme", idle=timedelta())


async def _verify(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-I", str(VERIFIER), *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
