"""The commands of the estate as the outside sends them. Whole files go through the estate's own door."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from quarterdeck_domain.access.commands import Reason
from quarterdeck_domain.access.events import Role
from quarterdeck_domain.checks import MAX_REASON
from quarterdeck_domain.commands import Command, CommandInput, Environment, Prepared
from quarterdeck_domain.estate.events import DriftInput
from quarterdeck_domain.estate.kinds import Digest
from quarterdeck_domain.estate.slices import (
    MAX_SOURCE,
    ChangeAsset,
    DeprecateAsset,
    MergeAssets,
    PromoteAsset,
    QuarantineAsset,
    RegisterAsset,
    ReleaseAsset,
    RetireAsset,
    TransferAsset,
)
from quarterdeck_domain.estate.slices_drift import MAX_SAID, AcceptDrift, DetectDrift
from quarterdeck_domain.estate.slices_relations import RelateAssets, UnrelateAssets
from quarterdeck_domain.slices import Slice

AssetId = Annotated[str, msgspec.Meta(pattern="^[a-z_]{3,30}:[!-~]{1,200}$", max_length=231)]
"""`kind:name`."""
RelationName = Annotated[str, msgspec.Meta(pattern="^[a-z_]{3,30}$", max_length=30)]
Source = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SOURCE)]
Said = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SAID)]
OptionalReason = Annotated[str, msgspec.Meta(max_length=MAX_REASON)]

_EDITORS: Final[frozenset[Role]] = frozenset({"operator", "administrator"})


class RegisterAssetInput(CommandInput, frozen=True, kw_only=True):
    """An object of the estate, and what is known of it; a name is enough. `valid_from`: since when it is so."""

    asset: AssetId
    facts: dict[str, Any] = {}
    source: Source = "command"
    valid_from: datetime | None = None


class ChangeAssetInput(CommandInput, frozen=True, kw_only=True):
    """Facts to set and facts to unset (attributes as `attributes.<name>`), and when they hold if not from now on."""

    asset: AssetId
    set: dict[str, Any] = {}
    unset: Annotated[tuple[str, ...], msgspec.Meta(max_length=60)] = ()
    reason: OptionalReason = ""
    source: Source = "command"
    valid_from: datetime | None = None
    valid_to: datetime | None = None


class TransferAssetInput(CommandInput, frozen=True, kw_only=True):
    """Who answers for an object from now on: a principal's id, a role or a rota; and the team, if it is another."""

    asset: AssetId
    owner: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON)]
    team: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON)] | None = None
    reason: OptionalReason = ""


class PromoteAssetInput(CommandInput, frozen=True, kw_only=True):
    """An object that the business does not run without, and why."""

    asset: AssetId
    reason: Reason


class DeprecateAssetInput(CommandInput, frozen=True, kw_only=True):
    """An object on its way out, what takes its place, and its last day."""

    asset: AssetId
    successor: AssetId | None = None
    sunset: datetime | None = None
    reason: OptionalReason = ""


class RetireAssetInput(CommandInput, frozen=True, kw_only=True):
    """An object that is no longer in use."""

    asset: AssetId
    reason: OptionalReason = ""


class MergeAssetsInput(CommandInput, frozen=True, kw_only=True):
    """Two objects that are one: which stays, and which becomes an alias of it."""

    survivor: AssetId
    merged: AssetId
    reason: OptionalReason = ""


class QuarantineAssetInput(CommandInput, frozen=True, kw_only=True):
    """An object not to be used until somebody has looked at it, and why."""

    asset: AssetId
    reason: Reason


class ReleaseAssetInput(CommandInput, frozen=True, kw_only=True):
    """An object in quarantine that may be used again, and why. `digest` is of what was looked at: nothing is released
    if it is another by then. It must be said of what is not as it was pinned."""

    asset: AssetId
    reason: Reason
    digest: Digest | None = None


class RelateAssetsInput(CommandInput, frozen=True, kw_only=True):
    """Two objects and how the first is related to the second; where, and by what evidence."""

    source: AssetId
    relation: RelationName
    target: AssetId
    environment: Annotated[str, msgspec.Meta(min_length=1, max_length=60)] | None = None
    evidence: OptionalReason = ""
    valid_from: datetime | None = None
    valid_to: datetime | None = None


class UnrelateAssetsInput(CommandInput, frozen=True, kw_only=True):
    """A declared relation that is no more."""

    source: AssetId
    relation: RelationName
    target: AssetId
    reason: OptionalReason = ""
    valid_to: datetime | None = None


class DetectDriftInput(CommandInput, frozen=True, kw_only=True):
    """One of the five inputs of behaviour that is not what was pinned: what differs, from what to what, and how it was
    seen. `quarantine` keeps the object from being used until somebody has looked at it."""

    asset: AssetId
    input: DriftInput
    field: Said
    expected: Said
    found: Said
    evidence: OptionalReason = ""
    quarantine: bool = False


class AcceptDriftInput(CommandInput, frozen=True, kw_only=True):
    """A drift that somebody has looked at, and why what was found is right. It becomes the new pin."""

    asset: AssetId
    drift_id: Annotated[str, msgspec.Meta(pattern="^drf_[0-9a-z]{26}$", max_length=30)]
    reason: Reason


def _command(name: str, summary: str, input_: type[CommandInput], made: Callable[..., Slice]) -> Command:
    def prepare(body: Any, env: Environment) -> Prepared:
        given = {field: getattr(body, field) for field in body.__struct_fields__}
        named = given.get("asset") or given.get("survivor")
        return Prepared(slice=made(actor=env.actor, **given), result={} if named is None else {"asset": named})

    return Command(name=name, room="estate", summary=summary, input=input_, roles=_EDITORS, prepare=prepare)


def _detect_drift(body: DetectDriftInput, env: Environment) -> Prepared:
    given = {field: getattr(body, field) for field in body.__struct_fields__}
    drift_id = env.new_id("drf")
    return Prepared(
        slice=DetectDrift(drift_id=drift_id, actor=env.actor, **given),
        result={"asset": body.asset},
    )


COMMANDS: Final = (
    _command("register_asset", "Let an object be part of the estate.", RegisterAssetInput, RegisterAsset),
    _command("change_asset", "Say that something else is true of an object.", ChangeAssetInput, ChangeAsset),
    _command("transfer_asset", "Let somebody else answer for an object.", TransferAssetInput, TransferAsset),
    _command("promote_asset", "Name an object a tier-one dependency.", PromoteAssetInput, PromoteAsset),
    _command("deprecate_asset", "Say that an object is on its way out.", DeprecateAssetInput, DeprecateAsset),
    _command("retire_asset", "Say that an object is no longer in use.", RetireAssetInput, RetireAsset),
    _command("merge_assets", "Say that two objects are one.", MergeAssetsInput, MergeAssets),
    _command("quarantine_asset", "Keep an object from being used.", QuarantineAssetInput, QuarantineAsset),
    _command("release_asset", "Let an object in quarantine be used again.", ReleaseAssetInput, ReleaseAsset),
    _command("relate_assets", "Declare that two objects are related.", RelateAssetsInput, RelateAssets),
    _command("unrelate_assets", "Take back a declared relation.", UnrelateAssetsInput, UnrelateAssets),
    Command(
        name="detect_drift",
        room="estate",
        summary="Note that an input of behaviour is not what was pinned.",
        input=DetectDriftInput,
        roles=_EDITORS,
        prepare=_detect_drift,
    ),
    _command("accept_drift", "Take what was found as the new pin.", AcceptDriftInput, AcceptDrift),
)
