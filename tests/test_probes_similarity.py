"""Laws of MMD and CKA as probes: equal to the loss, to scikit-learn and to slow loops."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel
from sklearn.preprocessing import normalize

from ka_explore import InputError, Snapshot
from ka_explore.methods import losses
from ka_explore.probes.samples import centred, squared_distances
from ka_explore.probes.similarity import (
    BANDWIDTHS,
    cka,
    floor,
    hsic_of,
    kernel_means,
    median_distance,
    mmd,
    mmd_curve,
    mmd_of,
)

NETS = ("student", "one", "two")


def snapshot_of(arrays) -> Snapshot:
    count = len(next(iter(arrays.values())))
    classes = tuple(("class", str(place)) for place in range(4))
    return Snapshot(7, "joint", np.arange(count), None, classes, {"one": (0, 1), "two": (2, 3)}, arrays)


def common(samples: int = 24, width: int = 6, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    base = random.random((samples, width))
    return {f"common/{net}": base + 0.3 * k * random.random((samples, width)) for k, net in enumerate(NETS)}


def turned(arrays, seed: int = 1):
    width = next(iter(arrays.values())).shape[1]
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]
    return {name: array @ turn for name, array in arrays.items()}


# Maximum mean discrepancy


def test_the_bandwidths_are_those_of_the_loss():
    assert BANDWIDTHS == losses.BANDWIDTHS


def test_mmd_equals_scikit_learns_kernels():
    arrays = common()
    result = mmd(snapshot_of(arrays))
    rows = {net: normalize(arrays[f"common/{net}"]) for net in NETS}
    for (row, bandwidth), (column, teacher) in itertools.product(enumerate(BANDWIDTHS), enumerate(NETS[1:])):
        gamma = 1 / (2 * bandwidth**2)
        own, other = rows["student"], rows[teacher]
        expected = rbf_kernel(own, gamma=gamma).mean() + rbf_kernel(other, gamma=gamma).mean()
        expected -= 2 * rbf_kernel(own, other, gamma=gamma).mean()
        assert result.values[row, column] == pytest.approx(expected, abs=1e-9)
    assert result.rows == ("σ 0.001", "σ 0.01", "σ 0.05", "σ 0.1", "σ 0.2", "σ 1", "σ 2", "sum")
    assert np.allclose(result.values[-1], result.values[:-1].sum(axis=0))
    assert result.columns == ("one", "two")


def test_mmd_equals_the_loss_and_is_alike_in_blocks():
    arrays = common(samples=700, width=12)
    rows = [torch.tensor(arrays[f"common/{net}"]) for net in NETS]
    expected = losses.mmd(rows[0], rows[1:]).numpy().T
    assert np.allclose(mmd(snapshot_of(arrays)).values[:-1], expected, atol=1e-5)
    own = normalize(arrays["common/student"])
    assert np.allclose(kernel_means(own, own, BANDWIDTHS, block=100), kernel_means(own, own, BANDWIDTHS, block=700))


def test_mmd_of_equal_samples_is_zero_in_any_order_and_scale():
    arrays = common()
    order = np.random.default_rng(1).permutation(24)
    scales = np.random.default_rng(2).uniform(0.1, 9, (24, 1))
    same = arrays["common/student"][order] * scales
    result = mmd(snapshot_of({"common/student": arrays["common/student"], "common/one": same}))
    assert np.allclose(result.values, 0, atol=1e-12)


def test_mmd_is_unmoved_by_a_rotation_of_the_space():
    arrays = common()
    assert np.allclose(mmd(snapshot_of(turned(arrays))).values, mmd(snapshot_of(arrays)).values, atol=1e-8)


def test_far_apart_a_small_bandwidth_is_at_its_floor():
    snapshot = snapshot_of({f"common/{net}": np.eye(30)[10 * k : 10 * k + 10] for k, net in enumerate(NETS)})
    assert floor(snapshot) == pytest.approx(0.2)
    result = mmd(snapshot)
    assert np.allclose(result.values[:4], 0.2)
    assert (result.values[5:7] < 0.9 * 0.2).all()
    assert "N = 10" in result.note
    assert "2/N = 0.2" in result.note
    curve = mmd_curve(snapshot)
    assert curve.levels["floor 2/N"] == pytest.approx(0.2)
    assert curve.log == (True, False)
    assert np.array_equal(curve.x["one"], BANDWIDTHS)
    assert np.array_equal(curve.y["two"], result.values[:-1, 1])


def test_what_the_stage_recorded_goes_before_what_is_computed():
    random = np.random.default_rng(0)
    recorded = {f"mmd/{net}/{sigma}": random.random(24) for net in NETS[1:] for sigma in ("2.0", "0.1", "0.001")}
    snapshot = snapshot_of(common() | recorded)
    result = mmd(snapshot)
    assert result.rows == ("σ 0.001", "σ 0.1", "σ 2", "sum")
    assert result.values[1, 1] == pytest.approx(recorded["mmd/two/0.1"].mean())
    assert floor(snapshot) == pytest.approx(2 / 24)
    assert mmd(snapshot_of(recorded)).values[0, 0] == result.values[0, 0]
    assert "as the stage saw it" in result.note
    assert np.array_equal(mmd_of(snapshot).values, mmd(snapshot_of(common())).values)


def test_mmd_takes_any_arrays_and_bandwidths():
    arrays = common()
    other = {name.replace("common", "component"): array for name, array in arrays.items()}
    one, two = (
        mmd_of(snapshot_of(other), space="component", bandwidths=(0.3,)),
        mmd_of(snapshot_of(arrays), bandwidths=(0.3,)),
    )
    assert np.array_equal(one.values, two.values)
    assert one.rows == ("σ 0.3", "sum")
    features = {f"{name.replace('common', 'feature')}/late": array for name, array in arrays.items()}
    assert np.array_equal(mmd_of(snapshot_of(features), space="feature", bandwidths=(0.3,)).values, two.values)


def test_mmd_leaves_out_samples_that_are_not_finite_and_says_so():
    arrays = common()
    spoiled = {name: array.copy() for name, array in arrays.items()}
    spoiled["common/one"][3, 2] = np.nan
    spoiled["common/student"][5] = np.inf
    kept = np.delete(np.arange(24), [3, 5])
    result = mmd(snapshot_of(spoiled))
    assert np.allclose(result.values, mmd(snapshot_of({n: a[kept] for n, a in arrays.items()})).values)
    assert "2 of 24 samples left out" in result.note
    assert "N = 22" in result.note
    spoiled["common/one"][:] = np.nan  # one net alone is lost, not the others
    result = mmd(snapshot_of(spoiled))
    assert np.isnan(result.values[:, 0]).all()
    assert np.isfinite(result.values[:, 1]).all()


def test_mmd_refuses_what_cannot_be_compared():
    arrays = common()
    with pytest.raises(InputError, match=r"different widths \[3, 6\]"):
        mmd(snapshot_of(arrays | {"common/one": np.zeros((24, 3))}))
    with pytest.raises(InputError, match="no student"):
        mmd(snapshot_of({"common/one": np.zeros((24, 3))}))
    with pytest.raises(InputError, match="no common/"):
        mmd(snapshot_of({"scores": np.zeros((24, 4))}))
    with pytest.raises(InputError, match="above zero"):
        mmd_of(snapshot_of(arrays), bandwidths=(0.0,))


def test_the_median_distance_is_that_of_all_pairs():
    arrays = common()
    both = normalize(np.concatenate([arrays["common/student"], arrays["common/two"]]))
    every = [np.linalg.norm(both[i] - both[j]) for i in range(48) for j in range(i)]
    result = median_distance(snapshot_of(arrays))
    assert result.values["two"] == pytest.approx(np.median(every))
    assert list(result.values) == ["one", "two"]
    few = median_distance(snapshot_of(common(samples=400)), most=100).values["two"]
    assert few == pytest.approx(median_distance(snapshot_of(common(samples=400))).values["two"], rel=0.1)


def test_distances_equal_scikit_learns():
    arrays = common()
    one, other = arrays["common/one"], arrays["common/two"]
    assert np.allclose(np.sqrt(squared_distances(one, other)), euclidean_distances(one, other))


# Centred kernel alignment


def hsic_by_definition(one: np.ndarray, other: np.ndarray) -> float:
    """Σ over four different samples of K_ij (L_ij + L_qr − 2 L_iq), over their number (Song et al. 2012, section 2)."""
    n = len(one)
    k, l = one @ one.T, other @ other.T  # noqa: E741
    total = sum(k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in itertools.permutations(range(n), 4))
    return total / math.perm(n, 4)


def cka_by_definition(one: np.ndarray, other: np.ndarray, batches) -> float:
    parts = [(one[batch], other[batch]) for batch in batches]
    both = np.mean([hsic_by_definition(x, y) for x, y in parts])
    first = np.mean([hsic_by_definition(x, x) for x, _ in parts])
    second = np.mean([hsic_by_definition(y, y) for _, y in parts])
    return both / math.sqrt(first * second)


def features(samples: int = 9, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    base = random.normal(size=(samples, 3))
    return {
        "feature/student/late": base @ random.normal(size=(3, 5)) + 2,
        "feature/one/early": base @ random.normal(size=(3, 4)) + random.normal(size=(samples, 4)) - 1,
        "feature/two/late": random.normal(size=(samples, 6)),
    }


@pytest.mark.parametrize("samples", [4, 5, 9])
def test_hsic_equals_the_sum_over_all_quadruples(samples):
    arrays = list(features(samples).values())
    result = hsic_of(arrays, np.arange(samples))
    for (i, one), (j, other) in itertools.product(enumerate(arrays), repeat=2):
        assert result[i, j] == pytest.approx(hsic_by_definition(one, other), rel=1e-8)


def test_cka_equals_the_slow_definition_in_one_batch_and_in_two():
    arrays = features()
    for batch, batches in ((256, [range(9)]), (5, [range(5), range(5, 9)])):
        result = cka(snapshot_of(arrays), batch=batch)
        for (i, one), (j, other) in itertools.product(enumerate(arrays.values()), repeat=2):
            expected = cka_by_definition(one, other, [list(b) for b in batches])
            assert result.values[i, j] == pytest.approx(expected, rel=1e-8)
    assert result.rows == result.columns == ("student late", "one early", "two late")
    assert "N = 9 in 2 batches" in result.note


def test_cka_with_itself_is_one_whatever_the_rotation_scale_and_shift():
    arrays = features(40)
    feature = arrays["feature/two/late"]
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    for changed in (feature @ turn, 1e-4 * feature, feature + 100, -feature):
        result = cka(snapshot_of(arrays | {"feature/two/changed": changed}), batch=13).values
        assert np.allclose(np.diagonal(result), 1)
        assert np.allclose(result[2], result[3], atol=1e-6)
    assert np.allclose(result, result.T)
    assert (np.abs(result) <= 1 + 1e-9).all()


def test_cka_is_moved_by_what_is_no_rotation():
    arrays = features(40)
    stretched = arrays["feature/two/late"] * [100, 1, 1, 1, 1, 1]
    assert cka(snapshot_of(arrays | {"feature/two/stretched": stretched})).values[2, 3] < 0.9


def test_cka_of_unrelated_features_is_about_zero_though_images_are_fewer_than_channels():
    values, biased = [], []
    for seed in range(40):
        random = np.random.default_rng(seed)
        one, other = random.normal(size=(2, 20, 500))
        values.append(cka(snapshot_of({"feature/one/a": one, "feature/two/a": other})).values[0, 1])
        x, y = centred(one), centred(other)
        k, l = x @ x.T, y @ y.T  # noqa: E741
        biased.append((k * l).sum() / np.sqrt((k * k).sum() * (l * l).sum()))
    assert abs(np.mean(values)) < 0.02
    assert np.mean(biased) > 0.9


def test_cka_knows_the_layers_of_nets_and_the_teachers_codes():
    snapshot = snapshot_of(
        {"code/late": np.eye(24)[:, :3], "regressed/late": np.eye(24)[:, :4], "scores": np.zeros((24, 4))}
        | common()
        | features(24)
    )
    assert cka(snapshot).rows == (
        "student late", "student common", "one early", "one common", "two late", "two common", "code late",
        "regressed late",
    )  # fmt: skip
    assert cka(snapshot, space=("code",)).rows == ("code late",)
    with pytest.raises(InputError, match="has none of branch: it has code, common, feature, regressed, scores"):
        cka(snapshot, space=("branch",))


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_cka_of_fewer_than_four_samples_is_unknown(samples):
    assert np.isnan(cka(snapshot_of(features(samples))).values).all()


def test_cka_of_a_layer_without_variance_or_without_a_finite_row_is_unknown_and_spoils_no_other():
    arrays = features()
    expected = cka(snapshot_of(arrays)).values
    for dead in (np.full((9, 3), 0.1), np.zeros((9, 3)), np.full((9, 3), np.nan)):
        result = cka(snapshot_of(arrays | {"feature/two/dead": dead})).values
        assert np.isnan(result[3]).all()
        assert np.isnan(result[:, 3]).all()
        assert np.allclose(result[:3, :3], expected)


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_cka_is_unmoved_by_very_large_and_small_features(scale):
    arrays = features()
    large = {name: (array * scale).astype(np.float32) for name, array in arrays.items()}
    assert np.allclose(cka(snapshot_of(large)).values, cka(snapshot_of(arrays)).values, atol=1e-5)
