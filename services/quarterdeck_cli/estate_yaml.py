"""JSON values as YAML that people read and change. Written here, because the light install has no YAML library.

Every text is a plain word where any reader takes it for that text, else in double quotes. What a reader could not see
of it is escaped, so that no character of it does anything to a terminal or hides.

Source: YAML 1.2.2, sections 5.7 (escaped characters) and 7.3.1 (double-quoted style).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

from quarterdeck_cli.text import visible

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]*(?::[A-Za-z0-9_./@-]+)*(?: [A-Za-z0-9_./@-]+)*")
_WORDS: Final = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n", "inf", "nan"))
"""What readers of some version of YAML take for something else than text."""


def as_yaml(value: dict[str, Any]) -> str:
    """Return a mapping as YAML, members in the order in which they are."""
    return "\n".join(_lines(value, "")) + "\n"


def _lines(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _member(f"{indent}{_scalar(key)}:", item, indent)
    else:
        for item in value:
            if isinstance(item, dict) and item:
                first, *rest = _lines(item, f"{indent}  ")
                yield f"{indent}- {first.lstrip()}"
                yield from rest
            elif isinstance(item, list) and item:
                yield f"{indent}- [{', '.join(map(_quoted, item))}]"
            else:
                yield f"{indent}- {_scalar(item)}"


def _member(head: str, item: Any, indent: str) -> Iterator[str]:
    if isinstance(item, dict | list) and item:
        yield head
        yield from _lines(item, f"{indent}  ")
    else:
        yield f"{head} {_scalar(item)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _quoted(value)


def _quoted(value: Any) -> str:
    """Return a value on one line. JSON's escapes are YAML's too, but for characters beyond the first plane."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if text.isascii() and "\x7f" not in text else "".join(map(_char, text))


def _char(char: str) -> str:
    if " " <= char <= "~" or (unicodedata.category(char)[0] != "M" and visible(char) == char):
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
