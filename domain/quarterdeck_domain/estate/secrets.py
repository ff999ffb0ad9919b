"""What looks like a secret in what is said of an estate: what is recorded stays, so it is not recorded at all.

Only what is unmistakable: keys by the forms their makers give them, private keys, signed tokens, passwords within
addresses, and query parameters whose name says that they are one. A sentence about a password is none.

Source: RFC 3986, section 3.2.1 (user information); RFC 7519, section 3 (the form of a token); RFC 7468 (keys as text).
"""

from __future__ import annotations

import re
from typing import Final

from quarterdeck_domain.errors import InvalidInput

WITHHELD: Final = "[withheld]"

_SECRET: Final = re.compile(
    r"""-----BEGIN\ [A-Z ]{0,40}PRIVATE\ KEY-----
    |\b(?:AKIA|ASIA)[0-9A-Z]{16}\b
    |\bgh[pousr]_[A-Za-z0-9]{30,}
    |\bgithub_pat_[A-Za-z0-9_]{30,}
    |\bglpat-[A-Za-z0-9_-]{20,}
    |\bxox[abeprs]-[A-Za-z0-9-]{10,}
    |\bhf_[A-Za-z0-9]{30,}
    |\bAIza[0-9A-Za-z_-]{35}
    |\b[spr]k[-_](?=[A-Za-z0-9_-]{0,60}[0-9])(?=[A-Za-z0-9_-]{0,60}[A-Z])[A-Za-z0-9_-]{20,}
    |\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.
    |(?<=://)[^\s/?\#]{0,300}:[^\s/?\#]{1,300}(?=@)
    |(?<=[?&;])[A-Za-z0-9._-]{0,40}?(?:token|secret|passw(?:or)?d|pwd|api[_-]?key|access[_-]?key|signature|credential)
        [A-Za-z0-9._-]{0,40}=[^\s&\#]+""",
    re.VERBOSE,
)


def refuse_secrets(text: str, field: str) -> None:
    """Let pass what does not look like a secret.

    Raises:
        InvalidInput: something in it does. The message does not repeat it.
    """
    found = _SECRET.search(text)
    if found is not None:
        raise InvalidInput(
            f"{field} has what looks like a secret at character {found.start()}, and what is recorded here stays: "
            "name where it is kept instead",
            field=field,
            place=found.start(),
        )


def without_secrets(text: str) -> str:
    """Return a text of somebody else's with what looks like a secret withheld."""
    return _SECRET.sub(WITHHELD, text)
