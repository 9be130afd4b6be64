#!/usr/bin/env python3
"""Documents and checks the chart's values. Their only description is in values.yaml, in the comments above the keys.

values.py write [--check]   writes the table of values in the chart's README and files/known-values.json, or fails if one of
                            them is stale
values.py used              fails if no file in golden/ sets a value, or if a value has no effect there; needs helm
values.py types             fails if the schema accepts a known value of a wrong type; needs helm
"""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
CHART = HERE / "dask-operator"
BEGIN, END = "<!-- values: made by charts/values.py -->\n", "<!-- end of values -->\n"


class Value(NamedTuple):
    path: str
    default: str | None
    """As in the file. None for a key that only contains other keys."""
    description: str


def values() -> list[Value]:
    """Returns the keys of values.yaml in their order. Lists and maps as defaults must be on one line."""
    found: list[Value] = []
    above: list[tuple[int, str]] = []
    comment: list[str] = []
    for number, line in enumerate((CHART / "values.yaml").read_text().splitlines(), 1):
        text = line.strip()
        if text.startswith("#"):
            comment.append(text.lstrip("# "))
            continue
        if not text:
            comment.clear()
            continue
        key = re.fullmatch(r"( *)([A-Za-z]+):(?: (\S.*))?", line)
        if not key:
            sys.exit(f"values.yaml:{number}: neither a comment nor a key with its default on one line: {line}")
        indent = len(key[1])
        above = [entry for entry in above if entry[0] < indent] + [(indent, key[2])]
        path = ".".join(name for _, name in above)
        found.append(Value(path, key[3], " ".join(comment)))
        comment.clear()
    return found


def table() -> str:
    rows = ["| key | default | what it does |", "|---|---|---|"]
    for value in values():
        if value.default is None and not value.description:
            continue
        default = "" if value.default is None else f"`{value.default}`"
        rows.append(f"| `{value.path}` | {default} | {value.description.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def readme() -> str:
    before, rest = (CHART / "README.md").read_text().split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + "\n" + table() + "\n" + END + after


Known = dict[str, "Known | None"]


def known() -> Known:
    """Returns the known keys as a tree. Below None, any keys are allowed."""
    tree: Known = {}
    for value in values():
        *above, key = value.path.split(".")
        parent: Known | None = tree
        for name in above:
            parent = parent[name] if parent is not None else None
        if parent is None:
            continue
        like = re.match(r"The keys of `([A-Za-z]+)`", value.description)
        is_open = value.default is not None or "Other fields" in value.description
        parent[key] = parent[like[1]] if like else None if is_open else {}
    return tree


def write(check: bool) -> None:
    files = {CHART / "README.md": readme(), CHART / "files/known-values.json": json.dumps(known(), indent=1) + "\n"}
    for file, fresh in files.items():
        if not check:
            file.write_text(fresh)
        elif not file.exists() or file.read_text() != fresh:
            sys.exit(f"{file} is stale: run make generate")


def as_json(default: str) -> str:
    try:
        json.loads(default)
    except json.JSONDecodeError:
        return json.dumps(default)
    return default


def rendered(golden: Path, *more: str) -> str:
    command = ["helm", "template", "dask-operator", CHART, "--namespace", "dask-operator", "--values", golden, *more]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    # A file may be invalid with the default of another value. Then the render depends on that value, too.
    return result.stdout if result.returncode == 0 else result.stderr


def used() -> None:
    goldens = {file: rendered(file) for file in sorted(HERE.glob("golden/*.values.yaml"))}

    def is_used(value: Value) -> bool:
        key = value.path.rsplit(".", 1)[-1] + ":"
        default = f"{value.path}={as_json(value.default or '')}"
        setting = (file for file in goldens if key in file.read_text())
        return any(rendered(file, "--set-json", default) != goldens[file] for file in setting)

    leaves = [value for value in values() if value.default is not None]
    with ThreadPoolExecutor() as pool:
        unused = [value.path for value, ok in zip(leaves, pool.map(is_used, leaves), strict=True) if not ok]
    if unused:
        sys.exit("not set by any file in charts/golden, or without effect there: " + ", ".join(unused))
    print(f"each of the {len(leaves)} values has an effect")


def types() -> None:
    golden = HERE / "golden/default.values.yaml"

    def is_closed(path: str) -> bool:
        tree: Known | None = known()
        for key in path.split("."):
            tree = tree[key] if tree is not None else None
        return tree is not None

    def is_refused(value: Value) -> bool:
        is_map = value.default is None or value.default.startswith("{")
        result = rendered(golden, "--set-json", f"{value.path}={'7' if is_map else '{}'}")
        return f"'/{value.path.replace('.', '/')}'" in result

    # The API server checks what is in an open map.
    checked = [value for value in values() if "." not in value.path or is_closed(value.path.rpartition(".")[0])]
    with ThreadPoolExecutor() as pool:
        accepted = [value.path for value, ok in zip(checked, pool.map(is_refused, checked), strict=True) if not ok]
    if accepted:
        sys.exit("values.schema.json accepts a wrong type of: " + ", ".join(accepted))
    print(f"each of the {len(checked)} values is refused with a wrong type")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write"]:
            write(check=False)
        case ["write", "--check"]:
            write(check=True)
        case ["used"]:
            used()
        case ["types"]:
            types()
        case _:
            sys.exit(__doc__)
