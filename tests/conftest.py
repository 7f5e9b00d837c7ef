"""Shapes checked, a cache of our own, one thread, and tiny problems made by hand."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("ka_explore", "beartype.beartype")  # before the first import: every shape is checked from here on

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from ka_explore import Labelled, LabelSpace, Pool, Problem, Run, Student, Teacher  # noqa: E402
from ka_explore.pool import Images  # noqa: E402

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)


# The session.


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory) -> Iterator[Path]:
    """Trained teachers and their answers go to a folder of the tests; KA_EXPLORE_TEST_CACHE names one to keep."""
    kept = os.environ.get("KA_EXPLORE_TEST_CACHE")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KA_EXPLORE_CACHE", str(folder))
        yield folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):  # noqa: ARG001
    """Where everything is installed (KA_EXPLORE_NO_SKIP=1) a skipped test is a failure."""
    report = yield
    return refused(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):  # noqa: ARG001
    """The same for a whole file that skips itself."""
    report = yield
    return refused(report)


def refused(report):
    """The report, failed if it was skipped where nothing may be."""
    if report.skipped and os.environ.get("KA_EXPLORE_NO_SKIP") == "1" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"{reason} (KA_EXPLORE_NO_SKIP=1: nothing may be skipped here)"
    return report
