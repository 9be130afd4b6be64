"""The program, and the plugin as an ASGI application in other servers."""

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
        assert client.get("/metrics").status_code == 404, "callers cannot read the metrics"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (
            "nowhere:plugin",
            "failed to import nowhere: No module named 'nowhere'; "
            "run the program in a directory from which nowhere can be imported",
        ),
        ("served:plugins", "served has no attribute plugins; use MODULE:PLUGIN"),
        ("served:hang", "served:hang is a function, not a Plugin; use MODULE:PLUGIN"),
    ],
)
def test_the_error_for_a_wrong_plugin_is_one_sentence(start, target, sentence):
    process = start(*PROGRAM, target)
    assert process.communicate(timeout=30)[1] == f"dask-operator-plugin: {sentence}\n"
    assert process.returncode == 1


@pytest.mark.parametrize("how", ["plugin.run()", "cli.main(['run', 'served:plugin'])"])
def test_without_uvicorn_the_error_names_the_extra(start, how):
    code = "import sys; sys.modules['uvicorn'] = None; import dask_operator_plugin.cli as cli\n"
    process = start("-c", code + f"from served import plugin; sys.exit({how})")
    sentence = "uvicorn is not installed; install the package with its server: dask-operator-plugin[serve]"
    assert process.communicate(timeout=30)[1] == f"served: {sentence}\n"
    assert process.returncode == 1


def test_without_uvicorn_a_plugin_is_an_application(start):
    code = "import sys, asyncio; sys.modules['uvicorn'] = None\n"
    code += "from served import plugin; from dask_operator_plugin.testing import call\n"
    code += "assert asyncio.run(call(plugin, 'GET', '/v1alpha1/discovery'))[0] == 200"
    process = start("-c", code)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0
