"""What was recorded stays readable, release after release. Serves C01, DC-01, DC-02, S0-13, S0-20."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from golden_events import FOLDER, example, file_of, recorded, text_of

from quarterdeck_domain import canonical
from quarterdeck_domain.access.events import TenantOpened
from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.errors import InvalidEvent, UnknownEventType
from quarterdeck_domain.events import Event, EventRegistry, Upcaster

TYPES = REGISTRY.types()
FILES = sorted(FOLDER.glob("*.json"))


@pytest.mark.parametrize("event_class", TYPES, ids=lambda found: found.type)
def test_every_type_has_its_recorded_form_and_it_has_not_changed(event_class: type[Event]) -> None:
    path = file_of(event_class)
    assert path.exists(), "run `python tests/helpers/golden_events.py` for a new type or version"
    assert path.read_text() == text_of(recorded(example(event_class))), (
        "another shape is another version: raise `version` and give the registry an upcaster from this one"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda found: found.stem)
def test_every_recorded_form_reads_to_this_day(path: Path) -> None:
    record: dict[str, Any] = json.loads(path.read_text())
    assert path.name == f"{record['type']}.v{record['version']}.json"
    assert canonical.digest(record["data"]) == record["digest"]
    event = REGISTRY.from_data(record["type"], record["version"], record["data"])
    assert event.type == record["type"]
    lifted = REGISTRY.to_data(event)
    assert REGISTRY.from_data(event.type, event.version, lifted) == event


def test_nothing_recorded_was_forgotten_by_the_registry() -> None:
    """A type may be retired, its events stay."""
    known = {event_class.type: event_class.version for event_class in TYPES}
    versions = {(name, version) for name, last in known.items() for version in range(1, last + 1)}
    assert {path.name for path in FILES} == {f"{name}.v{version}.json" for name, version in versions}


@pytest.mark.parametrize("event_class", TYPES, ids=lambda found: found.type)
def test_a_recorded_form_is_exact(event_class: type[Event]) -> None:
    data = REGISTRY.to_data(example(event_class))
    with pytest.raises(InvalidEvent, match="unknown field"):
        REGISTRY.from_data(event_class.type, event_class.version, data | {"surplus": 1})
    for field in set(event_class.__struct_fields__) - set(_optional(event_class)):
        with pytest.raises(InvalidEvent, match="missing required"):
            REGISTRY.from_data(event_class.type, event_class.version, {k: v for k, v in data.items() if k != field})
    with pytest.raises(UnknownEventType):
        REGISTRY.from_data(event_class.type, event_class.version + 1, data)


@pytest.mark.parametrize("event_class", TYPES, ids=lambda found: found.type)
def test_personal_fields_read_as_nothing_once_erased(event_class: type[Event]) -> None:
    erased = dict.fromkeys(REGISTRY.personal(event_class.type))
    data = REGISTRY.to_data(example(event_class)) | erased
    event = REGISTRY.from_data(event_class.type, event_class.version, data)
    assert all(getattr(event, field) is None for field in erased)


class RenamedTenantOpened(Event, frozen=True, kw_only=True):
    """The third shape of an event whose first one is on record."""

    type = TenantOpened.type
    version = 3

    name: str
    title: str
    region: str


UPCASTERS: dict[tuple[str, int], Upcaster] = {
    (TenantOpened.type, 1): lambda data: {"name": data["tenant"], "title": data["display_name"]},
    (TenantOpened.type, 2): lambda data: data | {"region": "unknown"},
}


def test_an_old_version_is_lifted_step_by_step() -> None:
    record = json.loads(file_of(TenantOpened).read_text())
    registry = EventRegistry([RenamedTenantOpened], UPCASTERS)
    lifted = registry.from_data(record["type"], 1, record["data"])
    assert lifted == RenamedTenantOpened(name="tenant é", title="display_name é", region="unknown")
    assert registry.from_data(record["type"], 2, {"name": "a", "title": "b"}).version == 3


@pytest.mark.parametrize("left_out", sorted(UPCASTERS))
def test_a_new_version_without_a_way_from_every_old_one_is_refused(left_out: tuple[str, int]) -> None:
    rest = {step: upcaster for step, upcaster in UPCASTERS.items() if step != left_out}
    with pytest.raises(ValueError, match=f"no upcaster from versions .{left_out[1]}."):
        EventRegistry([RenamedTenantOpened], rest)


def _optional(event_class: type[Event]) -> list[str]:
    return [
        field.name
        for field in msgspec.structs.fields(event_class)
        if field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT
    ]
