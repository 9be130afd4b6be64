#!/usr/bin/env python3
"""Copies texts of other files into pages of the book, so that the pages are complete where no mdBook renders them.

includes.py write   writes the copies
includes.py check   fails if a copy is stale
"""

import re
import sys
from pathlib import Path

PAGES = Path(__file__).parent / "src"
END = "<!-- end of the copy -->"
COPY = re.compile(rf"(<!-- docs/includes.py copies (\S+?)(?::(\w+))? -->\n).*?({END})", re.DOTALL)


def source(page: Path, name: str, anchor: str | None) -> str:
    """Returns the text of a file, or the part of it between the comments with this anchor."""
    text = (page.parent / name).resolve().read_text()
    if anchor is None:
        return text
    found = re.search(rf"<!-- ANCHOR: {anchor} -->\n(.*?)<!-- ANCHOR_END: {anchor} -->", text, re.DOTALL)
    if not found:
        sys.exit(f"includes.py: {name} has no anchor {anchor}")
    return found[1]


def complete(page: Path) -> str:
    """Returns the page with its copies up to date."""
    return COPY.sub(lambda part: f"{part[1]}\n{source(page, part[2], part[3]).strip()}\n\n{part[4]}", page.read_text())


def main() -> None:
    if sys.argv[1:] not in (["write"], ["check"]):
        sys.exit(__doc__)
    copies = 0
    for page in sorted(PAGES.glob("*.md")):
        text, wanted = page.read_text(), complete(page)
        copies += len(COPY.findall(text))
        if text != wanted and sys.argv[1] == "check":
            sys.exit(f"includes.py: a copy in {page.name} is stale: run make generate")
        page.write_text(wanted)
        if "{{#include" in wanted:
            sys.exit(f"includes.py: {page.name} has an include of mdBook, which other tools show literally")
    if not copies:
        sys.exit("includes.py: no page has a copy")


if __name__ == "__main__":
    main()
