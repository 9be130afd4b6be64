"""Write plugins for dask-operator.

A plugin is an HTTP service that the controller calls with an object of a Dask cluster. The plugin returns the other
objects that should exist beside it, its *children*. It needs no Kubernetes client and no permissions: the controller
creates, repairs and deletes the children.

    from dask_operator_plugin import Plugin, Request

    plugin = Plugin("greeting", version="1.0.0")

    @plugin.sync("Service", component="scheduler")
    def greeting(request: Request):
        data = {"greeting": f"Hello {request.owner.name}"}
        return {"greeting": {"apiVersion": "v1", "kind": "ConfigMap", "data": data}}

    if __name__ == "__main__":
        plugin.run()
"""

from .answer import Answer, Child, Condition, Failure, Pending
from .plugin import Plugin
from .request import ControllerInfo, Event, Owner, PluginInfo, Request, Subject

__all__ = [
    "Answer",
    "Child",
    "Condition",
    "ControllerInfo",
    "Event",
    "Failure",
    "Owner",
    "Pending",
    "Plugin",
    "PluginInfo",
    "Request",
    "Subject",
]
