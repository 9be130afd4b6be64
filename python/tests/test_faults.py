"""Faulty handlers: each fault has its own message, and the server continues."""

import asyncio
import datetime
import json
import sys
import threading

import pytest

from dask_operator_plugin import Answer, Child, Condition, Failure, Pending, Plugin
from dask_operator_plugin.asgi import Application
from dask_operator_plugin.testing import call

MAP = {"apiVersion": "v1", "kind": "ConfigMap"}


def ask(handler, review, hook="Sync", query="?timeout=5s"):
    plugin = Plugin("test", version="1")
    (plugin.sync if hook == "Sync" else plugin.finalize)("Service")(handler)
    review["request"]["hook"] = hook
    body = json.dumps(review).encode()
    return asyncio.run(call(Application(plugin), "POST", f"/v1alpha1/{hook.lower()}{query}", body))


def exhausts_an_iterator(request):
    return next(port for port in [] if port)


def exits(request):
    sys.exit(3)


async def exits_in_a_coroutine(request):
    sys.exit(3)


async def raises(request):
    raise KeyError("secret of the plugin")


@pytest.mark.parametrize(
    ("handler", "raised"),
    [
        (exhausts_an_iterator, "StopIteration"),
        (exits, "SystemExit"),
        (exits_in_a_coroutine, "SystemExit"),
        (raises, "KeyError"),
    ],
)
def test_any_exception_is_an_error_with_its_class_and_is_logged(handler, raised, review, caplog):
    status, body = ask(handler, review)
    sentence = f"the plugin failed with {raised}; see its log"
    assert (status, body) == (500, {"error": "PluginFailed", "message": sentence})
    assert f"in {handler.__name__}" in caplog.text
    assert "Sync of Service team-a/demo-scheduler: the plugin failed" in caplog.messages


def test_a_generator_runs_in_a_thread_and_may_raise_pending(review):
    threads = []

    def handler(request):
        threads.append(threading.current_thread())
        yield Child("a", MAP)
        raise Pending("no address yet", 15)

    status, body = ask(handler, review)
    assert (status, body["response"]["status"], body["response"]["resyncAfterSeconds"]) == (200, "Pending", 15)
    assert "children" not in body["response"]
    assert threads[0] is not threading.main_thread()


def test_a_finalize_handler_that_yields_is_an_error(review):
    def release(request):
        yield

    status, body = ask(release, review, "Finalize")
    assert (status, body["error"]) == (500, "InvalidAnswer")
    assert body["message"] == "release has a yield, so that a call of it does nothing; remove the yield"


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (None, "handler returned None; return {} to delete the children"),
        (5, "handler returned a int; return manifests by key, children, or an Answer"),
        ({"a": {**MAP, "data": float("nan")}}, "handler returned the child 'a', which cannot be written as JSON: "),
        ({"a": {**MAP, "data": object()}}, "handler returned the child 'a', which cannot be written as JSON: "),
        (
            {"a": {**MAP, "data": datetime.date(2026, 1, 1)}},
            "handler returned the child 'a', which cannot be written as JSON: ",
        ),
        ({"a": {**MAP, "data": "\ud800"}}, "handler returned the child 'a', which cannot be written as JSON: "),
        ({"a": {**MAP, "data": "x" * (256 << 10)}}, "handler returned the child 'a', which has 262192 bytes; "),
        ({f"k{i}": {**MAP, "data": "x" * (200 << 10)} for i in range(11)}, "the answer has "),
        ({"a": None}, "handler returned the child 'a', whose manifest is a NoneType; make it a mapping"),
        ({"a": {"apiVersion": "v1", "kind": ""}}, "handler returned the child 'a' without kind; set it"),
        ([Child(5, MAP)], "handler returned the key 5; use up to 40 of a-z"),
        (["a"], "handler returned a str among its children; make it a Child"),
        (Answer(None), "handler returned a NoneType as children; make it a list"),
        (Answer(warnings="old"), "handler returned a str as warnings; make it a list"),
        (Answer(warnings=[5]), "handler gave a int for a warning; make it a str"),
        (Answer(conditions=[{}]), "handler returned a dict in conditions; make it a Condition"),
        (Answer(conditions=[Condition("A", True, "B")]), "handler returned a condition with the status True; use "),
        (Answer(conditions=[Condition("A", "True", None)]), "handler gave a NoneType for a condition's reason; "),
        (Answer(resync_after=-1), "handler gave -1 for resync_after; use whole seconds, 0 or more"),
        (Answer(resync_after=1.5), "handler gave 1.5 for resync_after; use whole seconds, 0 or more"),
    ],
)
def test_an_answer_that_the_controller_would_refuse_is_an_error_and_is_logged(returned, sentence, review, caplog):
    def handler(request):
        return returned

    status, body = ask(handler, review)
    assert (status, body["error"]) == (500, "InvalidAnswer")
    assert body["message"].startswith(sentence)
    assert f"Sync of Service team-a/demo-scheduler: {body['message']}" in caplog.messages


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (Failure("NoPort", None), "the handler gave a NoneType for the message of Failure; make it a str"),
        (Failure(404, "there is no port"), "the handler gave a int for the reason of Failure; make it a str"),
        (Pending("no address yet", "15"), "the handler gave '15' for resync_after; use whole seconds, 0 or more"),
    ],
)
def test_an_invalid_refusal_is_an_error(error, sentence, review):
    async def handler(request):
        raise error

    status, body = ask(handler, review)
    assert (status, body) == (500, {"error": "InvalidAnswer", "message": sentence})


def test_an_answer_accepts_manifests_by_key(review):
    status, body = ask(lambda request: Answer({"a": MAP}, resync_after=60), review)
    assert status == 200
    assert body["response"]["children"] == [{"key": "a", "manifest": MAP}]
    assert body["response"]["resyncAfterSeconds"] == 60


@pytest.mark.parametrize("body", [b'{"a": NaN}', b"\xff\xfe{\x00}\x00", b"[" * 100_000])
def test_invalid_json_that_python_would_parse_is_refused(body):
    status, answer = asyncio.run(call(Plugin("test", version="1"), "POST", "/v1alpha1/sync", body))
    assert (status, answer["error"]) == (422, "InvalidJson")


def test_the_first_timeout_in_the_query_is_used_and_a_wrong_method_is_refused(review):
    assert ask(lambda request: {}, review, query="?timeout=5s&timeout=soon")[0] == 200
    assert ask(lambda request: {}, review, query="?timeout=soon&timeout=5s")[1]["error"] == "InvalidTimeout"
    for path, method in [("/healthz", "POST"), ("/v1alpha1/sync", "GET")]:
        status, body = asyncio.run(call(Plugin("test", version="1"), method, path))
        assert (status, body["error"]) == (405, "MethodNotAllowed")
