"""The real server in a process of its own: mutual TLS, a Unix socket, signals."""

import contextlib
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time

import httpx
import pytest
import trustme

from dask_operator_plugin.config import Config, ConfigError
from dask_operator_plugin.tls import CONTROLLER_NAME

CODE = """
import asyncio
from pathlib import Path
from dask_operator_plugin import Plugin

plugin = Plugin("served", version="1.0.0")

@plugin.sync("Service")
async def sync(request):
    Path("begun").touch()
    while not Path("free").exists():
        await asyncio.sleep(0.01)
    return {}

if __name__ == "__main__":
    import dask_operator_plugin.tls as tls
    tls.POLL = tls.FIRST_POLL = 0.05
    tls.Reloading.follow.__defaults__ = (0.05,)
    plugin.run()
"""


def eventually(check, what):
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(httpx.TransportError, FileNotFoundError):
            if (result := check()) is not None:
                return result
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def start(tmp_path):
    (tmp_path / "served.py").write_text(CODE)
    processes = []

    def start(**env):
        environment = {**os.environ, **{name: str(value) for name, value in env.items()}}
        process = subprocess.Popen(
            [sys.executable, "served.py"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def over_socket(path):
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://plugin")


def discovered(client):
    answer = client.get("/v1alpha1/discovery")
    assert answer.status_code == 200
    return answer.json()["name"]


def test_a_sidecar_listens_on_a_socket_and_replaces_a_stale_one(start, tmp_path):
    path = tmp_path / "served.sock"
    for _ in range(2):
        process = start(PLUGIN_SOCKET=path)
        with over_socket(path) as client:
            assert eventually(lambda client=client: discovered(client), "the socket") == "served"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        process.kill()
        process.wait()


def test_what_is_not_a_stale_socket_stays(start, tmp_path):
    path = tmp_path / "served.sock"
    path.write_text("precious")
    process = start(PLUGIN_SOCKET=path)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert error.strip() == f"served: {path} is there and not a socket; remove it"
    assert path.read_text() == "precious"


def test_a_call_in_flight_is_answered_when_the_process_is_told_to_stop(start, tmp_path, review):
    path = tmp_path / "served.sock"
    process = start(PLUGIN_SOCKET=path)
    with over_socket(path) as client:
        eventually(lambda: discovered(client), "the socket")
        import threading

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


def test_the_development_server_and_the_probes(start):
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


def mount(directory, authority, version):
    """Writes the Secret's files as the kubelet does: into a new directory, then one atomic swap."""
    directory.mkdir(exist_ok=True)
    files = directory / version
    files.mkdir()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(files / "tls.crt")
    certificate.private_key_pem.write_to_path(files / "tls.key")
    authority.cert_pem.write_to_path(files / "ca.crt")
    link = directory / "..data_tmp"
    link.symlink_to(version)
    link.rename(directory / "..data")
    for name in ("ca.crt", "tls.crt", "tls.key"):
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")


def client_of(port, trusted, authority, name=CONTROLLER_NAME):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusted.configure_trust(context)
    if authority is not None:
        authority.issue_cert(name).configure_cert(context)
    return httpx.Client(base_url=f"https://localhost:{port}", verify=context)


def test_only_the_controller_is_served_and_new_certificates_count_without_a_restart(start, tmp_path):
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
        assert discovered(controller) == "served", "an established connection goes on"
        with client_of(port, new, old) as outdated, pytest.raises(httpx.TransportError):
            outdated.get("/v1alpha1/discovery")


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"PLUGIN_PORT": "https"}, 'PLUGIN_PORT is "https", which is not a port number'),
        ({"PLUGIN_HEALTH_PORT": "70000"}, 'PLUGIN_HEALTH_PORT is "70000", which is not a port number'),
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
            'PLUGIN_TOKEN_JWKS is "http://a", which is not the path of a file or an https address',
        ),
    ],
)
def test_what_is_wrong_with_the_environment_is_said_in_one_sentence(env, sentence):
    with pytest.raises(ConfigError) as error:
        Config.from_env(env)
    assert str(error.value) == sentence


def test_an_empty_environment_means_mutual_tls_and_a_health_port():
    config = Config.from_env({"PLUGIN_SOCKET": ""})
    assert (str(config.tls_dir), config.port, config.health_port) == ("/etc/plugin-tls", 8443, 8080)
    assert Config.from_env({"PLUGIN_SOCKET": "/x"}).health_port is None
