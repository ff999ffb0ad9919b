"""Callbacks and parked events: what did not get through is visible and comes round again. Serves DC-02, DC-03."""

from __future__ import annotations

import pytest
from approval_world import APPROVAL, requested
from given import TENANT, Log, acting

from quarterdeck_domain.access.events import TenantClosed
from quarterdeck_domain.approvals.events import (
    Callback,
    CallbackAbandoned,
    CallbackDelivered,
    CallbackResent,
    CallbackSecretRevealed,
    DispatchParked,
    DispatchReleased,
)
from quarterdeck_domain.approvals.slices import (
    ParkDispatch,
    RecordCallback,
    ReleaseDispatch,
    ResendCallback,
    RevealCallbackSecret,
)
from quarterdeck_domain.errors import InvalidInput, NotAllowed, NotFound, WrongState

MESSAGE = "msg_1"


def waiting() -> Log:
    return requested(callback=Callback(endpoint="https://pep.example/cb"))


def delivered(message_id: str = MESSAGE, status: int = 204) -> RecordCallback:
    return RecordCallback(approval_id=APPROVAL, message_id=message_id, status=status)


def abandoned(reason: str = "no answer") -> RecordCallback:
    return RecordCallback(approval_id=APPROVAL, message_id=MESSAGE, abandoned=reason)


def resend(by: str = "otto") -> ResendCallback:
    return ResendCallback(approval_id=APPROVAL, message_id=MESSAGE, actor=acting(by))


def park(position: int = 7, reason: str = "boom") -> ParkDispatch:
    return ParkDispatch(position=position, workflow_id="acme/approval/1", reason=reason)


def release(by: str = "otto", position: int = 7) -> ReleaseDispatch:
    return ReleaseDispatch(position=position, actor=acting(by))


class TestCallbacks:
    def test_delivered_once(self) -> None:
        log = waiting()
        assert log.when(delivered()) == (CallbackDelivered(approval_id=APPROVAL, message_id=MESSAGE, status=204),)
        log.refuses(delivered(), WrongState, state="delivered")
        log.refuses(abandoned(), WrongState, state="delivered")
        log.refuses(resend(), WrongState, "only an abandoned callback")
        log.when(delivered("msg_2"))

    def test_abandoned_until_it_is_sent_again(self) -> None:
        log = waiting()
        log.refuses(resend(), WrongState, state="sending")
        assert log.when(abandoned()) == (
            CallbackAbandoned(approval_id=APPROVAL, message_id=MESSAGE, reason="no answer"),
        )
        log.refuses(delivered(), WrongState, state="abandoned")
        assert log.when(resend()) == (CallbackResent(approval_id=APPROVAL, message_id=MESSAGE),)
        log.refuses(resend("ada"), WrongState, state="sending")
        log.when(abandoned("still no answer"))
        log.when(resend("ada"))
        log.when(delivered())

    @pytest.mark.parametrize("by", ["bob", "audra", "bot"])
    def test_only_operators_send_again(self, by: str) -> None:
        log = waiting()
        log.when(abandoned())
        log.refuses(resend(by), NotAllowed)

    def test_only_for_whoever_wanted_one(self) -> None:
        requested().refuses(delivered(), NotFound)
        Log().refuses(abandoned(), NotFound)
        requested().refuses(resend(), NotFound)

    @pytest.mark.parametrize("outcome", [{}, {"status": 200, "abandoned": "x"}, {"status": 99}, {"status": 600}])
    def test_ends_one_way(self, outcome: dict[str, int]) -> None:
        with pytest.raises(InvalidInput):
            RecordCallback(approval_id=APPROVAL, message_id=MESSAGE, **outcome)  # type: ignore[arg-type]

    def test_an_error_text_is_made_legible(self) -> None:
        (fact,) = waiting().when(abandoned("refused\nby peer"))
        assert fact == CallbackAbandoned(approval_id=APPROVAL, message_id=MESSAGE, reason="refused\\u{000a}by peer")

    def test_nothing_happens_in_a_closed_tenant(self) -> None:
        waiting().given(TenantClosed(tenant=TENANT, reason="x")).refuses(delivered(), WrongState, "closed")


class TestDispatch:
    def test_parked_and_released_in_turn(self) -> None:
        log = waiting()
        log.refuses(release(), WrongState, "not parked")
        assert log.when(park(reason="boom\n at line 1")) == (
            DispatchParked(parked_position=7, workflow_id="acme/approval/1", reason="boom\\u{000a} at line 1"),
        )
        log.refuses(park(), WrongState, "parked already", position=7)
        log.refuses(release(position=8), WrongState, "not parked")
        assert log.when(release()) == (DispatchReleased(parked_position=7),)
        log.when(park())
        log.when(release("ada"))

    @pytest.mark.parametrize("by", ["bob", "audra", "bot"])
    def test_only_operators_release(self, by: str) -> None:
        log = waiting()
        log.when(park())
        log.refuses(release(by), NotAllowed)

    @pytest.mark.parametrize("position", [0, -1])
    def test_positions_count_from_one(self, position: int) -> None:
        with pytest.raises(InvalidInput, match="count from 1"):
            park(position)

    def test_the_first_event_may_be_the_poisonous_one(self) -> None:
        waiting().when(park(1))

    def test_nothing_happens_in_a_closed_tenant(self) -> None:
        waiting().given(TenantClosed(tenant=TENANT, reason="x")).refuses(park(), WrongState, "closed")


class TestSecrets:
    def reveal(self, by: str = "ada", origin: str = "https://pep.example:443") -> RevealCallbackSecret:
        return RevealCallbackSecret(origin=origin, key_id="k1", actor=acting(by))

    def test_each_time_is_recorded(self) -> None:
        log = waiting()
        for _ in range(2):
            assert log.when(self.reveal()) == (CallbackSecretRevealed(origin="https://pep.example:443", key_id="k1"),)

    @pytest.mark.parametrize("by", ["bob", "otto", "audra", "bot"])
    def test_needs_an_administrator(self, by: str) -> None:
        waiting().refuses(self.reveal(by), NotAllowed)

    def test_not_in_a_closed_tenant(self) -> None:
        log = waiting().given(TenantClosed(tenant=TENANT, reason="over"))
        log.refuses(self.reveal(), WrongState, "closed")

    @pytest.mark.parametrize("origin", ["", "https://a\nb", "https://" + "a" * 300])
    def test_an_origin_is_a_line(self, origin: str) -> None:
        with pytest.raises(InvalidInput):
            self.reveal(origin=origin)
