"""Plugins in processes of their own, and clients of them."""

import contextlib
import socket
import ssl
import time

import httpx

from dask_operator_plugin.tls import CONTROLLER_NAME

CODE = """
import asyncio
import threading
from pathlib import Path
from dask_operator_plugin import Plugin

plugin = Plugin("served", version="1.0.0")

@plugin.sync("Service")
async def sync(request):
    Path("begun").touch()
    while not Path("free").exists():
        await asyncio.sleep(0.01)
    return {}

@plugin.sync("Pod")
def hang(request):
    threading.Event().wait()

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
        assert time.monotonic() < deadline, f"timed out waiting for {what}"
        time.sleep(0.02)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def over_socket(path):
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://plugin")


def discovered(client):
    answer = client.get("/v1alpha1/discovery")
    assert answer.status_code == 200
    return answer.json()["name"]


def mount(directory, authority, version):
    """Writes the files of the Secret as the kubelet does: into a new directory, followed by one atomic rename."""
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
