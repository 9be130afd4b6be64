"""`dask-operator-plugin run --reload`: the plugin follows its code."""

import signal

import httpx
from serving import eventually, free_port

PROGRAM = ["-m", "dask_operator_plugin.cli", "run", "--reload"]
CODE = "from dask_operator_plugin import Plugin\nplugin = Plugin('watched', version='{version}')\n"


def test_a_plugin_is_started_again_when_its_code_changes_even_after_a_mistake(start, tmp_path):
    code, port = tmp_path / "watched.py", free_port()
    code.write_text(CODE.format(version="1"))
    process = start(*PROGRAM, "--port", str(port), "watched:plugin")

    def version():
        return httpx.get(f"http://127.0.0.1:{port}/v1alpha1/discovery").json()["version"]

    def becomes(expected):
        eventually(lambda: version().partition("+")[0] == expected or None, f"version {expected}")

    becomes("1")
    code.write_text(CODE.format(version="two"))
    becomes("two")
    before = version()
    code.write_text(code.read_text() + "# the same version with other code\n")
    eventually(lambda: version() not in (before, "two") or None, "another version with the same name")
    becomes("two")
    code.write_text("a mistake")

    def refused():
        try:
            version()
        except httpx.TransportError:
            return True

    eventually(refused, "the end of the plugin with the mistake")
    code.write_text(CODE.format(version="three"))
    becomes("three")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert refused(), "the plugin has ended as well"
