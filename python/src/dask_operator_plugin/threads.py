"""Runs handlers in threads."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Runs `work` in a new daemon thread, and returns or raises what it returns or raises.

    A handler that never returns would block a thread of asyncio's pool permanently, and prevent the process from
    ending. A daemon thread does neither.
    """
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        # The caller may have been cancelled.
        if not done.done():
            done.set_result((result, error))

    def run() -> None:
        result: Any = None
        failed: BaseException | None = None
        try:
            result = context.run(work)
        except BaseException as error:
            failed = error
        # The loop may be closed if the handler returns after the shutdown.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=run, name="handler", daemon=True).start()
    # A pair instead of an exception: futures of asyncio cannot hold a StopIteration, which a `next(…)` without a
    # default raises.
    value, error = await done
    if error is not None:
        raise error
    result: T = value
    return result
