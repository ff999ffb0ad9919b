"""Text from outside as people are shown it: whoever reads it knows which text it is. Serves DC-07; threat T7.

The server has the rule, and so has the command line, which is installed without the server: one set of vectors and
properties holds both to it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_api.approvals import text as server
from quarterdeck_cli import text as cli

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "visible.json").read_text())
COPIES = pytest.mark.parametrize("visible", [server.visible, cli.visible], ids=["server", "cli"])
TEXTS = st.text() | st.text('\\ua20ex0016\u202e\u0301\u0316\u200d\n "\U000e0041')
"""Any text, and text of what escapes are made of, what they stand for, and marks."""
_SIGN = re.compile(r"\\(?:(\\)|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_LONG = re.compile(r"\\\\|\\U([0-9a-f]{8})")

Visible = Callable[[str], str]


def meant(shown: str) -> str:
    """Return the text that is meant by what is shown: the rule, read backwards."""
    return _SIGN.sub(lambda sign: sign[1] or chr(int(sign[2] or sign[3], 16)), shown)


@COPIES
@pytest.mark.parametrize("vector", VECTORS["line"], ids=lambda vector: str(vector["about"]))
def test_a_line(visible: Visible, vector: dict[str, str]) -> None:
    """What can be seen is itself; everything else, and the backslash, is written out."""
    assert visible(vector["text"]) == vector["shown"]


@pytest.mark.parametrize("vector", VECTORS["prose"], ids=lambda vector: str(vector["about"]))
def test_prose(vector: dict[str, str]) -> None:
    """The server leaves line ends and joiners in prose; what it wrote out stays written out on the command line."""
    assert server.visible(vector["text"], prose=True) == vector["shown"]
    assert meant("\n".join(cli.lines(vector["shown"]))) == vector["text"]


@COPIES
@given(one=TEXTS, other=TEXTS)
def test_what_differs_is_shown_differently(visible: Visible, one: str, other: str) -> None:
    """Two texts have one shown form only if they are one text; what is shown of a text is such another one."""
    for another in (other, visible(one)):
        assert (visible(one) == visible(another)) == (one == another)


@COPIES
@given(text=TEXTS)
def test_what_is_shown_says_what_is_meant(visible: Visible, text: str) -> None:
    """The text can be read back, so no two are shown alike; and nothing in what is shown is hidden."""
    shown = visible(text)
    assert meant(shown) == text
    assert shown.isprintable()
    assert re.search(r"\\(?![\\uU])", shown.replace("\\\\", "")) is None


@given(TEXTS)
def test_both_copies_are_one_rule(text: str) -> None:
    """Whatever the server shows, the command line shows, and shows the server's text as it came."""
    shown = server.visible(text)
    assert cli.visible(text) == shown
    assert cli.shown(shown) == shown
    prose = server.visible(text, prose=True)
    assert meant(prose) == text
    assert meant("\n".join(cli.lines(prose))) == text


@given(st.text())
def test_text_of_a_careless_server_is_harmless(text: str) -> None:
    """What nobody made visible before is printable all the same."""
    assert cli.shown(text).isprintable()


@given(st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS)))
def test_members_are_shown_apart(members: dict[str, object]) -> None:
    """Names are text too: none is lost to another; JSON for people can be read back as well."""
    shown = server.visible_json(members)
    assert {meant(name) for name in shown} == set(members)
    assert {meant(name): _meant(value) for name, value in shown.items()} == members
    drawn = "".join(cli.pretty(shown))
    assert drawn.isprintable()
    assert json.loads(_LONG.sub(_in_json, drawn)) == json.loads(json.dumps(members))


@COPIES
def test_marks_pile_up_no_higher_than_six(visible: Visible) -> None:
    """However many there are, and however they are spread over joiners and selectors."""
    for between in ("", "\u200d", "\ufe0f", "\u034f"):
        shown = visible("o" + (between + "\u0316") * 500)
        run = max((len(found) for found in re.findall("\u0316+", shown)), default=0)
        assert run <= 6
        assert meant(shown).count("\u0316") == 500


@COPIES
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\")))
def test_plain_text_is_itself(visible: Visible, text: str) -> None:
    """Everything that is on every keyboard, but for the backslash."""
    assert visible(text) == text


@given(st.text())
def test_composed_letters_are_themselves(text: str) -> None:
    """The accents that people type are letters, and stay."""
    letters = "".join(char for char in unicodedata.normalize("NFC", text) if char.isalpha() and char.isprintable())
    kept = "".join(char for char in letters if char not in "\u115f\u1160\u3164\uffa0\u31d4")
    assert server.visible(kept) == kept


def test_cut_text_says_so() -> None:
    """Nobody mistakes a part for the whole."""
    assert server.visible("x" * 10, limit=4) == "xxxx… [cut: 10 characters]"


def _meant(value: object) -> object:
    return [meant(item) for item in value] if isinstance(value, list) else meant(str(value))


def _in_json(sign: re.Match[str]) -> str:
    return json.dumps(chr(int(sign[1], 16)))[1:-1] if sign[1] else sign[0]
