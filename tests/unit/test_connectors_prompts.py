"""A directory of versioned prompt files becomes prompts and versions, by the digest of what is sent.

Serves C02 (filling the inventory), S0-47, S0-149.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imported_twice import NOTHING, settles

from quarterdeck_connectors import prompts
from quarterdeck_connectors.draft import Draft
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.prompts import File, declare_prompts, read_prompts
from quarterdeck_domain.checks import optional_line
from quarterdeck_domain.estate.events import DriftDetected
from quarterdeck_domain.estate.plan import make_plan

TREE = Path(__file__).resolve().parents[1] / "vectors" / "estate" / "prompts"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sample that may be changed."""
    return Path(shutil.copytree(TREE, tmp_path / "prompts"))


def digest(text: str) -> str:
    """Return the digest of a text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def versions(root: Path) -> dict[str, str]:
    """Return the digest of each version."""
    found = read_prompts(root).declaration.assets
    return {
        name: entry.facts["attributes.digest"] for name, entry in found.items() if name.startswith("prompt_version:")
    }


def test_the_sample_tree() -> None:
    """S0-47: prompts have owner, purpose and use, versions a content hash, variables and where they are kept."""
    found = read_prompts(TREE, source="git prompts")
    assets = found.declaration.assets
    assert sorted(name for name in assets if name.startswith("prompt:")) == [
        "prompt:summary",
        "prompt:support/refund",
        "prompt:ticket-routing",
    ]
    facts = assets["prompt:support/refund"].facts
    assert facts["title"] == "Refund answer, short"
    assert (facts["owner"], facts["purpose"]) == ("support-rota", "answers customers")
    assert facts["attributes.use"] == "composing_responses"
    assert "team" not in facts
    text = "You answer {{ customer }} about {{ amount }}\nin two sentences."
    newest = assets[f"prompt_version:support/refund@{digest(text)[7:19]}"]
    assert newest.facts == {
        "title": "2",
        "attributes.digest": digest(text),
        "attributes.variables": ["customer", "amount"],
        "attributes.path": "support/refund/v2.md",
    }
    assert [link.to for link in newest.relations["version_of"]] == ["prompt:support/refund"]
    oldest = next(entry for entry in assets.values() if entry.facts.get("attributes.path") == "support/refund/v1.md")
    assert oldest.facts["attributes.variables"] == ["customer", "refund.id"]
    routing = next(entry for name, entry in assets.items() if name.startswith("prompt_version:ticket"))
    assert routing.facts["title"] == "3"
    assert routing.facts["attributes.variables"] == ["ticket"]
    assert any("its team looks like somebody's address" in note for note in found.notes)
    assert any(note.startswith("settings.yaml was left out: no text") for note in found.notes)
    assert "lena" not in repr(found)


def test_a_second_import_changes_nothing() -> None:
    """S0-149: importing is idempotent."""
    settles(read_prompts(TREE))


def test_a_version_is_its_content(tree: Path) -> None:
    """Moving a file, its front matter or its line ends change no version; a changed word is another version, and the
    version before it stays in the estate."""
    before = versions(tree)
    standing = settles(read_prompts(tree))
    second = tree / "support" / "refund" / "v2.md"
    second.write_bytes(
        second.read_bytes().replace(b"\n", b"\r\n").replace(b"purpose: answers", b"purpose: still answers")
    )
    (tree / "support" / "refund" / "v1.md").rename(tree / "support" / "refund.v1.md")
    assert versions(tree) == before
    second.write_text(second.read_text().replace("two sentences", "one sentence"))
    plan = make_plan(read_prompts(tree).declaration, standing, "run_2")
    (made,) = (step.subject for step in plan.steps if step.action == "register")
    assert made.startswith("prompt_version:support/refund@")
    assert made not in before
    assert {step.action for step in plan.steps} <= {"register", "relate", "change", "drift"}
    (drift,) = (event for event in plan.events if isinstance(event, DriftDetected))
    assert (drift.asset, drift.input) == ("prompt:support/refund", "prompt")


def test_versions_are_what_is_written_and_are_ordered_by_their_parts(tmp_path: Path) -> None:
    """1.10 comes after 1.9 and is no 1.1: what the prompt sends now is the newest version's text. Prompty files too."""
    for version, suffix in (("1.9", "prompty"), ("1.10", "prompty"), ("1.2", "md")):
        text = (
            f"---\nname: refund\nversion: {version}\ndescription: |\n  {version}\n---\nSay {version} to {{{{who}}}}.\n"
        )
        (tmp_path / f"{version}.{suffix}").write_text(text)
    (tmp_path / "plain.yaml").write_text("name: plain\nversion: 2.0\nprompt: Hello.\nmodel: {version: 3.10}\n")
    found = read_prompts(tmp_path).declaration.assets
    labels = {entry.facts["title"]: name for name, entry in found.items() if name.startswith("prompt_version:")}
    assert labels.keys() == {"1.9", "1.10", "1.2", "2.0"}
    digest = found["prompt:refund"].facts["attributes.digest"]
    assert digest == found[labels["1.10"]].facts["attributes.digest"]
    assert found["prompt:refund"].facts["description"] == "1.10"
    assert found[labels["1.9"]].facts["attributes.variables"] == ["who"]


def test_only_files_of_the_tree_are_read(tree: Path, tmp_path: Path) -> None:
    """Links, pipes, what is hidden, what is no prompt, what is too long: not read, and, where it matters, noted."""
    before = versions(tree)
    outside = tmp_path / "secret.md"
    outside.write_text("the key is hunter2")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "other.md").write_text("hunter2")
    (tree / "link.md").symlink_to(outside)
    (tree / "linked").symlink_to(tmp_path / "elsewhere")
    (tree / "loop").symlink_to(tree)
    os.mkfifo(tree / "pipe.md")
    (tree / ".git").mkdir()
    (tree / ".git" / "description.txt").write_text("hunter2")
    (tree / "program.py").write_text("hunter2")
    (tree / "long.md").write_bytes(b"x" * (prompts.MAX_FILE + 1))
    (tree / "binary.md").write_bytes(b"\xff\xfe")
    (tree / "broken.md").write_text("---\na: *b\n---\nhunter2")
    (tree / "empty.md").write_text("---\na: b\n---\n \n")
    (tree / "linked.md").mkdir()
    found = read_prompts(tree)
    assert versions(tree) == before
    assert "hunter2" not in repr(found)
    for said in (
        "link.md was left out: a link",
        "linked was left out: a link",
        "long.md was left out: longer",
        "binary.md was left out: it is not UTF-8",
        "broken.md was left out: its front matter, line 1, column 4: *",
        "empty.md was left out: no text",
    ):
        assert any(note.startswith(said) for note in found.notes), said


def test_how_much_there_is_is_bounded(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth is noted; more files, bytes or entries than are read is an error before anything is declared."""
    deep = tree.joinpath(*"abcdefghijklmnopqrst")
    deep.mkdir(parents=True)
    (deep / "x.md").write_text("too far down")
    assert any("deeper than 16" in note for note in read_prompts(tree).notes)
    for limit in ("MAX_FILES", "MAX_TOTAL", "MAX_ENTRIES"):
        with monkeypatch.context() as patched:
            patched.setattr(prompts, limit, 2)
            with pytest.raises(UnreadableSource, match="there are more than"):
                read_prompts(tree)


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    """Nothing, or a file: an error that says so."""
    (tmp_path / "file").write_text("x")
    for name in ("nothing", "file"):
        with pytest.raises(UnreadableSource, match="is no directory"):
            read_prompts(tmp_path / name)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes there alone")
def test_names_that_are_no_text_are_made_legible(tree: Path) -> None:
    """A name of bytes that are no UTF-8, or with characters that deceive, is shown as what it is."""
    (Path(os.fsdecode(os.fsencode(tree) + b"/\xff.md"))).write_text("one")
    (tree / "pay\u202elap.md").write_text("two")
    found = read_prompts(tree)
    settles(found)
    paths = [entry.facts.get("attributes.path") for entry in found.declaration.assets.values()]
    assert "\\u{dcff}.md" in paths
    assert "pay\\u{202e}lap.md" in paths


hostile = st.text(st.characters() | st.sampled_from("\u202e\u200b\x07\x00-:{}*&\n"), max_size=30)
front = st.builds("---\n{}\n---\n{}".format, hostile, hostile)
yaml_files = st.builds("name: {}\nprompt: {}".format, hostile, hostile)
paths = st.text("ab/.@_-v12ü\u202e", min_size=1, max_size=12)


@given(
    st.lists(
        st.builds(
            lambda path, suffix, text: File(path + suffix, text.encode("utf-8", "replace")),
            paths,
            st.sampled_from([".md", ".yaml", ".j2"]),
            hostile | front | yaml_files,
        ),
        max_size=4,
    )
)
def test_hostile_files_are_read_or_left_out(files: list[File]) -> None:
    """Whatever is in a file and whatever it is called: a declaration that settles, or an error of ours."""
    try:
        found = declare_prompts(iter(files), Draft("prompts"))
    except UnreadableSource as refused:
        optional_line(refused.message, "message", limit=2_000)
    else:
        settles(found)
        for note in found.notes:
            optional_line(note, "note", limit=2_000)


def test_nothing_is_declared_of_an_empty_directory(tmp_path: Path) -> None:
    """An empty tree is an empty declaration, and changes nothing."""
    assert make_plan(read_prompts(tmp_path).declaration, NOTHING, "run_1").steps == ()
