"""Runs the tests of dask-kubernetes' operator against this operator: replaces the fixtures of dask-kubernetes' `conftest.py`.

Its tests use a cluster of kind, build an image with Docker, and start dask-kubernetes' operator. Here they use the cluster of
KUBECONFIG, images that are loaded already, and this operator: a process for each test, in the network of the node.
"""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
import uuid

import pytest

# Seconds until a helper process has to be ready.
READY = 60


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result.stdout


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, condition):
    deadline = time.monotonic() + READY
    while not condition():
        assert time.monotonic() < deadline, f"waited {READY} s for {what}"
        time.sleep(0.1)


class Cluster:
    """The methods of pytest-kind's `KindCluster` that the tests use."""

    def kubectl(self, *arguments):
        return run("kubectl", *arguments)

    @contextlib.contextmanager
    def port_forward(self, target, remote_port, *arguments):
        local_port = free_port()
        # The tests connect at once. Where pods start more slowly than here, the scheduler listens by then.
        self.kubectl("rollout", "status", target.replace("service/", "deployment/"), *arguments)
        # kubectl ends when a connection is refused, as while the scheduler restarts.
        command = f"while true; do kubectl port-forward {target} {local_port}:{remote_port} {' '.join(arguments)}; done"
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        process = subprocess.Popen(["bash", "-c", command], **options)

        def is_open():
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", local_port)) == 0

        try:
            until(f"the port of {target}", is_open)
            yield local_port
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Operator:
    """This operator, with the interface of kopf's `KopfRunner`."""

    def __init__(self, namespace):
        self.namespace = namespace
        self.exit_code = self.exception = None
        self.output = ""

    def __enter__(self):
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        command = [*os.environ["IN_NODE"].split(), os.environ["OPERATOR"], "run", "--operator-namespace", self.namespace]
        options = ["--namespace", self.namespace, "--admin-address", "127.0.0.1:0"]
        self.process = subprocess.Popen([*command, *options], stdout=self.log, stderr=self.log)
        until("the operator", lambda: "reconciling" in self.read() or self.process.poll() is not None)
        assert self.process.poll() is None, self.read()
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.exit_code = self.process.wait()
        self.output = self.read()

    def read(self):
        self.log.seek(0)
        return self.log.read()


@pytest.fixture(scope="session")
def k8s_cluster():
    return Cluster()


@pytest.fixture(scope="session")
def docker_image():
    return "dask-kubernetes:dev"


@pytest.fixture(autouse=True)
def namespace(k8s_cluster, request):
    name = "dask-k8s-pytest-" + uuid.uuid4().hex[:10]
    k8s_cluster.kubectl("create", "ns", name)
    until("the default ServiceAccount", lambda: "default" in k8s_cluster.kubectl("get", "sa", "-n", name))
    yield name
    k8s_cluster.kubectl("delete", "ns", name, "--wait=false")


@pytest.fixture()
def kopf_runner(namespace):
    return Operator(namespace)


@pytest.fixture
def anyio_backend():
    return "asyncio"
