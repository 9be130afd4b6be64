#!/usr/bin/env bash
# Draws pictures of the dashboard for the book. A controller works on an API server without nodes for two minutes: clusters
# come and go, and a plugin fails for some time. Prometheus scrapes it, and matplotlib draws its answers to the queries of the
# dashboard. The first run after a change of the code builds the controller.
# Usage: testbed/with-cluster.sh control-plane testbed/prometheus.sh docs/pictures.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
namespace=dask-pictures
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; kubectl delete namespace "$namespace" --wait=false >/dev/null; rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet matplotlib==3.11.2 "$root/python[serve]"
cargo build --quiet --locked -p dask-operator
program=${CARGO_TARGET_DIR:-target}/debug/dask-operator

cat >"$work/plugin.py" <<'PLUGIN'
import sys
from pathlib import Path

from dask_operator_plugin import Failure, Pending, Plugin

name, broken = sys.argv[1], Path(sys.argv[2])
plugin = Plugin(name, version="1.0.0")


@plugin.sync("Service", component="scheduler")
def sync(request):
    if broken.exists() and request.owner.name in ("team-0", "team-1"):
        raise Failure("NoDomain", "set spec.settings.domain")
    if broken.exists() and request.owner.name == "team-2":
        raise Pending("no address yet", resync_after=5)
    data = {"cluster": request.owner.name, "round": request.owner.object["metadata"].get("annotations", {}).get("round", "")}
    return {"config": {"apiVersion": "v1", "kind": "ConfigMap", "data": data}}


plugin.run()
PLUGIN

kubectl apply --server-side --force-conflicts -f charts/dask-operator/files/crds.yaml >/dev/null
kubectl create namespace "$namespace" >/dev/null
port=28101
for plugin in ingress monitors; do
  PLUGIN_INSECURE_PORT=$port PLUGIN_HEALTH_PORT=$((port + 10)) "$work/venv/bin/python" "$work/plugin.py" "$plugin" "$work/broken-$plugin" >"$work/$plugin.log" 2>&1 &
  kubectl apply -n "$namespace" -f - >/dev/null <<PLUGIN
apiVersion: kubernetes.dask.org/v1alpha1
kind: DaskOperatorPlugin
metadata: {name: $plugin}
spec:
  endpoint: {url: "http://127.0.0.1:$port"}
  subjects: [{kind: Service, component: scheduler}]
  children: [{apiVersion: v1, kind: ConfigMap}]
PLUGIN
  port=$((port + 1))
done
"$program" run --dev-plugins --namespace "$namespace" --operator-namespace "$namespace" --admin-address 127.0.0.1:28100 \
  >"$work/controller.log" 2>&1 &
printf '%s' '{"global":{"scrape_interval":"1s"},"scrape_configs":[{"job_name":"dask-operator","static_configs":[{
  "targets":["127.0.0.1:28100"],"labels":{"namespace":"dask-operator"}}]}]}' >"$work/prometheus.yml"
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" --web.listen-address=127.0.0.1:28120 \
  >"$work/prometheus.log" 2>&1 &

begin=$(date +%s)
sleep 10
for number in 0 1 2 3 4 5; do
  sed "s/\bdemo\b/team-$number/" demo/cluster.yaml | kubectl apply -n "$namespace" -f - >/dev/null
  sleep 2
done
sleep 8
touch "$work/broken-ingress"
for round in 1 2 3 4; do
  kubectl annotate -n "$namespace" daskclusters --all --overwrite "round=$round" >/dev/null
  sleep 6
done
for number in 3 4 5; do kubectl scale -n "$namespace" daskcluster "team-$number" --replicas 5 >/dev/null; done
rm "$work/broken-ingress"
kubectl annotate -n "$namespace" daskclusters --all --overwrite round=5 >/dev/null
sleep 15
kubectl delete -n "$namespace" daskclusters team-4 team-5 >/dev/null
sleep 20
"$work/venv/bin/python" docs/pictures.py http://127.0.0.1:28120 "$begin" "$(date +%s)" docs/src
