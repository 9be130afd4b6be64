#!/usr/bin/env bash
# Builds the book and checks its links, runs those commands in its tutorials and in the README that need no cluster, and checks
# that each listing is typed, here or by `make pages`, or marked with a reason not to be; that the chapter
# on troubleshooting explains every reason that the controller reports, that the threat model names existing tests, and that
# Argo CD's health scripts and kstatus understand the states of resources.
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
# Everything that the controller reports as a reason, wherever its code is. Tests and other programs are left out.
git ls-files '*.rs' | grep -vE '(^|/)(tests?|testing|status/health|fuzz|bench|examples|kubectl-dask|plugin-(protocol|server-kit|sanity))(/|\.rs$)|fixtures|arbitrary' |
  xargs awk '/^mod tests \{/ { nextfile } { print }' |
  grep -oE '(::new\(|refuse\(|failing\(|Err\(\(|reason: |=> |: &str = |::(no|unknown)\([A-Z_]+, )"[A-Z][A-Za-z]+"' |
  grep -oE '[A-Z][A-Za-z]+"$' | tr -d '"' | sort -u >"$programs/reasons"
(($(wc -l <"$programs/reasons") > 100)) || fail "found only $(wc -l <"$programs/reasons") reasons: has their form changed?"
while read -r reason; do
  case $reason in
    # Types of conditions and their states.
    Accepted|Active|Authorized|Available|ComponentsCreated|Discovered|IdleProbed|PluginsSynced|Ready|Scaled|\
    SchedulerReady|SchedulerUpToDate|Stalled|WorkersAvailable|True|False|Unknown) continue ;;
    # Kinds.
    ConfigMap|DaskAutoscaler|DaskCluster|DaskJob|DaskWorkerGroup|Deployment|Ingress|Pod|Secret|Service) continue ;;
    # Phases, and states without a problem.
    ClusterCreated|Created|Error|Failed|JobCreated|Pending|Running|Successful|Valid|Answered|Allowed|Success|Failure) continue ;;
    # Values of fields of pods.
    Always|IfNotPresent) continue ;;
    # Values of labels of metrics, which the chapter on metrics explains, and of the breaker.
    Closed|HalfOpen|Open|Failing|Panic|Synced|Unavailable|Unmatched) continue ;;
  esac
  grep -q "\`$reason\`" docs/src/troubleshooting.md || fail "troubleshooting.md does not explain $reason"
done <"$programs/reasons"

say "the threat model, and the mistakes that users make"
while IFS=: read -r page test; do
  grep -rqE "fn $test\\b" --include='*.rs' --exclude-dir=target . || fail "$page names a test that does not exist: $test"
done < <(grep -oHE '`[a-z0-9_]{24,}`' SECURITY.md docs/src/use-from-python.md | tr -d '`')
while read -r file; do
  [[ -n $(git ls-files "$file" "*/$file") ]] || fail "SECURITY.md names a file that does not exist: $file"
done < <(grep -oE '`[a-z0-9_/-]+\.(rs|py|yaml|toml)`' SECURITY.md | tr -d '`')

say "Argo CD's health scripts and kstatus"
testbed/env.sh go -C docs/argo-cd/check run .

say "the listings"
python3 -m unittest discover --quiet --start-directory docs
python3 docs/type_pages.py --check

say "the tutorials and the README, as printed"
cargo build --quiet --locked -p dask-operator -p dask-plugin-sanity
venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
# The tutorial on Python creates its own environment. The README only names the tutorial, so its example uses this one.
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet "$root/python[serve]"
export PATH=$programs:$PATH
for chapter in docs/src/python.md docs/src/rust.md; do
  echo "$chapter"
  python3 docs/run_snippets.py "$chapter"
done
echo "docs/src/dev-plugins.md"
PATH=$venv/bin:$PATH testbed/with-cluster.sh control-plane bash -euc '
  dask-operator crd | kubectl apply --server-side -f - >/dev/null
  python3 docs/run_snippets.py docs/src/dev-plugins.md'
echo "README.md"
PATH=$venv/bin:$PATH python3 docs/run_snippets.py README.md
