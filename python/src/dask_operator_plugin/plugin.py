"""A plugin and its handlers."""

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


class Plugin:
    """A plugin tells which objects should exist beside one object of a Dask cluster.

    It is an ASGI application as well, for servers of your own choice. Handlers are plain functions, which run in
    threads, or coroutine functions. They hold no state that an answer depends on: the same request must lead to the
    same answer.
    """

    def __init__(self, name: str, *, version: str) -> None:
        """`name` is for people; when `version` changes, the controller asks about every subject again."""
        self.name = name
        self.version = version
        self.metrics = Metrics()
        self._handlers: dict[str, list[tuple[_Rule, Callable[[Request], Any]]]] = {"Sync": [], "Finalize": []}

    def sync(self, kind: str, component: str | None = None) -> Callable[[S], S]:
        """Registers a handler that returns the *complete* set of children for subjects of this kind.

        `kind` is one of DaskCluster, DaskWorkerGroup, DaskJob, DaskAutoscaler, Service, Deployment and Pod,
        `component` one of scheduler, worker and job-runner. Children that it no longer returns are deleted. It may
        raise `Failure` or `Pending`; then children stay as they are, as they do with any other exception.
        """
        return self._register("Sync", kind, component)

    def finalize(self, kind: str, component: str | None = None) -> Callable[[F], F]:
        """Registers a handler that releases what is held outside of the cluster for a subject that goes.

        When it returns, nothing is held any more; it raises `Pending` while something is. It is called again and
        again until it returns.
        """
        return self._register("Finalize", kind, component)

    def _register(self, hook: str, kind: str, component: str | None) -> Callable[[Any], Any]:
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of subject; use one of {', '.join(KINDS)}")
        if component not in (None, *COMPONENTS):
            raise ValueError(f"{component!r} is no component; use one of {', '.join(COMPONENTS)}")
        rule = _Rule(kind, component)
        if any(known == rule for known, _ in self._handlers[hook]):
            raise ValueError(f"there is a handler of {hook} for {rule} already")

        def register(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
            self._handlers[hook].append((rule, handler))
            return handler

        return register

    @property
    def hooks(self) -> list[str]:
        """The hooks that discovery lists. Sync is always served."""
        return ["Sync", "Finalize"] if self._handlers["Finalize"] else ["Sync"]

    def discovery(self) -> dict[str, Any]:
        """What the plugin says of itself."""
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
        """The response to `request`. Other exceptions than a handler's `Failure` and `Pending` are passed on."""
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
        # A rule that names the component says more than one that does not.
        matching.sort(key=lambda match: match[0].component is None)
        if matching:
            return matching[0][1]
        subject = request.subject
        asked = str(_Rule(subject.kind, subject.component))
        served = ", ".join(str(rule) for rule, _ in rules) or "nothing"
        message = f"the plugin has no handler of {request.hook} for {asked}; it serves {served}: correct spec.subjects"
        raise Failure("NoHandler", message)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one ASGI connection, without checking credentials; see `run` for what does.

        Besides the calls there is `GET /metrics`, which `run` serves on the port of the probes.
        """
        from .asgi import METRICS, Application, Probes

        application = Probes(self) if scope.get("path") == METRICS else Application(self)
        await application(scope, receive, send)

    def run(self) -> None:
        """Serves as the environment says until SIGTERM or SIGINT, and ends the process; see `config.Config`."""
        from .cli import serve

        raise SystemExit(serve(self))


async def _call(handler: Callable[[Request], Any], request: Request) -> Response:
    if inspect.iscoroutinefunction(handler):
        return _response(handler, request, await handler(request))

    def work() -> Any:
        returned = handler(request)
        # Here, since the body of a generator runs only when it is read.
        return returned if inspect.isawaitable(returned) else _response(handler, request, returned)

    done = await in_thread(work)
    return done if isinstance(done, Response) else _response(handler, request, await done)


def _response(handler: Callable[[Request], Any], request: Request, returned: object) -> Response:
    name = getattr(handler, "__name__", "the handler")
    if request.hook == "Sync":
        return response_of(returned, name)
    if inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        raise InvalidAnswer(f"{name} has a yield, so that calling it does nothing; remove the yield")
    return Response("Success", {"children": [], "finalized": True})
