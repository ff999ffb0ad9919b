"""What must hold before a command of policy is run, and that the pure domain cannot tell: whether Cedar accepts it.

Whoever runs commands calls the check of that name first, in a thread: it takes milliseconds per hundred policies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from quarterdeck_domain.policy.commands import PublishPolicyBundle
from quarterdeck_domain.policy.values import check_bundle_text
from quarterdeck_policy.engine import Engine


def check_publish(body: PublishPolicyBundle) -> None:
    """Refuse a bundle that could never be put in force.

    Raises:
        InvalidBundle: with every problem found.
        InvalidInput: too long, or not well-formed Unicode.
    """
    Engine().load(check_bundle_text(body.text))


CHECKS: Final[Mapping[str, Callable[[Any], None]]] = {"publish_policy_bundle": check_publish}
"""Checks by the name of the command; each takes the command's input."""
