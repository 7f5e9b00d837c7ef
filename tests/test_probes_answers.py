"""Laws of what nets answer: agreement and confusion, calibration, entropy, and who is selected."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import entropy
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix

from ka_explore import InputError, Snapshot
from ka_explore.probes.agreement import accuracy, agreement, agreement_by_class, confusion, confusion_with
from ka_explore.probes.calibration import DIAGONAL, binned, calibration_error, entropies, reliability
from ka_explore.probes.selection import responsibility, selection, selection_share

CLASSES = (*(("kind", f"kind {i}") for i in range(5)), *(("size", f"size {i}") for i in range(3)))
KNOWS = {"one": (0, 1, 2), "two": (2, 3, 4), "three": (5, 6, 7)}  # "kind 2" is known to two teachers


def made(samples: int = 60, *, labels: bool = True, seed: int = 0) -> Snapshot:
    random = np.random.default_rng(seed)
    arrays = {"scores": 2 * random.normal(size=(samples, 8))}
    arrays |= {f"logits/{teacher}": 2 * random.normal(size=(samples, 3)) for teacher in KNOWS}
    truth = {"kind": random.integers(-1, 5, samples), "size": random.integers(-1, 3, samples)}
    return Snapshot(7, "joint", np.arange(samples), truth if labels else None, CLASSES, KNOWS, arrays)


def replaced(snapshot: Snapshot, **changes) -> Snapshot:
    return Snapshot(**{name: getattr(snapshot, name) for name in snapshot.__dataclass_fields__} | changes)


def spoil(snapshot: Snapshot, name: str, places) -> Snapshot:
    array = snapshot.arrays[name].copy()
    array[places] = np.nan
    return replaced(snapshot, arrays=snapshot.arrays | {name: array})


def right_answers(snapshot: Snapshot) -> Snapshot:
    """The same with a student and teachers that know everything."""
    scores = np.concatenate(
        [9.0 * (snapshot.labels[t][:, None] == np.arange(n)) for t, n in (("kind", 5), ("size", 3))], 1
    )
    arrays = {"scores": scores} | {f"logits/{t}": scores[:, list(KNOWS[t])] for t in KNOWS}
    return replaced(snapshot, arrays=arrays)


# Agreement and confusion


def test_agreement_by_class_equals_the_slow_loop_and_its_mean_is_agreement():
    snapshot = made()
    result = agreement_by_class(snapshot)
    assert result.rows == ("one", "two", "three")
    assert result.columns[4:6] == ("kind: kind 4", "size: size 0")
    for row, teacher in enumerate(KNOWS):
        said = [KNOWS[teacher][max(range(3), key=lambda k: z[k])] for z in snapshot.arrays[f"logits/{teacher}"]]
        answer = [max(KNOWS[teacher], key=lambda c: z[c]) for z in snapshot.arrays["scores"]]
        for column in range(8):
            mine = [a == s for a, s in zip(answer, said, strict=True) if s == column]
            assert result.values[row, column] == pytest.approx(np.mean(mine) if mine else np.nan, nan_ok=True)
        counts = [said.count(column) for column in range(8)]
        mean = np.nansum(result.values[row] * counts) / 60
        assert mean == pytest.approx(agreement(snapshot).values[teacher])


@pytest.mark.parametrize("task", ["kind", "size"])
def test_confusion_equals_scikit_learns(task):
    snapshot = made()
    mine = [place for place, (its_task, _) in enumerate(CLASSES) if its_task == task]
    y = snapshot.labels[task]
    answer = snapshot.arrays["scores"][:, mine].argmax(axis=1)
    expected = confusion_matrix(y[y >= 0], answer[y >= 0], labels=range(len(mine)), normalize="true")
    result = confusion(snapshot, task)
    assert np.allclose(result.values, expected)
    assert result.rows[0] == f"true: {task} 0"
    assert result.columns[-1] == f"student: {task} {len(mine) - 1}"


def test_confusion_with_a_teacher_equals_scikit_learns_and_needs_no_label():
    snapshot = made(labels=False)
    for teacher, classes in KNOWS.items():
        said = snapshot.arrays[f"logits/{teacher}"].argmax(axis=1)
        answer = snapshot.arrays["scores"][:, list(classes)].argmax(axis=1)
        result = confusion_with(snapshot, teacher)
        assert np.allclose(result.values, confusion_matrix(said, answer, labels=range(3), normalize="true"))
        assert np.allclose(
            np.diagonal(result.values), agreement_by_class(snapshot).values[list(KNOWS).index(teacher), list(classes)]
        )
    assert np.array_equal(confusion_with(snapshot).values, confusion_with(snapshot, "one").values)
    with pytest.raises(InputError, match="Did you mean 'three'"):
        confusion_with(snapshot, "thre")


def test_those_who_know_are_never_confused():
    snapshot = right_answers(made())
    assert np.array_equal(confusion(snapshot).values, np.eye(5))
    assert accuracy(snapshot).values == pytest.approx(dict.fromkeys(accuracy(snapshot).values, 1.0))
    assert np.nanmin(agreement_by_class(snapshot).values) == 1


def test_a_class_without_images_has_no_row():
    snapshot = made()
    kind = np.where(snapshot.labels["kind"] == 3, -1, snapshot.labels["kind"])
    result = confusion(replaced(snapshot, labels={"kind": kind}))
    assert np.isnan(result.values[3]).all()
    assert np.isfinite(np.delete(result.values, 3, axis=0)).all()


def test_samples_that_are_not_finite_are_left_out_and_counted():
    snapshot = made()
    spoiled = spoil(snapshot, "scores", ([3, 7], [1, 2]))
    kept = np.delete(np.arange(60), [3, 7])
    smaller = replaced(
        snapshot,
        index=kept,
        labels={task: y[kept] for task, y in snapshot.labels.items()},
        arrays={name: array[kept] for name, array in snapshot.arrays.items()},
    )
    assert np.allclose(confusion(spoiled).values, confusion(smaller).values, equal_nan=True)
    assert accuracy(spoiled).values["joint kind"] == accuracy(smaller).values["joint kind"]
    for text in (confusion(spoiled).note, accuracy(spoiled).note, agreement(spoiled).note):
        assert "2 of 60 samples left out" in text
    nothing = spoil(snapshot, "scores", slice(None))
    assert all(np.isnan(value) for value in agreement(nothing).values.values())
    assert all(np.isnan(value) for value in accuracy(nothing).values.values())


@pytest.mark.parametrize(
    ("probe", "instead"), [(confusion, "confusion_with"), (accuracy, "agreement"), (calibration_error, "reliability")]
)
def test_what_needs_labels_says_what_needs_none(probe, instead):
    with pytest.raises(InputError, match=f"no true labels.*{instead} needs none"):
        probe(made(labels=False))


def test_a_task_without_labels_or_of_no_such_name_is_refused():
    snapshot = made()
    half = replaced(snapshot, labels={"size": snapshot.labels["size"]})
    with pytest.raises(InputError, match="no true labels of task 'kind'"):
        confusion(half, "kind")
    assert "size" in confusion(half).title
    for probe in (confusion, reliability):
        with pytest.raises(InputError, match="unknown task 'sice'"):
            probe(snapshot, "sice")


# Calibration


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_reliability_equals_scikit_learns_curve(bins):
    snapshot = made(300)
    known = snapshot.labels["size"] >= 0
    p = softmax(snapshot.arrays["scores"][known, 5:], axis=1)
    right = p.argmax(axis=1) == snapshot.labels["size"][known]
    share, confidence = calibration_curve(right, p.max(axis=1), n_bins=bins, strategy="uniform")
    result = reliability(snapshot, "size", bins=bins)
    assert result.x["student"] == pytest.approx(confidence)
    assert result.y["student"] == pytest.approx(share)
    assert list(result.x) == ["student", "three", DIAGONAL]
    assert np.array_equal(result.x[DIAGONAL], result.y[DIAGONAL])


def test_the_calibration_error_equals_a_slow_loop():
    snapshot = made(300)
    result = calibration_error(snapshot, bins=10)
    assert list(result.values) == ["student kind", "one", "two", "student size", "three"]
    for name, task, columns, logits in (
        ("student kind", "kind", range(5), snapshot.arrays["scores"][:, :5]),
        ("two", "kind", KNOWS["two"], snapshot.arrays["logits/two"]),
        ("three", "size", range(3), snapshot.arrays["logits/three"]),
    ):
        used = [i for i in range(300) if snapshot.labels[task][i] in list(columns)]
        p = softmax(logits[used], axis=1)
        right = [list(columns)[k] == snapshot.labels[task][i] for k, i in zip(p.argmax(axis=1), used, strict=True)]
        expected = 0.0
        for b in range(10):
            mine = [k for k in range(len(used)) if b / 10 < p[k].max() <= (b + 1) / 10]
            if mine:
                gap = np.mean([right[k] for k in mine]) - np.mean([p[k].max() for k in mine])
                expected += len(mine) / len(used) * abs(gap)
        assert result.values[name] == pytest.approx(expected)


def test_a_sure_net_that_is_right_is_calibrated_and_one_that_is_wrong_is_not():
    snapshot = right_answers(made())
    sharp = replaced(snapshot, arrays={name: 10 * array for name, array in snapshot.arrays.items()})
    assert calibration_error(sharp).values == pytest.approx(dict.fromkeys(calibration_error(sharp).values, 0.0))
    wrong = replaced(sharp, arrays=sharp.arrays | {"scores": np.roll(sharp.arrays["scores"][:, :8], 1, axis=1)})
    assert calibration_error(wrong).values["student kind"] > 0.5


def test_a_net_that_answers_by_its_own_probabilities_is_calibrated():
    random = np.random.default_rng(0)
    scores = 2 * random.normal(size=(20000, 8))
    p = softmax(scores[:, :5], axis=1).cumsum(axis=1)
    truth = (random.random((20000, 1)) > p).sum(axis=1).clip(max=4)
    arrays = {"scores": scores} | {f"logits/{t}": scores[:, list(k)] for t, k in KNOWS.items()}
    snapshot = Snapshot(7, "", np.arange(20000), {"kind": truth}, CLASSES, KNOWS, arrays)
    assert calibration_error(snapshot).values["student"] < 0.02
    over = replaced(snapshot, arrays=arrays | {"scores": 3 * scores})
    assert calibration_error(over).values["student"] > 0.1
    curve = reliability(over)
    assert (curve.y["student"] < curve.x["student"]).mean() > 0.8


def test_without_labels_reliability_is_against_the_teachers_and_says_so():
    snapshot = made(labels=False)
    result = reliability(snapshot)
    assert list(result.x) == ["student within one", "student within two", DIAGONAL]
    assert "no labels" in result.title
    assert "agrees" in result.unit
    own = snapshot.arrays["scores"][:, :3]
    sure = softmax(own, axis=1).max(axis=1)
    same = own.argmax(axis=1) == snapshot.arrays["logits/one"].argmax(axis=1)
    confidence, share, count = binned(sure, same, 15)
    assert result.x["student within one"] == pytest.approx(confidence)
    assert result.y["student within one"] == pytest.approx(share)
    assert (share * count).sum() / 60 == pytest.approx(agreement(snapshot).values["one"])


def test_bins_hold_their_upper_edge_and_there_is_at_least_one():
    confidence, _, count = binned(np.array([0.5, 0.500001, 1.0]), np.ones(3, bool), 2)
    assert count.tolist() == [1, 2]
    assert confidence == pytest.approx([0.5, 0.7500005])
    for probe in (reliability, calibration_error):
        with pytest.raises(InputError, match="bins=0"):
            probe(made(), bins=0)


def test_entropies_equal_scipys():
    snapshot = made()
    result, relative = entropies(snapshot), entropies(snapshot, relative=True)
    assert list(result.values) == ["student kind", "student size", "one", "two", "three"]
    for name, logits in (
        ("student kind", snapshot.arrays["scores"][:, :5]),
        ("student size", snapshot.arrays["scores"][:, 5:]),
        ("two", snapshot.arrays["logits/two"]),
    ):
        assert result.values[name] == pytest.approx(entropy(softmax(logits, axis=1), axis=1))
        assert relative.values[name] == pytest.approx(entropy(softmax(logits, axis=1), base=logits.shape[1], axis=1))
    assert (result.unit, relative.unit) == ("nats", "share of log(labels)")


def test_entropies_of_sure_and_of_single_answers_are_zero():
    arrays = {"scores": np.array([[1e6, 0.0]]), "logits/one": np.array([[3.0]])}
    snapshot = Snapshot(0, "", np.arange(1), None, (("class", "a"), ("class", "b")), {"one": (0,)}, arrays)
    for relative in (False, True):
        values = entropies(snapshot, relative=relative).values
        assert values["student"].tolist() == [0]
        assert values["one"].tolist() == [0]


# Who is selected


def test_the_share_selected_is_counted_by_teacher():
    chosen = np.array([0.0, 1.0, 1.0, 1.0, np.nan])
    snapshot = made(5)
    snapshot = replaced(snapshot, arrays=snapshot.arrays | {"selected/kind": chosen})
    result = selection_share(snapshot)
    assert result.values == {"one": 0.25, "two": 0.75}
    assert "1 of 5 samples left out" in result.note
    with pytest.raises(InputError, match="no selected/"):
        selection_share(made())


def test_means_of_claims_and_weights_leave_out_what_is_not_finite():
    snapshot = made(20)
    weights = {"weight/one": np.linspace(0, 1, 20), "weight/two": np.linspace(1, 0, 20), "selected/kind": np.zeros(20)}
    snapshot = spoil(replaced(snapshot, arrays=snapshot.arrays | weights), "weight/one", [0, 1])
    result = selection(snapshot)
    assert result.values[0, 0] == pytest.approx(weights["weight/one"][2:].mean())
    assert "2 of 20 samples left out" in result.note
    spoiled = spoil(snapshot, "logits/one", [4])
    kept = np.delete(np.arange(20), 4)
    total = log_softmax(np.concatenate([snapshot.arrays["logits/one"], snapshot.arrays["logits/two"]], axis=1), axis=1)
    assert responsibility(spoiled).values[0, 0] == pytest.approx(np.exp(total[kept, :3]).sum(axis=1).mean())
    assert "1 of 20 samples left out" in responsibility(spoiled).note
