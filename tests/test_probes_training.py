"""Laws of what training leaves: reconstruction errors, gradients of the terms, bridges, and lines over steps."""

import numpy as np
import pytest

from ka_explore import InputError, Snapshot
from ka_explore.probes.agreement import agreement
from ka_explore.probes.embedding import pca
from ka_explore.probes.gradients import gradient_cosine, gradient_ratio, gradient_size
from ka_explore.probes.over_steps import over_steps
from ka_explore.probes.reconstruction import (
    bridges,
    error_by_channel,
    error_by_class,
    reconstruction_error,
    worst_channels,
    worst_reconstructed,
)
from ka_explore.probes.similarity import mmd

CLASSES = (*(("kind", f"kind {i}") for i in range(4)), ("size", "small"), ("size", "large"))
KNOWS = {"one": (0, 1), "two": (2, 3), "three": (4, 5)}


def made(
    arrays=None, samples: int = 20, *, labels=None, step: int = 7, stage: str = "joint", seed: int = 0
) -> Snapshot:
    random = np.random.default_rng(seed)
    always = {"scores": random.normal(size=(samples, 6))}
    always |= {f"logits/{teacher}": random.normal(size=(samples, 2)) for teacher in KNOWS}
    return Snapshot(step, stage, np.arange(samples) + 100, labels, CLASSES, KNOWS, always | (arrays or {}))


def errors(samples: int = 20, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {f"error/{teacher}": random.random(samples) for teacher in KNOWS}


# Reconstruction


def test_the_error_by_class_is_the_mean_over_its_images():
    truth = {"size": np.array([0, 1, -1, 1] * 5), "kind": np.array([0, 1, 2, -1] * 5)}
    snapshot = made(errors(), labels=truth)
    for task in ("kind", "size"):
        result = error_by_class(snapshot, task)
        assert result.rows == tuple(KNOWS)
        assert result.columns == tuple(label for its_task, label in CLASSES if its_task == task)
        for row, teacher in enumerate(KNOWS):
            for place in range(len(result.columns)):
                mine = [snapshot.arrays[f"error/{teacher}"][i] for i in range(20) if truth[task][i] == place]
                assert result.values[row, place] == pytest.approx(np.mean(mine) if mine else np.nan, nan_ok=True)
        assert result.note == "true classes"
    assert np.array_equal(error_by_class(snapshot).values, error_by_class(snapshot, "size").values)
    with pytest.raises(InputError, match="unknown task"):
        error_by_class(snapshot, "shape")


def test_without_labels_the_class_is_what_the_teachers_of_the_task_name_together():
    snapshot = made(errors())
    result = error_by_class(snapshot)
    said = [
        max(
            range(4),
            key=lambda c: np.concatenate([snapshot.arrays["logits/one"][i], snapshot.arrays["logits/two"][i]])[c],
        )
        for i in range(20)
    ]
    for place in range(4):
        mine = [snapshot.arrays["error/three"][i] for i in range(20) if said[i] == place]
        assert result.values[2, place] == pytest.approx(np.mean(mine))
    assert "no labels" in result.note
    lost = made(errors() | {"logits/one": np.full((20, 2), np.nan)})
    assert np.isnan(error_by_class(lost).values).all()
    only_size = made(errors(), labels={"size": np.zeros(20, int)})
    assert "no labels" in error_by_class(only_size, "kind").note


def test_channels_stand_worst_first_and_can_be_named():
    error = np.array([[0.1, 3.0, 1.0, np.nan], [0.3, 5.0, 1.0, np.nan]])
    snapshot = made({"channel_error/two": error, "channel_error/one": error[:, :2].astype(np.float16)}, samples=2)
    result = error_by_channel(snapshot)
    assert result.values["two"] == pytest.approx([4, 1, 0.2])
    assert result.values["one"] == pytest.approx([4, 0.2], rel=1e-3)
    assert worst_channels(snapshot, "two", count=2).values == pytest.approx({"channel 1": 4, "channel 2": 1})
    assert list(worst_channels(snapshot).values) == ["channel 1", "channel 2", "channel 0"]
    with pytest.raises(InputError, match="unknown teacher 'three'"):
        worst_channels(snapshot, "three")


def test_the_worst_images_are_named_by_their_place_in_the_pool():
    snapshot = made(errors())
    table = np.stack([snapshot.arrays[f"error/{teacher}"] for teacher in KNOWS], axis=1)
    for teacher, by in ((None, table.mean(axis=1)), ("two", table[:, 1])):
        result = worst_reconstructed(snapshot, teacher, count=5)
        places = [int(row) - 100 for row in result.rows]
        assert places == sorted(range(20), key=lambda i: -by[i])[:5]
        assert np.array_equal(result.values, table[places])
        assert result.columns == tuple(KNOWS)
    assert len(worst_reconstructed(snapshot, count=99).rows) == 20
    with pytest.raises(InputError, match="unknown teacher 'four'"):
        worst_reconstructed(snapshot, "four")


def test_errors_that_are_not_finite_are_left_out_and_counted():
    spoiled = errors()
    spoiled["error/one"][[2, 5]] = np.nan, np.inf
    snapshot = made(spoiled, labels={"kind": np.zeros(20, int)})
    assert len(reconstruction_error(snapshot).values["one"]) == 18
    assert len(reconstruction_error(snapshot).values["two"]) == 20
    assert "2 of 20 samples left out" in reconstruction_error(snapshot).note
    assert error_by_class(snapshot).values[0, 0] == pytest.approx(np.delete(spoiled["error/one"], [2, 5]).mean())
    worst = worst_reconstructed(snapshot, count=99)
    assert not {"102", "105"} & set(worst.rows)
    assert len(worst.rows) == 18


# Gradients


def gradient_arrays(soft: str = "soft", samples: int = 20, asked: int = 12, width: int = 5, seed: int = 0):
    """Vectors by name, and the arrays that a run makes of them; the two teachers' parts add up to the term."""
    random = np.random.default_rng(seed)
    vectors = {
        f"{term}/{teacher}": random.normal(size=(asked, width)) for term in (soft, "mmd") for teacher in ("two", "one")
    }
    vectors |= {term: vectors[f"{term}/one"] + vectors[f"{term}/two"] for term in (soft, "mmd")}
    vectors["norm"] = np.zeros((asked, width))
    arrays = {}
    for name, vector in vectors.items():
        size, inner = np.full((2, samples), np.nan)
        size[:asked], inner[:asked] = np.linalg.norm(vector, axis=1), (vector * vectors[soft]).sum(axis=1)
        arrays |= {f"gradient/{name}": size, f"along/{name}": inner}
    return vectors, arrays


@pytest.mark.parametrize("soft", ["soft", "logits"])
def test_sizes_and_cosines_are_those_of_the_whole_vectors(soft):
    vectors, arrays = gradient_arrays(soft)
    snapshot = made(arrays)
    size, cosine = gradient_size(snapshot), gradient_cosine(snapshot)
    assert size.columns == cosine.columns == ("all", "one", "two")
    assert set(size.rows) == set(cosine.rows) == {soft, "mmd", "norm"}
    target = vectors[soft].ravel()
    for term in (soft, "mmd"):
        for column in size.columns:
            vector = vectors[term if column == "all" else f"{term}/{column}"].ravel()
            place = size.rows.index(term), size.columns.index(column)
            assert size.values[place] == pytest.approx(np.linalg.norm(vector))
            expected = vector @ target / np.linalg.norm(vector) / np.linalg.norm(target)
            assert cosine.values[place] == pytest.approx(expected)
    assert cosine.values[cosine.rows.index(soft), 0] == pytest.approx(1)
    assert (cosine.centre, size.centre) == (0.0, None)
    assert "12 of 20 samples asked" in size.note


def test_a_term_without_gradient_has_size_zero_and_no_direction():
    _, arrays = gradient_arrays()
    snapshot = made(arrays)
    size, cosine = gradient_size(snapshot), gradient_cosine(snapshot)
    assert size.values[size.rows.index("norm"), 0] == 0
    assert np.isnan(size.values[size.rows.index("norm"), 1:]).all()
    assert np.isnan(cosine.values[cosine.rows.index("norm")]).all()


def test_directions_are_unmoved_by_weights_and_ratios_go_with_them():
    vectors, arrays = gradient_arrays()
    before = made(arrays)
    after = made(arrays | {name: 10 * array for name, array in arrays.items() if "/mmd" in name})
    assert np.allclose(gradient_cosine(after).values, gradient_cosine(before).values, equal_nan=True)
    ratio = gradient_ratio(before).values
    assert ratio["soft"] == pytest.approx(1)
    assert ratio["mmd"] == pytest.approx(np.linalg.norm(vectors["mmd"]) / np.linalg.norm(vectors["soft"]))
    assert gradient_ratio(after).values["mmd"] == pytest.approx(10 * ratio["mmd"])
    opposed = made(
        arrays | {"along/mmd": -(before.arrays["gradient/soft"] ** 2), "gradient/mmd": arrays["gradient/soft"]}
    )
    assert gradient_cosine(opposed).values[1, 0] == pytest.approx(-1)


def test_a_stage_without_a_soft_target_has_sizes_only():
    snapshot = made({"gradient/regression": np.ones(20), "along/regression": np.zeros(20)}, stage="regress")
    assert gradient_size(snapshot).values.tolist() == [[pytest.approx(np.sqrt(20))]]
    for probe in (gradient_cosine, gradient_ratio):
        with pytest.raises(InputError, match=r"stage 'regress'.*terms are regression"):
            probe(snapshot)
    still = made({"gradient/soft": np.zeros(20), "along/soft": np.zeros(20)})
    assert np.isnan(gradient_cosine(still).values).all()
    assert np.isnan(gradient_ratio(still).values["soft"])


# Bridges


def test_bridges_are_means_by_source_and_block():
    arrays = {
        "bridge/one/block 1": np.arange(20.0),
        "bridge/one/block 2": np.ones(20),
        "bridge/two/block 2": np.zeros(20),
    }
    result = bridges(made(arrays))
    assert (result.rows, result.columns) == (("one", "two"), ("block 1", "block 2"))
    assert np.array_equal(result.values, [[9.5, 1], [np.nan, 0]], equal_nan=True)


# Over steps


def test_lines_over_steps_are_the_probes_own_numbers():
    snapshots = [made(errors(seed=step), step=step, seed=step) for step in (30, 10, 20)]
    result = over_steps(agreement, snapshots)
    for teacher in KNOWS:
        assert result.x[teacher].tolist() == [10, 20, 30]
        expected = [agreement(snapshots[k]).values[teacher] for k in (1, 2, 0)]
        assert result.y[teacher].tolist() == expected
    assert result.marks == {}
    middle = over_steps(reconstruction_error, snapshots)
    assert middle.y["two"].tolist() == [np.median(snapshots[k].arrays["error/two"]) for k in (1, 2, 0)]
    assert middle.title == "median reconstruction error"
    assert middle.unit == "share of the feature's variance"


def test_cells_of_a_matrix_are_lines_by_both_names_and_options_reach_the_probe():
    labels = {"kind": np.array([0, 1, 2, 3] * 5), "size": np.array([0, 1] * 10)}
    snapshots = [made(errors(seed=step), step=step, labels=labels) for step in (1, 2)]
    result = over_steps(error_by_class, snapshots, task="size")
    assert list(result.x)[:3] == ["one · small", "one · large", "two · small"]
    expected = [error_by_class(snapshot, "size").values[1, 0] for snapshot in snapshots]
    assert result.y["two · small"].tolist() == expected


def test_stages_that_do_not_emit_it_are_left_out_and_beginnings_are_marked():
    early = [made(step=step, stage="component") for step in (0, 50)]
    late = [made(errors(), step=step, stage="target") for step in (100, 150)]
    result = over_steps(reconstruction_error, early + late)
    assert result.x["one"].tolist() == [100, 150]
    assert result.marks == {"component": 0, "target": 100}
    assert result.note == "2 of 4 snapshots are of stages without it"
    assert over_steps(agreement, early + late).note == ""
    with pytest.raises(InputError, match="no error/"):
        over_steps(reconstruction_error, early)
    with pytest.raises(InputError, match="no snapshots"):
        over_steps(reconstruction_error, [])


def test_points_make_no_lines():
    nets = {f"common/{net}": np.random.default_rng(0).random((20, 4)) for net in ("student", *KNOWS)}
    with pytest.raises(InputError, match="gives Points has no lines"):
        over_steps(pca, [made(nets)])
    assert over_steps(mmd, [made(nets)]).y["sum · two"] == pytest.approx(mmd(made(nets)).values[-1, 1])
