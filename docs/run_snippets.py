"""Runs those commands of a chapter that need no cluster, as a reader would type them in an empty folder.

    python3 docs/run_snippets.py docs/src/python.md

listings.py says which these are. `make pages` types the others.
"""

import os
import sys
import tempfile
from pathlib import Path

from listings import commands, listings, pattern
from shell import Shell


def main(chapter):
    repository = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shell = Shell(work, {**os.environ, "REPO": str(repository)})
        try:
            for listing in listings(chapter, Path(chapter).read_text()):
                if listing.action == "write":
                    path = work / listing.name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(listing.body.replace("{REPO}", str(repository)))
                elif listing.action in ("run", "run-and-type", "checked by"):
                    body = f"$ {listing.body}" if listing.action == "checked by" else listing.body
                    for command, expected in commands(body):
                        print(f"   $ {command}", flush=True)
                        printed, code = shell.run(command)
                        if code != 0 or not pattern(expected).fullmatch(printed):
                            sys.exit(
                                f"{chapter}: $ {command}\n--- expected\n" + "\n".join(expected)
                                + f"\n--- printed, with exit code {code}\n{printed}--- errors\n{shell.said()}"
                            )
        finally:
            shell.close()


if __name__ == "__main__":
    main(sys.argv[1])
