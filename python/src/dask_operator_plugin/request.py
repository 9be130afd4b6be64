"""Requests: what the controller sends to a hook."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .settings import read_settings

API_VERSION = "plugin.kubernetes.dask.org/v1alpha1"
KIND = "PluginReview"
HOOKS = ("Sync", "Finalize")

T = TypeVar("T")
Json = Mapping[str, Any]


class InvalidRequest(Exception):
    """The body is JSON, but not a request. The message names the field."""


@dataclass(frozen=True)
class _Object:
    """A Kubernetes object as the API server returns it, without managed fields."""

    object: Json

    @property
    def metadata(self) -> Json:
        """`metadata`, or `{}`."""
        return _mapping(self.object.get("metadata"))

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return str(self.metadata.get("name", ""))

    @property
    def namespace(self) -> str:
        """`metadata.namespace`."""
        return str(self.metadata.get("namespace", ""))

    @property
    def labels(self) -> Mapping[str, str]:
        """`metadata.labels`, or `{}`."""
        return _mapping(self.metadata.get("labels"))

    @property
    def annotations(self) -> Mapping[str, str]:
        """`metadata.annotations`, or `{}`."""
        return _mapping(self.metadata.get("annotations"))

    @property
    def spec(self) -> Json:
        """`spec`, or `{}`."""
        return _mapping(self.object.get("spec"))


@dataclass(frozen=True)
class Subject(_Object):
    """The object that the children are for."""

    component: str | None = None
    """`scheduler`, `worker` or `job-runner` for objects that the controller created; otherwise `None`."""

    @property
    def kind(self) -> str:
        """`kind`, such as `Service`."""
        return str(self.object.get("kind", ""))


@dataclass(frozen=True)
class Owner(_Object):
    """The owner of the children: the nearest Dask resource above the subject, or the subject itself."""

    api_version: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Event:
    """The event that made the controller call. It is a hint: an answer must not depend on it."""

    type: str
    """`org.dask.kubernetes.{kind}` or `org.dask.kubernetes.{kind}.{component}`, in lower case."""
    reason: str
    """Created, Updated, ChildDrift, PluginChanged, Resync, Unmatched or Deleting. Newer controllers may send more."""
    time: str
    """The time in RFC 3339, UTC."""


@dataclass(frozen=True)
class PluginInfo:
    """The DaskOperatorPlugin that registered this plugin."""

    name: str
    namespace: str
    generation: int
    settings: Json = field(default_factory=dict)


@dataclass(frozen=True)
class ControllerInfo:
    """The controller that makes the call."""

    version: str
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """A request about one subject. It carries everything that an answer may depend on."""

    uid: str
    """A digest of the content. The response repeats it."""
    hook: str
    """`Sync` or `Finalize`."""
    attempt: int
    event: Event
    plugin: PluginInfo
    controller: ControllerInfo
    subject: Subject
    owner: Owner
    observed: Mapping[str, Json] = field(default_factory=dict)
    """The children of earlier answers as they are now, by key."""
    dry_run: bool = False
    """If true, the answer is only shown and not applied."""

    @property
    def settings(self) -> Json:
        """`spec.settings` of the DaskOperatorPlugin."""
        return self.plugin.settings

    def settings_as(self, cls: type[T]) -> T:
        """Reads the settings into a dataclass (camelCase settings fill snake_case fields) or a pydantic model.

        Raises `Failure` with the reason `InvalidSettings` and a message that names the setting.
        """
        return read_settings(cls, self.settings)


def read_review(review: object) -> Request:
    """Reads the request from the JSON of a body. Unknown fields of newer controllers are ignored.

    Raises `InvalidRequest`.
    """
    body = _Reader(review, "")
    body.constant("apiVersion", API_VERSION)
    body.constant("kind", KIND)
    request = body.child("request")
    hook = request.text("hook")
    if hook not in HOOKS:
        raise InvalidRequest(f"request.hook: unknown variant `{hook}`, expected one of `Sync`, `Finalize`")
    event, plugin, controller = (request.child(name) for name in ("event", "plugin", "controller"))
    subject, owner = request.child("subject"), request.child("owner")
    observed = request.child("observed", {}).child("children", {})
    return Request(
        uid=request.text("uid"),
        hook=hook,
        attempt=request.number("attempt"),
        dry_run=request.flag("dryRun"),
        event=Event(event.text("type"), event.text("reason"), event.text("time")),
        plugin=PluginInfo(
            plugin.text("name"),
            plugin.text("namespace"),
            plugin.number("generation"),
            plugin.child("settings", {}).value,
        ),
        controller=ControllerInfo(controller.text("version"), tuple(controller.texts("capabilities"))),
        subject=Subject(subject.child("object").value, subject.optional_text("component")),
        owner=Owner(owner.child("object").value, owner.text("apiVersion"), owner.text("kind")),
        observed={key: observed.child(key).child("object").value for key in observed.value},
    )


def write_review(request: Request) -> dict[str, Any]:
    """Returns the body that `read_review` reads."""
    plugin = dataclasses.asdict(request.plugin)
    subject: dict[str, Any] = {"object": request.subject.object}
    if request.subject.component is not None:
        subject["component"] = request.subject.component
    owner = request.owner
    body = {
        "uid": request.uid,
        "hook": request.hook,
        "attempt": request.attempt,
        "dryRun": request.dry_run,
        "event": dataclasses.asdict(request.event),
        "plugin": plugin,
        "controller": {
            "version": request.controller.version,
            "capabilities": list(request.controller.capabilities),
        },
        "subject": subject,
        "owner": {"apiVersion": owner.api_version, "kind": owner.kind, "object": owner.object},
        "observed": {"children": {key: {"object": child} for key, child in request.observed.items()}},
    }
    return {"apiVersion": API_VERSION, "kind": KIND, "request": body}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


_REQUIRED: Any = object()


class _Reader:
    """Reads fields of a JSON object. Its errors name the field."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise InvalidRequest(f"{path or 'the body'} is not an object")
        self.value: dict[str, Any] = value
        self.path = path

    def _get(self, name: str, kind: type, what: str, default: Any = _REQUIRED) -> Any:
        value = self.value.get(name, default)
        if value is _REQUIRED:
            where = f"{self.path}: " if self.path else ""
            raise InvalidRequest(f"{where}missing field `{name}`")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InvalidRequest(f"{self._at(name)} is not {what}")
        return value

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def constant(self, name: str, expected: str) -> None:
        value = self.text(name)
        if value != expected:
            raise InvalidRequest(f"{self._at(name)}: unknown variant `{value}`, expected `{expected}`")

    def child(self, name: str, default: Any = _REQUIRED) -> _Reader:
        return _Reader(self._get(name, dict, "an object", default), self._at(name))

    def text(self, name: str) -> str:
        return str(self._get(name, str, "a string"))

    def optional_text(self, name: str) -> str | None:
        return None if self.value.get(name) is None else self.text(name)

    def number(self, name: str) -> int:
        return int(self._get(name, int, "an integer"))

    def flag(self, name: str) -> bool:
        return bool(self._get(name, bool, "true or false", False))

    def texts(self, name: str) -> list[str]:
        values = self._get(name, list, "a list", [])
        if not all(isinstance(value, str) for value in values):
            raise InvalidRequest(f"{self._at(name)} is not a list of strings")
        return list(values)
