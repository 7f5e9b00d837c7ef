"""Laws of the numbers for alignment: pairs found, class neighbours and the gap, and equal to slow loops."""

from itertools import combinations

import numpy as np
import pytest

from ka_explore import InputError, Snapshot
from ka_explore.probes.alignment import class_neighbours, gap, pairs_found
from ka_explore.probes.embedding import rows_of
from ka_explore.probes.over_steps import over_steps
from ka_explore.probes.similarity import mmd

TEACHERS = ("one", "two")
NETS = ("student", *TEACHERS)
NUMBERS = (pairs_found, class_neighbours, gap)


def snapshot_of(arrays, labels=None, step: int = 7) -> Snapshot:
    """Two teachers of two classes each; their logits are of zeros where there are none."""
    count = len(next(iter(arrays.values())))
    logits = {f"logits/{teacher}": np.zeros((count, 2)) for teacher in TEACHERS}
    classes, knows = tuple(("class", str(place)) for place in range(4)), {"one": (0, 1), "two": (2, 3)}
    truth = None if labels is None else {"class": np.asarray(labels)}
    return Snapshot(step, "joint", np.arange(count), truth, classes, knows, logits | arrays)


def clouds(samples: int = 60, width: int = 6, apart: float = 0.6, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of all nets: the same for an image but for what is added, more to every teacher."""
    random = np.random.default_rng(seed)
    base = random.normal(size=(samples, width))
    return {f"common/{net}": base + apart * i * random.normal(size=base.shape) for i, net in enumerate(NETS)}


def identical(samples: int = 60, seed: int = 0) -> dict[str, np.ndarray]:
    return clouds(samples, apart=0.0, seed=seed)


def independent(samples: int = 60, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {f"common/{net}": random.normal(size=(samples, 6)) for net in NETS}


def labels_of(samples: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, samples)


# Slow references: distances and ranks in plain loops. Of points that are equally near, the order is left to chance; all
# orders of a few points are gone through, so that the mean over them is exact.


def unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def nearest_in_every_order(student: np.ndarray, theirs: np.ndarray, k: int) -> list[tuple[float, list[int]]]:
    """(how often, which) of the k nearest: of points at the last distance every choice is as likely."""
    away = [round(float(np.linalg.norm(unit(student) - unit(row))), 9) for row in theirs]
    last = sorted(away)[k - 1]
    nearer = [j for j, distance in enumerate(away) if distance < last]
    equal = [j for j, distance in enumerate(away) if distance == last]
    choices = list(combinations(equal, k - len(nearer)))
    return [(1 / len(choices), [*nearer, *chosen]) for chosen in choices]


def slow_pairs(arrays, teacher: str, k: int) -> np.ndarray:
    student, theirs = arrays["common/student"], arrays[f"common/{teacher}"]
    return np.array(
        [sum(p * (i in near) for p, near in nearest_in_every_order(row, theirs, k)) for i, row in enumerate(student)]
    )


def slow_classes(arrays, teacher: str, kind, k: int) -> np.ndarray:
    student, theirs = arrays["common/student"], arrays[f"common/{teacher}"]
    found = []
    for i, row in enumerate(student):
        orders = nearest_in_every_order(row, theirs, k)
        found.append(sum(p * np.mean([kind[j] == kind[i] for j in near]) for p, near in orders))
    return np.array(found)


def slow_gap(arrays, teacher: str) -> float:
    one, other = (np.array([unit(row) for row in arrays[f"common/{net}"]]) for net in ("student", teacher))
    spread = np.sqrt((one.var(axis=0, ddof=1).sum() + other.var(axis=0, ddof=1).sum()) / 2)
    return float(np.linalg.norm(one.mean(axis=0) - other.mean(axis=0)) / spread)


def error_of(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def with_ties(samples: int = 9) -> dict[str, np.ndarray]:
    """Rows of which many are the same, or equally far from others: corners of a cube."""
    random = np.random.default_rng(3)
    return {f"common/{net}": random.choice([-1.0, 1.0], size=(samples, 3)) for net in NETS}


@pytest.mark.parametrize("arrays", [clouds(14), independent(14), identical(14), with_ties()])
def test_pairs_found_are_those_of_a_slow_search_in_every_order_of_what_is_equally_near(arrays):
    result = pairs_found(snapshot_of(arrays), neighbours=(1, 2, 5))
    assert list(result.values) == [f"{teacher} at {k}" for k in (1, 2, 5) for teacher in TEACHERS]
    for teacher in TEACHERS:
        for k in (1, 2, 5):
            expected = slow_pairs(arrays, teacher, k)
            assert result.values[f"{teacher} at {k}"] == pytest.approx(expected.mean())
            assert result.spread[f"{teacher} at {k}"] == pytest.approx(error_of(expected))


@pytest.mark.parametrize("arrays", [clouds(14), independent(14), with_ties()])
def test_class_neighbours_are_those_of_a_slow_search_in_every_order_of_what_is_equally_near(arrays):
    kind = labels_of(len(arrays["common/one"]))
    result = class_neighbours(snapshot_of(arrays, kind), neighbours=(1, 5))
    for teacher in TEACHERS:
        for k in (1, 5):
            expected = slow_classes(arrays, teacher, kind, k)
            assert result.values[f"{teacher} at {k}"] == pytest.approx(expected.mean())
            assert result.spread[f"{teacher} at {k}"] == pytest.approx(error_of(expected))


def test_the_gap_is_that_of_its_formula_and_its_error_that_of_leaving_out_each_image():
    arrays = clouds(20)
    result = gap(snapshot_of(arrays))
    for teacher in TEACHERS:
        assert result.values[teacher] == pytest.approx(slow_gap(arrays, teacher))
        without = [slow_gap({n: np.delete(a, i, axis=0) for n, a in arrays.items()}, teacher) for i in range(20)]
        assert result.spread[teacher] == pytest.approx(np.sqrt(19 * np.var(without)))
    assert result.unit == "spreads"


# Laws


def test_in_identical_spaces_every_pair_is_found_every_nearest_point_is_of_the_class_and_there_is_no_gap():
    snapshot = snapshot_of(identical(256), labels_of(256))
    assert set(pairs_found(snapshot).values.values()) == {1.0}
    assert set(class_neighbours(snapshot, neighbours=(1,)).values.values()) == {1.0}
    assert list(gap(snapshot).values.values()) == pytest.approx([0, 0], abs=1e-12)
    assert set(pairs_found(snapshot).spread.values()) == {0.0}


def test_between_independent_spaces_all_is_as_by_chance():
    found: dict[str, list[float]] = {}
    for seed in range(40):
        labels = np.random.default_rng(seed).choice(4, 60, p=(0.55, 0.25, 0.15, 0.05))
        snapshot = snapshot_of(independent(60, seed), labels)
        for number in NUMBERS:
            result = number(snapshot)
            for name, value in result.values.items():
                level = "by chance" + (name[3:] if number is pairs_found else "")
                power = 2 if number is gap else 1  # its square is what has a simple mean
                found.setdefault(f"{number.__name__} {name}", []).append(value**power - result.levels[level] ** power)
    assert len(found) == 10
    for name, differences in found.items():
        assert abs(np.mean(differences)) < 3 * error_of(np.array(differences)), name
        assert np.std(differences) > 0, name


def test_chance_is_how_often_an_order_by_lot_is_right():
    labels = np.repeat([0, 1, 2, 3], [30, 15, 10, 5])
    snapshot = snapshot_of(clouds(60), labels)
    assert pairs_found(snapshot).levels == pytest.approx({"by chance at 1": 1 / 60, "by chance at 5": 5 / 60})
    assert class_neighbours(snapshot).levels == pytest.approx({"by chance": (900 + 225 + 100 + 25) / 3600})
    assert gap(snapshot).levels == pytest.approx({"by chance": np.sqrt(2 / 60)})
    assert pairs_found(snapshot_of(clouds(3))).levels["by chance at 5"] == 1


def test_nothing_is_moved_by_a_rotation_of_the_space_or_by_the_length_of_rows():
    arrays, labels = clouds(), labels_of(60)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    longer = np.random.default_rng(2).uniform(0.1, 9, (60, 1))
    for number in NUMBERS:
        before = number(snapshot_of(arrays, labels))
        for changed in (lambda array: array @ turn, lambda array: longer * array):
            after = number(snapshot_of({name: changed(array) for name, array in arrays.items()}, labels))
            assert after.values == pytest.approx(before.values, abs=1e-9)
            assert after.spread == pytest.approx(before.spread, abs=1e-9)


def test_a_permuted_batch_brings_pairs_and_classes_to_chance_and_the_mmd_and_the_gap_do_not_notice():
    arrays, labels = clouds(200, apart=0.2), labels_of(200)
    together = snapshot_of(arrays, labels)
    assert pairs_found(together).values["one at 1"] > 0.9
    pairs, classes = [], []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(200)
        mixed = snapshot_of(arrays | {"common/student": arrays["common/student"][order]}, labels)
        assert np.allclose(mmd(mixed).values, mmd(together).values, atol=1e-12)
        assert gap(mixed).values == pytest.approx(gap(together).values)
        pairs.append(pairs_found(mixed).values["one at 1"])
        classes.append(class_neighbours(mixed).values["one at 1"])
    assert abs(np.mean(pairs) - 1 / 200) < 3 * error_of(np.array(pairs))
    chance = class_neighbours(together).levels["by chance"]
    assert abs(np.mean(classes) - chance) < 3 * error_of(np.array(classes))


def test_what_has_collapsed_gives_chance_whatever_the_order_of_the_images():
    labels = labels_of(60)
    flat = {f"common/{net}": np.full((60, 6), 0.3) for net in NETS}
    one_place = clouds() | {"common/student": np.full((60, 6), 0.3)}  # the student's points alone
    for arrays in (flat, one_place):
        result = pairs_found(snapshot_of(arrays, labels))
        assert result.values["one at 1"] == pytest.approx(1 / 60)
        assert result.values["two at 5"] == pytest.approx(5 / 60)
    assert class_neighbours(snapshot_of(flat, labels)).values["one at 5"] == pytest.approx(
        class_neighbours(snapshot_of(flat, labels)).levels["by chance"]
    )
    assert np.isnan(gap(snapshot_of(flat)).values["one"])


def test_copies_of_an_image_share_what_is_found_though_rows_are_of_single_precision():
    base = np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32)
    copies = np.repeat(base, 3, axis=0)  # of an image its copies are as near as itself
    result = pairs_found(snapshot_of({f"common/{net}": copies for net in NETS}))
    assert result.values == pytest.approx({"one at 1": 1 / 3, "two at 1": 1 / 3, "one at 5": 1, "two at 5": 1})


def test_a_far_away_cloud_of_the_same_form_is_a_gap_and_the_pairs_may_still_be_found():
    random = np.random.default_rng(0)
    base = 0.1 * random.normal(size=(100, 6)) + np.array([5, 0, 0, 0, 0, 0])
    away = base + np.array([0, 5, 0, 0, 0, 0])
    result = gap(snapshot_of({"common/student": base, "common/one": away, "common/two": base}))
    assert result.values["one"] > 10
    assert result.values["two"] == pytest.approx(0, abs=1e-12)


# Which images, which classes, which space


def test_without_labels_classes_are_what_the_teacher_itself_answers():
    arrays, random = clouds(), np.random.default_rng(4)
    logits = {f"logits/{teacher}": random.normal(size=(60, 2)) for teacher in TEACHERS}
    result = class_neighbours(snapshot_of(arrays | logits))
    for teacher in TEACHERS:
        said = logits[f"logits/{teacher}"].argmax(axis=1)
        assert result.values[f"{teacher} at 5"] == pytest.approx(slow_classes(arrays, teacher, said, 5).mean())
        share = said.mean()
        assert result.levels[f"{teacher} by chance"] == pytest.approx(share**2 + (1 - share) ** 2)
    assert result.note == "class: what the teacher answers (no labels)"
    unknown = class_neighbours(snapshot_of(arrays | logits, np.full(60, -1)))  # a pool that knows no label
    assert unknown.values == result.values


def test_images_of_an_unknown_class_are_left_out_and_counted():
    arrays, labels = clouds(), labels_of(60)
    some = labels.copy()
    some[:7] = -1
    result = class_neighbours(snapshot_of(arrays, some))
    rest = class_neighbours(snapshot_of({name: array[7:] for name, array in arrays.items()}, labels[7:]))
    assert result.values == pytest.approx(rest.values)
    assert result.note == "class: the true one, unknown of 7"
    assert "the probe set's 60 images" in result.title


def test_a_result_says_which_images_and_step_it_is_of_and_leaves_out_what_is_not_finite():
    arrays = clouds()
    arrays["common/one"][3, 2] = np.nan
    for number in NUMBERS:
        result = number(snapshot_of(arrays, labels_of(60)))
        assert result.step == 7
        assert "59 of the probe set's 60 images" in result.title
        assert "1 of 60 samples left out: not finite" in result.note
    assert pairs_found(snapshot_of(arrays)).levels["by chance at 1"] == pytest.approx(1 / 59)
    arrays["common/one"][:] = np.nan  # one teacher alone is lost
    result = pairs_found(snapshot_of(arrays))
    assert np.isnan(result.values["one at 1"])
    assert result.values["two at 1"] == pytest.approx(slow_pairs(arrays, "two", 1).mean())


def test_of_many_images_some_are_taken_evenly_and_the_title_says_so():
    arrays = clouds(90)
    result = pairs_found(snapshot_of(arrays), most=30)
    picked = np.linspace(0, 89, 30).round().astype(int)
    assert result.values == pytest.approx(pairs_found(snapshot_of({n: a[picked] for n, a in arrays.items()})).values)
    assert "30 of the probe set's 90 images" in result.title
    assert result.levels["by chance at 1"] == pytest.approx(1 / 30)


def test_points_are_those_that_pictures_draw():
    arrays = clouds()
    snapshot = snapshot_of(arrays)
    drawn = {f"common/{net}": 7.0 * rows for net, rows in rows_of(snapshot).items()}
    for number in NUMBERS:
        assert number(snapshot_of(drawn)).values == pytest.approx(number(snapshot).values)


def test_features_of_one_width_can_be_compared_and_others_are_refused_with_what_there_is():
    arrays = clouds()
    features = {name.replace("common", "feature") + "/late": array for name, array in arrays.items()}
    early = {f"feature/{net}/early": np.ones((60, 3)) for net in NETS}
    for number in NUMBERS:
        found = number(snapshot_of({**early, **features}), space="feature")
        assert found.values == pytest.approx(number(snapshot_of(arrays)).values)
        assert ", feature (" in found.title
        with pytest.raises(InputError, match=r"different widths \[3, 6\]"):
            number(snapshot_of(features | {"feature/one/late": np.ones((60, 3))}), space="feature")
        with pytest.raises(InputError, match="has no student"):
            number(snapshot_of({"common/one": np.ones((60, 3))}))
        with pytest.raises(InputError, match="the student alone"):
            number(snapshot_of({"common/student": np.ones((60, 3))}))


def test_a_code_of_all_teachers_is_held_against_what_the_student_makes_of_it():
    arrays = clouds()
    code = {"code/late": arrays["common/one"], "regressed/late": arrays["common/student"]}
    wanted = {
        name.replace("one", "code"): v for name, v in pairs_found(snapshot_of(arrays)).values.items() if "one" in name
    }
    assert pairs_found(snapshot_of(code), space="code/late").values == pytest.approx(wanted)
    assert "the teachers answer" in class_neighbours(snapshot_of(code), space="code/late").note


@pytest.mark.parametrize("number", [pairs_found, class_neighbours])
def test_numbers_out_of_range_are_refused(number):
    for wrong in ({"neighbours": ()}, {"neighbours": (0,)}, {"neighbours": (1, 5000)}, {"most": 0}, {"most": 5000}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            number(snapshot_of(clouds()), **wrong)


def test_over_the_steps_there_is_a_line_a_teacher_with_chance_as_a_level():
    snapshots = [
        snapshot_of(clouds(apart=apart), labels_of(60), step) for step, apart in ((0, 2.0), (50, 0.5), (90, 0.1))
    ]
    for number in NUMBERS:
        curves = over_steps(number, snapshots, **({} if number is gap else {"neighbours": (1,)}))
        assert list(curves.x) == list(TEACHERS)
        assert curves.x["one"].tolist() == [0, 50, 90]
        assert curves.y["two"].tolist() == [number(s).values["two" if number is gap else "two at 1"] for s in snapshots]
        assert curves.levels == number(snapshots[-1], **({} if number is gap else {"neighbours": (1,)})).levels
        assert "60 images" in curves.title
