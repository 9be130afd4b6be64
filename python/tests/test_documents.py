"""The variables are the same in both kits and in the book."""

import re
from pathlib import Path

import dask_operator_plugin.config as config

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^(?:/// )?\| `([A-Z_]+)` \|", re.MULTILINE)


def test_both_kits_and_the_book_list_the_same_variables():
    python = ROW.findall(config.__doc__)
    rust = ROW.findall((ROOT / "plugin-server-kit" / "src" / "config.rs").read_text())
    book = ROW.findall((ROOT / "docs" / "src" / "plugin-server.md").read_text())
    assert "PLUGIN_DRAIN_SECONDS" in python
    assert rust == [*python, "RUST_LOG"]
    assert book == rust
