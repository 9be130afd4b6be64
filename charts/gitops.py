#!/usr/bin/env python3
"""Checks that what the chart renders differs in nothing from what the API server stores, as tools for GitOps compare it.

gitops.py    renders each file of values in golden/ and applies it to the cluster of KUBECONFIG; needs helm and kubectl

The manifests are applied as `kubectl apply` and Argo CD do (by annotation) and as Flux and Argo CD's ServerSideApply do (by
the API server). With DASK_OPERATOR, the path of the controller's program, it runs once meanwhile with the rights of the
chart, since it must not change what it was installed with.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMESPACE = "dask-operator"
SERVER = ("--server-side", "--force-conflicts", "--field-manager=gitops")
CRD = "customresourcedefinitions.apiextensions.k8s.io"


def run(*command: str | Path, text: str = "", ok: tuple[int, ...] = (0,)) -> str:
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if result.returncode not in ok:
        sys.exit(f"{' '.join(map(str, command))}: {result.stdout}{result.stderr}")
    return result.stdout


def kubectl(*arguments: str, text: str = "", ok: tuple[int, ...] = (0,)) -> str:
    return run("kubectl", *arguments, text=text, ok=ok)


def rendered(values: Path) -> str:
    # Without hooks, which such tools run only when they remove the chart.
    chart = HERE / "dask-operator"
    return run("helm", "template", "dask-operator", chart, "--namespace", NAMESPACE, "--values", values, "--no-hooks")


def objects(*arguments: str, text: str) -> list[dict[str, Any]]:
    """Returns what kubectl prints as JSON: one document after the other, or a list."""
    rest, found, decoder = kubectl(*arguments, "-o", "json", "-f", "-", text=text).strip(), [], json.JSONDecoder()
    while rest:
        document, end = decoder.raw_decode(rest)
        rest = rest[end:].strip()
        found += document["items"] if document["kind"] == "List" else [document]
    return found


def differences(desired: Any, live: Any, path: str) -> Iterator[str]:
    """Compares as Argo CD does: the live object may have more fields, and no other values or items."""
    if isinstance(desired, dict) and isinstance(live, dict):
        for key, value in desired.items():
            if key in live:
                yield from differences(value, live[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} is not stored"
    elif isinstance(desired, list) and isinstance(live, list) and len(desired) == len(live):
        for index, (value, stored) in enumerate(zip(desired, live, strict=True)):
            yield from differences(value, stored, f"{path}[{index}]")
    elif desired != live or type(desired) is not type(live):
        yield f"{path} is {json.dumps(live)} and should be {json.dumps(desired)}"


def check(values: Path, manifests: str, how: tuple[str, ...]) -> None:
    """Fails if a second apply would change anything, or if an object is stored with other values."""
    what = f"{values.name}, apply {' '.join(how)}"
    if difference := kubectl("diff", *how, "-f", "-", text=manifests, ok=(0, 1)):
        sys.exit(f"{what}: the next one would change\n{difference}")
    # The client validates nothing and changes nothing.
    desired = objects("create", "--dry-run=client", "--validate=false", text=manifests)
    live = objects("get", text=manifests)
    found = [
        difference
        for one, other in zip(desired, live, strict=True)
        for difference in differences(one, other, f"{one['kind']} {one['metadata']['name']}: ")
    ]
    if found:
        sys.exit(f"{what}:\n" + "\n".join(found))
    before = [(one["metadata"]["uid"], one["metadata"]["resourceVersion"]) for one in live]
    kubectl("apply", *how, "-f", "-", text=manifests)
    after = [(one["metadata"]["uid"], one["metadata"]["resourceVersion"]) for one in objects("get", text=manifests)]
    changed = [one["metadata"]["name"] for one, old, new in zip(live, before, after, strict=True) if old != new]
    if changed:
        sys.exit(f"{what}: the second one wrote {', '.join(changed)}")


@contextmanager
def controller(program: str, manifests: str) -> Iterator[None]:
    """Runs the controller as in its pod until a cluster is Running."""
    deployment = next(one for one in objects("get", text=manifests) if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    with tempfile.TemporaryDirectory() as folder:
        config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        token = kubectl("create", "token", pod["serviceAccountName"], "--namespace", NAMESPACE).strip()
        config["users"][0]["user"] = {"token": token}
        kubeconfig = Path(folder) / "kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        log = Path(folder) / "log"
        given = {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"] if "value" in variable}
        own = {"POD_NAMESPACE": NAMESPACE, "POD_NAME": "gitops", "POD_UID": "gitops", "ADMIN_ADDRESS": "127.0.0.1:0"}
        env = os.environ | given | own | {"KUBECONFIG": str(kubeconfig), "PLUGIN_SOCKET_DIR": folder}
        with log.open("w") as output, subprocess.Popen([program, "run"], env=env, stdout=output, stderr=output) as process:
            try:
                demo = (HERE / "../demo/cluster.yaml").read_text()
                kubectl("apply", "--namespace", NAMESPACE, "-f", "-", text=demo)
                running = "--for=jsonpath={.status.phase}=Running"
                wait = ("kubectl", "wait", "--namespace", NAMESPACE, "daskcluster/demo", running, "--timeout=2m")
                if subprocess.run(wait, capture_output=True, check=False).returncode:
                    sys.exit(f"the controller made no cluster: {log.read_text()}")
                yield
                kubectl("delete", "--namespace", NAMESPACE, "daskcluster", "demo")
            finally:
                process.terminate()


def settled(manifests: str) -> None:
    """Waits until the controllers of Kubernetes have written what they write: status, and rules of aggregated roles."""
    if "kind: CustomResourceDefinition\n" in manifests:
        kubectl("wait", "--for=condition=Established", CRD, "--all", "--timeout=2m")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        live = objects("get", text=manifests)
        deployments = (one for one in live if one["kind"] == "Deployment")
        if all(one["status"].get("observedGeneration") == one["metadata"]["generation"] for one in deployments):
            return
        time.sleep(0.2)
    sys.exit("the Deployment was not observed")


def main() -> None:
    program = os.environ.get("DASK_OPERATOR")
    for values in sorted(HERE.glob("golden/*.values.yaml")):
        manifests = rendered(values)
        for how in ((), SERVER):
            kubectl("apply", *how, "-f", "-", text=manifests)
            settled(manifests)
            check(values, manifests, how)
            if program and values.name == "scaling.values.yaml":
                with controller(program, manifests):
                    check(values, manifests, how)
        without_crds = "\n---\n".join(part for part in manifests.split("\n---\n") if "kind: CustomResource" not in part)
        kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", text=without_crds)
    print("no manifest differs from what is stored")


if __name__ == "__main__":
    main()
