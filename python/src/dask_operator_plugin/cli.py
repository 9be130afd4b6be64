"""The program `dask-operator-plugin`: creates a plugin with `new NAME`, and serves it with `run MODULE:PLUGIN`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from .config import ConfigError
from .handlers import COMPONENTS, KINDS
from .new import CannotCreate, NewPlugin, create
from .plugin import Plugin
from .reload import CODE, run_again_on_changes
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dask-operator-plugin", description="Creates and serves plugins for dask-operator."
    )
    commands = parser.add_subparsers(required=True, dest="command")
    new = commands.add_parser("new", help="write the folder of a new plugin: code, test, image and manifests")
    new.add_argument("name", metavar="NAME", help="the name of the plugin, a DNS label")
    new.add_argument("--kind", choices=KINDS, default="Service", help="the kind of its subjects (default: Service)")
    new.add_argument(
        "--component", choices=COMPONENTS, help="the component of a Service, Deployment or Pod (default: scheduler)"
    )
    new.add_argument("--namespace", default="dask-operator", help="the operator's namespace (default: dask-operator)")
    new.add_argument("--image", help="the image of the Deployment (default: localhost/NAME-plugin:1.0.0)")
    new.add_argument("--directory", type=Path, help="the folder, which must not exist (default: NAME)")
    run = commands.add_parser("run", help="serve a plugin, configured by environment variables")
    run.add_argument("plugin", metavar="MODULE:PLUGIN", help="the plugin, such as my_plugin:plugin")
    run.add_argument(
        "--reload", action="store_true", help="start again when a Python file below the working directory changes"
    )
    run.add_argument(
        "--port", type=int, help="serve plain HTTP on 127.0.0.1 for development, like PLUGIN_INSECURE_PORT"
    )
    return parser


def _new(options: argparse.Namespace) -> int:
    plugin = NewPlugin(options.name, options.kind, options.component, options.namespace, options.image)
    folder = options.directory or Path(options.name)
    for path in create(plugin, folder):
        print(path)
    print(f"\nNext: cd {folder}; python -m pytest; see README.md")
    return 0


def _run(options: argparse.Namespace) -> int:
    if options.port is not None:
        os.environ["PLUGIN_INSECURE_PORT"] = str(options.port)
    if options.reload:
        return run_again_on_changes(["-m", "dask_operator_plugin.cli", "run", options.plugin], Path.cwd())
    plugin = _load(options.plugin)
    if code := os.environ.get(CODE):
        plugin.version += f"+{code}"
    return serve(plugin)


def main(arguments: list[str] | None = None) -> int:
    """Runs the program and returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _new(options) if options.command == "new" else _run(options)
    except (CannotCreate, ConfigError) as error:
        print(f"dask-operator-plugin: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
