"""Requests with settings, and the resulting ConfigMap."""

import re
from pathlib import Path

from dask_operator_plugin.testing import dask_cluster, scheduler_service
from plugin import plugin


def test_a_cluster_has_a_config_map_with_its_addresses(dask_plugin):
    answer = dask_plugin(plugin).sync()
    assert answer.children == {
        "links": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "demo-links"},
            "data": {
                "DASK_SCHEDULER_ADDRESS": "tcp://demo-scheduler.team-a:8786",
                "DASK_DASHBOARD_URL": "http://demo-scheduler.team-a:8787/status",
            },
        }
    }


def test_the_url_of_the_dashboard_follows_the_settings(dask_plugin):
    answer = dask_plugin(plugin).sync(settings={"dashboardPattern": "https://{name}.{namespace}.example.org"})
    assert answer.children["links"]["data"]["DASK_DASHBOARD_URL"] == "https://demo.team-a.example.org"


def test_the_address_has_the_scheme_and_the_port_of_the_scheduler(dask_plugin):
    cluster = dask_cluster() | {"spec": {"scheduler": {"tls": {"secretName": "dask-tls"}}}}
    service = scheduler_service()
    service["spec"]["ports"][0]["port"] = 9000
    answer = dask_plugin(plugin).sync(subject=service, owner=cluster)
    assert answer.children["links"]["data"]["DASK_SCHEDULER_ADDRESS"] == "tls://demo-scheduler.team-a:9000"


def test_a_service_without_a_port_for_clients_is_refused(dask_plugin):
    for ports in ([], None, [{"name": "http-dashboard", "port": 8787}]):
        service = scheduler_service()
        service["spec"]["ports"] = ports
        answer = dask_plugin(plugin).sync(subject=service)
        assert (answer.status, answer.reason) == ("Failure", "NoCommPort")
        assert answer.message.startswith("the Service demo-scheduler has no port named tcp-comm; ")


def test_the_error_for_a_wrong_setting_names_it(dask_plugin):
    for settings, message in (
        ({"dashboardPatern": "a"}, "spec.settings.dashboardPatern: unknown setting, expected one of dashboardPattern"),
        ({"dashboardPattern": 5}, "spec.settings.dashboardPattern is not a string"),
    ):
        answer = dask_plugin(plugin).sync(settings=settings)
        assert (answer.status, answer.reason, answer.message) == ("Failure", "InvalidSettings", message)


def test_the_sidecar_listens_on_the_socket_of_its_registration():
    sidecar = Path(__file__).parents[1] / "manifests" / "sidecar"
    [socket] = re.findall(r"^    socket: (\S+)$", (sidecar / "plugin.yaml").read_text(), re.MULTILINE)
    values = (sidecar / "values.yaml").read_text()
    [container] = re.findall(r"^  - name: (\S+)$", values, re.MULTILINE)
    [path] = re.findall(r"PLUGIN_SOCKET, value: /run/dask-operator/plugins/([^}]+)}", values)
    assert socket == f"{container}/{path}"
