"""What was pinned against what was found: a description that changes behind a reviewer's back (rug-pull) is drift.

An importer pins what it sees first (`pinned` becomes `digest`, see `plan.Entry.first`). What it sees later changes
`digest` alone; `pinned` moves only when somebody accepts the drift (`slices_drift.AcceptDrift`).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Set
from typing import Any, Final

from quarterdeck_domain.checks import legible
from quarterdeck_domain.estate.events import DriftDetected, DriftInput
from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_domain.ids import make_id

DIGEST: Final = "attributes.digest"
PINNED: Final = "attributes.pinned"
PARTS: Final = "attributes.parts"
PINNED_PARTS: Final = "attributes.pinned_parts"
OFFER: Final = "attributes.offer"
"""The pin of a server: the digest of the names of its tools as they were reviewed."""

_NAMES: Final = uuid.UUID("5b1f7a4e-3f0b-5c7d-9a68-0c1d6f8e2b47")
INPUTS: Final[Mapping[str, DriftInput]] = {
    "model": "model",
    "model_version": "model",
    "deployment": "model",
    "route": "model",
    "prompt": "prompt",
    "prompt_version": "prompt",
    "retrieval_index": "retrieval",
    "dataset": "retrieval",
    "feature_store": "retrieval",
    "context_store": "retrieval",
}
_EXCERPT: Final = 200


def differs(before: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Tell whether what was found of an object is not what is pinned of it."""
    pinned, digest = before.get(PINNED), found.get(DIGEST)
    return bool(pinned and digest and digest != pinned)


def find_drift(
    asset: str, before: Mapping[str, Any], found: Mapping[str, Any], run: str, noted: Set[str] = frozenset()
) -> DriftDetected | None:
    """Return the drift of an object, or None: nothing is pinned, it is as pinned, or it was found like this before and
    that is `noted`.

    `before` are the facts that stand, `found` those that were found now, both flat. `field` names the parts that are
    not as pinned; `expected` is the pinned digest and `found` the one that was found.
    """
    pinned, digest = before.get(PINNED), found.get(DIGEST)
    if not pinned or not digest or digest == pinned or (digest == before.get(DIGEST) and digest in noted):
        return None
    old, new = before.get(PINNED_PARTS) or {}, found.get(PARTS) or {}
    changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name)) if old else []
    return DriftDetected(
        drift_id=make_id("drf", uuid.uuid5(_NAMES, f"{run} {asset} {digest}")),
        asset=asset,
        input=INPUTS.get(asset.partition(":")[0], "tools"),
        field=", ".join(changed) or "digest",
        expected=pinned,
        found=digest,
        evidence=_evidence(before, found) if "description" in changed else "",
        run=run or None,
    )


def first_pin(asset: str, before: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pin of an object whose kind has one and that nobody has pinned: its digest as it was known first."""
    kind = KINDS[asset.partition(":")[0]]
    if "pinned" not in kind.__struct_fields__ or not found.get(DIGEST) or before.get(PINNED) or found.get(PINNED):
        return {}
    return {PINNED: before.get(DIGEST) or found[DIGEST]}


def is_fact(asset: str, field: str, facts: Mapping[str, Any]) -> bool:
    """Tell whether what drifted is an attribute that says itself what is pinned; else the pin of the digest does."""
    kind = KINDS[asset.partition(":")[0]]
    if "pinned" not in kind.__struct_fields__:
        return True
    return field in kind.__struct_fields__ and not (field == "digest" and facts.get(PINNED))


def _evidence(before: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    old, new = str(before.get("description") or ""), str(found.get("description") or "")
    if old == new:
        return "the descriptions differ in the title, or beyond what is kept of them"
    # Both from the first difference on: what was slipped in may stand far behind an unchanged beginning.
    same = next((place for place, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), None)
    start = max(0, (min(len(old), len(new)) if same is None else same) - 20)
    return f"description, from character {start}: {_excerpt(old, start)} became {_excerpt(new, start)}"


def _excerpt(text: str, start: int) -> str:
    return f"“{legible(text[start:].replace(chr(10), ' '), limit=_EXCERPT)}”"
