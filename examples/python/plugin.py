"""A dask-operator plugin that creates a ConfigMap with the addresses of each Dask cluster, for notebooks."""

from dataclasses import dataclass

from dask_operator_plugin import Failure, Plugin, Request

plugin = Plugin("links", version="1.0.0")


@dataclass
class Settings:
    """`spec.settings` of the plugin resource."""

    dashboard_pattern: str = "http://{name}-scheduler.{namespace}:8787/status"


@plugin.sync("Service", component="scheduler")
def links(request: Request):
    """Returns all children for the Service of a scheduler."""
    settings = request.settings_as(Settings)
    service, cluster = request.subject, request.owner
    ports = {port.get("name"): port["port"] for port in service.spec.get("ports") or []}
    if "tcp-comm" not in ports:
        where = "spec.scheduler.service.ports of the DaskCluster"
        raise Failure("NoCommPort", f"the Service {service.name} has no port named tcp-comm; add it to {where}")
    scheme = "tls" if cluster.spec.get("scheduler", {}).get("tls") else "tcp"
    dashboard = settings.dashboard_pattern.replace("{name}", cluster.name)
    data = {
        "DASK_SCHEDULER_ADDRESS": f"{scheme}://{service.name}.{service.namespace}:{ports['tcp-comm']}",
        "DASK_DASHBOARD_URL": dashboard.replace("{namespace}", service.namespace),
    }
    metadata = {"name": f"{cluster.name}-links"}
    return {"links": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}}


if __name__ == "__main__":
    plugin.run()
