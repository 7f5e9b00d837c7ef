"""A healthy run gets no warning.

Quick: the smallest problem, one seed, methods for 100 to 300 steps. Slow: ten seeds of the two smallest problems (8×8
digits with two and with four teachers), every method that takes their nets, default options, but 200 steps instead of
400 and 300 instead of 1 200 for the adaptive method. The larger problems are left to ``python
tests/diagnosis/healthy.py``, which takes half an hour.
"""

import importlib.util
import sys
from pathlib import Path

import pytest

from ka_explore import METHODS, toy


def beside(name):
    """A file of this folder, which tests cannot import by name."""
    spec = importlib.util.spec_from_file_location(f"diagnosis_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


healthy = beside("healthy")
REDUCED = dict.fromkeys(("common_feature", "layer_wise", "logit_space", "distillation", "oracle"), 200) | {
    "adaptive": 300
}
QUICK = dict.fromkeys(REDUCED, 100) | {"common_feature": 150, "layer_wise": 200, "adaptive": 300}


@pytest.mark.slow
def test_no_warning_on_a_healthy_run():
    seen = dict(healthy.healthy(toy.digits(), 0, QUICK))
    assert set(seen) == set(METHODS) - {"permutation_merging"}
    warnings = {method: findings.names for method, findings in seen.items() if findings.warnings}
    assert warnings == {}
    assert len(seen["common_feature"].checked) >= 15


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["digits", "four"])
@pytest.mark.parametrize("seed", range(10))
def test_no_warning_over_ten_seeds_and_all_methods(problem, seed):
    seen = dict(healthy.healthy(healthy.PROBLEMS[problem](seed), seed, REDUCED))
    assert len(seen) >= len(METHODS) - 1
    for method, findings in seen.items():
        assert not findings.warnings, f"{method}\n{findings}"
