"""Query parameters that a route does not have are refused, as commands refuse fields: whoever sends one means something
by it, and would take the answer for what was meant."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Depends, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query

from quarterdeck_api.auth.caller import CallerDep
from quarterdeck_domain.errors import InvalidInput

_MOST: Final = 10
_LONGEST: Final = 60


async def known_query(request: Request, _caller: CallerDep) -> None:
    """Let pass a request that sends only what its route takes. Nobody is told before they are known.

    Raises:
        InvalidInput: it sends something else; the message names it, and what there is.
    """
    if not request.query_params:
        return
    fields = get_flat_params(request.scope["route"].dependant)
    known = sorted(field.alias for field in fields if isinstance(field.field_info, Query))
    unknown = [name[:_LONGEST] for name in request.query_params if name not in known][:_MOST]
    if unknown:
        there = f"there is {', '.join(known)}" if known else "there is none"
        raise InvalidInput(
            f"{', '.join(map(repr, unknown))} is no parameter of this: {there}", fields=unknown, known=known
        )


KNOWN_QUERY: Final[Any] = Depends(known_query)
