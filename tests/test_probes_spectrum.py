"""Laws of effective rank, dead channels and principal angles: equal to scipy, unmoved by what is no difference."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.stats import entropy

from ka_explore import InputError, Snapshot
from ka_explore.probes.spectrum import dead_channels, effective_rank, principal_angles, spectrum


def snapshot_of(**rows: np.ndarray) -> Snapshot:
    count = len(next(iter(rows.values())))
    teachers = [net for net in rows if net != "student"] or ["of no space"]
    knows = {net: (place,) for place, net in enumerate(teachers)}
    classes = tuple(("class", str(place)) for place in range(len(knows)))
    arrays = {f"common/{net}": array for net, array in rows.items()}
    return Snapshot(7, "joint", np.arange(count), None, classes, knows, arrays)


def rows(samples: int = 40, width: int = 6, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(samples, width)) @ random.normal(size=(width, width)) + 3


def turn(width: int = 6) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(9).normal(size=(width, width)))[0]


def balanced(samples: int, directions: int, width: int) -> np.ndarray:
    """Rows with that many equal singular values."""
    random = np.random.default_rng(0)
    centred = random.normal(size=(samples, directions))
    left = np.linalg.qr(centred - centred.mean(axis=0))[0]
    return left @ np.linalg.qr(random.normal(size=(width, directions)))[0].T


# Effective rank and spectrum


def test_effective_rank_equals_scipys_entropy_of_the_singular_values():
    array = rows()
    strength = np.linalg.svd(array - array.mean(axis=0), compute_uv=False)
    assert effective_rank(snapshot_of(student=array)).values["student"] == pytest.approx(np.exp(entropy(strength)))
    values = np.linalg.eigvalsh(np.cov(array.T))[::-1]
    result = spectrum(snapshot_of(student=array))
    assert np.allclose(result.y["student"], values / values.sum())
    assert np.array_equal(result.x["student"], [1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize("directions", [1, 3, 7])
def test_effective_rank_counts_equal_directions(directions):
    snapshot = snapshot_of(student=balanced(30, directions, 12))
    assert effective_rank(snapshot).values["student"] == pytest.approx(directions)
    assert spectrum(snapshot).y["student"][:directions] == pytest.approx(np.full(directions, 1 / directions))


def test_effective_rank_is_unmoved_by_rotation_scale_and_shift_and_never_above_what_is_possible():
    array = rows()
    expected = effective_rank(snapshot_of(student=array)).values["student"]
    for changed in (array @ turn(), 1e-3 * array, array + 50, array[::-1], np.pad(array, ((0, 0), (0, 4)))):
        assert effective_rank(snapshot_of(student=changed)).values["student"] == pytest.approx(expected, rel=1e-6)
    assert effective_rank(snapshot_of(student=rows(4, 20))).values["student"] <= 3


def test_a_collapsed_net_has_no_directions():
    values = effective_rank(snapshot_of(student=np.full((9, 5), 0.1), one=np.zeros((9, 5)))).values
    assert values == {"student": 0.0, "one": 0.0}
    for samples in range(3, 40):  # whose mean may be rounded: that is no variance
        equal = np.tile([0.1, 0.3, 0.7, 1e-3], (samples, 1))
        assert effective_rank(snapshot_of(student=equal)).values["student"] == 0
    assert np.isnan(effective_rank(snapshot_of(student=rows(1))).values["student"])
    assert np.isnan(spectrum(snapshot_of(student=np.ones((9, 5)))).y["student"]).all()


# Dead channels


def test_dead_channels_are_those_that_never_change():
    array = rows()
    dead = np.column_stack([array, np.zeros(40), np.full(40, 7.7)])
    assert dead_channels(snapshot_of(student=array, one=dead)).values == {"student": 0.0, "one": 0.25}
    for factor in (1e-20, 1e20):
        assert dead_channels(snapshot_of(student=dead * factor)).values["student"] == 0.25


def test_a_faint_channel_lives_and_rounding_does_not():
    faint = np.column_stack([rows(), 1e-4 * rows()[:, 0]])
    assert dead_channels(snapshot_of(student=faint)).values["student"] == 0
    random = np.random.default_rng(0)
    rounded = (np.float32(1) + random.normal(size=40) * 1e-7).astype(np.float32)
    assert rounded.std() > 0
    noisy = np.column_stack([rows(), rounded]).astype(np.float32)
    assert dead_channels(snapshot_of(student=noisy)).values["student"] == pytest.approx(1 / 7)


def test_all_channels_of_a_collapsed_net_are_dead():
    assert dead_channels(snapshot_of(student=np.full((9, 5), 0.1))).values["student"] == 1
    assert np.isnan(dead_channels(snapshot_of(student=rows(1))).values["student"])


# Principal angles


def test_principal_angles_equal_scipys():
    first, second = balanced(40, 2, 6), rows(seed=3)
    result = principal_angles(snapshot_of(student=first, one=second), share=1.0)
    assert result.values[0] == pytest.approx([0, 0, 0], abs=1e-6)  # all six axes of the second hold everything
    middle = second - second.mean(axis=0)
    _, strength, axes = np.linalg.svd(middle, full_matrices=False)
    count = int(np.searchsorted(np.cumsum(strength**2) / (strength**2).sum(), 0.9)) + 1
    own = np.linalg.svd(first - first.mean(axis=0), full_matrices=False)[2][:2]
    expected = np.degrees(subspace_angles(own.T, axes[:count].T))
    result = principal_angles(snapshot_of(student=first, one=second))
    assert result.values[0] == pytest.approx([expected.min(), expected.mean(), expected.max()])
    assert result.rows == ("student – one",)
    assert f"student 2, one {count}" in result.note


def test_angles_are_zero_for_one_subspace_and_right_for_disjoint_ones():
    random = np.random.default_rng(0)
    flat = np.zeros((30, 6))
    flat[:, :3] = random.normal(size=(30, 3))
    aside = np.roll(flat, 3, axis=1)
    mixed = flat @ random.normal(size=(6, 6)) * 0
    mixed[:, :3] = flat[:, :3] @ random.normal(size=(3, 3))
    result = principal_angles(snapshot_of(student=flat, one=mixed, two=aside), share=1.0)
    assert result.rows == ("student – one", "student – two", "one – two")
    assert result.values[0] == pytest.approx([0, 0, 0], abs=1e-6)
    assert result.values[1] == pytest.approx([90, 90, 90])
    assert result.values[2] == pytest.approx([90, 90, 90])


def test_angles_are_unmoved_by_a_rotation_of_the_space_and_each_nets_scale_and_shift():
    one, two = rows(seed=1), rows(seed=2)
    expected = principal_angles(snapshot_of(student=one, one=two), share=0.7).values
    assert (expected > 1).any()
    for a, b in ((one @ turn(), two @ turn()), (5 * one, two + 20), (one[::-1], two)):
        assert principal_angles(snapshot_of(student=a, one=b), share=0.7).values == pytest.approx(expected)


def test_angles_of_a_net_without_variance_are_unknown_and_shares_are_checked():
    for lost in (np.ones((40, 6)), np.full((40, 6), np.nan)):
        result = principal_angles(snapshot_of(student=rows(), one=lost, two=rows(seed=1)))
        assert np.isnan(result.values[0]).all()
        assert np.isfinite(result.values[1]).all()
    for share in (0, -1, 1.1, np.nan):
        with pytest.raises(InputError, match="above 0 and at most 1"):
            principal_angles(snapshot_of(student=rows()), share=share)
    with pytest.raises(InputError, match="different widths"):
        principal_angles(snapshot_of(student=rows(), one=np.ones((40, 3))))


def test_samples_that_are_not_finite_are_left_out_and_counted():
    array, spoiled = rows(), rows()
    spoiled[[3, 8], 1] = np.nan
    kept = np.delete(np.arange(40), [3, 8])
    for probe in (effective_rank, dead_channels):
        result = probe(snapshot_of(student=spoiled))
        assert result.values == pytest.approx(probe(snapshot_of(student=array[kept])).values)
        assert "2 of 40 samples left out" in result.note
    assert "2 of 40 samples left out" in spectrum(snapshot_of(student=spoiled)).note


def test_other_arrays_may_be_of_different_widths():
    snapshot = snapshot_of(student=rows())
    snapshot = Snapshot(
        7, "", snapshot.index, None, (("class", "0"),), {"one": (0,)},
        {"feature/one/early": rows(width=3), "feature/one/late": rows(width=8)},
    )  # fmt: skip
    assert list(effective_rank(snapshot, space="feature").values) == ["one/early", "one/late"]
    with pytest.raises(InputError, match="no common/"):
        effective_rank(snapshot)
