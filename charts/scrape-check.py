#!/usr/bin/env python3
"""Checks with a real Prometheus which targets the chart's monitors of schedulers and workers find; needs prometheus and helm.

The Prometheus operator turns a monitor into scrape configurations. This does the same for the fields that the chart uses, and
lists the targets instead of looking them up in Kubernetes.
"""

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ANNOTATION = "annotation_operator_dask_org_dashboard"
COMM, USUAL, OTHER = "tcp-comm", "http-dashboard", "web"

# The port's name, the annotations for prefix and port, and the path of the scrape. None if there must be no scrape.
SERVICES: list[tuple[str, str, str, str | None]] = [
    (USUAL, "", "", "/metrics"),
    (COMM, "", "", None),
    (OTHER, "", "", None),
    (USUAL, "/p", "", "/p/metrics"),
    (USUAL, "/p/q", "", "/p/q/metrics"),
    (OTHER, "", OTHER, "/metrics"),
    (OTHER, "/p", OTHER, "/p/metrics"),
    (COMM, "/p", OTHER, None),
    # The name is another server's, such as a proxy's.
    (USUAL, "", OTHER, None),
]
PODS: list[tuple[str, str, str, str | None]] = [
    (USUAL, "", "", "/metrics"),
    (OTHER, "", OTHER, "/metrics"),
    (USUAL, "", OTHER, None),
    ("", "", "", None),
]


def documents(file: Path) -> list[dict[str, Any]]:
    """Parses YAML with Helm."""
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(folder)
        (chart / "Chart.yaml").write_text("apiVersion: v2\nname: parse\nversion: 1.0.0\n")
        (chart / "templates").mkdir()
        (chart / "file").write_text(file.read_text())
        each = '{{ range splitList "\\n---\\n" (.Files.Get "file") }}\n  {{ fromYaml . | toJson }}\n{{- end }}\n'
        (chart / "templates/all.yaml").write_text("lines: |\n" + each)
        output = subprocess.run(["helm", "template", chart], capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("  {")]


def targets(cases: list[tuple[str, str, str, str | None]], kind: str) -> list[dict[str, Any]]:
    """Returns the cases as targets, each with another address and once for each way to discover it."""
    roles = {"service": ["endpoint_port_name", "endpointslice_port_name"], "pod": ["pod_container_port_name"]}[kind]
    found = []
    for role in roles:
        for number, (port, prefix, name, _) in enumerate(cases):
            labels = {role: port, f"{kind}_{ANNOTATION}_prefix": prefix, f"{kind}_{ANNOTATION}_port": name}
            labels = {f"__meta_kubernetes_{label}": value for label, value in labels.items() if value}
            found.append({"targets": [f"{kind}-{number}-{role.split('_')[0]}:1"], "labels": labels})
    return found


def snake(relabeling: dict[str, Any]) -> dict[str, Any]:
    return {re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), key): value for key, value in relabeling.items()}


def job(name: str, kind: str, endpoint: dict[str, Any]) -> dict[str, Any]:
    """Returns the scrape configuration of one endpoint of a monitor."""
    relabelings = []
    if port := endpoint.get("port"):
        source = {"service": ["endpoint_port_name", "endpointslice_port_name"], "pod": ["pod_container_port_name"]}[kind]
        labels = [f"__meta_kubernetes_{label}" for label in source]
        relabelings.append({"action": "keep", "source_labels": labels, "separator": "", "regex": port})
        relabelings.append({"target_label": "endpoint", "replacement": port})
    relabelings += [snake(relabeling) for relabeling in endpoint.get("relabelings", [])]
    cases = SERVICES if kind == "service" else PODS
    return {"job_name": name, "static_configs": targets(cases, kind), "relabel_configs": relabelings}


def jobs() -> list[dict[str, Any]]:
    found = []
    for monitor in documents(HERE / "golden/monitoring-defaults.yaml"):
        labels = monitor.get("metadata", {}).get("labels", {})
        if monitor.get("kind") in ("ServiceMonitor", "PodMonitor") and "dask.org/component" in labels:
            kind, field = ("service", "endpoints") if monitor["kind"] == "ServiceMonitor" else ("pod", "podMetricsEndpoints")
            endpoints = enumerate(monitor["spec"][field])
            found += [job(f"{monitor['metadata']['name']}/{number}", kind, endpoint) for number, endpoint in endpoints]
    return found


def ask(address: str) -> dict[str, Any]:
    """Returns Prometheus' targets, once it has discovered them."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"{address}/api/v1/targets") as answer:
                found = json.load(answer)["data"]
                if found["activeTargets"]:
                    return found
        except urllib.error.URLError:
            pass
        if time.monotonic() > deadline:
            sys.exit("Prometheus has no targets")
        time.sleep(0.2)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "prometheus.json"
        config.write_text(json.dumps({"scrape_configs": jobs()}))
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        options = [f"--config.file={config}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"]
        with subprocess.Popen(["prometheus", *options], stderr=subprocess.DEVNULL) as prometheus:
            try:
                active = ask(f"http://{address}")["activeTargets"]
            finally:
                prometheus.terminate()
    found = sorted((target["scrapeUrl"].removeprefix("http://"), target["labels"]["endpoint"]) for target in active)
    expected = sorted(
        (target["targets"][0] + path, port)
        for cases, kind in ((SERVICES, "service"), (PODS, "pod"))
        for target, (port, _, _, path) in zip(targets(cases, kind), cases * 2, strict=False)
        if path
    )
    if found != expected:
        sys.exit(f"the monitors find\n{found}\nand should find\n{expected}")
    print(f"the monitors find {len(found)} of {len(targets(SERVICES, 'service') + targets(PODS, 'pod'))} targets, at the right paths")


if __name__ == "__main__":
    main()
