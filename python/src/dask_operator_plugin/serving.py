"""Runs a plugin as a process: configuration, log and server."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from datetime import datetime, timezone

from .config import Config, ConfigError
from .handlers import Handlers


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname,
            "target": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _init_log(json_log: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if json_log else logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    # This does nothing if the plugin has set up its own log.
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def serve(plugin: Handlers) -> int:
    """Serves `plugin` until SIGTERM or SIGINT, configured by the environment. Returns the exit code of the process."""
    try:
        # Not at the top of the file: a plugin that runs in another ASGI server does not need uvicorn.
        from .server import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "uvicorn":
            raise
        sentence = "uvicorn is not installed; install the package with its server: dask-operator-plugin[serve]"
        print(f"{plugin.name}: {sentence}", file=sys.stderr)
        return 1
    try:
        config = Config.from_env(os.environ)
        _init_log(config.json_log)
        asyncio.run(run(plugin, config))
    except ConfigError as error:
        print(f"{plugin.name}: {error}", file=sys.stderr)
        return 1
    return 0
