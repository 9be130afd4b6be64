#!/usr/bin/env python3
"""Checks that the controller's image is as documented: small, with a single statically linked program, run as a user
other than root, and able to run with a read-only root file system.

Usage: check.py IMAGE.tar ARCHITECTURE VERSION (IMAGE.tar is a docker-archive; needs root for chroot and other users).
"""

import json
import stat
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PROGRAM = "usr/local/bin/dask-operator"
MAX_BYTES = 40_000_000
# e_machine of an ELF header.
MACHINES = {"amd64": 62, "arm64": 183}
PT_INTERP = 3
# The image's user, the chart's, and one as OpenShift assigns them.
USERS = ("65532:65532", "1000:1000", "1000660000:0")
LABELS = ("title", "description", "licenses", "source", "version")


def config_problems(config, architecture, version):
    """Yields problems of the image's configuration."""
    run = config["config"]
    labels = {label: run.get("Labels", {}).get(f"org.opencontainers.image.{label}") for label in LABELS}
    if config["architecture"] != architecture or config["os"] != "linux":
        yield f"it is for {config['os']}/{config['architecture']} instead of linux/{architecture}"
    if run.get("User") != USERS[0]:
        yield f"its user is {run.get('User')!r} instead of {USERS[0]}"
    if run.get("Entrypoint") != [f"/{PROGRAM}"] or run.get("Cmd"):
        yield f"its entry point is {run.get('Entrypoint')} {run.get('Cmd')}"
    if not all(labels.values()) or labels["version"] != version:
        yield f"its labels are {labels}, but the version is {version}"


def file_problems(files):
    """Yields problems of the files in the layers."""
    names = [entry.name for entry in files if not entry.isdir()]
    if names != [PROGRAM]:
        yield f"it contains {names} instead of only {PROGRAM}"
    for entry in files:
        if entry.uid or entry.gid or entry.mode & 0o7022:
            yield f"{entry.name} belongs to {entry.uid}:{entry.gid}, mode {stat.filemode(entry.mode)}"


def program_problems(data, architecture):
    """Yields problems of the ELF file: another architecture, or dynamic linking."""

    def number(offset, size):
        return int.from_bytes(data[offset : offset + size], "little")

    if data[:4] != b"\x7fELF" or number(18, 2) != MACHINES[architecture]:
        yield f"{PROGRAM} is not a program for {architecture}"
        return
    table, size, count = number(32, 8), number(54, 2), number(56, 2)
    if any(number(table + index * size, 4) == PT_INTERP for index in range(count)):
        yield f"{PROGRAM} is not statically linked"


def call(root, user, arguments):
    """Runs the program in the image, on a read-only root file system and without network."""
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec chroot --userspec="$@"'
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", script, str(root), user, str(root)]
    return subprocess.run(
        [*command, f"/{PROGRAM}", *arguments], env={}, capture_output=True, text=True, timeout=60, check=False
    )


def run_problems(root, version):
    """Yields problems of running the program."""
    for user in USERS:
        result = call(root, user, ["--version"])
        if (result.returncode, result.stdout.strip()) != (0, f"dask-operator {version}"):
            yield f"--version as {user}: {result.returncode} {result.stdout}{result.stderr}"
    if "kind: CustomResourceDefinition" not in (definitions := call(root, USERS[1], ["crd"])).stdout:
        yield f"crd: {definitions.returncode} {definitions.stderr}"
    # Without a cluster it must exit with its documented code, and not earlier because a file is missing in the image.
    no_cluster = call(root, USERS[1], ["run"])
    if no_cluster.returncode != 3 or "no usable kubeconfig" not in no_cluster.stderr:
        yield f"run, without a cluster: {no_cluster.returncode} {no_cluster.stderr}"


def read(archive):
    """Returns the image's configuration, the files of its layers, and the program."""
    with tarfile.open(archive) as image:
        [manifest] = json.load(image.extractfile("manifest.json"))
        config = json.load(image.extractfile(manifest["Config"]))
        entries, program = [], b""
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=image.extractfile(layer)) as files:
                for entry in files:
                    entries.append(entry)
                    if entry.name == PROGRAM and entry.isfile():
                        program = files.extractfile(entry).read()
    return config, entries, program


def main(archive, architecture, version):
    config, entries, program = read(archive)
    problems = [*config_problems(config, architecture, version), *file_problems(entries)]
    if (size := Path(archive).stat().st_size) > MAX_BYTES:
        problems.append(f"it has {size} bytes, more than {MAX_BYTES}")
    problems += program_problems(program, architecture)
    if not problems:
        with tempfile.TemporaryDirectory() as work:
            root = Path(work)
            # Other users need access, as in a container.
            root.chmod(0o755)
            (root / PROGRAM).parent.mkdir(parents=True)
            (root / PROGRAM).write_bytes(program)
            (root / PROGRAM).chmod(0o755)
            problems += run_problems(root, version)
    for problem in problems:
        print(f"check.py: the image {archive}: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
