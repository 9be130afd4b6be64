#!/usr/bin/env bash
# Checks that all that carries the release's version carries the same one, and that the changelog tells of it.
# Usage: release-check.sh [--tag vX.Y.Z | --notes]: also that it may be released as this tag; or print its notes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "release-check.sh: $*" >&2; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9a-z.]+)?$ ]] || fail "Cargo.toml has the version '$version'"

# Lines below the heading of the version, up to the next one.
notes() { awk -v heading="## [$version]" 'index($0, heading) == 1 { found = 1; next } /^## |^\[/ { found = 0 } found' CHANGELOG.md; }

# Where another one would be published, or installed.
others=$(
  sed -nE 's/^(dask-plugin-[a-z-]+) = .*version = "([^"]+)".*/Cargo.toml:\1 \2/p' Cargo.toml
  sed -nE 's/^(version|appVersion): "?([^"]+)"?$/Chart.yaml:\1 \2/p' charts/dask-operator/Chart.yaml
  sed -nE 's/^version = "(.*)"$/pyproject.toml:version \1/p' python/pyproject.toml
  sed -nE '/^name = "(dask-operator|dask-plugin-sanity|dask-plugin-protocol|dask-plugin-server)"$/ { N; s/^name = "(.*)"\nversion = "(.*)"$/Cargo.lock:\1 \2/p }' Cargo.lock
)
[[ $(wc -l <<<"$others") -eq 9 ]] || fail "not all versions were found, but: $others"
while read -r place other; do
  [[ $other == "$version" ]] || fail "$place is $other, and the version in Cargo.toml is $version"
done <<<"$others"
cmp -s LICENSE python/LICENSE || fail "python/LICENSE is not the LICENSE"
heading=$(grep -F "## [$version]" CHANGELOG.md) || fail "CHANGELOG.md has no section [$version]"
[[ -n $(notes | tr -d '[:space:]') ]] || fail "CHANGELOG.md says nothing in the section [$version]"

case ${1:-} in
  --notes) notes ;;
  --tag)
    [[ ${2:-} == "v$version" ]] || fail "the tag is ${2:-missing}, and the version in Cargo.toml is $version"
    [[ $heading =~ \ -\ [0-9]{4}-[0-9]{2}-[0-9]{2}$ ]] || fail "CHANGELOG.md has no date beside [$version]"
    ;;
  "") ;;
  *) fail "unknown: $1" ;;
esac
