"""How the people of the demo's story speak to the installation: real HTTP, and an end where an answer is no answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx

WIDTH: Final = 80
"""The columns of a terminal into which every line of the story fits."""
Say = Callable[..., None]
"""Called with a line of the story; `strong=True` for a heading."""


class StoryFailed(Exception):
    """A step of the story did not go as it must: the message has the step and the answer."""


class Door:
    """One HTTP client for everybody; who asks is said with each request. Use it with `with`."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=60, trust_env=False)

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, question: str, token: str, **variables: Any) -> dict[str, Any]:
        """Return the data that answers a GraphQL question: a document, or the name of one saved on the server.

        Raises:
            StoryFailed: there is no answer, or one with errors.
        """
        by = "query" if "{" in question else "documentId"
        answer = self.post("/graphql", {by: question, "variables": variables}, token)
        must("errors" not in answer, "POST /graphql", answer)
        data: dict[str, Any] = answer["data"]
        return data

    def command(self, token: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a command answers.

        Raises:
            StoryFailed: it was refused.
        """
        return self.post(f"/v1/commands/{name}", body, token)

    def attempt(self, path: str, body: Mapping[str, Any], token: str | None = None) -> httpx.Response:
        """Return the response to a POST, whatever it is."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self._http.post(path, json=body, headers=headers)

    def post(self, path: str, body: Mapping[str, Any], token: str | None = None) -> dict[str, Any]:
        """Return what a POST answers.

        Raises:
            StoryFailed: it was refused.
        """
        return _answer(self.attempt(path, body, token))

    def get(self, path: str, token: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return what a GET answers.

        Raises:
            StoryFailed: it was refused.
        """
        given = {"Authorization": f"Bearer {token}", **(headers or {})}
        return _answer(self._http.get(path, headers=given))

    def upload(self, path: str, content: bytes, media_type: str, token: str) -> bytes:
        """Return the bytes with which a POST of a file is answered.

        Raises:
            StoryFailed: it was refused.
        """
        headers = {"Authorization": f"Bearer {token}", "Content-Type": media_type}
        answer = self._http.post(path, content=content, headers=headers)
        must(answer.is_success, f"POST {path}", answer.text)
        return answer.content

    def read(self, path: str, token: str) -> bytes:
        """Return the bytes that a GET answers with.

        Raises:
            StoryFailed: it was refused.
        """
        answer = self._http.get(path, headers={"Authorization": f"Bearer {token}"})
        must(answer.is_success, f"GET {path}", answer.text)
        return answer.content


def must(holds: bool, step: str, seen: object) -> None:
    """End the story where a step did not go as it must.

    Raises:
        StoryFailed: it did not.
    """
    if not holds:
        raise StoryFailed(f"{step}: {seen}")


def _answer(answer: httpx.Response) -> dict[str, Any]:
    must(answer.is_success, f"{answer.request.method} {answer.request.url.path}", answer.text)
    found: dict[str, Any] = answer.json()
    return found
