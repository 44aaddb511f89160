"""Tables of cases as unit tests: all are played side by side first, then each tells its own faults."""

import collections
import concurrent.futures
import os
import re
import traceback
import unittest

# Most cases wait for a limit to pass; few of them work at the same time.
AT_ONCE = 24
# HOSTILE_CASES=word plays only the cases whose name has the word.
ONLY = os.environ.get("HOSTILE_CASES", "")


def chosen(cases):
    return [case for case in cases if ONLY in case.name]


def played(cases, play, recorder, at_once=AT_ONCE):
    """Plays all cases. -> faults by the case's name; those of no case stand under an empty name."""
    faults = collections.defaultdict(list)

    def one(case):
        try:
            return play(case)
        except Exception:
            return [traceback.format_exc()]

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for case, found in zip(cases, pool.map(one, cases)):
            faults[case.name] += found
    names = {case.id: case.name for case in cases}
    for connection, owner, what in recorder.strays():
        faults[names.get(owner, "")].append(
            f"bytes that are no request reached the upstream behind {owner!r}: {what}"
        )
    return faults


class Suite(unittest.TestCase):
    """Its tests are added from a table by `add_tests`."""

    @classmethod
    def setUpClass(cls):
        cls.faults = cls.run_all()

    def test_nothing_reached_the_upstream_that_belongs_to_no_case(self):
        self.assertEqual(self.faults[""], [])


def add_tests(suite, cases, run):
    """One test for each case; `run` plays them all."""
    assert len({case.name for case in cases}) == len(cases), "two cases have one name"
    suite.run_all = staticmethod(run)
    for case in cases:
        if ONLY not in case.name:
            continue
        name = "test_" + re.sub(r"\W+", "_", case.name).strip("_")[:120]
        while hasattr(suite, name):
            name += "_again"

        def test(self, name=case.name):
            self.assertEqual(self.faults[name], [], name)

        test.__doc__ = None
        setattr(suite, name, test)
