"""HTTP with patience: a request is repeated while the server is away or busy, and only where repeating is safe.

Everything that is not a usable answer becomes `Unreachable`; everything that is a refusal becomes `Refused`. The token
goes to the configured address alone: redirects are not followed, and addresses in answers are not called.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import httpx

from quarterdeck.errors import BadAnswer, NotConfigured, Problem, Refused, Unreachable

MAX_ANSWER: Final = 4 << 20
TRY_AGAIN: Final = frozenset({429, 502, 503, 504})
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
CONNECT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer: its JSON object, and what its headers ask of us."""

    status: int
    body: Mapping[str, Any]
    retry_after_s: float | None = None


class Transport:
    """Sends requests to one server as one principal."""

    def __init__(self, url: str, token: str, *, timeout_s: float, patience_s: float) -> None:
        self._base = _base(url)
        self.timeout_s = timeout_s
        self.patience_s = patience_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._http = httpx.AsyncClient(
            base_url=self._base,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
            follow_redirects=False,
            # Proxies of the environment, but never between us and this very machine.
            trust_env=not _is_loopback(self._base),
            verify=_tls(),
        )

    @property
    def url(self) -> str:
        """The server's address."""
        return str(self._base)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        patience_s: float | None = None,
    ) -> Answer:
        """Send a request that may be repeated: a read, or one whose idempotency key makes repeating harmless.

        Raises:
            Refused: the server said no.
            Unreachable: no usable answer within the patience.
        """
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise NotConfigured("this client was used in another event loop; make one in each, and close it there")
        self._loop = loop
        deadline = loop.time() + (self.patience_s if patience_s is None else patience_s)
        content = None if body is None else _encode(body)
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await self._once(method, path, content, headers or {}, timeout_s)
            except _TryAgain as error:
                wait_s = pause_s * random.uniform(0.5, 1.0) if error.after_s is None else error.after_s  # noqa: S311
                if loop.time() + wait_s >= deadline:
                    raise Unreachable(
                        f"{self.url} does not answer: {error}",
                        problem=error.problem,
                        idempotency_key=(headers or {}).get("Idempotency-Key"),
                    ) from error.__cause__
            await asyncio.sleep(wait_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _once(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str], timeout_s: float | None
    ) -> Answer:
        sent = dict(headers) | ({} if content is None else {"Content-Type": "application/json"})
        whole_s = self.timeout_s if timeout_s is None else timeout_s
        timeout = httpx.Timeout(whole_s, connect=min(CONNECT_S, whole_s))
        try:
            # httpx limits each read; a server that trickles is cut off here.
            async with (
                asyncio.timeout(whole_s + CONNECT_S),
                self._http.stream(method, path, content=content, headers=sent, timeout=timeout) as response,
            ):
                text = await _read(response)
        except (httpx.HTTPError, TimeoutError) as error:
            raise _TryAgain(_said(error)) from error
        return _answer(response, text)


class _TryAgain(Exception):
    """Nothing usable came, but something may the next time."""

    def __init__(self, message: str, after_s: float | None = None, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s
        self.problem = problem


def _answer(response: httpx.Response, text: bytes) -> Answer:
    status, body = response.status_code, _decode(text)
    after_s = _retry_after(response.headers.get("Retry-After"))
    if status in TRY_AGAIN:
        problem = Problem.of(status, body)
        raise _TryAgain(str(problem), after_s, problem)
    if 200 <= status < 300:
        if not isinstance(body, Mapping):
            raise BadAnswer("what answered is not Quarterdeck: the answer is not a JSON object")
        return Answer(status, body, after_s)
    if 400 <= status < 500:
        raise Refused(Problem.of(status, body))
    if 300 <= status < 400:
        raise BadAnswer(f"the server redirects elsewhere (HTTP {status}); set QUARTERDECK_URL to its own address")
    problem = Problem.of(status, body)
    raise Unreachable(f"the server failed: {problem}", problem=problem)


async def _read(response: httpx.Response) -> bytes:
    found = bytearray()
    async for chunk in response.aiter_bytes():
        found += chunk
        if len(found) > MAX_ANSWER:
            raise BadAnswer(f"the answer is longer than {MAX_ANSWER} bytes")
    return bytes(found)


@cache
def _tls() -> ssl.SSLContext:
    """Return one TLS context for all clients: loading the authorities takes longer than a request."""
    return httpx.create_ssl_context()


def _base(url: str) -> httpx.URL:
    try:
        found = httpx.URL(url.rstrip("/"))
    except (httpx.InvalidURL, TypeError, AttributeError) as error:
        raise NotConfigured(f"{url!r} is not an address: {error}") from None
    if found.scheme not in ("http", "https") or not found.host:
        raise NotConfigured(f"{url!r} is not an address; write https://host or http://127.0.0.1:port")
    return found


def _is_loopback(url: httpx.URL) -> bool:
    if url.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return False


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise NotConfigured(f"this cannot be sent as JSON: {error}") from None


def _decode(text: bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _retry_after(text: str | None) -> float | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 5:
        return None
    return max(float(text), FIRST_PAUSE_S)


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return "it took too long"
    return str(error) or type(error).__name__
