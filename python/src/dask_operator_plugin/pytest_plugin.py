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
    """Returns `TestPlugin`, which calls a plugin: `dask_plugin(plugin).sync(settings={…}).children`."""
    # Not at the top of the file, so that coverage measures the import of the package.
    from .testing import TestPlugin

    return TestPlugin
