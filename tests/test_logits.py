"""Laws of what logits say: as scipy has it, for logits of any size, and NaN only where a row has one."""

import numpy as np
import pytest
from scipy import special

from ka_explore.probes.logits import entropy, log_softmax, logsumexp, relative_entropy, softmax


@pytest.fixture(params=[0.01, 1.0, 30.0, 1e4], ids=lambda scale: f"times {scale:g}")
def logits(request):
    return (request.param * np.random.default_rng(0).normal(size=(50, 7))).astype(np.float32)


def test_they_are_what_scipy_gives(logits):
    wide = logits.astype(np.float64)
    np.testing.assert_allclose(logsumexp(logits), special.logsumexp(wide, axis=1), rtol=1e-12)
    np.testing.assert_allclose(log_softmax(logits), special.log_softmax(wide, axis=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(softmax(logits), special.softmax(wide, axis=1), rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(entropy(logits), special.entr(special.softmax(wide, axis=1)).sum(axis=1), atol=1e-9)


def test_a_constant_says_nothing(logits):
    np.testing.assert_allclose(softmax(logits + np.float32(0)), softmax(logits.astype(np.float64) + 5), atol=1e-9)


def test_entropy_runs_from_sure_to_knowing_nothing():
    assert entropy(np.zeros((1, 4))) == pytest.approx(np.log(4))
    assert relative_entropy(np.zeros((1, 4))) == pytest.approx(1)
    assert relative_entropy(np.array([[1000.0, 0, 0, 0]])) == pytest.approx(0)
    assert relative_entropy(np.zeros((3, 1))) == pytest.approx(np.zeros(3))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("said", [log_softmax, softmax, entropy, relative_entropy])
def test_a_row_that_is_not_finite_is_nan_and_the_others_are_untouched(logits, said, bad):
    spoilt = logits.copy()
    spoilt[3, 2] = bad
    rest = np.arange(len(logits)) != 3
    assert np.isnan(said(spoilt)[3]).any()
    np.testing.assert_array_equal(said(spoilt)[rest], said(logits)[rest])
