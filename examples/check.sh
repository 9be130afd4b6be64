#!/usr/bin/env bash
# Checks each example plugin as a plugin author would: serves it on a socket, runs dask-plugin-sanity on it, and renders its
# children for the demo's cluster. Does the same with new plugins from the templates for Python and Rust. Python uses the
# environment that python/check.sh created.
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

# serve NAME COMMAND...: starts a plugin on $work/NAME.sock and waits for the socket.
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
  fail "$name does not listen on its socket"
}

# check_plugin NAME [FOLDER [MANIFESTS]]: checks the plugin with dask-plugin-sanity, and renders its children for MANIFESTS with
# the controller.
check_plugin() {
  local plugin=${2:-examples/$1}/manifests/plugin.yaml endpoint=unix:$work/$1.sock
  say "$1: checking the plugin"
  "$programs/dask-plugin-sanity" "$endpoint" --plugin "$plugin" >"$work/report" || { cat "$work/report"; fail "$1 fails dask-plugin-sanity"; }
  tail -1 "$work/report" | sed "s#: unix:.*##"
  "$programs/dask-operator" render --plugin "$plugin" --endpoint "$endpoint" -f "${3:-$work/cluster.yaml}" >"$work/children" ||
    fail "the controller would reject the response of $1"
  grep -q '^kind: ' "$work/children" || fail "$1 returns no children for its cluster"
  sed -n 's/^kind: /   renders /p' "$work/children" | sort | uniq -c | sed 's/^ */   /'
  [[ ! -f ${2:-}/kustomization.yaml ]] || testbed/env.sh kubectl kustomize "$2" >/dev/null || fail "kubectl apply -k refuses $2"
}

say "building the examples"
cargo build --quiet --locked -p dask-operator -p dask-plugin-sanity \
  -p ingress-plugin -p istio-plugin -p networkpolicy-plugin -p decorator-plugin
# The hook of the decorator example needs this annotation.
sed 's#^metadata:#metadata:\n  annotations: {example.org/host: demo.example.org}#' demo/cluster.yaml >"$work/cluster.yaml"

say "istio: validating its children against the projects' CustomResourceDefinitions"
testbed/env.sh examples/istio/crds.sh "$work/crds"
CRDS=$work/crds cargo test --quiet --locked -p istio-plugin -- --ignored | grep 'test result'

for example in ingress istio networkpolicy; do
  serve "$example" "$programs/$example-plugin"
  check_plugin "$example"
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
check_plugin decorator

say "the programs as a package of Python"
python/tools/check.sh "$programs" "$python"

say "python: running its tests"
(cd examples/python && "$python" -m pytest -q -p no:cacheprovider)
serve python "$python" examples/python/plugin.py
check_plugin python

say "new plugins in Python"
for rule in DaskCluster DaskWorkerGroup DaskJob DaskAutoscaler Service/scheduler Deployment/{scheduler,worker} Pod/{scheduler,worker,job-runner}; do
  kind=${rule%/*} name=new-$(tr '[:upper:]/' '[:lower:]-' <<<"$rule")
  component=()
  [[ $rule == "$kind" ]] || component=(--component "${rule#*/}")
  "${python%python}dask-operator-plugin" new "$name" --kind "$kind" "${component[@]}" --directory "$work/$name" >/dev/null
  serve "$name" env --chdir="$work/$name" "$python" plugin.py
  check_plugin "$name" "$work/$name" "$work/$name/sample.yaml"
done

# instantiate FOLDER NAME SUBJECT: does what `cargo generate` would do with the template for Rust.
instantiate() {
  cp -r examples/template-rust "$1"
  rm "$1/cargo-generate.toml"
  mv "$1/Cargo.toml.liquid" "$1/Cargo.toml"
  find "$1" -type f -exec sed -i "s|{{project-name}}|$2|g; s|{{subject}}|$3|g; s|{{image}}|localhost/$2:1.0.0|g
    s|{{kit}}|path = '$root/plugin-server-kit'|g" {} +
  ! grep -rnE '\{\{|\{%' "$1" || fail "the template for Rust has an unknown placeholder"
}

say "a new plugin in Rust"
instantiate "$work/new-rust" new-rust "kind: Service, component: scheduler"
# The versions of the workspace, so that most of it is compiled already.
cp Cargo.lock "$work/new-rust"
export CARGO_TARGET_DIR=${programs%/debug}
cargo test --quiet --manifest-path "$work/new-rust/Cargo.toml" | grep 'test result'
cargo build --quiet --manifest-path "$work/new-rust/Cargo.toml"
serve new-rust "$CARGO_TARGET_DIR/debug/new-rust"
check_plugin new-rust "$work/new-rust" "$work/new-rust/sample.yaml"
