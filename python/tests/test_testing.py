"""The fixture `dask_plugin` and the examples of subjects."""

import pytest

from dask_operator_plugin import Answer, Failure, Pending, Plugin
from dask_operator_plugin.handlers import COMPONENTS, KINDS
from dask_operator_plugin.subjects import owner_of, subject_of

MAP = {"apiVersion": "v1", "kind": "ConfigMap"}


def echoing(*rules):
    """Returns a plugin that registers these rules and answers with what it was called about."""
    plugin = Plugin("echo", version="1")

    def answer(request):
        data = {"subject": f"{request.subject.kind} {request.subject.name}", "component": request.subject.component}
        return {"a": {**MAP, "data": {**data, "owner": f"{request.owner.kind} {request.owner.name}"}}}

    for rule in rules:
        plugin.sync(*rule)(answer)
    return plugin


@pytest.mark.parametrize(
    ("rules", "subject", "component", "owner"),
    [
        ([("Service", "scheduler")], "Service demo-scheduler", "scheduler", "DaskCluster demo"),
        ([("DaskCluster",)], "DaskCluster demo", None, "DaskCluster demo"),
        ([("DaskCluster",), ("Service",)], "Service demo-scheduler", "scheduler", "DaskCluster demo"),
        ([("DaskWorkerGroup",)], "DaskWorkerGroup demo-default", None, "DaskWorkerGroup demo-default"),
        ([("DaskJob",)], "DaskJob demo", None, "DaskJob demo"),
        ([("DaskAutoscaler",)], "DaskAutoscaler demo", None, "DaskAutoscaler demo"),
        ([("Deployment",)], "Deployment demo-scheduler", "scheduler", "DaskCluster demo"),
        (
            [("Deployment", "worker")],
            "Deployment demo-default-worker-4f1c2a9b07",
            "worker",
            "DaskWorkerGroup demo-default",
        ),
        ([("Pod", "job-runner")], "Pod demo-runner", "job-runner", "DaskJob demo"),
    ],
)
def test_the_fixture_calls_about_what_the_plugin_registers(rules, subject, component, owner, dask_plugin):
    data = dask_plugin(echoing(*rules)).sync().children["a"]["data"]
    assert data == {"subject": subject, "component": component, "owner": owner}


def test_the_owner_follows_from_a_subject_of_another_cluster(dask_plugin):
    from dask_operator_plugin.testing import scheduler_service

    data = dask_plugin(echoing(("Service",))).sync(scheduler_service("big", "team-b")).children["a"]["data"]
    assert data["owner"] == "DaskCluster big"


def test_finalize_calls_about_what_its_handler_is_for(dask_plugin):
    plugin = echoing(("Service",))
    released = []
    plugin.finalize("DaskCluster")(lambda request: released.append(request.subject.kind))
    assert dask_plugin(plugin).finalize().finalized
    assert released == ["DaskCluster"]


@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        (Failure("NoDomain", "set domain"), "the plugin answered Failure NoDomain: set domain"),
        (Pending("no address yet"), "the plugin answered Pending: no address yet"),
        ({}, "the plugin answered no children"),
        ({"b": MAP, "c": MAP}, "the plugin answered the children b, c"),
    ],
)
def test_the_error_for_a_missing_child_shows_the_answer(outcome, shown, dask_plugin):
    plugin = Plugin("test", version="1")

    @plugin.sync("Service")
    def handler(request):
        if isinstance(outcome, Exception):
            raise outcome
        return Answer(outcome)

    children = dask_plugin(plugin).sync().children
    with pytest.raises(AssertionError) as error:
        children["a"]
    assert str(error.value) == f"there is no child 'a': {shown}"
    assert children.get("a") is None


def test_there_is_an_example_of_each_kind_of_subject():
    for kind in KINDS:
        for component in COMPONENTS:
            subject = subject_of(kind, component)
            assert subject["kind"] == kind
            assert owner_of(subject)["metadata"]["namespace"] == subject["metadata"]["namespace"]
