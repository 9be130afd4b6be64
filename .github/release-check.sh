#!/usr/bin/env bash
# Checks that all files have the same version, and that the changelog describes it. The crate dask-plugin-protocol has
# its own version.
# Usage: release-check.sh [--tag vX.Y.Z | --notes]. With --tag, also checks that this tag may be released. With --notes,
# prints the release notes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "release-check.sh: $*" >&2; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9a-z.]+)?$ ]] || fail "Cargo.toml has the version '$version'"

# Prints the lines below the heading of the version, up to the next heading.
notes() { awk -v heading="## [$version]" 'index($0, heading) == 1 { found = 1; next } /^## |^\[/ { found = 0 } found' CHANGELOG.md; }

# The places from which a different version would be published or installed.
others=$(
  sed -nE 's/^(dask-plugin-server) = .*version = "([^"]+)".*/Cargo.toml:\1 \2/p' Cargo.toml
  sed -nE 's/^(version|appVersion): "?([^"]+)"?$/Chart.yaml:\1 \2/p' charts/dask-operator/Chart.yaml
  sed -nE 's/^version = "(.*)"$/pyproject.toml:version \1/p' python/pyproject.toml
  sed -nE 's/^version = "(.*)"$/tools\/pyproject.toml:version \1/p' python/tools/pyproject.toml
  sed -nE 's/^tools = \["dask-operator-plugin-tools==(.*)"\]$/pyproject.toml:tools \1/p' python/pyproject.toml
  sed -nE "s/^default = \"version = '(.*)'\"$/cargo-generate.toml:kit \\1/p" examples/template-rust/cargo-generate.toml
  sed -nE '/^name = "(dask-operator|dask-plugin-sanity|dask-plugin-server|kubectl-dask)"$/ { N; s/^name = "(.*)"\nversion = "(.*)"$/Cargo.lock:\1 \2/p }' Cargo.lock
)
[[ $(wc -l <<<"$others") -eq 11 ]] || fail "expected 11 versions, but found: $others"
while read -r place other; do
  [[ $other == "$version" ]] || fail "$place is $other, but the version in Cargo.toml is $version"
done <<<"$others"
# The server is published with a requirement on exactly this version of the protocol.
protocol=$(sed -nE 's/^version = "(.*)"$/\1/p' plugin-protocol/Cargo.toml)
required=$(sed -nE 's/^dask-plugin-protocol = .*version = "([^"]+)".*/\1/p' Cargo.toml)
[[ -n $protocol && $required == "$protocol" ]] ||
  fail "Cargo.toml requires dask-plugin-protocol $required, and plugin-protocol/Cargo.toml has the version '$protocol'"
for license in python/LICENSE python/tools/LICENSE; do
  cmp -s LICENSE $license || fail "$license differs from LICENSE"
done
# Artifact Hub shows the kinds that Chart.yaml lists, each with its name and its version.
defined=$(awk '/^  name: / { name = $2 } /^    kind: / { kind = $2 } /^    name: v/ { print kind, $2, name }' \
  charts/dask-operator/files/crds.yaml | sort)
listed=$(awk '/^    - kind: / { kind = $3 } /^      version: / { version = $2 } /^      name: / { print kind, version, $2 }' \
  charts/dask-operator/Chart.yaml | sort)
diff <(echo "$defined") <(echo "$listed") || fail "Chart.yaml lists other kinds for Artifact Hub than the CRDs"
# The manifest for krew names the archives that the release has.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for platform in linux-amd64 linux-arm64 darwin-amd64 darwin-arm64; do
  echo "$platform" >"$work/program"
  .github/pack-kubectl.sh "$work/program" $platform "$work"
  [[ $(tar -xzOf "$work/kubectl-dask-$platform.tar.gz" kubectl-dask) == "$platform" ]] || fail "the archive for $platform lacks the program"
done
.github/krew.sh "$version" "$work" >"$work/dask.yaml"
sums=$(sed -n 's/^      sha256: "\(.*\)"$/\1/p' "$work/dask.yaml")
archives=$(sed -n 's/^      uri: .*\///p' "$work/dask.yaml")
(cd "$work" && paste -d ' ' <(echo "$sums") <(sed 's/^/ /' <<<"$archives") | sha256sum --check --strict --quiet) ||
  fail "the manifest for krew has other checksums than the archives"
[[ $(wc -l <<<"$archives") -eq 4 ]] || fail "the manifest for krew does not have four archives"
heading=$(grep -F "## [$version]" CHANGELOG.md) || fail "CHANGELOG.md has no section [$version]"
[[ -n $(notes | tr -d '[:space:]') ]] || fail "the section [$version] of CHANGELOG.md is empty"

case ${1:-} in
  --notes) notes ;;
  --tag)
    [[ ${2:-} == "v$version" ]] || fail "the tag is ${2:-missing}, but the version in Cargo.toml is $version"
    [[ $heading =~ \ -\ [0-9]{4}-[0-9]{2}-[0-9]{2}$ ]] || fail "CHANGELOG.md has no date beside [$version]"
    ;;
  "") ;;
  *) fail "unknown argument: $1" ;;
esac
