"""The golden files that all languages have in common."""

import asyncio
import json

import pytest
from conftest import golden, merge

from dask_operator_plugin import Answer, Child, Condition, Failure, Pending, Plugin
from dask_operator_plugin.request import read_review, write_review
from dask_operator_plugin.testing import call, digest_of

plugin = Plugin("scripted", version="1.2.0")


@plugin.sync("Service")
def sync(request):
    action = request.settings["do"]
    if action == "Answer":
        return Answer(
            [Child("a", {"apiVersion": "v1", "kind": "ConfigMap"})],
            conditions=[Condition("Exposed", "True", "Done", "all is well")],
            warnings=["old"],
            resync_after=60,
        )
    if action == "Delete":
        return {}
    if action == "Refuse":
        raise Failure("NoPort", "there is no port")
    if action == "Wait":
        raise Pending("no address yet", resync_after=5)
    raise ZeroDivisionError("at the disco")


@plugin.finalize("Service")
async def finalize(request):
    sync(request)


def body_of(case):
    if "raw" in case:
        return case["raw"].encode()
    if "fill" in case:
        return b" " * case["fill"]
    return json.dumps(merge(golden("sync_request.json"), case["merge"])).encode()


@pytest.mark.parametrize("case", golden("http.json")["cases"], ids=lambda case: case["name"])
def test_the_golden_calls_have_the_same_responses_in_every_language(case):
    body, expected = body_of(case), case["expect"]
    status, answer = asyncio.run(call(plugin, case.get("method", "POST"), case["path"], body, case.get("headers")))
    assert status == expected["status"], answer
    if "response" in expected:
        uid = json.loads(body)["request"]["uid"]
        assert answer["response"] == {"uid": uid, **expected["response"]}
    else:
        assert answer["error"] == expected["error"]
        assert set(answer) == {"error", "message"}
        assert "disco" not in answer["message"]


@pytest.mark.parametrize("case", golden("digests.json")["cases"], ids=lambda case: case["name"])
def test_digests_are_those_of_the_controller(case):
    review = merge(golden("sync_request.json"), case["merge"])
    included = case["status"] == "Included"
    assert digest_of(review, status=included) == case["digest"]
    assert digest_of(read_review(review), status=included) == case["digest"]


def test_a_request_keeps_every_field_when_it_is_read_and_written(review):
    assert write_review(read_review(review)) == review


def test_discovery_equals_the_golden_file():
    ingress = Plugin("ingress", version="1.2.0")
    status, discovery = asyncio.run(call(ingress, "GET", "/v1alpha1/discovery"))
    assert (status, discovery) == (200, golden("discovery.json"))
    assert plugin.discovery()["hooks"] == ["Sync", "Finalize"]
