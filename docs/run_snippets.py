"""Runs the commands of a chapter as a reader would type them, in an empty folder.

    python3 docs/run_snippets.py docs/src/python.md

A block ```lang,file=NAME is written to the file NAME, with {REPO} replaced by the path of the checkout. In a block
```console,run one bash runs the lines after "$ ". The lines below a command are its expected standard output: a line "…"
matches any number of lines, and "…" within a line matches any text. All other blocks are ignored.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

MARK = "--- end of the command, exit code "
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(block):
    """Yields the commands of a block, each with the lines below it."""
    command, output = None, []
    for line in block.splitlines():
        if line.startswith("$ "):
            if command is not None:
                yield command, output
            command, output = line[2:], []
        else:
            output.append(line)
    if command is not None:
        yield command, output


def pattern(expected):
    """Returns the regular expression that the expected lines stand for."""
    parts = []
    for line in expected:
        if line == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*".join(re.escape(part) for part in line.split("…")) + r"\n")
    return re.compile("".join(parts))


def run(shell, command):
    """Runs `command` and returns its standard output and exit code."""
    # The output may lack a newline at its end, so one is added and removed again.
    shell.stdin.write(f"{command}\ncode=$?; echo; echo \"{MARK}$code\"\n")
    shell.stdin.flush()
    lines = []
    for line in shell.stdout:
        if line.startswith(MARK):
            printed = "".join(lines)[:-1]
            return printed if not printed or printed.endswith("\n") else printed + "\n", int(line[len(MARK) :])
        lines.append(line)
    return "".join(lines), -1


def main(chapter):
    repository = Path(__file__).resolve().parent.parent
    text = Path(chapter).read_text()
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, ".errors"), "w+") as errors:
        work = Path(folder, "work")
        work.mkdir()
        environment = {**os.environ, "REPO": str(repository)}
        shell = subprocess.Popen(
            ["bash"],
            cwd=work,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            for kind, block in FENCE.findall(text):
                name = re.search(r"file=([^,]+)", kind)
                if name:
                    path = work / name[1]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(block.replace("{REPO}", str(repository)))
                elif kind == "console,run":
                    for command, expected in commands(block):
                        print(f"   $ {command}", flush=True)
                        printed, code = run(shell, command)
                        if code != 0 or not pattern(expected).fullmatch(printed):
                            errors.seek(0)
                            sys.exit(
                                f"{chapter}: $ {command}\n--- expected\n" + "\n".join(expected)
                                + f"\n--- printed, with exit code {code}\n{printed}--- errors\n{errors.read()}"
                            )
        finally:
            os.killpg(shell.pid, 15)
            shell.wait()


if __name__ == "__main__":
    main(sys.argv[1])
