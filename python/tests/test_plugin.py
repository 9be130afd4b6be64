"""Plugins and their handlers, called without a network."""

import asyncio
import json
import threading
from dataclasses import dataclass, field

import pytest

from dask_operator_plugin import Child, Failure, Pending, Plugin
from dask_operator_plugin.asgi import Application
from dask_operator_plugin.request import write_review
from dask_operator_plugin.testing import _request, call, dask_cluster, scheduler_service

MAP = {"apiVersion": "v1", "kind": "ConfigMap"}


def mk_plugin(handler, kind="Service", **rule):
    plugin = Plugin("test", version="1")
    plugin.sync(kind, **rule)(handler)
    return plugin


def raw_call(plugin, query=""):
    request = _request("Sync", scheduler_service(), dask_cluster(), {}, {}, "Created")
    body = json.dumps(write_review(request)).encode()
    return asyncio.run(call(Application(plugin), "POST", "/v1alpha1/sync" + query, body))


@pytest.mark.parametrize(
    "returned",
    [{"a": MAP}, [Child("a", MAP)], (Child("a", MAP) for _ in range(1))],
    ids=["mapping", "list", "generator"],
)
def test_children_come_in_several_shapes(returned):
    status, body = raw_call(mk_plugin(lambda request: returned))
    assert status == 200
    assert body["response"]["children"] == [{"key": "a", "manifest": MAP}]


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (None, "returned None; return {} to delete the children"),
        ("text", "return manifests by key"),
        ({"Bad Key": MAP}, "the key 'Bad Key'"),
        ({"a" * 41: MAP}, "use up to 40"),
        ({"a-": MAP}, "inner dashes"),
        ([Child("a", MAP), Child("a", MAP)], "'a' twice"),
        ([MAP], "make it a Child"),
        ({"a": {"kind": "ConfigMap"}}, "without apiVersion"),
        ({f"k{i}": MAP for i in range(65)}, "65 children; the maximum is 64"),
    ],
)
def test_the_error_for_an_answer_that_the_controller_would_refuse_names_the_handler(returned, sentence):
    def my_handler(request):
        return returned

    status, body = raw_call(mk_plugin(my_handler))
    assert (status, body["error"]) == (500, "InvalidAnswer")
    assert "my_handler" in body["message"]
    assert sentence in body["message"]


def test_a_subject_without_a_handler_is_a_failure_and_deletes_nothing(dask_plugin):
    plugin = mk_plugin(lambda request: {}, "Pod", component="worker")
    answer = dask_plugin(plugin).sync(scheduler_service())
    assert (answer.status, answer.reason) == ("Failure", "NoHandler")
    assert "Service/scheduler; it serves Pod/worker" in answer.message


def test_the_handler_of_the_component_takes_precedence_over_that_of_the_kind(dask_plugin):
    plugin = mk_plugin(lambda request: {"any": MAP})
    plugin.sync("Service", component="scheduler")(lambda request: {"scheduler": MAP})
    assert list(dask_plugin(plugin).sync().children) == ["scheduler"]
    other = scheduler_service()
    del other["metadata"]["labels"]
    assert list(dask_plugin(plugin).sync(other).children) == ["any"]


def test_a_rule_that_can_never_match_is_an_error():
    plugin = mk_plugin(lambda request: {})
    for kind, component, sentence in [
        ("Ingress", None, "not a kind of subject"),
        ("Pod", "sidecar", "not a component"),
        ("Service", None, "already"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            plugin.sync(kind, component=component)


def test_failure_and_pending_are_regular_responses(dask_plugin):
    def refuse(request):
        raise Failure("NoDomain", "set spec.settings.domain")

    answer = dask_plugin(mk_plugin(refuse)).sync()
    assert (answer.status, answer.reason, answer.children) == ("Failure", "NoDomain", {})

    async def wait(request):
        raise Pending("no address yet", resync_after=15)

    answer = dask_plugin(mk_plugin(wait)).sync()
    assert (answer.status, answer.message, answer.resync_after) == ("Pending", "no address yet", 15)


def test_a_plugin_whose_answers_differ_between_calls_fails_its_test(dask_plugin):
    counter = iter(range(10))
    with pytest.raises(AssertionError, match="has a different response"):
        dask_plugin(mk_plugin(lambda request: {"a": {**MAP, "data": {"n": next(counter)}}})).sync()


def test_a_plugin_can_be_called_from_a_test_that_is_a_coroutine(dask_plugin):
    async def test():
        return dask_plugin(mk_plugin(lambda request: {"a": MAP})).sync()

    assert asyncio.run(test()).children == {"a": MAP}


def test_a_handler_that_blocks_does_not_block_other_calls():
    begun, free = threading.Event(), threading.Event()

    def handler(request):
        begun.set()
        assert free.wait(30)
        return {}

    async def both():
        application = Application(mk_plugin(handler))
        request = _request("Sync", scheduler_service(), dask_cluster(), {}, {}, "Created")
        body = json.dumps(write_review(request)).encode()
        slow = asyncio.ensure_future(call(application, "POST", "/v1alpha1/sync", body))
        await asyncio.to_thread(begun.wait, 30)
        status, _ = await call(application, "GET", "/v1alpha1/discovery")
        free.set()
        return status, (await slow)[0]

    assert asyncio.run(both()) == (200, 200)


def test_a_call_ends_shortly_before_the_timeout_of_the_caller():
    async def hang(request):
        await asyncio.Event().wait()

    status, body = raw_call(mk_plugin(hang), "?timeout=1s")
    assert (status, body["error"]) == (504, "DeadlineExceeded")
    assert body["message"].startswith("the plugin did not answer within 1 s; make it faster, or raise spec.timeoutSec")


def test_finalize_has_not_finished_while_it_is_pending(dask_plugin):
    plugin = mk_plugin(lambda request: {})
    assert plugin.hooks == ["Sync"]
    held = ["record"]

    @plugin.finalize("Service", component="scheduler")
    def release(request):
        if held:
            held.pop()
            raise Pending("the record is being deleted")

    assert plugin.hooks == ["Sync", "Finalize"]
    assert not dask_plugin(plugin).finalize().finalized
    assert dask_plugin(plugin).finalize().finalized


@dataclass
class Tls:
    secret_name: str


@dataclass
class Settings:
    host_pattern: str
    replicas: int = 1
    ratio: float = 0.5
    tls: Tls | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    hosts: list[str] = field(default_factory=list)


def settings_of(value):
    return _request("Sync", scheduler_service(), dask_cluster(), value, {}, "Created").settings_as(Settings)


def test_settings_become_a_dataclass():
    value = {
        "hostPattern": "a",
        "replicas": 2,
        "ratio": 1,
        "tls": {"secretName": "s"},
        "annotations": {"a": "b"},
        "hosts": ["x"],
    }
    assert settings_of(value) == Settings("a", 2, 1.0, Tls("s"), {"a": "b"}, ["x"])
    assert settings_of({"hostPattern": "a", "tls": None}) == Settings("a")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({}, "spec.settings.hostPattern is required"),
        ({"hostPatern": "a"}, "spec.settings.hostPatern: unknown setting, expected one of annotations"),
        ({"hostPattern": 5}, "spec.settings.hostPattern is not a string"),
        ({"hostPattern": "a", "replicas": True}, "spec.settings.replicas is not an integer"),
        ({"hostPattern": "a", "tls": {}}, "spec.settings.tls.secretName is required"),
        ({"hostPattern": "a", "annotations": {"a": 1}}, "spec.settings.annotations.a is not a string"),
        ({"hostPattern": "a", "hosts": ["x", 1]}, "spec.settings.hosts[1] is not a string"),
    ],
)
def test_the_error_for_a_wrong_setting_names_it(value, sentence):
    with pytest.raises(Failure) as failure:
        settings_of(value)
    assert failure.value.reason == "InvalidSettings"
    assert failure.value.message.startswith(sentence)


def test_calls_are_counted_by_hook_and_outcome():
    plugin = mk_plugin(lambda request: None)
    raw_call(plugin)
    text = plugin.metrics.encode().decode()
    assert 'dask_plugin_calls_total{hook="Sync",outcome="InvalidAnswer"} 1.0' in text
    assert 'dask_plugin_call_duration_seconds_count{hook="Sync"} 1.0' in text
    assert "dask_plugin_calls_in_flight 0.0" in text
