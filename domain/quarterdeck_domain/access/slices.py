"""The commands of this room, one class each, in one place to import from."""

from quarterdeck_domain.access.slices_credentials import (
    IssueApiKey,
    IssueSignInLink,
    RevokeApiKey,
    RotateApiKey,
    UseSignInLink,
)
from quarterdeck_domain.access.slices_principals import (
    DeactivatePrincipal,
    ErasePrincipal,
    GrantRole,
    LinkIdentity,
    RegisterPrincipal,
    RevokeRole,
    TransferOwnership,
)
from quarterdeck_domain.access.slices_tenant import (
    CloseTenant,
    NewAdministrator,
    OpenTenant,
    RecoverAdministrator,
    RotateSigningKey,
)

__all__ = (
    "CloseTenant",
    "DeactivatePrincipal",
    "ErasePrincipal",
    "GrantRole",
    "IssueApiKey",
    "IssueSignInLink",
    "LinkIdentity",
    "NewAdministrator",
    "OpenTenant",
    "RecoverAdministrator",
    "RegisterPrincipal",
    "RevokeApiKey",
    "RevokeRole",
    "RotateApiKey",
    "RotateSigningKey",
    "TransferOwnership",
    "UseSignInLink",
)
