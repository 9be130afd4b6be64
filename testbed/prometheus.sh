#!/usr/bin/env bash
# Usage: prometheus.sh COMMAND...
#
# Runs COMMAND with prometheus and promtool in PATH: those that are there, else Debian's. The package is unpacked into
# the cache and not installed: as a package it would bring a service that starts at once.
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
  # apt's own user has no right to write here, of which it would warn.
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
