"""Puts programs into the wheel: those in the directory that the environment variable `PROGRAMS` names."""

import os
import struct
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAMES = ("dask-operator", "dask-plugin-sanity")
_MACHINES = {62: "x86_64", 183: "aarch64"}
_PT_INTERP = 3


def platform_of(program: Path) -> str:
    """Returns the tag of the machines on which `program`, a 64-bit ELF file, runs.

    A static program runs on each Linux of its architecture. A dynamic one is for this machine only.
    """
    with program.open("rb") as file:
        head = file.read(64)
        if head[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{program} is not a 64-bit ELF program")
        machine = _MACHINES[struct.unpack_from("<H", head, 18)[0]]
        start, size, count = struct.unpack_from("<Q14xHH", head, 32)
        file.seek(start)
        headers = file.read(size * count)
    types = {struct.unpack_from("<I", headers, size * index)[0] for index in range(count)}
    if _PT_INTERP in types:
        return f"linux_{machine}"
    return f"manylinux_2_17_{machine}.manylinux2014_{machine}.musllinux_1_1_{machine}"


class Programs(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the programs as scripts, and the tag of their platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Changes the data of the wheel that is built."""
        directory = os.environ.get("PROGRAMS")
        if not directory:
            raise ValueError("set PROGRAMS to the directory of the programs, or use build.sh")
        paths = [Path(directory, name) for name in NAMES]
        [platform] = {platform_of(path) for path in paths}
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["shared_scripts"].update({str(path): path.name for path in paths})
