#!/usr/bin/env python3
"""Fails if a tracked text file, or its name, contains a word or phrase of words.tsv, and prints what to write instead.

Usage: words.py [--self-test | --count]
--self-test checks the table and that a planted word is found; --count prints how often each entry occurs.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("words.tsv")
# Generated files, whose sources are checked, and files that must name the words.
EXCLUDED = [
    ".github/words.*",
    "CHANGELOG.md",
    "*.lock",
    "*.sum",
    "*.svg",
    "LICENSE",
    "charts/dask-operator/files/crds.yaml",
    "charts/golden/*.yaml",
    "controller/fuzz/corpus",
    "docs/src/metrics-table.md",
    "plugin-protocol/schema",
]


class Entry(NamedTuple):
    pattern: re.Pattern[str]
    replacement: str


class Finding(NamedTuple):
    place: str
    word: str
    entry: Entry


def read_table(text: str) -> list[Entry]:
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        pattern, tab, replacement = line.partition("\t")
        if not tab or not replacement.strip():
            sys.exit(f"{TABLE.name}:{number}: expected a regular expression, a tab and a replacement: {line}")
        try:
            entries.append(Entry(re.compile(pattern), replacement.strip()))
        except re.error as error:
            sys.exit(f"{TABLE.name}:{number}: {pattern} is not a regular expression: {error}")
    return entries


def git_files(root: Path, *command: str) -> list[str] | None:
    """Returns the tracked files that a git command lists, or None if it fails."""
    pathspecs = [".", *(f":(exclude,glob){pattern}" for pattern in EXCLUDED if "*" in pattern)]
    pathspecs += [f":(exclude){path}" for path in EXCLUDED if "*" not in path]
    # `*` without a slash matches in every directory.
    pathspecs += [f":(exclude,glob)**/{pattern}" for pattern in EXCLUDED if "/" not in pattern]
    result = subprocess.run(["git", "-C", str(root), *command, "--", *pathspecs], capture_output=True, text=True)
    # `git grep` exits with 1 if it finds nothing.
    return sorted(set(result.stdout.split("\0")) - {""}) if result.returncode in (0, 1) else None


def findings(root: Path, entries: list[Entry]) -> list[Finding]:
    names = git_files(root, "ls-files", "-z")
    if names is None:
        sys.exit(f"words.py: {root} is not a git repository")
    any_entry = "|".join(f"(?:{entry.pattern.pattern})" for entry in entries)
    # git searches much faster than Python, but may have been built without Perl's regular expressions.
    candidates = git_files(root, "grep", "-lzIP", "-e", any_entry)
    return [
        *(found for name in names for found in findings_in(f"{name} (file name)", name, entries)),
        *(found for name in (names if candidates is None else candidates) for found in findings_in_file(root, name, entries)),
    ]


def findings_in_file(root: Path, name: str, entries: list[Entry]) -> list[Finding]:
    path = root / name
    if path.is_symlink() or not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []
    return [found for number, line in enumerate(lines, 1) for found in findings_in(f"{name}:{number}", line, entries)]


def findings_in(place: str, text: str, entries: list[Entry]) -> list[Finding]:
    return [Finding(place, match[0].strip(), entry) for entry in entries for match in entry.pattern.finditer(text)]


def self_test(entries: list[Entry]) -> None:
    for pattern, replacement in entries:
        if pattern.search(replacement):
            sys.exit(f"{TABLE.name}: {pattern.pattern} matches its own replacement: {replacement}")
    if len({entry.pattern.pattern for entry in entries}) != len(entries):
        sys.exit(f"{TABLE.name}: an entry occurs twice")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        planted = "plain words\nthis is begun anew\n"
        for name in ["a.md", "CHANGELOG.md", "sub/Cargo.lock", "binary"]:
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(planted.encode() + (b"\xff" if name == "binary" else b""))
        for command in (["init", "--quiet"], ["add", "."]):
            subprocess.run(["git", "-C", directory, *command], check=True)
        found = [(finding.place, finding.word) for finding in findings(root, entries)]
    if found != [("a.md:2", "anew")]:
        sys.exit(f"words.py: the self-test expected the planted word once, and found {found}")


def main(arguments: list[str]) -> int:
    entries = read_table(TABLE.read_text(encoding="utf-8"))
    self_test(entries)
    if arguments == ["--self-test"]:
        return 0
    found = findings(Path(__file__).parent.parent, entries)
    if arguments == ["--count"]:
        counts = Counter(finding.entry.pattern.pattern for finding in found)
        for entry in entries:
            print(f"{counts[entry.pattern.pattern]:6}  {entry.pattern.pattern}")
        return 0
    if arguments:
        sys.exit(__doc__)
    for place, word, entry in found:
        print(f'{place}: "{word}" (use: {entry.replacement})', file=sys.stderr)
    if found:
        print(f"words.py: {len(found)} words that .github/words.tsv forbids", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
