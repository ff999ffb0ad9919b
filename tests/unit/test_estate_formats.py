"""How files are read at the estate's doors: by their format, and by what whoever imports one says of it. Serves C02."""

from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck_api.estate.sources import FORMATS, NAMED, How, read
from quarterdeck_domain.errors import InvalidInput

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "estate"
SAMPLES = {"openapi": "openapi-3.0.yaml", "a2a": "a2a-1.0.json", "litellm": "litellm.yaml"}
TWO = b"openapi: 3.1.0\ninfo: {title: FastAPI}\npaths: {/%s: {get: {}}}\n"


def test_two_documents_of_one_title_are_told_apart_by_a_name() -> None:
    """Frameworks have a title of their own: without a name, the second would withdraw the tools of the first."""
    found = [read(TWO % path, How(form="openapi", name=path.decode())).declaration for path in (b"orders", b"stock")]
    assert set(found[0].assets) == {"application:orders", "tool:orders/GET-/orders"}
    assert not set(found[0].assets) & set(found[1].assets)
    assert [declaration.source for declaration in found] == ["orders", "stock"]
    assert read(TWO % b"x", How(form="openapi", name="orders", source="ci")).declaration.source == "ci"


@pytest.mark.parametrize("form", sorted(NAMED))
def test_what_is_named_is_read_with_all_that_is_said_of_it(form: str) -> None:
    """The name, quarantine, and that it is all there is."""
    data = (VECTORS / SAMPLES[form]).read_bytes()
    found = read(data, How(form=form, name="ours", on_drift="quarantine", whole=True)).declaration
    assert (found.source, found.on_drift, found.whole) == ("ours", "quarantine", True)
    assert [name for name in found.assets if ":ours" in name]
    plain = read(data, How(form=form)).declaration
    assert (plain.source, plain.on_drift, plain.whole) == (form, "note", False)


@pytest.mark.parametrize(
    "how",
    [
        How(form="nonsense"),
        How(form="cyclonedx", name="ours"),
        How(form="estate", name="ours"),
        How(form="estate", whole=True, source="ours"),
        How(form="imported", on_drift="quarantine"),
        How(form="openapi", whole=True),
    ],
    ids=repr,
)
def test_what_cannot_be_said_of_a_format_is_refused(how: How) -> None:
    """Before anything is read. All of what, must be said, too: the next file would take the first one's place."""
    with pytest.raises(InvalidInput):
        read(b"{}", how)
    assert FORMATS.keys() >= NAMED
