"""What could have happened to policy, and did not. See `contraries`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from quarterdeck_domain.causes import NOTHING, Known, Maker
from quarterdeck_domain.events import Event
from quarterdeck_domain.policy.events import (
    BundleModeChanged,
)


def _mode_changed(known: Known) -> Iterable[Event]:
    for mode in ("retired", "shadow", "enforced"):
        bundle = known.get("bundle", "bnd_" + NOTHING)
        yield BundleModeChanged(bundle_id=bundle, mode=mode)


MAKERS: Final[Mapping[str, Maker]] = {
    "policy_bundle.mode_changed": _mode_changed,
}
