"""Checks that every link in a built book has a target, including anchors and files of this repository."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

REPOSITORY = "https://github.com/dask/dask-operator/"


class Page(HTMLParser):
    """Collects the links and the anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors.update(values[name] for name in ("id", "name") if values.get(name))
        link = values.get("href" if tag in ("a", "link") else "src")
        if link:
            self.links.append(link)


def problem(link, page, pages, book, root):
    """Returns what is wrong with a link, or None."""
    if link.startswith(REPOSITORY):
        parts = urlsplit(link).path.split("/")[3:]
        path = root.joinpath(*parts[2:]) if parts[:1] in (["tree"], ["blob"]) else root
        return None if path.exists() else "there is no such file in the repository"
    url = urlsplit(link)
    if url.scheme or url.netloc:
        return None
    target = page if not url.path else (page.parent / unquote(url.path)).resolve()
    if not target.is_relative_to(book) or not target.exists():
        return "there is no such page"
    if url.fragment and target in pages and unquote(url.fragment) not in pages[target].anchors:
        return "the page has no such anchor"
    return None


def main(book):
    book, root = Path(book).resolve(), Path(__file__).resolve().parent.parent
    # 404.html has absolute links on purpose; print.html repeats all chapters, and toc.html lists them.
    files = [path for path in book.rglob("*.html") if path.name not in ("404.html", "print.html", "toc.html")]
    pages = {path: Page(path.read_text()) for path in files}
    broken = [
        f"{path.relative_to(book)}: {link}: {why}"
        for path, page in pages.items()
        for link in page.links
        if (why := problem(link, path, pages, book, root))
    ]
    print("\n".join(broken) or f"{sum(len(page.links) for page in pages.values())} links checked")
    return 1 if broken or not pages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
