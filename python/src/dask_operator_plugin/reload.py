"""Runs a plugin in a process of its own, and starts it again when its code changes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

POLL = 0.3
"""The seconds between two looks at the files. The standard library has no events of files."""
CODE = "DASK_OPERATOR_PLUGIN_CODE"
"""The environment variable with the hash of the code. It is added to the version of the plugin, so that the controller
calls the plugin again for every subject after each change."""
_IGNORED = {"__pycache__", "node_modules", "site-packages"}


def watched(folder: Path) -> dict[Path, int]:
    """Returns the Python files below `folder` with their time of change, without hidden folders and packages."""
    files = {}
    for directory, names, found in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".") and name not in _IGNORED]
        for path in (Path(directory, name) for name in found if name.endswith(".py")):
            # An editor may be replacing it.
            with contextlib.suppress(OSError):
                files[path] = path.stat().st_mtime_ns
    return files


def _hash_of(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        with contextlib.suppress(OSError):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def run_again_on_changes(arguments: list[str], folder: Path) -> int:
    """Runs this Python with `arguments`, again after each change below `folder`, until SIGTERM or SIGINT.

    If the process ends by itself, for example because of a mistake in the code, it is started after the next change.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        before = watched(folder)
        environment = {**os.environ, CODE: _hash_of(before)}
        process = subprocess.Popen([sys.executable, *arguments], env=environment)
        while not stop.wait(POLL) and watched(folder) == before:
            pass
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if not stop.is_set():
            print("dask-operator-plugin: the code changed, starting again", file=sys.stderr, flush=True)
    return 0
