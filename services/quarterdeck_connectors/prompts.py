"""A directory of versioned prompt files, such as the working tree of a repository: prompts and their versions.

A version is what is sent, by its digest: editing a file makes another version, moving it does not, and a version that
is gone from the tree stays in the estate. Text files may begin with front matter (YAML between two lines `---`); a YAML
file is a prompt if it has one of the keys under which prompts are kept. Files are only read: no link is followed, no
name begins with a dot, and everything is bounded.

Lines end in a line feed when a digest is taken: the same commit has the same digests on every machine.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple, get_args

from quarterdeck_connectors.digests import digest_of_bytes, digest_of_json
from quarterdeck_connectors.draft import MAX_ADDRESS, Draft, Imported, block, line, lines
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.files import read_document
from quarterdeck_connectors.reading import Bounds
from quarterdeck_domain.checks import legible
from quarterdeck_domain.estate.kinds import UseKind

MAX_FILES: Final = 10_000
MAX_ENTRIES: Final = 100_000
MAX_FILE: Final = 2**20
MAX_TOTAL: Final = 64 * 2**20
MAX_LEVELS: Final = 16

_TEXT: Final = frozenset(
    (".md", ".markdown", ".txt", ".prompt", ".prompty", ".j2", ".jinja", ".jinja2", ".mustache", ".hbs")
)
_YAML: Final = frozenset((".yaml", ".yml"))
_CONTENT: Final = ("prompt", "template", "messages", "text", "content", "system")
_VARIABLES: Final = ("variables", "input_variables", "inputs", "parameters")
_FRONT: Final = re.compile(r"---[ \t]*\n(?P<front>.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_VARIABLE: Final = re.compile(r"\{\{-?\s*([A-Za-z_][A-Za-z0-9_.]{0,99})\s*(?:\|[^{}]{0,100})?-?\}\}")
_VERSION: Final = re.compile(r"(?P<name>.+?)(?:[/@]v?|[._-]v)(?P<version>[0-9]+(?:\.[0-9]+){0,3})")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_READMES: Final = frozenset(
    ("readme", "changelog", "license", "licence", "contributing", "code_of_conduct", "security")
)


class File(NamedTuple):
    """A file of the tree: its path from the top, with `/` between, and what it holds."""

    path: str
    data: bytes


class _Version(NamedTuple):
    """One version of a prompt, as a file gives it."""

    prompt: str
    label: str
    digest: str
    content: str
    path: str
    said: Mapping[str, Any]


def read_prompts(root: Path, *, source: str = "prompts") -> Imported:
    """Return the prompts in a directory.

    Raises:
        UnreadableSource: it is no directory, or holds more than is read; or two prompts cannot be told apart.
    """
    draft = Draft(source)
    return declare_prompts(tree(root, draft), draft)


def tree(root: Path, draft: Draft) -> Iterator[File]:
    """Yield the prompt files of a directory, in the order of their paths; what is left out is noted.

    Raises:
        UnreadableSource: it is no directory, or holds more than is read.
    """
    walk = _Walk(draft)
    try:
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise UnreadableSource(f"{line(str(root))} is no directory that can be read: {line(reason)}") from None
    try:
        yield from walk.directory(top, PurePosixPath())
    finally:
        os.close(top)


class _Walk:
    """One way through a tree. Everything is opened relative to its directory, so that nothing is followed out of it
    even if it is exchanged meanwhile."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._entries = 0
        self._files = 0
        self._bytes = 0

    def directory(self, opened: int, at: PurePosixPath) -> Iterator[File]:
        """Yield the files of an open directory."""
        for name in self._names(opened, at):
            path = at / name
            try:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                found = os.open(name, flags, dir_fd=opened)
            except OSError as error:
                if not name.startswith(".") and (_form(path) or not path.suffix):
                    self._draft.note(f"{path} was left out: a link, or not readable ({error.strerror})")
                continue
            try:
                mode = os.fstat(found).st_mode
                if stat.S_ISDIR(mode) and len(path.parts) >= MAX_LEVELS:
                    self._draft.note(f"{path} was left out: deeper than {MAX_LEVELS} directories")
                elif stat.S_ISDIR(mode):
                    yield from self.directory(found, path)
                elif stat.S_ISREG(mode) and _form(path) and path.stem.lower() not in _READMES:
                    yield from self._file(found, path)
            finally:
                os.close(found)

    def _names(self, opened: int, at: PurePosixPath) -> list[str]:
        names = []
        with os.scandir(opened) as entries:
            for entry in entries:
                self._entries += 1
                if self._entries > MAX_ENTRIES:
                    raise UnreadableSource(f"there are more than {MAX_ENTRIES} files and directories in it")
                if not entry.name.startswith("."):
                    names.append(entry.name)
        return sorted(names)

    def _file(self, opened: int, path: PurePosixPath) -> Iterator[File]:
        with os.fdopen(os.dup(opened), "rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            self._draft.note(f"{path} was left out: longer than {MAX_FILE} bytes")
            return
        self._files += 1
        self._bytes += len(data)
        if self._files > MAX_FILES or self._bytes > MAX_TOTAL:
            raise UnreadableSource(f"there are more than {MAX_FILES} prompt files, or {MAX_TOTAL} bytes of them")
        yield File(str(path), data)


def declare_prompts(files: Iterator[File], draft: Draft) -> Imported:
    """Return the prompts in some files.

    Raises:
        UnreadableSource: two prompts cannot be told apart.
    """
    versions = []
    for file in files:
        try:
            found = _version(file)
        except UnreadableSource as error:
            draft.note(f"{file.path} was left out: {error.message}")
            continue
        if found is None:
            draft.note(f"{file.path} was left out: no text of a prompt in it")
        else:
            versions.append(found)
    # The newest first: what its file says of the prompt holds, and the others fill gaps.
    for found in sorted(versions, key=_age, reverse=True):
        _declare(found, draft)
    return draft.imported()


def _age(found: _Version) -> tuple[list[int], str]:
    return [int(number) for number in _NUMBER.findall(found.label)], found.path


def _declare(found: _Version, draft: Draft) -> None:
    said = found.said
    use = said.get("use")
    if use is not None and use not in get_args(UseKind):
        draft.note(f"{found.path}: the use {use!r} is none of {', '.join(get_args(UseKind))}")
    facts = {field: line(said.get(field)) for field in ("purpose", "owner", "team")}
    for field in ("owner", "team"):
        if "@" in facts[field]:
            draft.note(f"{found.path}: its {field} looks like somebody's address and was not taken over: name a role")
            facts[field] = ""
    prompt = draft.add(
        "prompt",
        found.prompt,
        {"title": line(said.get("title")), "description": block(said.get("description")), **facts},
        {"use": use if use in get_args(UseKind) else None, "digest": found.digest},
    )
    version = draft.add(
        "prompt_version",
        f"{found.prompt}@{found.digest.removeprefix('sha256:')[:12]}",
        {"title": found.label},
        {"digest": found.digest, "variables": _variables(found), "path": legible(found.path, limit=MAX_ADDRESS)},
    )
    draft.relate(version, "version_of", prompt)


def _version(file: File) -> _Version | None:
    """Return what a file holds; None if that is no prompt.

    Raises:
        UnreadableSource: it is not UTF-8, or what should be YAML is not.
    """
    path = PurePosixPath(file.path)
    try:
        text = file.data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise UnreadableSource("it is not UTF-8") from None
    said: Mapping[str, Any] = {}
    if _form(path) == "yaml":
        said = _mapping(text, "it")
        content = next((said[key] for key in _CONTENT if said.get(key)), None)
        if not isinstance(content, str | list | dict):
            return None
    else:
        front = _FRONT.match(text)
        said = _mapping(front["front"], "its front matter") if front else {}
        content = text[front.end() :] if front else text
    if isinstance(content, str):
        content = content.strip("\n")
        digest, plain = digest_of_bytes(content.encode("utf-8", "surrogatepass")), content
    else:
        digest, plain = digest_of_json(content), str(content)
    if not plain.strip():
        return None
    name, label = _named(path, said)
    return _Version(name, label, digest, plain, file.path, said)


def _mapping(text: str, what: str) -> Mapping[str, Any]:
    bounds = Bounds(size=MAX_FILE, depth=16, values=20_000)
    said = read_document(text.encode(), what, form="yaml", bounds=bounds, as_written=("version",))
    if said is not None and not isinstance(said, dict):
        raise UnreadableSource(f"{what} is not a mapping")
    return said or {}


def _named(path: PurePosixPath, said: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a prompt is called, and its version: as the front matter says, or as the path does (`a/b.v2.md`,
    `a/b/2.1.md`)."""
    plain = str(path.with_suffix(""))
    versioned = _VERSION.fullmatch(plain)
    name = versioned["name"] if versioned else plain
    label = versioned["version"] if versioned else ""
    given = next((line(said[key]) for key in ("name", "id") if line(said.get(key))), "")
    version = said.get("version")
    if isinstance(version, str | int | float) and not isinstance(version, bool):
        label = line(str(version), limit=60)
    return given or name, label


def _variables(found: _Version) -> list[str]:
    said = next((found.said[key] for key in _VARIABLES if found.said.get(key)), None)
    if isinstance(said, dict):
        return lines(list(said))
    if isinstance(said, list):
        return lines([item.get("name") if isinstance(item, dict) else item for item in said])
    return lines(sorted({match[1] for match in _VARIABLE.finditer(found.content)}))


def _form(path: PurePosixPath) -> str:
    suffix = path.suffix.lower()
    return "yaml" if suffix in _YAML else "text" if suffix in _TEXT else ""
