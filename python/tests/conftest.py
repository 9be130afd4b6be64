import json
from pathlib import Path

import pytest

GOLDEN = Path(__file__).resolve().parents[2] / "plugin-protocol" / "tests" / "golden"


def golden(name):
    return json.loads((GOLDEN / name).read_text())


def merge(target, patch):
    """RFC 7396."""
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
