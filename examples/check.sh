#!/usr/bin/env bash
# Serves each example on a socket, checks it with dask-plugin-sanity, and renders its children for the cluster of the
# demo. The Python example runs in the environment of python/check.sh.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
programs=$(realpath "${TARGET_DIR:-${CARGO_TARGET_DIR:-target}}")/debug
python=$(printf '%s\n' "$root"/python/.venv-3.*/bin/python | sort -V | tail -1)
work=$(mktemp -d)
processes=()

say() { printf '== %s\n' "$*"; }
fail() { echo "examples/check.sh: $*" >&2; exit 1; }
clean_up() {
  [[ ${#processes[@]} -eq 0 ]] || kill "${processes[@]}" 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap clean_up EXIT

# serve NAME COMMAND...: starts a plugin and waits until it listens on $work/NAME.sock.
serve() {
  local name=$1 socket=$work/$1.sock
  shift
  PLUGIN_SOCKET=$socket "$@" >"$work/$name.log" 2>&1 &
  processes+=($!)
  for _ in {1..300}; do
    [[ -S $socket ]] && return
    kill -0 "${processes[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  cat "$work/$name.log" >&2
  fail "$name does not listen"
}

# check EXAMPLE: checks the responses of the plugin, and renders its children with the code of the controller.
check() {
  local plugin=examples/$1/manifests/plugin.yaml endpoint=unix:$work/$1.sock
  say "$1: dask-plugin-sanity"
  "$programs/dask-plugin-sanity" "$endpoint" --plugin "$plugin" >"$work/report" || { cat "$work/report"; fail "$1 fails"; }
  tail -1 "$work/report" | sed "s#: unix:.*##"
  "$programs/dask-operator" render --plugin "$plugin" --endpoint "$endpoint" -f "$work/cluster.yaml" >"$work/children" ||
    fail "the controller would refuse the children of $1"
  grep -q '^kind: ' "$work/children" || fail "$1 has no children for the cluster of the demo"
  sed -n 's/^kind: /   renders /p' "$work/children"
}

say "building the examples"
cargo build --quiet --locked -p dask-operator -p dask-plugin-sanity \
  -p ingress-plugin -p istio-plugin -p networkpolicy-plugin -p decorator-plugin
# The hook of the decorator needs a host.
sed 's#^metadata:#metadata:\n  annotations: {example.org/host: demo.example.org}#' demo/cluster.yaml >"$work/cluster.yaml"

say "istio: validation with the CRDs"
testbed/env.sh examples/istio/crds.sh "$work/crds"
CRDS=$work/crds cargo test --quiet --locked -p istio-plugin -- --ignored | grep 'test result'

for example in ingress istio networkpolicy; do
  serve "$example" "$programs/$example-plugin"
  check "$example"
done

port=$("$python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$python" examples/decorator/hook.py "$port" >"$work/hook.log" 2>&1 &
processes+=($!)
for _ in {1..300}; do
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
  sleep 0.1
done
hook=http://127.0.0.1:$port/sync
serve decorator env HOOK_URL="$hook" FINALIZE_URL="$hook" "$programs/decorator-plugin"
check decorator

say "python: its own tests"
(cd examples/python && "$python" -m pytest -q -p no:cacheprovider)
serve python "$python" examples/python/plugin.py
check python
