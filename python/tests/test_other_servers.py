"""The program, and the plugin as an ASGI application of other servers."""

import signal

import httpx
import pytest
from serving import discovered, eventually, free_port, over_socket

PROGRAM = ["-m", "dask_operator_plugin.cli", "run"]


@pytest.mark.parametrize(
    "server",
    [["uvicorn", "served:plugin", "--port", "{port}"], ["hypercorn", "served:plugin", "--bind", "127.0.0.1:{port}"]],
    ids=lambda server: server[0],
)
def test_a_plugin_is_an_application_of_any_asgi_server(start, tmp_path, review, server):
    port = free_port()
    start("-m", *[word.format(port=port) for word in server])
    (tmp_path / "free").touch()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert eventually(lambda: discovered(client), "the server") == "served"
        answer = client.post("/v1alpha1/sync", json=review)
        assert (answer.status_code, answer.json()["response"]["children"]) == (200, [])
        assert answer.json()["response"]["uid"] == review["request"]["uid"]
        assert client.get("/healthz").text == "ok"
        assert client.head("/healthz").status_code == 200
        assert 'dask_plugin_calls_total{hook="Sync",outcome="Success"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("target", ["served:plugin", "served"])
def test_the_program_serves_a_plugin_of_the_working_directory(start, tmp_path, target):
    path = tmp_path / "served.sock"
    process = start(*PROGRAM, target, PLUGIN_SOCKET=path)
    with over_socket(path) as client:
        assert eventually(lambda: discovered(client), "the socket") == "served"
        assert client.get("/metrics").status_code == 404, "metrics are not for those who call"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (
            "nowhere:plugin",
            "failed to import nowhere: No module named 'nowhere'; run it where nowhere can be imported",
        ),
        ("served:plugins", "served has no plugins; name the plugin as MODULE:PLUGIN"),
        ("served:hang", "served:hang is a function; name a Plugin as MODULE:PLUGIN"),
    ],
)
def test_what_is_no_plugin_is_said_in_one_sentence(start, target, sentence):
    process = start(*PROGRAM, target)
    assert process.communicate(timeout=30)[1] == f"dask-operator-plugin: {sentence}\n"
    assert process.returncode == 1
