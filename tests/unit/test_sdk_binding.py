"""From a call to what is approved: every argument by its name, nothing in doubt. Serves DC-07, S0-32."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck import Entity, Intent, NotConfigured, Problem, Quarterdeck, SyncQuarterdeck, gate
from quarterdeck.binding import as_json, bound_arguments, receiver
from quarterdeck.gating import ATTRIBUTE, Gate


class Colour(enum.Enum):
    """An enum whose value is text."""

    RED = "red"


@dataclasses.dataclass
class Line:
    """A dataclass with a nested value."""

    item: str
    price: Decimal


class Model:
    """What a pydantic model looks like from outside."""

    def model_dump(self, *, mode: str) -> dict[str, str]:
        """Return plain values."""
        return {"mode": mode}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**53 - 1, 2**53 - 1),
        (Decimal("1E+2"), "100"),
        (Decimal("120.00"), "120.00"),
        (0.5, 0.5),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (Line("a", Decimal("1.10")), {"item": "a", "price": "1.10"}),
        (Model(), {"mode": "json"}),
        ((1, [2, {"a": None}]), [1, [2, {"a": None}]]),
    ],
)
def test_values_become_plain_json(value: object, expected: object) -> None:
    """Exactly what the human is shown."""
    assert as_json(value, "x") == expected


DEEP: list[Any] = []
for _ in range(40):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        {1, 2},
        object(),
        2**53,
        -(2**53),
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        "\ud800",
        {1: 2},
        DEEP,
        Line,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_in_doubt_is_refused(value: object) -> None:
    """It could not be shown, or could change unseen."""
    with pytest.raises(NotConfigured):
        as_json({"inside": [value]}, "x")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
        lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(), s, max_size=3),
        max_leaves=10,
    )
)
def test_plain_json_is_itself_but_fresh(value: Any) -> None:
    """Plain values are bound as they are; changing the argument later does not change what was bound."""
    try:
        found = as_json(value, "x")
    except NotConfigured:
        assert any(0xD800 <= ord(char) <= 0xDFFF for char in str(value))
        return
    assert found == value
    if isinstance(value, list):
        value.append("later")
        assert found != value


def test_arguments_are_bound_by_name_with_defaults() -> None:
    """However they are passed; what is excluded is not there."""

    def call(a: int, /, b: int, *rest: int, c: int = 3, session: object = None, **more: int) -> None: ...

    signature = inspect.signature(call)
    one = bound_arguments(signature, (1, 2, 7), {"z": 9}, {"session"})
    assert one == {"a": 1, "b": 2, "rest": (7,), "c": 3, "more": {"z": 9}}
    assert bound_arguments(signature, (1,), {"b": 2, "session": object()}, {"session"}) == {
        "a": 1,
        "b": 2,
        "rest": (),
        "c": 3,
        "more": {},
    }
    with pytest.raises(TypeError):
        bound_arguments(signature, (), {}, set())


class Desk:
    """A class whose method is gated."""

    def refund(self, amount: str) -> str:
        """Refund."""
        return amount


def test_the_object_of_a_method_is_no_argument() -> None:
    """A plain function may call its first argument self, though."""

    def plain(self: str) -> str:
        return self

    assert receiver(Desk.refund, inspect.signature(Desk.refund)) == {"self"}
    assert receiver(plain, inspect.signature(plain)) == frozenset()


def test_gates_that_cannot_hold_are_refused_at_once() -> None:
    """Generators act later; a misspelt exclusion would bind nothing; the wrong client could not wait."""

    def generator() -> Any:
        yield 1

    async def async_generator() -> Any:
        yield 1

    async def ours(session: object) -> None: ...

    def plain() -> None: ...

    one = Quarterdeck("http://127.0.0.1:1", "qd_x")
    two = SyncQuarterdeck("http://127.0.0.1:1", "qd_x")
    for fn, settings in (
        (generator, {}),
        (async_generator, {}),
        (ours, {"exclude": ("sesion",)}),
        (ours, {"client": two}),
        (plain, {"client": one}),
    ):
        with pytest.raises(NotConfigured):
            gate("refund", resource="order:1", **settings)(fn)  # type: ignore[arg-type]


def test_a_gate_keeps_the_functions_face() -> None:
    """Name, documentation and signature stay; frameworks that read them see the function."""

    @gate("refund", resource="order:1")
    async def refund(amount: str, currency: str = "EUR") -> str:
        """Refund an order."""
        return amount

    assert (refund.__name__, refund.__doc__) == ("refund", "Refund an order.")
    assert list(inspect.signature(refund).parameters) == ["amount", "currency"]
    assert inspect.iscoroutinefunction(refund)
    assert isinstance(getattr(refund, ATTRIBUTE), Gate)


@pytest.mark.parametrize("value", ["order", ":1", "order:", "", {"type": "order"}, {"type": 1, "id": 2}, 7])
def test_an_entity_needs_a_type_and_an_id(value: Any) -> None:
    """Anything else is refused before it is sent."""
    with pytest.raises(NotConfigured, match="type:id"):
        Entity.of(value)


def test_equal_actions_have_one_text() -> None:
    """Order and context make no difference; one argument does."""
    subject, order = Entity("agent", "a"), Entity.of("order:urn:1")
    one = Intent(subject, "refund", order, {"a": 1, "b": "é"})
    assert order.id == "urn:1"
    assert one.text() == Intent(subject, "refund", order, {"b": "é", "a": 1}, {"time": "now"}).text()
    assert one.text() != Intent(subject, "refund", order, {"a": 2, "b": "é"}).text()


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("", "qd_x"),
        ("http://h", ""),
        ("ftp://h", "qd_x"),
        ("nowhere", "qd_x"),
        ("http://", "qd_x"),
        ("http://h", "a b"),
        ("http://h", "a\nb"),
        ("http://h", "é"),
    ],
)
def test_an_address_and_a_token_are_needed(url: str, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing or malformed is named before anything is sent."""
    monkeypatch.delenv("QUARTERDECK_URL", raising=False)
    monkeypatch.delenv("QUARTERDECK_TOKEN", raising=False)
    with pytest.raises(NotConfigured) as caught:
        Quarterdeck(url, token)
    assert "qd_x" not in str(caught.value)


@pytest.mark.parametrize("body", [None, [], "text", {"details": 7, "type": None}, {"trace_id": 1}])
def test_a_problem_is_made_of_anything(body: object) -> None:
    """A refusal that is no problem document is still a refusal."""
    problem = Problem.of(403, body)
    assert (problem.status, dict(problem.details), bool(str(problem))) == (403, {}, True)


def test_secrets_are_not_in_what_is_printed() -> None:
    """Neither the token of a grant nor that of a client shows in a log line."""
    from quarterdeck import Grant

    grant = Grant("grt_1", "apr_1", "unused", token="secret.jws.text")
    client = Quarterdeck("http://127.0.0.1:1", "qd_secret")
    assert "secret" not in repr(grant) + repr(client) + str(vars(client))


CALLERS: tuple[Callable[..., Any], ...] = (Quarterdeck.ask, Quarterdeck.wait, Quarterdeck.redeem)


@pytest.mark.parametrize("method", CALLERS, ids=lambda method: method.__name__)
def test_the_sync_methods_say_what_the_async_ones_say(method: Callable[..., Any]) -> None:
    """One surface, bridged: the documentation is the same text."""
    client = SyncQuarterdeck("http://127.0.0.1:1", "qd_x")
    assert getattr(client, method.__name__).__doc__ == method.__doc__
