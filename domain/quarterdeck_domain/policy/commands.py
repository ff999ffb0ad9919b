"""The commands of policy as the outside sends them."""

from __future__ import annotations

from typing import Final

from quarterdeck_domain.access.commands import ADMINISTRATORS
from quarterdeck_domain.commands import Command, CommandInput, Environment, Prepared
from quarterdeck_domain.policy.events import BundleMode
from quarterdeck_domain.policy.slices import ChangeBundleMode, PublishBundle
from quarterdeck_domain.policy.values import BundleText


class PublishPolicyBundle(CommandInput, frozen=True, kw_only=True):
    """A named bundle: Cedar policies, an optional Cedar schema, and Cedar entities as JSON text."""

    name: str
    policies: str
    cedar_schema: str | None = None
    entities: str = "[]"

    @property
    def text(self) -> BundleText:
        """The bundle's text."""
        return BundleText(policies=self.policies, cedar_schema=self.cedar_schema, entities=self.entities)


class ChangePolicyBundleMode(CommandInput, frozen=True, kw_only=True):
    """A bundle, its new mode, and why."""

    bundle_id: str
    mode: BundleMode
    reason: str


def _publish(body: PublishPolicyBundle, environment: Environment) -> Prepared:
    bundle_id = environment.new_id("bnd")
    command = PublishBundle(bundle_id, body.name, body.text, actor=environment.actor)
    return Prepared(slice=command, result={"bundle_id": bundle_id})


def _change_mode(body: ChangePolicyBundleMode, environment: Environment) -> Prepared:
    command = ChangeBundleMode(body.bundle_id, body.mode, body.reason, actor=environment.actor)
    return Prepared(slice=command, result={"bundle_id": body.bundle_id})


COMMANDS: Final = (
    Command(
        name="publish_policy_bundle",
        room="policy",
        summary="Publish a version of a policy bundle; it decides nothing until it is enforced.",
        input=PublishPolicyBundle,
        roles=ADMINISTRATORS,
        prepare=_publish,
    ),
    Command(
        name="change_policy_bundle_mode",
        room="policy",
        summary="Put a policy bundle in force (replacing the one before), watch it, or retire it.",
        input=ChangePolicyBundleMode,
        roles=ADMINISTRATORS,
        prepare=_change_mode,
    ),
)
