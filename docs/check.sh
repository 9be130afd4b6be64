#!/usr/bin/env bash
# Builds the book, follows its links, types its tutorials as printed, and looks whether every reason is explained.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
cache=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dask-operator}
programs=$(realpath "${TARGET_DIR:-${CARGO_TARGET_DIR:-target}}")/debug
version=0.5.4
say() { printf '== %s\n' "$*"; }
fail() { echo "docs/check.sh: $*" >&2; exit 1; }

mdbook=$cache/mdbook-$version/bin/mdbook
if [[ ! -x $mdbook ]]; then
  say "building mdBook"
  cargo install --quiet --locked --root "$cache/mdbook-$version" --version "$version" mdbook
fi
say "the book"
"$mdbook" build docs
python3 docs/check_links.py docs/book

say "the reasons"
grep -rhoE '(Invalid::new\(|refuse\(|failing\(|Err\(\(|reason: |=> |: &str = )"[A-Z][A-Za-z]+"' \
  controller/src/plugin/{screen,outcome,write,sync,worker,drift,brake,finalizing}.rs controller/src/plugin/resource \
  controller/src/{diagnosis.rs,job/validate.rs,cluster/validate.rs,worker_group/validate.rs,autoscaler/validate.rs} |
  grep -oE '[A-Z][A-Za-z]+"$' | tr -d '"' | sort -u >"$programs/reasons"
while read -r reason; do
  case $reason in
    # Types of conditions, good states, kinds, and examples of tests.
    Accepted|Discovered|Authorized|Ready|Valid|Answered|Allowed|Success|Failure|Pending|Because|ConfigMap|Secret|Ingress|Service|DaskCluster) continue ;;
  esac
  grep -q "\`$reason\`" docs/src/troubleshooting.md || fail "troubleshooting.md does not explain $reason"
done <"$programs/reasons"

say "the tutorials, as printed"
cargo build --quiet --locked -p dask-operator -p dask-plugin-sanity
export PATH=$programs:$PATH
for chapter in python rust; do
  echo "$chapter.md"
  python3 docs/run_snippets.py "docs/src/$chapter.md"
done
