"""Runs handlers beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """What `work` returns or raises, from a thread of its own.

    A handler that never returns would take a thread of asyncio's pool for good and keep the process from ending; a
    daemon thread does neither.
    """
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        # The caller may have given up.
        if not done.done():
            done.set_result((result, error))

    def run() -> None:
        result: Any = None
        failed: BaseException | None = None
        try:
            result = context.run(work)
        except BaseException as error:
            failed = error
        # The loop may be gone when the handler of a process that was told to stop returns.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=run, name="handler", daemon=True).start()
    # As a pair: asyncio's futures cannot hold a StopIteration, and a forgotten `next(…, None)` is a common mistake.
    value, error = await done
    if error is not None:
        raise error
    result: T = value
    return result
