"""The first start of a tenant: its administrator, an approval path and a policy to begin with."""

from __future__ import annotations

import secrets
import uuid
from typing import Final

from quarterdeck_domain.access.credentials import credential_text, hash_secret
from quarterdeck_domain.access.slices import NewAdministrator, OpenTenant, RecoverAdministrator
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.approvals.events import Stage
from quarterdeck_domain.approvals.slices import PublishApprovalPath
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.policy.slices import ChangeBundleMode, PublishBundle
from quarterdeck_domain.slices import Slice
from quarterdeck_ledger.interface import Context, Ledger
from quarterdeck_policy.starter import STARTER_NAME, starter_bundle

LINK_LIFETIME_S: Final = 86_400
REMIND_AFTER_S: Final = 15 * 60
EXPIRES_AFTER_S: Final = 24 * 3600
GRANT_LIFETIME_S: Final = 15 * 60
DEFAULT_PATH: Final = "default"


async def open_tenant(ledger: Ledger, tenant: str, administrator: str = "Administrator") -> str | None:
    """Open a tenant that has no log yet; return its administrator's one-time sign-in token, or None if it is open.

    The tenant begins with the starter policy in force and one approval path, `default`: any one approver, a day.
    """
    if (await ledger.head(tenant)).position > 0:
        return None
    person, token = _administrator(tenant, administrator)
    bundle = make_id("bnd", uuid.uuid4())
    commands: list[Slice] = [
        OpenTenant(tenant=tenant, display_name=tenant, administrator=person),
        PublishApprovalPath(
            path_id=DEFAULT_PATH,
            stages=(Stage(name="decide"),),
            remind_after_s=REMIND_AFTER_S,
            expires_after_s=EXPIRES_AFTER_S,
            grant_lifetime_s=GRANT_LIFETIME_S,
            actor=SYSTEM,
        ),
        PublishBundle(bundle, STARTER_NAME, starter_bundle(), actor=SYSTEM),
        ChangeBundleMode(bundle, "enforced", "first start", actor=SYSTEM),
    ]
    for command in commands:
        await ledger.execute(command, Context(tenant=tenant, actor=SYSTEM, command_id=uuid.uuid4()))
    return token


async def recover(ledger: Ledger, tenant: str, administrator: str, reason: str) -> str:
    """Make a new administrator although nobody could ask for it; return the sign-in token. The log says so."""
    person, token = _administrator(tenant, administrator)
    command = RecoverAdministrator(administrator=person, reason=reason)
    await ledger.execute(command, Context(tenant=tenant, actor=SYSTEM, command_id=uuid.uuid4()))
    return token


def _administrator(tenant: str, name: str) -> tuple[NewAdministrator, str]:
    link = make_id("lnk", uuid.uuid4())
    token = credential_text(tenant, link, secrets.token_urlsafe(32))
    person = NewAdministrator(
        principal_id=make_id("prn", uuid.uuid4()),
        display_name=name,
        link_id=link,
        link_hash=hash_secret(token),
        link_lifetime_s=LINK_LIFETIME_S,
    )
    return person, token
