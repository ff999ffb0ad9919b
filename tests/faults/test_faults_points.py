"""Each process is killed at each named point it passes, while agents and people walk the journey.

Serves DC-01, DC-07, C01, C03; DESIGN 'What must always hold' 1, 2, 4; RELIABILITY 3.2, 3.3 (1), I1 to I6, I8, I9.
"""

from __future__ import annotations

from faults_house import TENANT, FaultHouse
from faults_http import Patient
from faults_journey import Record, Walkers, check, ok, receiving

from quarterdeck_ledger.faults import NAMES, POINTS

# The hit at which it dies: at once, and with others under way. The gate's points are passed seldom.
_HITS = {"api-0": (1, 3), "worker": (1,), "projector": (1, 2)}
_WITHIN_S = 30.0
_PREFIXES = {
    "api-0": ("execute", "append", "decision", "redeem", "reply", "checkpoint"),
    "worker": ("gate", "callback", "execute", "append"),
    "projector": ("dispatch", "project"),
}
_ERASING = ("erase.read", "erase.after_destroy")
# No command of this release has a hot boundary: these are passed by the writers of `test_faults_writers.py`. Sources are
# imported in `test_import_source.py`.
_ELSEWHERE = ("deciding.before_commit", "deciding.after_commit", "import.read", "import.recorded")


def points_of(role: str) -> list[str]:
    """Return the points that a role passes on the journey."""
    return [point.name for point in POINTS if point.name.partition(".")[0] in _PREFIXES[role]]


def test_every_point_is_somebodys() -> None:
    """A new point must be killed at, too."""
    known = {*_ERASING, *_ELSEWHERE}.union(*(points_of(role) for role in _PREFIXES))
    assert known == NAMES


async def test_killed_at_every_point_of_the_journey(house: FaultHouse) -> None:
    """Whoever dies wherever: what was acknowledged is there, once, and the journeys come to their end."""
    record = Record()
    kills = 0
    async with receiving() as hook:
        async with Walkers(house, record, hook, seed=1).walking():
            for role, hits in _HITS.items():
                for point in points_of(role):
                    for hit in hits:
                        doomed = house.restart(role, f"{point}=kill@{hit}")
                        reached = await doomed.died(_WITHIN_S)
                        assert reached, f"{role} did not reach {point} {hit} times; its log ends:\n{house.tail(role)}"
                        kills += 1
                house.spawn(role)
                await check(house, record)
        await check(house, record, read_models=True, gates=True)
    assert kills == sum(len(points_of(role)) * len(hits) for role, hits in _HITS.items())
    assert record.journeys > 0
    assert record.repeats > 0


async def test_killed_while_erasing_somebody(house: FaultHouse) -> None:
    """An ordered erasure is carried out, whenever the eraser dies."""
    administrator = Patient(house.ports, house.keys[TENANT, "admin"])
    for point in _ERASING:
        doomed = house.restart("projector", f"{point}=kill@1")
        registered = ok(
            await administrator.call(
                "POST",
                "/v1/commands/register_principal",
                {"kind": "human", "display_name": f"Somebody of {point}", "roles": []},
                key=f"register-{point}",
            )
        )
        who = registered.body["result"]["principal_id"]
        for command in ("deactivate_principal", "erase_principal"):
            body = {"principal_id": who, "reason": "requested"}
            ok(await administrator.call("POST", f"/v1/commands/{command}", body, key=f"{command}-{point}"))
        assert await doomed.died(_WITHIN_S), f"the projector did not reach {point}"
        house.spawn("projector")
        async with house.store() as store:
            assert not await house.ledger(store).keys.destroy(TENANT, who), "its key is still there"
    administrator.close()
    await check(house, Record(), read_models=True)
