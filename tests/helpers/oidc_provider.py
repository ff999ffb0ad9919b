"""A small OpenID Connect provider on loopback, for tests: discovery, keys, authorization code with PKCE.

It speaks the real protocol over real HTTP and signs real tokens; only its users need no password. It can rotate its
keys, go away, and sign tokens that no honest provider would.

Source: OpenID Connect Core 1.0 section 3.1; RFC 7636 (PKCE).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

Key = RSAKey | ECKey | OKPKey


def make_key(algorithm: str, kid: str) -> Key:
    """Return a new private key for an algorithm."""
    options = {"kid": kid, "use": "sig", "alg": algorithm}
    if algorithm == "RS256":
        return RSAKey.generate_key(2048, options)
    if algorithm == "ES256":
        return ECKey.generate_key("P-256", options)
    return OKPKey.generate_key("Ed25519", options)


class _AnyAlgorithm(JWSRegistry):
    """Signs with whatever it is told to, deprecated names included."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]

    def check_header(self, header: dict[str, Any]) -> None:
        pass


class OidcProvider:
    """A provider with one client. Use it as a context manager."""

    def __init__(self, *, client_id: str = "quarterdeck-cli", audience: str = "quarterdeck") -> None:
        self.client_id = client_id
        self.audience = audience
        self.keys: dict[str, Key] = {}
        self.requests: list[str] = []
        self.answers_with = 200
        self.discovered_issuer: str | None = None
        self._codes: dict[str, dict[str, str]] = {}
        self.rotate("RS256")

    def __enter__(self) -> Self:
        """Start serving on a free port of loopback."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._serve(self)

            def do_POST(self) -> None:
                provider._serve(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def rotate(self, algorithm: str, *, kid: str | None = None) -> str:
        """Publish a new key and sign with it from now on; return its id."""
        self.kid = kid or f"{algorithm.lower()}-{len(self.keys) + 1}"
        self.keys[self.kid] = make_key(algorithm, self.kid)
        return self.kid

    def claims(self, subject: str, **changes: Any) -> dict[str, Any]:
        """Return an honest token's claims with some changed, or left out if None."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": subject,
            "aud": self.audience,
            "azp": self.client_id,
            "iat": now,
            "exp": now + 600,
        } | changes
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        subject: str = "alice",
        *,
        key: Key | None = None,
        header: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """Return a signed token."""
        signing = key or self.keys[self.kid]
        base = {"alg": signing.get("alg"), "kid": signing.get("kid"), "typ": "JWT"} | (header or {})
        head = {name: value for name, value in base.items() if value is not None}
        registry = _AnyAlgorithm(strict_check_header=False)
        return jwt.encode(head, self.claims(subject, **changes), signing, registry=registry, default_type=None)

    def signed(self, payload: bytes, header: bytes | None = None) -> str:
        """Return any bytes well signed, as no honest provider would: `header` replaces the whole of it."""
        text = header or json.dumps({"alg": "EdDSA", "kid": self.kid, "typ": "JWT"}).encode()
        signing = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (text, payload))
        private = self.keys[self.kid].get_op_key("sign")
        signature = base64.urlsafe_b64encode(private.sign(signing.encode())).rstrip(b"=").decode()
        return f"{signing}.{signature}"

    def sign_in(self, subject: str) -> str:
        """Walk through the authorization code flow with PKCE as a browser and a client would; return the ID token."""
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        redirect = "http://127.0.0.1:1/callback"
        with httpx.Client() as http:
            metadata = http.get(f"{self.issuer}/.well-known/openid-configuration").json()
            query = {
                "response_type": "code",
                "client_id": self.client_id,
                "redirect_uri": redirect,
                "scope": "openid",
                "state": "s",
                "code_challenge": challenge,
                "code_challenge_method": "S256",
                "login_hint": subject,
            }
            sent = http.get(metadata["authorization_endpoint"], params=query, follow_redirects=False)
            code = parse_qs(urlsplit(sent.headers["location"]).query)["code"][0]
            form = {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect,
                "client_id": self.client_id,
                "code_verifier": verifier,
            }
            answer = http.post(metadata["token_endpoint"], data=form)
            answer.raise_for_status()
            token: str = answer.json()["id_token"]
            return token

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        address = urlsplit(handler.path)
        self.requests.append(address.path)
        length = int(handler.headers.get("content-length", 0))
        form = dict(parse_qsl(handler.rfile.read(length).decode()))
        routes = {
            "/.well-known/openid-configuration": self._metadata,
            "/jwks": lambda _: (200, {"keys": [key.as_dict(private=False) for key in self.keys.values()]}),
            "/token": self._exchange,
        }
        if address.path == "/authorize":
            query = dict(parse_qsl(address.query))
            code = secrets.token_urlsafe(16)
            self._codes[code] = query
            handler.send_response(302)
            handler.send_header("location", f"{query['redirect_uri']}?{urlencode({'code': code, 'state': 's'})}")
            handler.end_headers()
            return
        status, body = routes[address.path](form) if self.answers_with == 200 else (self.answers_with, {})
        data = json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _metadata(self, _form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        return 200, {
            "issuer": self.discovered_issuer or self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
            "code_challenge_methods_supported": ["S256"],
        }

    def _exchange(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != challenge or asked["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        token = self.token(asked["login_hint"])
        return 200, {"access_token": token, "id_token": token, "token_type": "Bearer", "expires_in": 600}
