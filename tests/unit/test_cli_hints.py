"""What the command line says to do next where the server says no. Serves C02, S2-13."""

from __future__ import annotations

import pytest
import typer

from quarterdeck_cli.client import Api
from quarterdeck_cli.credentials import TOKEN_VARIABLE


@pytest.mark.parametrize(
    ("message", "details", "hint"),
    [
        ("tool:y/a is retired", {"asset": "tool:y/a"}, "nothing brings it back: register what takes its place by "),
        ("tool:y/a is not in quarantine", {"asset": "tool:y/a"}, "look at what it is now:  quarterdeck estate show "),
        ("it was decided already", {"approval_id": "apr_1"}, "look at it again; somebody may have been faster:  "),
        ("it was decided already", None, "look at it again; somebody may have been faster:  "),
        ("odd", {"asset": "tool:y a; ls"}, "look at what it is now:  quarterdeck estate show 'tool:y a; ls'"),
    ],
)
def test_what_is_not_as_it_should_be_is_looked_at_where_it_is(
    message: str, details: object, hint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object of the estate on the map, the rest in the log; and what is retired stays so."""
    monkeypatch.setenv(TOKEN_VARIABLE, "qd_x")
    problem = {"type": "urn:quarterdeck:problem:wrong_state", "detail": message, "details": details}
    with Api(url="http://127.0.0.1:1") as api, pytest.raises(typer.Exit):
        api.refuse(problem, 409)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"error: {message}"
    assert said[1].startswith(f"  try: {hint}")
