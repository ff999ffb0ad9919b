"""A small payment service that moves no money, for the example agent. The standard library alone.

    python examples/payment_service.py 8490

`POST /refunds` with an `Idempotency-Key` makes a refund, once for each key; `GET /refunds` lists them. Orders whose
number begins with `declined` are declined, as a real service would decline some.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

MAX_BODY: Final = 10_000


class Payments(ThreadingHTTPServer):
    """The service. `refunds` are by idempotency key."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.refunds: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Payments
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, list(self.server.refunds.values()))

    def do_POST(self) -> None:
        key, length = self.headers.get("Idempotency-Key"), int(self.headers.get("Content-Length") or 0)
        if not key or not 0 < length <= MAX_BODY:
            self._answer(400, {"error": "send JSON with an Idempotency-Key"})
            return
        asked = json.loads(self.rfile.read(length))
        if str(asked["order_id"]).startswith("declined"):
            self._answer(402, {"error": "the card's bank declined this refund"})
            return
        with self.server.lock:
            new = key not in self.server.refunds
            refund_id = f"rf-{len(self.server.refunds) + 1}"
            made = self.server.refunds.setdefault(key, {"id": refund_id, "key": key, **asked})
        self._answer(201 if new else 200, made)

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the agent tells the story."""


if __name__ == "__main__":
    service = Payments(int(sys.argv[1]) if len(sys.argv) > 1 else 8490)
    print(f"payments at {service.url}", flush=True)
    service.serve_forever()
