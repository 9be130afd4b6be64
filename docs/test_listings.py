"""Tests of listings.py. Run by docs/check.sh: python3 -m unittest discover --start-directory docs"""

import unittest

from listings import Untyped, commands, listings, pattern

FENCE = "`" * 3


def block(kind, body):
    return f"{FENCE}{kind}\n{body}{FENCE}\n"


def actions(text):
    return [listing.action for listing in listings("page.md", text)]


class Listings(unittest.TestCase):
    def test_each_block_has_its_action(self):
        text = block("console", "$ ls\n") + block("console,run", "$ ls\n") + block("console,run,node", "$ ls\n")
        text += block("yaml,file=a.yaml", "a: 1\n") + block("python,session", "1\n") + block("text,output", "1\n")
        self.assertEqual(actions(text), ["type", "run", "run-and-type", "write", "session", "output"])

    def test_a_block_that_nothing_types_is_refused(self):
        for text in (block("yaml", "a: 1\n"), block("", "ls\n"), block("console", "ls\n"), "Type:\n\n    ls -l\n"):
            with self.assertRaises(Untyped, msg=text):
                actions(text)

    def test_a_marker_is_for_the_block_right_below_it_and_for_no_other(self):
        marker = "<!-- not typed: a fragment -->\n"
        self.assertEqual(actions(marker + block("yaml", "a: 1\n")), ["skip"])
        for text in (marker + "\n" + block("yaml", "a: 1\n"), marker + block("yaml", "a: 1\n") + block("yaml", "b: 1\n")):
            with self.assertRaises(Untyped, msg=text):
                actions(text)

    def test_a_list_may_be_indented(self):
        self.assertEqual(actions("* one\n\n    continued\n"), [])

    def test_a_backslash_continues_a_command(self):
        self.assertEqual(list(commands("$ a \\\n  b\nc\n$ d\n")), [("a \\\n  b", ["c"]), ("d", [])])

    def test_ages_random_names_and_widths_of_columns_may_differ_and_nothing_else(self):
        shown = pattern(["NAME   AGE", "demo-6c9d8f7b5d-x2k4q   9s"])
        self.assertTrue(shown.fullmatch("NAME     AGE\ndemo-79c8f988f6-l7jd7   2m9s\n"))
        self.assertFalse(shown.fullmatch("NAME     AGE\nother-79c8f988f6-l7jd7   2m9s\n"))
        self.assertFalse(shown.fullmatch("NAME     AGE\ndemo-79c8f988f6-l7jd7   2m9s\nmore\n"))


if __name__ == "__main__":
    unittest.main()
