"""How commands speak to a running API, and how they end where it says no.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 nobody answers, or nobody who is ready to.
"""

from __future__ import annotations

import json as jsonlib
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

import typer

from quarterdeck_cli import credentials
from quarterdeck_cli.problems import give_up
from quarterdeck_cli.text import quoted, shown

if TYPE_CHECKING:
    import httpx

REFUSED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
TIMEOUT_S: Final = 30.0
LONG_S: Final = 600.0
"""How long whole files may take to be read, or to be worked on without a word."""
PAUSES_S: Final = (0.2, 0.6)
"""Before the second and third try of a request that found nobody: every request may be repeated."""
_AWAY: Final = frozenset({502, 503, 504})
_OTHERS: Final = frozenset({"source_away"})
"""Answered with 502 as well, by a server that is well: asking it again at once finds the same."""
_NOT_NOW: Final = frozenset({"unavailable", "busy", "timed_out"})
_AGAIN: Final = "repeat the command in a moment;  quarterdeck doctor  looks for the reason"
_HINTS: Final = {
    "unauthenticated": "quarterdeck sign-in LINK   (an administrator makes links: quarterdeck people link)",
    "not_allowed": "quarterdeck whoami   shows who you are here and your roles",
    "digest_mismatch": "quarterdeck approvals show ID   and look again: it is not what you were shown",
    "not_found": "check the id:  quarterdeck approvals list · people list · keys list · effects list · estate list",
    "wrong_state": "look at it again; somebody may have been faster:  quarterdeck log tail",
    "invalid_input": "mend what the message names;  --help  shows what the command takes",
    "invalid_request": "if that names a field: the server is of another release;  quarterdeck --version",
    "unreadable_source": "mend what the message names, or name the format that it is",
    "source_away": "look at the source itself: whether it runs, and what it sends",
    "too_many_requests": "wait a moment and repeat the command",
}
NO_OBJECT: Final = "quarterdeck estate list   shows names"
_NOT_SIGNED_IN: Final = {
    "wrong_state": "an administrator makes a new one:  quarterdeck people link ID  (or recover-administrator)",
}


def fail(
    message: str,
    hint: str | None = None,
    *,
    code: int = REFUSED,
    json: bool = False,
    kind: str = "error",
    problems: Iterable[object] = (),
) -> NoReturn:
    """End a command with a message, the next step and an exit code; as JSON on standard error where JSON was wanted.

    `problems` are said one by one below the message.
    """
    message, found = shown(message), [shown(item) for item in problems]
    if json:
        error = {"code": kind, "message": message, "hint": hint} | ({"problems": found} if found else {})
        print(jsonlib.dumps({"error": error}), file=sys.stderr)
        raise typer.Exit(code)
    give_up("\n  - ".join((message, *found)), hint, code=code)


class Api:
    """A server, `url` or the one signed in to last, as who is signed in there. Failures end the command."""

    def __init__(self, *, json: bool = False, url: str | None = None, anonymous: bool = False) -> None:
        self._json = json
        self._hints = _HINTS | _NOT_SIGNED_IN if anonymous else _HINTS
        self.no_object: Callable[[str], str] = lambda _asset: NO_OBJECT
        """Says what to do where an object that is asked about is not there."""
        try:
            found = credentials.Access(url, None) if url and anonymous else credentials.access(url)
        except credentials.UnsafeCredentials as error:
            fail(str(error), error.way_out, json=json, kind="unsafe_credentials")
        if found.token is None and not anonymous:
            fail(
                f"nobody is signed in to {found.url}",
                "quarterdeck sign-in LINK   (`quarterdeck up` prints the first link)",
                json=json,
                kind="unauthenticated",
            )
        self.url = found.url
        self._http = self._open(found)

    def _open(self, found: credentials.Access) -> httpx.Client:
        import httpx

        headers = {} if found.token is None else {"Authorization": f"Bearer {found.token}"}
        loopback = "://127.0.0.1" in found.url or "://localhost" in found.url or "://[::1]" in found.url
        try:
            return httpx.Client(
                base_url=found.url, headers=headers, timeout=TIMEOUT_S, trust_env=not loopback, follow_redirects=False
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            fail(
                f"{found.url} cannot be called: {error}", f"set {credentials.URL_VARIABLE}", code=USAGE, json=self._json
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """Return what a GET answers, as JSON."""
        return self._send("GET", path, params=_given(params)).json()

    def text(self, path: str, **params: Any) -> str:
        """Return what a GET answers, as text."""
        return str(self._send("GET", path, params=_given(params)).text)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return what a POST answers. It carries an idempotency key, so repeating it is harmless."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        response = self._send("POST", path, json=_given(body), headers=headers)
        return response.json() if response.content else {}

    def send(self, path: str, content: bytes, media: str, **params: Any) -> Any:
        """Return what a POST of a whole file answers."""
        headers, given = {"Content-Type": media}, _given(params)
        return self._send("POST", path, params=given, content=content, headers=headers, timeout=LONG_S).json()

    @contextmanager
    def sending(self, path: str, content: bytes, media: str, key: str, **params: Any) -> Iterator[httpx.Response]:
        """Yield the answer to a POST of a whole file, which is read as it comes. `key` is its idempotency key.

        Raises:
            httpx.HTTPError: nobody answers, or no longer: the same request may be sent again.
        """
        headers, given = {"Content-Type": media, "Idempotency-Key": key}, _given(params)
        request = self._http.build_request("POST", path, params=given, content=content, headers=headers, timeout=LONG_S)
        response = self._http.send(request, stream=True)
        try:
            if not response.is_success:
                response.read()
                self._refuse(response)
            yield response
        finally:
            response.close()

    def command(self, name: str, **body: Any) -> dict[str, Any]:
        """Run a command; return its position, result and secrets."""
        done: dict[str, Any] = self.post(f"/v1/commands/{name}", body)
        return done

    def settle(self, position: int, tries: int = 1) -> None:
        """Wait, a few seconds at most, until questions are answered with everything up to a position: so that the next
        command sees what this one did. Where that takes longer, nobody is kept waiting."""
        for _ in range(tries):
            if self.try_query("query Seen($p: Position) { now(atLeast: $p) { position } }", p=position) is not None:
                return

    def try_query(self, document: str, **variables: Any) -> dict[str, Any] | None:
        """Return the data that answers a GraphQL question, or None where it is not answered, for whatever reason."""
        import httpx

        try:
            answer = self._http.post("/graphql", json={"query": document, "variables": variables}).json()
        except (httpx.HTTPError, ValueError):
            return None
        if not isinstance(answer, dict) or answer.get("errors") or not isinstance(answer.get("data"), dict):
            return None
        data: dict[str, Any] = answer["data"]
        return data

    def query(self, document: str, **variables: Any) -> dict[str, Any]:
        """Return the data that answers a GraphQL question. One that is not answered just now is asked again: what took
        long to work out is kept, and the next is answered."""
        for pause_s in (*PAUSES_S, None):
            answer = self._send("POST", "/graphql", json={"query": document, "variables": variables}).json()
            if not answer.get("errors"):
                data: dict[str, Any] = answer["data"]
                return data
            first = answer["errors"][0]
            kind = str((first.get("extensions") or {}).get("code") or "error")
            if kind not in _NOT_NOW or pause_s is None:
                code = UNREACHABLE if kind in _NOT_NOW else REFUSED
                message, hint = str(first.get("message")), self._hints.get(kind, _AGAIN)
                details = (first.get("extensions") or {}).get("details")
                if kind == "not_found" and isinstance(details, dict) and "asset" in details:
                    message, hint = f"{message}: {details['asset']}", self.no_object(str(details["asset"]))
                fail(message, hint, code=code, json=self._json, kind=kind)
            time.sleep(pause_s)
        raise AssertionError("the last try returns or ends the command")

    @contextmanager
    def stream(self, path: str, **params: Any) -> Iterator[httpx.Response]:
        """Yield a response whose body is read as it comes."""
        import httpx

        try:
            with self._http.stream("GET", path, params=_given(params)) as response:
                if not response.is_success:
                    response.read()
                    self._refuse(response)
                yield response
        except httpx.HTTPError as error:
            self.away(str(error) or type(error).__name__)

    def try_get(self, path: str, **params: Any) -> Any | None:
        """Return what a GET answers, or None where nobody answers just now. Refusals end the command as ever."""
        import httpx

        try:
            response = self._http.get(path, params=_given(params))
        except httpx.HTTPError:
            return None
        if response.status_code in _AWAY or response.status_code == 429:
            return None
        if not response.is_success:
            self._refuse(response)
        return response.json()

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        import httpx

        for pause_s in (*PAUSES_S, None):
            try:
                response = self._http.request(method, path, **request)
            except httpx.HTTPError as error:
                if pause_s is None:
                    self.away(str(error) or type(error).__name__)
            else:
                if response.is_success:
                    return response
                if not _is_away(response) or pause_s is None:
                    self._refuse(response)
            time.sleep(pause_s)
        raise AssertionError("the last try returns or ends the command")

    def away(self, why: str) -> NoReturn:
        """End the command because nobody answers."""
        fail(
            f"{self.url} does not answer: {why}",
            "quarterdeck up   starts one here; QUARTERDECK_URL names another",
            code=UNREACHABLE,
            json=self._json,
            kind="unreachable",
        )

    def _refuse(self, response: httpx.Response) -> NoReturn:
        try:
            problem = response.json()
        except ValueError:
            problem = None
        if not isinstance(problem, dict):
            fail(
                f"{self.url} does not answer like Quarterdeck: HTTP {response.status_code}",
                f"look at {credentials.URL_VARIABLE}",
                code=UNREACHABLE,
                json=self._json,
                kind="bad_answer",
            )
        self.refuse(problem, response.status_code)

    def refuse(self, problem: Mapping[str, Any], status: int, hint: str | None = None) -> NoReturn:
        """End the command as a problem of the API's says (RFC 9457), with every part of it that it names."""
        kind = kind_of(problem)
        message = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        details = problem.get("details")
        parts = details.get("problems") if isinstance(details, dict) else None
        away = status in _AWAY and kind not in _OTHERS
        fail(
            message,
            hint or (_AGAIN if away else _of_object(kind, message, details) or self._hints.get(kind)),
            code=UNREACHABLE if away else REFUSED,
            json=self._json,
            kind=kind,
            problems=[part for part in parts if part != message] if isinstance(parts, list) else (),
        )


def _of_object(kind: str, message: str, details: object) -> str | None:
    """Return the next step where an object of the estate is not as it should be for what was asked; else None."""
    asset = details.get("asset") if kind == "wrong_state" and isinstance(details, dict) else None
    if not isinstance(asset, str):
        return None
    if message == f"{asset} is retired":
        return "nothing brings it back: register what takes its place by another name"
    return f"look at what it is now:  quarterdeck estate show {quoted(asset)}"


def _is_away(response: httpx.Response) -> bool:
    """Tell whether it is the server that is away, and not what it should have read for us."""
    if response.status_code not in _AWAY:
        return False
    try:
        problem = response.json()
    except ValueError:
        return True
    return not isinstance(problem, dict) or kind_of(problem) not in _OTHERS


def kind_of(problem: Mapping[str, Any]) -> str:
    """Return the code of a problem, such as `invalid_input`."""
    return str(problem.get("type", "")).rpartition(":")[2] or "error"


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
