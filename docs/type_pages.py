"""Types the listings of pages on a real node, as a newcomer would, and fails if one does not do what its page shows.

    docs/type_pages.py --check             # only that each listing is typed somewhere, or marked with a reason not to be
    docs/type_pages.py [PAGE...]           # on the cluster of KUBECONFIG, which has the images; `make pages` calls it

listings.py says what is typed. Each page has a shell of its own, in an empty folder or in a checkout. `kubectl get` is repeated
for a minute until it prints what the page shows: a reader would look again as well.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from listings import Untyped, commands, listings, pattern, starts_in_checkout
from shell import Python, Shell

REPOSITORY = Path(__file__).resolve().parent.parent
# In this order: the first installs the operator, the last removes it. The sample cluster stays, except in the tutorial.
PAGES = [
    "README.md",
    "docs/src/quick-start.md",
    "docs/src/python.md",
    "docs/src/rust.md",
    "docs/src/use-from-python.md",
    "docs/src/dask-resources.md",
    "docs/src/jobs.md",
    "docs/src/python-client.md",
    "docs/src/in-process.md",
    "examples/ingress/README.md",
    "examples/python/README.md",
    "examples/networkpolicy/README.md",
    "examples/istio/README.md",
    "examples/decorator/README.md",
    "docs/src/troubleshooting.md",
    "docs/src/operations.md",
    "docs/src/upgrade.md",
]
# What readers have, and what the node has instead. It cannot pull, so the images of this checkout are loaded before.
SUBSTITUTIONS = {
    "registry.example.org/me/": "localhost/",
    "ghcr.io/dask/dask:latest": "localhost/dask:test",
}
LOOKS_AGAIN = 60  # seconds


def substitute(text):
    for ours, theirs in SUBSTITUTIONS.items():
        text = text.replace(ours, theirs)
    return text


def checkout(folder):
    """Copies what is under version control, with the substitutions, because pages change files."""
    folders = ["demo", "examples", "charts", "python", "testbed"]
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *folders]
    files = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    for name in filter(None, files.stdout.split("\0")):
        source, target = REPOSITORY / name, folder / name
        if not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        target.chmod(source.stat().st_mode)
        if name.endswith(".yaml"):
            target.write_text(substitute(source.read_text()))
    return folder


@contextlib.contextmanager
def stopwatch():
    """Prints how long readers wait, if they notice."""
    began = time.monotonic()
    yield
    if (seconds := time.monotonic() - began) >= 1:
        print(f"{seconds:12.1f} s", flush=True)


class Typist:
    """Types one page."""

    def __init__(self, page, work, repository, environment):
        self.page, self.folder, self.repository, self.environment = page, work, repository, environment
        self.shell = Shell(work, environment)
        self.python = None

    def type(self, items):
        for position, listing in enumerate(items):
            following = items[position + 1] if position + 1 < len(items) else None
            match listing.action:
                case "given":
                    self.expect(listing, listing.body, None)
                case "type" | "run-and-type":
                    for command, expected in commands(listing.body):
                        print(f"   $ {command}", flush=True)
                        with stopwatch():
                            self.expect(listing, command, expected)
                case "write":
                    path = self.folder / listing.name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(substitute(listing.body).replace("{REPO}", str(self.repository)))
                case "session":
                    with stopwatch():
                        self.session(listing, following if following and following.action == "output" else None)

    def expect(self, listing, command, expected):
        """Runs a command, which must succeed and print what the page shows, if it shows anything."""
        command, until = substitute(command), time.monotonic() + LOOKS_AGAIN
        while True:
            printed, code = self.shell.run(command)
            is_right = code == 0 and (not expected or pattern(expected).fullmatch(printed))
            if is_right:
                return
            if not command.startswith("kubectl") or " get " not in command or time.monotonic() > until:
                self.fail(listing, command, expected, (printed, code), self.shell)
            time.sleep(0.5)

    def session(self, listing, output):
        """Types a block into the page's Python."""
        if self.python is None:
            program = self.shell.run("command -v python")[0].strip()
            self.python = Python(program, self.folder, self.environment)
        print("".join(f"   >>> {line}\n" for line in listing.body.splitlines()), end="", flush=True)
        printed, code = self.python.run(substitute(listing.body))
        expected = output.body.splitlines() if output else []
        # KubeCluster draws a box first, without a newline behind it.
        end = re.compile(rf"(?<!\w){pattern(expected).pattern}\Z")
        if code != 0 or (expected and not end.search(printed)):
            self.fail(listing, listing.body, expected, (printed, code), self.python)

    def fail(self, listing, command, expected, result, session):
        printed, code = result
        sys.exit(
            f"{self.page}:{listing.line}: {command}\n--- the page shows\n" + "\n".join(expected or [])
            + f"\n--- printed, with exit code {code}\n{printed}--- errors\n{session.said()}"
        )

    def close(self):
        for session in filter(None, (self.python, self.shell)):
            session.close()


def check(pages):
    """Returns the listings of each page, after checking that none is forgotten."""
    return {page: listings(page, (REPOSITORY / page).read_text()) for page in pages}


def check_all():
    """Checks all pages. Those that are not typed may show anything but commands, except commands that need no cluster."""
    sample = (REPOSITORY / "examples/cluster.yaml").read_text()
    if sample not in (listing.body for listing in check(PAGES)["docs/src/quick-start.md"]):
        raise Untyped("docs/src/quick-start.md does not show examples/cluster.yaml as it is")
    for path in sorted([*REPOSITORY.glob("docs/src/*.md"), *REPOSITORY.glob("examples/*/README.md")]):
        page = str(path.relative_to(REPOSITORY))
        # The template of a plugin has listings with placeholders.
        if page not in PAGES and "template" not in page:
            for listing in listings(page, path.read_text(), fragments=True):
                if listing.action in ("type", "session"):
                    what = f"mark this with a reason not to be typed, or add the page to {Path(__file__).name}"
                    raise Untyped(f"{page}:{listing.line}: {what}")


def clean():
    """Deletes what the page before has left, but for the sample cluster: a Dask cluster takes its time to start."""
    if subprocess.run(["kubectl", "get", "crd", "daskclusters.kubernetes.dask.org"], capture_output=True).returncode != 0:
        return
    subprocess.run(["kubectl", "delete", "daskoperatorplugins", "--all", "--all-namespaces"], check=True)
    columns = r"jsonpath={range .items[*]}{.metadata.namespace} {.kind} {.metadata.name}{'\n'}{end}"
    command = ["kubectl", "get", "daskclusters,daskjobs", "--all-namespaces", "-o", columns]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    for namespace, kind, name in map(str.split, found.stdout.splitlines()):
        if (namespace, name) != ("default", "demo"):
            subprocess.run(["kubectl", "delete", "-n", namespace, kind, name, "--ignore-not-found"], check=True)


def type_pages(pages):
    times = {}
    with tempfile.TemporaryDirectory() as folder:
        reader = Path(folder, "reader")
        # The reader's Python. The package manager must not ask for newer versions of itself.
        subprocess.run([sys.executable, "-m", "venv", reader], check=True)
        path = f"{reader / 'bin'}:{os.environ['PATH']}"
        for number, (page, items) in enumerate(pages.items()):
            if not any(listing.action in ("type", "run-and-type", "session") for listing in items):
                continue
            print(f"== {page}", flush=True)
            clean()
            began = time.monotonic()
            repository = checkout(Path(folder, f"checkout-{number}"))
            work = repository
            if not starts_in_checkout((REPOSITORY / page).read_text()):
                work = Path(folder, f"page-{number}")
                work.mkdir()
            environment = {**os.environ, "PATH": path, "REPO": str(repository), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
            typist = Typist(page, work, repository, environment)
            try:
                typist.type(items)
            finally:
                typist.close()
            times[page] = time.monotonic() - began
    print("== seconds for each page, as typed")
    for page, seconds in times.items():
        print(f"{seconds:8.1f}  {page}")
    print(f"{sum(times.values()):8.1f}  all")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    try:
        check_all()
    except Untyped as error:
        sys.exit(str(error))
    if arguments != ["--check"]:
        type_pages(check(arguments or PAGES))
