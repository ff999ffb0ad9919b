"""Documentation that is checked: links lead somewhere, generated pages are current, the compose file parses.

Serves C01.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from event_stream import Stream
from jsonschema import Draft202012Validator

from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.schemas import event_page, event_schemas

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("services/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file or folder that is there."""
    for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_event_catalogue_is_current() -> None:
    """`python -m quarterdeck_domain.schemas docs` has been run."""
    assert (ROOT / "docs" / "events.md").read_text() == event_page()
    assert json.loads((ROOT / "docs" / "events.schema.json").read_text()) == event_schemas()


def test_events_fit_their_published_schemas() -> None:
    """The JSON Schema accepts what the registry stores, for every type that happens, and refuses a strange field."""
    schema = event_schemas()
    seen = set()
    for payload in Stream(1).take(400):
        validator = Draft202012Validator({**schema, "$ref": f"#/$defs/{payload.type}"})
        data = json.loads(json.dumps(REGISTRY.to_data(payload)))
        validator.validate(data)
        assert not validator.is_valid({**data, "strange": 1})
        seen.add(payload.type)
    assert len(seen) > 20


def test_the_compose_file_parses_and_runs_our_roles() -> None:
    """Anchors resolve; every service of ours runs a command there is; nobody has a default password."""
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    ours = {name: service for name, service in composed["services"].items() if "build" in service}
    assert {tuple(service["command"]) for service in ours.values()} == {
        ("migrate",),
        ("serve", "api"),
        ("serve", "worker"),
        ("serve", "projector"),
    }
    for service in composed["services"].values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name or name.endswith("PWD"):
                assert "?set it}" in value
            assert "$" not in value or "://" not in value.partition("$")[0], "a password in an address must be encoded"
    for name in ("api", "worker", "projector", "migrate"):
        for other in composed["services"][name]["depends_on"]:
            asked = composed["services"][name]["depends_on"][other]["condition"]
            assert asked in ("service_completed_successfully", "service_healthy")
            assert asked != "service_healthy" or "healthcheck" in composed["services"][other]
    assert set(composed["volumes"]) == {"postgres", "temporal-postgres", "keys"}
