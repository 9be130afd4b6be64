"""Writes the folder of a new plugin: code, test, image, manifests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from string import Template

from .handlers import KINDS
from .subjects import subject_of

COMPONENTS = {
    "Service": ("scheduler",),
    "Deployment": ("scheduler", "worker"),
    "Pod": ("scheduler", "worker", "job-runner"),
}
"""The components of the kinds that have any. The first is the default."""
TEMPLATE = Path(__file__).parent / "template"
_SUFFIX = ".txt"
_SAMPLES = ("autoscaler.yaml.txt", "job.yaml.txt")
# The Deployment has the name `NAME-plugin`, which is also the value of a label. A Service's name begins with a letter.
_LONGEST_NAME = 63 - len("-plugin")
_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")


class CannotCreate(Exception):
    """The plugin cannot be created. The message is one sentence."""


@dataclass(frozen=True)
class NewPlugin:
    """What the user chose."""

    name: str
    kind: str = "Service"
    component: str | None = None
    namespace: str = "dask-operator"
    image: str | None = None

    def checked(self) -> NewPlugin:
        """Returns the plugin with all defaults. Raises `CannotCreate`."""
        if len(self.name) > _LONGEST_NAME or not _NAME.fullmatch(self.name):
            expected = f"up to {_LONGEST_NAME} of a-z, 0-9 and inner dashes, beginning with a letter"
            raise CannotCreate(f'the name "{self.name}" is not a DNS label; use {expected}')
        if self.kind not in KINDS:
            raise CannotCreate(f"{self.kind} is not a kind of subject; use one of {', '.join(KINDS)}")
        allowed: tuple[str, ...] = COMPONENTS.get(self.kind, ())
        if self.component is not None and self.component not in allowed:
            what = f"a {self.kind} has no component {self.component}"
            advice = f"use {' or '.join(allowed)}" if allowed else "leave it out"
            raise CannotCreate(f"{what}; {advice}")
        component = self.component or (allowed[0] if allowed else None)
        image = self.image or f"localhost/{self.name}-plugin:1.0.0"
        return NewPlugin(self.name, self.kind, component, self.namespace, image)

    def _values(self) -> dict[str, str | None]:
        component = self.component
        of = f" of a {component.replace('-', ' ')}" if component else ""
        return {
            "name": self.name,
            "namespace": self.namespace,
            "image": self.image,
            "version": version("dask-operator-plugin"),
            "subject": f"the {self.kind}{of}" if of else f"a {self.kind}",
            "rule": f'"{self.kind}"' + (f', component="{component}"' if component else ""),
            "registration": f"kind: {self.kind}" + (f", component: {component}" if component else ""),
            "example": subject_of(self.kind, component)["metadata"]["name"],
        }

    def files(self) -> Iterator[tuple[str, str]]:
        """Returns path and content of each file."""
        values = self._values()
        for path in sorted(TEMPLATE.rglob(f"*{_SUFFIX}")):
            if path.name in _SAMPLES:
                continue
            text = path.read_text("utf-8")
            name = path.relative_to(TEMPLATE).as_posix().removesuffix(_SUFFIX)
            if name == "sample.yaml":
                text += self._sample()
            yield name, Template(text).substitute(values)

    def _sample(self) -> str:
        """Returns the Dask resource that the subject needs beside a DaskCluster."""
        if self.kind == "DaskAutoscaler":
            return (TEMPLATE / _SAMPLES[0]).read_text("utf-8")
        if self.kind == "DaskJob" or self.component == "job-runner":
            return (TEMPLATE / _SAMPLES[1]).read_text("utf-8")
        return ""


def create(plugin: NewPlugin, folder: Path) -> list[Path]:
    """Writes the files of `plugin` into the new folder `folder` and returns their paths. Raises `CannotCreate`."""
    files = dict(plugin.checked().files())
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise CannotCreate(f"{folder} exists; remove it, or choose another folder with --directory") from error
    except OSError as error:
        raise CannotCreate(f"failed to create {folder}: {error.strerror}") from error
    written = []
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        written.append(path)
    return written
