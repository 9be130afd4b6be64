#!/usr/bin/env bash
# Removes everything that the targets of the Makefile created: clusters, build output, caches, installed packages.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

for dir in "$STATE"/*/; do
  [[ -d $dir ]] || continue
  # Any build of the testbed can remove the cluster. Without a build, no cluster can be running.
  testbed=$(find "$CACHE/bin" -mindepth 2 -maxdepth 2 -name testbed -print -quit 2>/dev/null || true)
  [[ -n $testbed ]] && "$testbed" down --dir "$dir"
done
if [[ -s $CACHE/installed-packages && $(id -u) -eq 0 ]]; then
  echo "removing the packages that \`make\` installed"
  xargs -a "$CACHE/installed-packages" apt-get purge -qq -y >/dev/null
fi
# By name, since CACHE may be a folder that holds other things too.
rm -rf "$root/.cache" "$root/target" "$root/controller/fuzz"/{artifacts,target} "$root/docs/book" "$root"/python/.venv-* \
  "$CACHE"/{cargo-cyclonedx,cargo-deny,mdbook}-* \
  "$CACHE"/{bin,fuzz,go-build,go-mod,helm3,image-build,images,installed-packages,kwok,mesh,prometheus,target,upstream}
[[ ! -d $CACHE ]] || rmdir --ignore-fail-on-non-empty "$CACHE"
