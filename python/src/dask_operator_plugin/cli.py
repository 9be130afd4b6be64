"""The program `dask-operator-plugin`, which serves a plugin: `dask-operator-plugin run module:plugin`."""

from __future__ import annotations

import argparse
import importlib
import sys

from .config import ConfigError
from .plugin import Plugin
from .serving import serve


def _load(target: str) -> Plugin:
    module, _, attribute = target.partition(":")
    sys.path.insert(0, "")
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"failed to import {module}: {error}; run the program in a directory from which {module} can be imported"
        ) from error
    name = attribute or "plugin"
    if not hasattr(imported, name):
        raise ConfigError(f"{module} has no attribute {name}; use MODULE:PLUGIN")
    plugin = getattr(imported, name)
    if not isinstance(plugin, Plugin):
        raise ConfigError(f"{target} is a {type(plugin).__name__}, not a Plugin; use MODULE:PLUGIN")
    return plugin


def main(arguments: list[str] | None = None) -> int:
    """Runs the program and returns its exit code."""
    parser = argparse.ArgumentParser(prog="dask-operator-plugin", description="Serves plugins for dask-operator.")
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="serve a plugin, configured by environment variables")
    run.add_argument("plugin", metavar="MODULE:PLUGIN", help="the plugin, such as my_plugin:plugin")
    options = parser.parse_args(arguments)
    try:
        plugin = _load(options.plugin)
    except ConfigError as error:
        print(f"dask-operator-plugin: {error}", file=sys.stderr)
        return 1
    return serve(plugin)


if __name__ == "__main__":
    raise SystemExit(main())
