"""A healthy run gets no warning: here one seed of every method on the smallest problem, shortened; ten seeds of the two
small ones and one of the larger by ``make faults``.
"""

import healthy
import pytest

from ka_explore import METHODS

# Enough for each that nothing is said of having stopped early.
STEPS = dict.fromkeys(METHODS, 100) | {"common_feature": 150, "layer_wise": 200, "adaptive": 300}
UNTRAINED = {"ensemble", "permutation_merging"}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_no_warning_on_a_healthy_run(method):
    steps = {name: count for name, count in STEPS.items() if name not in UNTRAINED}
    problem = "four" if method == "permutation_merging" else "digits"  # which merging does not take
    found = dict(healthy.healthy(healthy.problem_of(problem, 0), 0, steps, [method]))
    assert found
    for findings in found.values():
        assert not findings.warnings, str(findings)
        assert method != "common_feature" or len(findings.checked) >= 15


def test_the_table_of_healthy_runs_counts_and_names():
    found = {
        "digits/oracle-0": {"problem": "digits", "seed": 0, "method": "oracle", "warnings": []},
        "digits/oracle-1": {"problem": "digits", "seed": 1, "method": "oracle", "warnings": ["collapsed (common, 3)"]},
    }
    lines = healthy.table(found).splitlines()
    assert lines[2] == "| digits | 2 | 2 | 1; oracle (seed 1): collapsed (common, 3) |"
    assert lines[3] == "| four | 0 | 0 | 0 |"
