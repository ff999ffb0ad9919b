"""The starter bundle: what a new tenant's agents may do until somebody writes a policy. See `starter.cedar`."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final

from quarterdeck_domain.policy.values import BundleText

STARTER_NAME: Final = "starter"


@cache
def starter_bundle() -> BundleText:
    """Return the text of the starter bundle. Its approvals go by the path `default`."""
    policies = resources.files("quarterdeck_policy").joinpath("starter.cedar").read_text(encoding="utf-8")
    return BundleText(policies=policies)
