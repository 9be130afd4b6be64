"""Fixtures: the golden files of the protocol, and plugins in processes of their own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from serving import CODE

GOLDEN = Path(__file__).resolve().parents[2] / "plugin-protocol" / "tests" / "golden"


def golden(name):
    return json.loads((GOLDEN / name).read_text())


def merge(target, patch):
    """Applies a JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


@pytest.fixture
def review():
    return golden("sync_request.json")


@pytest.fixture
def start(tmp_path):
    (tmp_path / "served.py").write_text(CODE)
    processes = []

    def start(*arguments, **env):
        environment = {**os.environ, **{name: str(value) for name, value in env.items()}}
        process = subprocess.Popen(
            [sys.executable, *(arguments or ["served.py"])],
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        # The whole group: servers start processes that keep the pipe open.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
