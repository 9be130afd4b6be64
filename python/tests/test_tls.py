"""The reloading of certificates."""

import asyncio
import socket
import ssl

import pytest
import trustme
from serving import mount

from dask_operator_plugin.tls import CONTROLLER_NAME, Reloading


def greet(port, context, session=None):
    """Connects, and returns the first bytes of the server and the session."""
    raw = socket.create_connection(("127.0.0.1", port))
    with raw, context.wrap_socket(raw, server_hostname="localhost", session=session) as connection:
        return connection.recv(2), connection.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_a_session_of_an_old_ca_is_refused_after_a_rotation(tmp_path, version):
    old, new = trustme.CA(), trustme.CA()
    mount(tmp_path / "tls", old, "1")
    reloading = Reloading(tmp_path / "tls")
    assert reloading.reload()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.maximum_version = version
    for authority in (old, new):
        authority.configure_trust(client)
    old.issue_cert(CONTROLLER_NAME).configure_cert(client)

    class Greeter(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(b"hi")

    async def rotate():
        server = await asyncio.get_running_loop().create_server(Greeter, "127.0.0.1", 0, ssl=reloading.context)
        port = server.sockets[0].getsockname()[1]
        greeting, session = await asyncio.to_thread(greet, port, client)
        assert greeting == b"hi"
        assert (await asyncio.to_thread(greet, port, client, session))[0] == b"hi"
        mount(tmp_path / "tls", new, "2")
        assert reloading.reload()
        try:
            late, _ = await asyncio.to_thread(greet, port, client, session)
        except OSError:
            late = b""
        server.close()
        return late

    assert asyncio.run(rotate()) == b""


def test_unusable_files_are_logged_once_and_do_not_replace_the_current_ones(tmp_path, caplog):
    directory = tmp_path / "tls"
    reloading = Reloading(directory)
    assert not reloading.reload()
    mount(directory, trustme.CA(), "1")
    assert reloading.reload()
    for name in ("tls.key", "ca.crt"):
        caplog.clear()
        good = (directory / name).read_text()
        (directory / name).write_text("not PEM")
        assert reloading.reload(), "the current certificate stays"
        assert reloading.reload()
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith(f"keeping the current certificate: {directory}: ")
        (directory / name).write_text(good)
        assert reloading.reload()
