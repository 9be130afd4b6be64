"""Finds the listings of a page in Markdown, and what is to be done with each.

The text behind the language of a block says it, separated by commas:

    console            commands after "$ ", with their output below them, typed on a node (`make pages`)
    console,run        commands that need no cluster (`make docs`)
    console,run,node   typed by both
    python,session     typed into one Python session of the page, on a node; a block `text,output` below it is what it prints
    LANG,file=NAME     written to the file NAME, with {REPO} replaced by the path of the checkout

A comment that readers do not see, on the line above a block, is the only other possibility:

    <!-- not typed: REASON -->

Other comments are about the page: `<!-- typed in: checkout -->` starts it in a checkout instead of an empty folder,
`<!-- given: COMMAND -->` runs a command that the page takes for granted, on a node, and `<!-- checked by: COMMAND -->` one that has
to succeed without a cluster.
"""

import re
from typing import NamedTuple

BLOCK = re.compile(
    r"^(?P<comment><!-- (?P<directive>not typed|given|checked by|typed in): (?P<text>.*?) -->)$"
    r"|^(?P<indent> *)```(?P<kind>\S*)\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
# Four spaces after a blank line make a block as well, outside of lists.
INDENTED = re.compile(r"(?:\A|\n)(?P<before>[^\n]*)\n\n {4}(?P<line>\S[^\n]*)")


class Listing(NamedTuple):
    line: int
    action: str  # type, run, run-and-type, session, output, write, given, checked by, skip
    body: str
    name: str = ""


class Untyped(Exception):
    """A listing that nothing types, without a reason."""


def listings(page, text, fragments=False):
    """Returns the listings of a page in order. Fails if one is neither typed nor marked; with `fragments`, only for commands."""
    found, reason = [], None
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["comment"]:
            if match["directive"] in ("given", "checked by"):
                found.append(Listing(line, match["directive"], match["text"]))
            reason = (line, match["text"]) if match["directive"] == "not typed" else reason
            continue
        kind, *options = match["kind"].split(",")
        body = re.sub(f"^{match['indent']}", "", match["body"], flags=re.MULTILINE)
        is_marked = reason is not None and reason[0] == line - 1
        is_fragment = fragments and kind != "console"
        found.append(Listing(line, *action(page, line, kind, options, body, is_marked or is_fragment)))
        reason = None
    plain = BLOCK.sub(lambda match: re.sub(r"[^\n]", "", match[0]), text)
    for match in () if fragments else INDENTED.finditer(plain):
        if not re.match(r"\s*([-*]|\d+\.)\s|\s", match["before"]):
            raise Untyped(f"{page}: write this with ```, so that it can be typed: {match['line']}")
    return found


def action(page, line, kind, options, body, is_marked):
    """Returns what is to be done with a block: the action, its text and the name of a file."""
    name = next((option[5:] for option in options if option.startswith("file=")), "")
    if is_marked:
        return "skip", body
    if name:
        return "write", body, name
    if kind == "console" and "run" in options:
        return ("run-and-type" if "node" in options else "run"), body
    if kind == "console" and body.startswith("$ "):
        return "type", body
    if (kind, options) == ("python", ["session"]):
        return "session", body
    if (kind, options) == ("text", ["output"]):
        return "output", body
    raise Untyped(f"{page}:{line}: this block is neither typed nor marked with a reason not to be")


def starts_in_checkout(text):
    return "<!-- typed in: checkout -->" in text


def commands(block):
    """Yields the commands of a block, each with the lines below it. A backslash at the end continues a command."""
    command, output = None, []
    for line in block.splitlines():
        if command is not None and command.endswith("\\") and not output:
            command += f"\n{line}"
        elif line.startswith("$ "):
            if command is not None:
                yield command, output
            command, output = line[2:], []
        else:
            output.append(line)
    if command is not None:
        yield command, output


def pattern(expected):
    """Returns the regular expression that the expected lines stand for: "…" matches any text, alone any number of lines.

    Ages, the random ends of names, and the width of columns may differ from the page.
    """
    parts = []
    for line in expected:
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
            continue
        words = [_word(word) for word in line.split()]
        parts.append(r"[ \t]*" + r"[ \t]+".join(words) + r"[ \t]*\n")
    return re.compile("".join(parts))


def _word(word):
    if re.fullmatch(r"(\d+[dhms])+", word):
        return r"(?:\d+[dhms])+"
    text = ".*".join(re.escape(part) for part in word.split("…"))
    # The random end of a pod's name, such as demo-scheduler-6c9d8f7b5d-x2k4q, and of a holder's, which has one more.
    end = re.search(r"\\-[0-9a-z]{8,10}\\-[0-9a-z]{5}(_[0-9a-f]{8})?$", text)
    return text if end is None else text[: end.start()] + r"-[0-9a-z]+-[0-9a-z]{5}" + (r"_\w+" if end[1] else "")
