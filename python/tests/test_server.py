"""The real server in a process of its own: mutual TLS, a Unix socket, signals."""

import json
import signal
import socket
import stat
import threading

import httpx
import pytest
import trustme
from serving import client_of, discovered, eventually, free_port, mount, over_socket

from dask_operator_plugin.config import Config, ConfigError
from dask_operator_plugin.listeners import bind_tcp


def test_a_sidecar_listens_on_a_socket_and_replaces_a_stale_one(start, tmp_path):
    path = tmp_path / "served.sock"
    for _ in range(2):
        process = start(PLUGIN_SOCKET=path)
        with over_socket(path) as client:
            assert eventually(lambda client=client: discovered(client), "the socket") == "served"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        process.kill()
        process.wait()


def test_a_path_that_is_not_a_socket_is_refused_and_kept(start, tmp_path):
    path = tmp_path / "served.sock"
    path.write_text("precious")
    process = start(PLUGIN_SOCKET=path)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert error.strip() == f"served: {path} exists and is not a socket; remove it"
    assert path.read_text() == "precious"


def test_the_shutdown_waits_for_a_call_in_flight(start, tmp_path, review):
    path = tmp_path / "served.sock"
    process = start(PLUGIN_SOCKET=path)
    with over_socket(path) as client:
        eventually(lambda: discovered(client), "the socket")
        answers = []
        call = threading.Thread(
            target=lambda: answers.append(client.post("/v1alpha1/sync", json=review, timeout=30).status_code)
        )
        call.start()
        eventually(lambda: (tmp_path / "begun").exists() or None, "the call")
        process.send_signal(signal.SIGTERM)
        (tmp_path / "free").touch()
        call.join(30)
    assert answers == [200]
    assert process.wait(30) == 0


def test_new_calls_are_served_until_the_drain_after_the_shutdown_ends(start, tmp_path):
    path, health = tmp_path / "served.sock", free_port()
    process = start(PLUGIN_SOCKET=path, PLUGIN_HEALTH_PORT=health, PLUGIN_DRAIN_SECONDS=3)
    with over_socket(path) as client, httpx.Client(base_url=f"http://127.0.0.1:{health}") as probes:
        eventually(lambda: probes.get("/readyz").status_code == 200 or None, "readiness")
        assert client.get("/v1alpha1/discovery").headers.get("connection") != "close"
        process.send_signal(signal.SIGTERM)
        eventually(lambda: probes.get("/readyz").text == "shutting down" or None, "the drain")
        answer = client.get("/v1alpha1/discovery")
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        with over_socket(path) as late:
            assert discovered(late) == "served"
        assert process.poll() is None
    assert process.wait(20) == 0


def test_a_handler_that_never_returns_does_not_prevent_the_shutdown(start, tmp_path, review):
    path = tmp_path / "served.sock"
    process = start(PLUGIN_SOCKET=path)
    review["request"]["subject"]["object"]["kind"] = "Pod"
    with over_socket(path) as client:
        eventually(lambda: discovered(client), "the socket")
        assert client.post("/v1alpha1/sync?timeout=1s", json=review, timeout=30).status_code == 504
        assert discovered(client) == "served"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_a_plugin_that_waits_for_its_certificate_can_be_stopped(start, tmp_path):
    health = free_port()
    process = start(PLUGIN_TLS_DIR=tmp_path, PLUGIN_PORT=free_port(), PLUGIN_HEALTH_PORT=health)
    with httpx.Client(base_url=f"http://127.0.0.1:{health}") as probes:
        eventually(lambda: probes.get("/healthz").status_code == 200 or None, "the probes")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_a_socket_that_another_process_serves_is_kept(start, tmp_path):
    path = tmp_path / "served.sock"
    start(PLUGIN_SOCKET=path)
    with over_socket(path) as client:
        eventually(lambda: discovered(client), "the socket")
        second = start(PLUGIN_SOCKET=path)
        assert second.communicate(timeout=30)[1].strip() == f"served: {path} is served by another process"
        assert second.returncode == 1
        assert discovered(client) == "served"


def test_the_error_for_a_port_in_use_is_one_sentence(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(PLUGIN_INSECURE_PORT=port)
        assert process.communicate(timeout=30)[1].splitlines()[-1] == (
            f"served: failed to listen on port {port}: Address already in use"
        )
    assert process.returncode == 1


def test_a_response_does_not_wait_for_the_acknowledgement_of_the_caller():
    with bind_tcp("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_body_that_is_too_large_is_refused_and_the_next_call_is_served(start, tmp_path):
    path = tmp_path / "served.sock"
    start(PLUGIN_SOCKET=path)
    with over_socket(path) as client:
        eventually(lambda: discovered(client), "the socket")
        json_type = {"content-type": "application/json"}
        answer = client.post("/v1alpha1/sync", content=b" " * (5 << 20), headers=json_type, timeout=30)
        assert (answer.status_code, answer.json()["error"]) == (413, "RequestTooLarge")
        assert discovered(client) == "served"


def test_the_log_is_json_if_configured(start, tmp_path):
    path = tmp_path / "served.sock"
    process = start(PLUGIN_SOCKET=path, LOG_FORMAT="json")
    with over_socket(path) as client:
        eventually(lambda: discovered(client), "the socket")
        assert client.get("/nothing").status_code == 404
    process.send_signal(signal.SIGTERM)
    lines = [json.loads(line) for line in process.communicate(timeout=30)[1].splitlines()]
    assert "rejected a call of /nothing: UnknownPath: the path /nothing does not exist" in [
        line["message"] for line in lines
    ]
    assert {line["level"] for line in lines} == {"INFO", "WARNING"}


def test_the_development_server_serves_calls_and_probes(start):
    port, health = free_port(), free_port()
    start(PLUGIN_INSECURE_PORT=port, PLUGIN_HEALTH_PORT=health)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert eventually(lambda: discovered(client), "the server") == "served"
    with httpx.Client(base_url=f"http://127.0.0.1:{health}") as probes:
        assert probes.get("/healthz").status_code == 200
        eventually(lambda: probes.get("/readyz").status_code == 200 or None, "readiness")
        metrics = probes.get("/metrics")
        assert metrics.headers["content-type"].startswith("application/openmetrics-text")
        assert 'hook="Discovery"' in metrics.text
        assert probes.get("/v1alpha1/discovery").status_code == 404


def test_only_the_controller_is_served_and_new_certificates_apply_without_a_restart(start, tmp_path):
    old, new, foreign = trustme.CA(), trustme.CA(), trustme.CA()
    port, health = free_port(), free_port()
    directory = tmp_path / "tls"
    start(PLUGIN_TLS_DIR=directory, PLUGIN_PORT=port, PLUGIN_HEALTH_PORT=health)
    with httpx.Client(base_url=f"http://127.0.0.1:{health}") as probes:
        eventually(lambda: probes.get("/healthz").status_code == 200 or None, "the probes")
        assert probes.get("/readyz").status_code == 503
        mount(directory, old, "1")
        eventually(lambda: probes.get("/readyz").status_code == 200 or None, "readiness")
    with client_of(port, old, old) as controller:
        assert eventually(lambda: discovered(controller), "the server") == "served"
        strangers = [
            client_of(port, old, None),
            client_of(port, old, foreign),
            client_of(port, old, old, "ingress.dask-operator.svc"),
        ]
        for stranger in strangers:
            with stranger, pytest.raises(httpx.TransportError):
                stranger.get("/v1alpha1/discovery")
        mount(directory, new, "2")
        with client_of(port, new, new) as renewed:
            assert eventually(lambda: discovered(renewed), "the new certificate") == "served"
        assert discovered(controller) == "served", "an established connection continues"
        with client_of(port, new, old) as outdated, pytest.raises(httpx.TransportError):
            outdated.get("/v1alpha1/discovery")


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"PLUGIN_PORT": "https"}, 'PLUGIN_PORT is "https", which is not a port number'),
        ({"PLUGIN_HEALTH_PORT": "70000"}, 'PLUGIN_HEALTH_PORT is "70000", which is not a port number'),
        ({"PLUGIN_DRAIN_SECONDS": "5s"}, 'PLUGIN_DRAIN_SECONDS is "5s", which is not a number from 0 to 600'),
        ({"LOG_FORMAT": "xml"}, 'LOG_FORMAT is "xml", which is not text or json'),
        (
            {"PLUGIN_SOCKET": "/x", "PLUGIN_INSECURE_PORT": "1"},
            "PLUGIN_SOCKET and PLUGIN_INSECURE_PORT are both set; unset one",
        ),
        (
            {"PLUGIN_TOKEN_ISSUER": "https://a"},
            "PLUGIN_TOKEN_ISSUER is set, but PLUGIN_TOKEN_AUDIENCE is not; set both or none",
        ),
        (
            {"PLUGIN_TOKEN_AUDIENCE": "https://a", "PLUGIN_TOKEN_JWKS": "http://a"},
            'PLUGIN_TOKEN_JWKS is "http://a", which is not the path of a file or an https URL',
        ),
    ],
)
def test_each_error_of_the_environment_is_one_sentence(env, sentence):
    with pytest.raises(ConfigError) as error:
        Config.from_env(env)
    assert str(error.value) == sentence


def test_an_empty_environment_means_mutual_tls_and_a_health_port():
    config = Config.from_env({"PLUGIN_SOCKET": ""})
    assert (str(config.tls_dir), config.port, config.health_port) == ("/etc/plugin-tls", 8443, 8080)
    assert config.drain == 5
    sidecar = Config.from_env({"PLUGIN_SOCKET": "/x"})
    assert (sidecar.health_port, sidecar.drain) == (None, 0)
