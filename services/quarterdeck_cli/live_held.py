"""What an installation is checked against: the checkpoints that somebody kept of its logs, and the keys that sign.

Checkpoints kept apart are the one thing that shows an older copy in a log's place: whatever is in such a copy agrees
with itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterdeck_domain.errors import InvalidInput, QuarterdeckError

if TYPE_CHECKING:
    from quarterdeck_ledger.notes import Checkpoint, VerifierKey
    from quarterdeck_projector.invariants import Violation
    from quarterdeck_projector.verification import Trust


class NotChecked(InvalidInput):
    """What was given to check against is of no use."""

    code = "not_checked"


def known(
    settings: Any, tenants: Iterable[str], given: Sequence[Path], vkeys: Sequence[str]
) -> tuple[dict[str, Trust], list[Violation]]:
    """Return what is known of each tenant, and what is wrong with the checkpoints that this installation keeps itself.

    Raises:
        NotChecked: a given file is no checkpoint of a log named as these are, or signed by no key known for it; or a
            given key is none.
    """
    from quarterdeck_ledger.notes import VerifierKey, parse_vkey
    from quarterdeck_ledger.signing import FileSigningKeys
    from quarterdeck_projector.invariants import Violation
    from quarterdeck_projector.invariants_log import Held
    from quarterdeck_projector.verification import Trust

    signing = FileSigningKeys(settings.keys / "signing")
    try:
        extra = [parse_vkey(text) for text in vkeys]
    except InvalidInput as error:
        raise NotChecked(error.message) from None
    held: defaultdict[str, list[Held]] = defaultdict(list)
    found: list[Violation] = []

    def keys(tenant: str) -> list[VerifierKey]:
        # `all`, not `current`: checking makes no key where there is none.
        own = [VerifierKey(settings.origin(tenant), key.public) for key in signing.all(tenant, "checkpoint")]
        return [*own, *(key for key in extra if key.name.rpartition("/")[2] == tenant)]

    for path in given:
        note, tenant = _given(path, settings)
        try:
            said = _believed(note, keys(tenant))
        except QuarterdeckError as error:
            raise NotChecked(f"{path} cannot be believed: {error.message} (give the log's --vkey)") from None
        held[tenant].append(Held(size=said.size, root=said.root, where=str(path), ours=False))
    for path in sorted((settings.keys / "checkpoints").glob("*.checkpoint")):
        tenant = path.stem
        try:
            # Where the keys were lost nobody can tell who signed it; what it says still binds the log.
            said = _believed(path.read_bytes(), keys(tenant)) if keys(tenant) else _said(path.read_bytes())
        except QuarterdeckError as error:
            what = f"{path} is no checkpoint of this log: {error.message}"
            found.append(Violation(invariant="I4", tenant=tenant, what=what))
            continue
        held[tenant].append(Held(size=said.size, root=said.root, where=str(path), ours=True))
    return {name: Trust(keys=keys(name), held=held[name]) for name in {*tenants, *held}}, found


def _said(note: bytes) -> Checkpoint:
    from quarterdeck_ledger.notes import parse_checkpoint, parse_note

    return parse_checkpoint(parse_note(note).text)


def _believed(note: bytes, keys: Sequence[VerifierKey]) -> Checkpoint:
    """Return what a checkpoint says if one of the keys signed it, under whatever name the log had then."""
    from quarterdeck_ledger.notes import VerifierKey, verify_checkpoint

    origin = _said(note).origin
    return verify_checkpoint(note, [VerifierKey(origin, key.public_key, key.type) for key in keys])


def _given(path: Path, settings: Any) -> tuple[bytes, str]:
    from quarterdeck_domain.ids import check_tenant

    try:
        note = path.read_bytes()
        origin = _said(note).origin
        tenant = check_tenant(origin.rpartition("/")[2])
    except (OSError, QuarterdeckError, ValueError) as error:
        raise NotChecked(f"{path} is no checkpoint: {error}") from None
    if settings.origin(tenant) != origin:
        raise NotChecked(f"{path} is of {origin}; the logs here are called {settings.origin('<tenant>')}")
    return note, tenant
