"""The same client for code that is not async: one event loop on a thread of its own, and every method bridged to it.

There is no second client here. `SyncQuarterdeck.ask` is `Quarterdeck.ask`, run on that loop while the caller waits.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, overload

from quarterdeck.client import Quarterdeck
from quarterdeck.errors import NotConfigured
from quarterdeck.model import Task

P = ParamSpec("P")
R = TypeVar("R")


class Portal:
    """An event loop on a daemon thread, started at first use and once more in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on the loop and return what it returns; interrupted, cancel it."""
        loop = self._started()
        if threading.current_thread() is self._thread:
            work.close()
            raise NotConfigured("a sync call from the client's own thread would wait for itself; use the async client")
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the loop. It starts again if it is used again."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=5)
            if not thread.is_alive():
                loop.close()

    def forget(self) -> None:
        """Start anew in a forked child: the thread stayed with the parent."""
        self._lock = threading.Lock()
        self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="quarterdeck", daemon=True)
                self._thread.start()
            return self._loop


PORTAL: Final = Portal()
atexit.register(PORTAL.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PORTAL.forget)


class _Bridged(Generic[P, R]):
    """A method of the async client as a plain method, with the same signature."""

    def __init__(self, method: Callable[Concatenate[Quarterdeck, P], Coroutine[Any, Any, R]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: type[SyncQuarterdeck]) -> Self: ...
    @overload
    def __get__(self, instance: SyncQuarterdeck, owner: type[SyncQuarterdeck]) -> Callable[P, R]: ...
    def __get__(self, instance: SyncQuarterdeck | None, owner: type[SyncQuarterdeck]) -> Self | Callable[P, R]:
        if instance is None:
            return self

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            instance.require_own_process()
            return PORTAL.run(self._method(instance.client, *args, **kwargs))

        call.__doc__, call.__name__ = self._method.__doc__, self._method.__name__
        return call


class SyncQuarterdeck:
    """A connection to a Quarterdeck server, as one principal, for code that is not async. `with` closes it.

    Takes what `Quarterdeck` takes, and its methods are the same. It may be used by several threads.
    """

    def __init__(
        self, url: str | None = None, token: str | None = None, *, timeout_s: float = 10.0, patience_s: float = 10.0
    ) -> None:
        self.client = Quarterdeck(url, token, timeout_s=timeout_s, patience_s=patience_s)
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def require_own_process(self) -> None:
        """Refuse a client that came with a fork: its connections are the parent's too.

        Raises:
            NotConfigured: it did.
        """
        if self._process != os.getpid():
            raise NotConfigured("this client was made before the fork; make one in each process")

    me = _Bridged(Quarterdeck.me)
    intent = _Bridged(Quarterdeck.intent)
    ask = _Bridged(Quarterdeck.ask)
    evaluate = _Bridged(Quarterdeck.evaluate)
    request_approval = _Bridged(Quarterdeck.request_approval)
    task = _Bridged(Quarterdeck.task)
    wait = _Bridged(Quarterdeck.wait)
    cancel = _Bridged(Quarterdeck.cancel)
    grant = _Bridged(Quarterdeck.grant)
    redeem = _Bridged(Quarterdeck.redeem)
    report = _Bridged(Quarterdeck.report)
    close = _Bridged(Quarterdeck.aclose)

    def resume(self, task: Task | str, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Go on with a gated call whose request was filed before. `fn` is a plain function under `@gate`.

        It runs in the calling thread. Raises as `Quarterdeck.resume`.
        """
        from quarterdeck.decorator import resume_sync

        self.require_own_process()
        return resume_sync(self.client, task, fn, args, kwargs)
