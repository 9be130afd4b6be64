#!/usr/bin/env bash
# Tests the package as users install it, from a wheel, with the oldest and the newest supported Python on this machine.
# Checks types and style with the newest. The environments are kept, and created again when their inputs change.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"
say() { printf '== %s\n' "$*"; }
fail() { echo "check.sh: $*" >&2; exit 1; }

# Prints a line "MINOR PATH" for each version.
interpreters() {
  local candidate
  for candidate in python3.{10..19} "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python python3; do
    "$candidate" -c '
import sys, venv, ensurepip
if sys.version_info >= (3, 10) and sys.implementation.name == "cpython":
    print(sys.version_info.minor, sys.executable)' 2>/dev/null || true
  done | sort -n -u -k1,1
}
found=$(interpreters)
[[ -n $found ]] || fail "missing program: Python 3.10 or newer"
oldest=$(head -1 <<<"$found") newest=$(tail -1 <<<"$found")

inputs=$(find pyproject.toml README.md src -type f -not -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z |
  xargs -0 cat | sha256sum | cut -c1-16)

check() {
  local minor=$1 python=$2 extras=$3 venv=$here/.venv-3.$1
  local stamp=$inputs-$extras
  if [[ $(cat "$venv/stamp" 2>/dev/null) != "$stamp" ]]; then
    say "installing the wheel on Python 3.$minor"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" wheel --quiet --no-deps --wheel-dir "$venv/wheel" .
    "$venv/bin/pip" install --quiet "$(echo "$venv"/wheel/*.whl)[$extras]"
    echo "$stamp" >"$venv/stamp"
  fi
  say "running the tests on Python 3.$minor"
  "$venv/bin/python" -m pytest
}

[[ $newest == "$oldest" ]] || check $oldest serve,test,dev

check $newest serve,test,dev,lint
bin=$here/.venv-3.${newest%% *}/bin
say "checking types and style"
"$bin/mypy" src
"$bin/ruff" format --check --quiet .
"$bin/ruff" check --quiet .
