#!/usr/bin/env bash
# Runs COMMAND with prometheus and promtool in PATH: the installed ones, or else Debian's. Debian's package is unpacked into
# the cache instead of being installed, because its installation would start a service.
# Usage: prometheus.sh COMMAND...
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

dir=$CACHE/prometheus
if [[ ! -d $dir ]] && command -v prometheus >/dev/null && command -v promtool >/dev/null; then
  exec "$@"
fi
if [[ ! -x $dir/usr/bin/promtool ]]; then
  mkdir -p "$CACHE"
  part=$(mktemp -d "$CACHE/prometheus.XXXXXX")
  trap 'rm -rf "$part"' EXIT
  # apt's sandbox user may not write to this directory, and apt would print a warning.
  download() { (cd "$part" && apt-get download -qq -o APT::Sandbox::User=root prometheus); }
  download 2>/dev/null || { apt-get update -qq && download; }
  dpkg-deb --extract "$part"/prometheus_*.deb "$part"
  rm "$part"/prometheus_*.deb
  rm -rf "$dir"
  mv "$part" "$dir"
  trap - EXIT
fi
export PATH=$dir/usr/bin:$PATH
exec "$@"
