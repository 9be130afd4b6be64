"""The pytest fixture `dask_plugin`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .plugin import Plugin
    from .testing import TestPlugin


@pytest.fixture
def dask_plugin() -> Callable[[Plugin], TestPlugin]:
    """Puts a plugin behind its real application: `dask_plugin(plugin).sync(settings={…}).children`."""
    # Late, so that coverage sees the package being imported.
    from .testing import TestPlugin

    return TestPlugin
