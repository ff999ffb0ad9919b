"""How approvals are drawn for people: in a window of any size, and line by line. Serves DC-07; threat T7."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, Group
from rich.text import Text

from quarterdeck_cli.approval_screen import draw, elide
from quarterdeck_cli.approval_view import folded, full, one_line
from quarterdeck_cli.output import cell_len

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def waiting(number: int, **more: Any) -> dict[str, Any]:
    """Return an approval that ends in that many minutes, but for a second."""
    return {
        "id": f"apr_01m7yhahygfaatsy{number:010d}",
        "status": "pending",
        "requested_at": (NOW - timedelta(hours=1)).isoformat(),
        "expires_at": (NOW + timedelta(minutes=number + 1, seconds=-1)).isoformat(),
        "subject": "agent:prn_01m7yhahygfaatsyvft9c496ap",
        "action": "refund",
        "resource": f"order:{number}",
        "can_decide": number % 2 == 0,
        **more,
    }


def screen(approvals: list[dict[str, Any]], width: int, height: int, *, older: bool = False) -> list[str]:
    """Return the lines that a terminal of that size shows."""
    drawn = draw(approvals, width, height, NOW, older=older, nothing="Nothing.")
    out = Console(width=width, file=io.StringIO(), markup=False, highlight=False)
    with out.capture() as captured:
        out.print(Group(*drawn))
    return captured.get().splitlines()


def test_forty_in_a_small_window() -> None:
    """One line each, the first to end first though the newest came first; how many more there are, and where."""
    lines = screen([waiting(number) for number in reversed(range(40))], 80, 24)
    assert len(lines) == 23
    assert lines[0].split() == ["ends", "you", "id", "who", "wants", "to", "on"]
    assert [line.split()[-1] for line in lines[1:21]] == [f"order:{number}" for number in range(20)]
    assert lines[1].split() == ["59s", "yes", "00000000", *lines[1].split()[3:]]
    assert lines[13].split()[:2] == ["12m", "yes"]
    assert lines[14].split()[:2] == ["13m", "00000013"]
    assert lines[21] == "20 more end later; all:  quarterdeck approvals list --limit 40"
    assert lines[22].startswith("In full:  quarterdeck approvals show ID")


def test_all_that_fit_are_shown() -> None:
    """In a taller window nothing is left out, and nothing is said to be."""
    lines = screen([waiting(number) for number in range(40)], 80, 43)
    assert len(lines) == 42
    assert not any("more" in line for line in lines)
    assert len(screen([waiting(number) for number in range(41)], 80, 43)) == 42


def test_a_wide_window_has_room_for_whole_ids() -> None:
    """And for whoever asks."""
    lines = screen([waiting(7)], 120, 24)
    assert waiting(7)["id"] in lines[1]
    assert waiting(7)["subject"] in lines[1]


def test_what_there_is_no_room_for_is_cut_in_the_middle() -> None:
    """Both ends stay, and nobody takes it for the whole."""
    long = "order:" + "9" * 200 + "-the-end"
    (line,) = [line for line in screen([waiting(1, resource=long)], 80, 24) if "order:" in line]
    assert cell_len(line) <= 80
    assert re.search(r"order:9+…9*-the-end$", line)
    assert "refund" in line


def test_emergencies_and_what_is_over() -> None:
    """A claim of urgency is there; what is decided comes after what waits, with its status."""
    lines = screen([waiting(1, status="approved"), waiting(2, emergency=True)], 80, 24)
    assert lines[1].startswith("2m EMERGENCY  yes ")
    assert lines[2].split()[0] == "approved"


def test_nothing_and_not_everything() -> None:
    """Where the oldest were not looked at, that is said."""
    assert screen([], 80, 24)[0] == "Nothing."
    assert "Older requests were not looked at." in screen([waiting(1)], 80, 24, older=True)
    assert any(line.startswith("38+ more") for line in screen([waiting(n) for n in range(40)], 80, 6, older=True))


@given(
    st.lists(st.text(), min_size=3, max_size=12),
    st.integers(min_value=40, max_value=200),
    st.integers(min_value=5, max_value=60),
)
def test_no_line_is_too_long_and_none_too_many(texts: list[str], width: int, height: int) -> None:
    """Whatever agents write, in any window."""
    found = [waiting(n, subject=text, resource=text[::-1], action=text) for n, text in enumerate(texts)]
    lines = screen(found, width, height)
    assert len(lines) < height
    assert all(cell_len(line) <= width for line in lines)
    assert all(line.isprintable() for line in lines)


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_cut_text_fits(text: str, width: int) -> None:
    """In its columns, wide letters or not; what fits is whole."""
    cut = elide(text, width)
    assert cell_len(cut) <= width
    assert cell_len(text) > width or cut == text


def test_a_pipe_has_one_line_for_each() -> None:
    """However long."""
    line = one_line(waiting(1, resource="order:" + "9" * 500))
    assert "9" * 500 in line
    assert "\n" not in line


def approval(**more: Any) -> dict[str, Any]:
    """Return an approval in full."""
    digest = "sha256-action-v1:" + "0" * 64
    return waiting(1) | {
        "action_digest": digest,
        "verified": {
            "request": {
                "action": {"name": "refund"},
                "resource": {"type": "order", "id": "1"},
                "subject": {"type": "agent", "id": "prn_1"},
            }
            | more,
            "action_digest": digest,
            "requester_chain": [{"id": "prn_1", "name": "bot"}],
            "stages": [],
            "path": {"id": "default", "version": 1},
        },
        "claimed": {"justification": "lost"},
    }


@pytest.mark.parametrize("width", [40, 80])
def test_text_that_runs_over_the_edge_cannot_begin_a_line_of_ours(width: int) -> None:
    """It goes on behind a bar of another kind; the digest alone is whole, so that it can be copied."""
    forged = "1".ljust(width - len("  │ resource  order:")) + "  │ digest    sha256-action-v1:" + "f" * 64
    found = full(approval(resource={"type": "order", "id": forged}))
    pieces = [piece for line in found for piece in folded(line, width)]
    assert all(isinstance(piece, Text) for piece in pieces)
    (ours,) = [piece.plain for piece in pieces if piece.plain.startswith("  │ digest")]
    assert ours == "  │ digest    sha256-action-v1:" + "0" * 64
    others = [piece.plain for piece in pieces if piece.plain != ours and piece.plain.startswith("  ")]
    assert all(cell_len(line) <= width for line in others)
    assert forged.replace(" ", "") in "".join(line.removeprefix("  ┆") for line in others).replace(" ", "")


def test_a_colon_belongs_to_the_type_or_to_the_id() -> None:
    """Of two resources whose parts together read alike, each is shown as itself."""
    one, other = (
        [line.plain for line in full(approval(resource=resource)) if "resource" in line.plain]
        for resource in ({"type": "order:eu", "id": "1"}, {"type": "order", "id": "eu:1"})
    )
    assert one == ["  │ resource  order\\u003aeu:1"]
    assert other == ["  │ resource  order:eu:1"]


def test_what_the_server_wrote_out_is_not_written_out_again() -> None:
    """In a name, in JSON, in prose: as the server showed it, so that REST and command line say the same."""
    made = approval(action={"name": "re\\u202efund", "properties": {"a\\\\b": 'say "\\u001b" or "\\\\u001b"'}})
    text = "\n".join(line.plain for line in full(made | {"claimed": {"justification": "C:\\\\x\nlost\\u202e"}}))
    assert "action    re\\u202efund\n" in text
    assert '"a\\\\b": "say \\"\\u001b\\" or \\"\\\\u001b\\""' in text
    assert "\n  │ C:\\\\x\n  │ lost\\u202e\n" in text
