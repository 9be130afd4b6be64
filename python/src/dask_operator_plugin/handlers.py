"""The handlers of a plugin, and how a request is dispatched to them."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from .answer import Answerable, Failure, InvalidAnswer, Pending, Response, response_of, response_of_exception
from .metrics import Metrics
from .request import API_VERSION, Request
from .threads import in_thread

SyncHandler = Callable[[Request], "Answerable | Awaitable[Answerable]"]
FinalizeHandler = Callable[[Request], "Awaitable[None] | None"]
S = TypeVar("S", bound=SyncHandler)
F = TypeVar("F", bound=FinalizeHandler)

KINDS = ("DaskCluster", "DaskWorkerGroup", "DaskJob", "DaskAutoscaler", "Service", "Deployment", "Pod")
COMPONENTS = ("scheduler", "worker", "job-runner")


@dataclass(frozen=True)
class _Rule:
    kind: str
    component: str | None

    def matches(self, request: Request) -> bool:
        subject = request.subject
        return subject.kind == self.kind and self.component in (None, subject.component)

    def __str__(self) -> str:
        return self.kind if self.component is None else f"{self.kind}/{self.component}"


class Handlers:
    """The name and version of a plugin, and its handlers. `Plugin` adds the server."""

    def __init__(self, name: str, *, version: str) -> None:
        """`name` is for people. When `version` changes, the controller calls the plugin again for every subject."""
        self.name = name
        self.version = version
        self.metrics = Metrics()
        self._handlers: dict[str, list[tuple[_Rule, Callable[[Request], Any]]]] = {"Sync": [], "Finalize": []}

    def sync(self, kind: str, component: str | None = None) -> Callable[[S], S]:
        """Registers a handler that returns the *complete* set of children for subjects of this kind.

        `kind` is one of DaskCluster, DaskWorkerGroup, DaskJob, DaskAutoscaler, Service, Deployment and Pod.
        `component` is one of scheduler, worker and job-runner. Children that the handler no longer returns are
        deleted. It may raise `Failure` or `Pending`. After these and after any other exception, the existing children
        stay.
        """
        return self._register("Sync", kind, component)

    def finalize(self, kind: str, component: str | None = None) -> Callable[[F], F]:
        """Registers a handler that releases what the plugin holds outside of the cluster for a deleted subject.

        It is called repeatedly until it returns, which means that everything is released. It raises `Pending` while
        something is not released.
        """
        return self._register("Finalize", kind, component)

    def _register(self, hook: str, kind: str, component: str | None) -> Callable[[Any], Any]:
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is not a kind of subject; use one of {', '.join(KINDS)}")
        if component not in (None, *COMPONENTS):
            raise ValueError(f"{component!r} is not a component; use one of {', '.join(COMPONENTS)}")
        rule = _Rule(kind, component)
        if any(known == rule for known, _ in self._handlers[hook]):
            raise ValueError(f"a handler of {hook} for {rule} is registered already")

        def register(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
            self._handlers[hook].append((rule, handler))
            return handler

        return register

    @property
    def hooks(self) -> list[str]:
        """The hooks that discovery lists. Sync is always served."""
        return ["Sync", "Finalize"] if self._handlers["Finalize"] else ["Sync"]

    def subjects(self, hook: str) -> list[tuple[str, str | None]]:
        """Returns kind and component of the subjects that `hook` has handlers for, in the order of registration."""
        return [(rule.kind, rule.component) for rule, _ in self._handlers[hook]]

    def discovery(self) -> dict[str, Any]:
        """Returns the body of the response to discovery."""
        return {
            "apiVersion": API_VERSION,
            "kind": "PluginDiscovery",
            "name": self.name,
            "version": self.version,
            "protocolVersions": ["v1alpha1"],
            "hooks": self.hooks,
            "capabilities": [],
        }

    async def answer(self, request: Request) -> Response:
        """Returns the response to `request`. Raises any exception of a handler except `Failure` and `Pending`."""
        try:
            return await _call(self._handler(request), request)
        except (Failure, Pending) as error:
            return response_of_exception(error)
        except SystemExit as error:
            # It would end the whole server.
            raise RuntimeError("the handler raised SystemExit") from error

    def _handler(self, request: Request) -> Callable[[Request], Any]:
        rules = self._handlers[request.hook]
        matching = [(rule, handler) for rule, handler in rules if rule.matches(request)]
        # A rule with a component is more specific than a rule without.
        matching.sort(key=lambda match: match[0].component is None)
        if matching:
            return matching[0][1]
        subject = request.subject
        requested = str(_Rule(subject.kind, subject.component))
        served = ", ".join(str(rule) for rule, _ in rules) or "nothing"
        message = (
            f"the plugin has no handler of {request.hook} for {requested}; it serves {served}: correct spec.subjects"
        )
        raise Failure("NoHandler", message)


async def _call(handler: Callable[[Request], Any], request: Request) -> Response:
    if inspect.iscoroutinefunction(handler):
        return _response(handler, request, await handler(request))

    def work() -> Any:
        returned = handler(request)
        # In the thread, because the body of a generator runs only when it is read.
        return returned if inspect.isawaitable(returned) else _response(handler, request, returned)

    done = await in_thread(work)
    return done if isinstance(done, Response) else _response(handler, request, await done)


def _response(handler: Callable[[Request], Any], request: Request, returned: object) -> Response:
    name = getattr(handler, "__name__", "the handler")
    if request.hook == "Sync":
        return response_of(returned, name)
    if inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        raise InvalidAnswer(f"{name} has a yield, so that a call of it does nothing; remove the yield")
    return Response("Success", {"children": [], "finalized": True})
