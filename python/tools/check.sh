#!/usr/bin/env bash
# Tests the wheel with the programs as users install it. Usage: check.sh DIRECTORY_OF_PROGRAMS PYTHON
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
fail() { echo "tools/check.sh: $*" >&2; exit 1; }

[[ $# -eq 2 ]] || fail "usage: check.sh DIRECTORY_OF_PROGRAMS PYTHON"
directory=$(realpath "$1") python=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

PYTHON=$python "$here/build.sh" "$directory" "$work/dist" >/dev/null
requirement=$(sed -n 's/^tools = \["\(.*\)"\]$/\1/p' "$root/python/pyproject.toml")
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-index --find-links "$work/dist" "$requirement" ||
  fail "the wheel is not what the extra tools of the package requires: $requirement"
PATH=$work/venv/bin:$PATH
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
grep -qx "dask-operator $version" <<<"$(dask-operator version)" || fail "dask-operator does not have the version $version"
[[ $(dask-plugin-sanity --version) == "dask-plugin-sanity $version" ]] || fail "dask-plugin-sanity has another version"
requests=$(dask-operator render --requests --plugin "$root/examples/python/manifests/plugin.yaml" -f "$root/demo/cluster.yaml")
[[ $requests == *'"hook":"Sync"'* ]] || fail "dask-operator render prints no request"

# A static program is for each Linux, also for those without glibc.
wheel=$(echo "$work"/dist/*.whl)
if [[ $(readelf --program-headers "$directory/dask-operator") == *INTERP* ]]; then
  [[ $wheel == *-linux_* ]] || fail "the wheel of dynamic programs claims to run everywhere: $wheel"
else
  [[ $wheel == *manylinux*musllinux* ]] || fail "the wheel of static programs is for this machine only: $wheel"
fi
