"""Which tools an object can use by its grants and servers, while some of that is not to be used. Serves S0-33, S0-57."""

from __future__ import annotations

from typing import Any

import pytest
from assessed import Told

from quarterdeck_domain.estate.findings_grants import Scope

AGENT = "agent:support"
FILE: dict[str, Any] = {
    AGENT: {"relations": {"calls": ["mcp_server:crm"], "holds": ["tool_grant:some"]}},
    "mcp_server:crm": {"relations": {"exposes": ["tool:crm/read", "tool:crm/refund"]}},
    "mcp_server:too": {"relations": {"exposes": ["tool:crm/read"]}},
    "tool:crm/read": {},
    "tool:crm/refund": {},
    "tool_grant:some": {
        "attributes": {"expires_at": "2027-01-01T00:00:00Z"},
        "relations": {"permits": ["tool:crm/read"]},
    },
}


def estate(*permitted: str) -> Told:
    """Return an estate in which an agent calls a server, and holds a grant for some of what that offers."""
    return Told(FILE | {"tool_grant:some": {**FILE["tool_grant:some"], "relations": {"permits": list(permitted)}}})


def tools(told: Told) -> set[str]:
    """Return the tools that the agent can use."""
    return {tool for _, tool in Scope(told.landscape()).usable(AGENT)}


@pytest.mark.parametrize("kept", ["tool:crm/read", "tool_grant:some"])
def test_what_is_in_quarantine_still_says_which_tools_somebody_has_grants_for(kept: str) -> None:
    """The tool that was granted, or the grant: whoever may use one does not get at the server's others."""
    told = estate("tool:crm/read")
    assert tools(told) == {"tool:crm/read"}
    assert tools(told.mend(f"quarterdeck estate quarantine {kept} --reason r")) == set()


@pytest.mark.parametrize("permitted", ["tool:crm/read", "mcp_server:crm", "mcp_server:too"])
def test_a_grant_that_is_over_does_not_let_anything_more_be_used(permitted: str) -> None:
    """On its last day less can be used, not more; of a whole server, or of another that offers the same, as well."""
    told = estate(permitted)
    assert "tool:crm/read" in tools(told)
    assert tools(told.wait(days=800)) == set()


def test_without_a_grant_that_is_there_the_server_says_what_can_be_used() -> None:
    """A grant that was retired is none, and one for something else says nothing of this server."""
    assert tools(estate("tool:crm/read").mend("quarterdeck estate retire tool_grant:some")) == {
        "tool:crm/read",
        "tool:crm/refund",
    }
    assert tools(estate()) == {"tool:crm/read", "tool:crm/refund"}
