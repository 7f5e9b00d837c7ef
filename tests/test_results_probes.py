"""Laws of the first probes, equal to slow loops; of results as tables; and of what a snapshot refuses."""

import inspect

import numpy as np
import pytest

from ka_explore import InputError, Run, Snapshot, toy
from ka_explore.probes import PROBES, embedding, jobs, similarity, spaces, spectrum
from ka_explore.probes.agreement import accuracy, agreement
from ka_explore.probes.embedding import fit_basis, pca
from ka_explore.probes.reconstruction import reconstruction_error
from ka_explore.probes.results import Curves, Diagram, Distribution, Matrix, Points, Scalars, as_matrix, heading
from ka_explore.probes.selection import claims, responsibility, selection

WIDTH = 6


def made(
    samples: int = 12,
    nets=("student", "one", "two"),
    *,
    labels: bool = True,
    overlap: bool = False,
    tasks: int = 1,
    seed: int = 0,
) -> Snapshot:
    """A snapshot of random numbers; each teacher knows three classes, with ``overlap`` one of them its neighbour's."""
    random = np.random.default_rng(seed)
    teachers = [net for net in nets if net != "student"]
    knows, classes = {}, []
    for task in range(tasks):
        mine = teachers[task::tasks]
        step = 2 if overlap else 3
        start = len(classes)
        for place, teacher in enumerate(mine):
            knows[teacher] = tuple(start + step * place + i for i in range(3))
        classes += [(f"task {task}", f"class {i}") for i in range(step * (len(mine) - 1) + 3)]
    knows = {teacher: knows[teacher] for teacher in teachers}
    arrays = {f"common/{net}": random.normal(size=(samples, WIDTH)) + place for place, net in enumerate(nets)}
    arrays |= {f"logits/{teacher}": random.normal(size=(samples, 3)) for teacher in teachers}
    arrays |= {f"error/{teacher}": random.random(samples) for teacher in teachers}
    first = [
        teacher for teacher in teachers if knows[teacher][0] < len(classes) and teachers.index(teacher) % tasks == 0
    ]
    arrays |= {f"weight/{teacher}": np.full(samples, 1 / len(first)) for teacher in first}
    arrays["selected/task 0"] = np.zeros(samples)
    arrays["scores"] = random.normal(size=(samples, len(classes)))
    truth = {
        f"task {task}": random.integers(-1, sum(t == f"task {task}" for t, _ in classes), samples)
        for task in range(tasks)
    }
    return Snapshot(7, "joint", np.arange(samples), truth if labels else None, tuple(classes), knows, arrays)


def replaced(snapshot: Snapshot, **changes) -> Snapshot:
    return Snapshot(**{name: getattr(snapshot, name) for name in snapshot.__dataclass_fields__} | changes)


def common(snapshot: Snapshot, change) -> Snapshot:
    return replaced(
        snapshot, arrays={n: change(a) if n.startswith("common/") else a for n, a in snapshot.arrays.items()}
    )


def distances(result: Points) -> np.ndarray:
    return np.linalg.norm(result.xy[:, None] - result.xy[None], axis=2)


# The two principal axes


def test_pca_keeps_the_most_variance_that_a_plane_can():
    snapshot = made()
    rows = np.concatenate([snapshot.arrays[f"common/{net}"] for net in ("student", "one", "two")])
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    values = np.sort(np.linalg.eigvalsh(np.cov(rows.T, bias=True)))[::-1]
    xy = pca(snapshot).xy
    assert np.allclose(xy.mean(axis=0), 0)
    assert np.allclose(np.cov(xy.T, bias=True), np.diag(values[:2]))
    assert np.allclose(fit_basis(snapshot).kept, values[:2] / values.sum())
    assert f"{values[:2].sum() / values.sum():.0%}" in pca(snapshot).note


def test_pca_is_the_same_in_any_order_of_the_samples():
    snapshot = made()
    order = np.random.default_rng(1).permutation(12)
    other = replaced(
        snapshot,
        index=snapshot.index[order],
        labels={task: y[order] for task, y in snapshot.labels.items()},
        arrays={name: array[order] for name, array in snapshot.arrays.items()},
    )
    before, after = pca(snapshot), pca(other)
    for net in range(3):
        assert np.allclose(after.xy[after.group == net], before.xy[before.group == net][order], atol=1e-9)
        assert np.array_equal(after.label[after.group == net], before.label[before.group == net][order])


def test_pca_is_unmoved_by_a_rotation_of_the_space_but_for_the_axes_signs():
    snapshot = made()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(WIDTH, WIDTH)))[0]
    before, after = pca(snapshot), pca(common(snapshot, lambda array: array @ turn))
    assert np.allclose(np.abs(after.xy), np.abs(before.xy), atol=1e-9)
    assert np.allclose(distances(after), distances(before), atol=1e-9)


def test_pca_is_unmoved_by_the_length_of_the_features():
    snapshot = made()
    scales = np.random.default_rng(1).uniform(0.1, 9, (12, 1))
    assert np.allclose(pca(common(snapshot, lambda array: array * scales)).xy, pca(snapshot).xy)


def test_signs_of_the_axes_do_not_flip_with_a_little_noise():
    snapshot = made(samples=80)
    other = common(snapshot, lambda array: array + 1e-6)
    assert np.allclose(pca(snapshot).xy, pca(other).xy, atol=1e-3)


def test_pictures_drawn_with_one_basis_can_be_compared():
    first, last = made(seed=1), made(seed=2)
    basis = fit_basis(last)
    assert np.array_equal(pca(last, basis).xy, pca(last).xy)
    half = replaced(first, arrays=first.arrays | {"common/one": last.arrays["common/one"]})
    mixed, alone = pca(half, basis), pca(last, basis)
    assert np.allclose(mixed.xy[mixed.group == 1], alone.xy[alone.group == 1])  # the same feature, the same place
    assert not np.allclose(pca(half).xy[mixed.group == 1], alone.xy[alone.group == 1])


def test_every_point_says_its_net_sample_and_class():
    snapshot = made()
    result = pca(snapshot)
    assert result.groups == ("student", "one", "two")
    assert result.xy.shape == (36, 2)
    for place in range(36):
        assert (result.group[place], result.sample[place]) == divmod(place, 12)
        assert result.label[place] == snapshot.labels["task 0"][place % 12]
    assert result.labels == tuple(label for _, label in snapshot.classes)
    blind = pca(made(labels=False))
    assert blind.label is None
    assert heading(result) == "common space, step 7"


@pytest.mark.parametrize(
    "snapshot",
    [
        made(1),
        made(2),
        made(5, ("student", "one", "two", "three", "four", "five")),
        common(made(), lambda array: np.zeros_like(array)),
        common(made(), lambda array: np.ones_like(array)),
        common(made(), lambda array: np.full_like(array, np.nan)),
        common(made(), lambda array: np.where(np.arange(12)[:, None] == 3, np.inf, array)),
        common(made(), lambda array: array[:, :1]),
        common(made(), lambda array: array.astype(np.float32) * np.float32(1e30)),
        common(made(), lambda array: array * 1e-30),
    ],
    ids=["one sample", "two", "five teachers", "zero", "constant", "NaN", "infinite", "width 1", "huge", "tiny"],
)
def test_pca_survives(snapshot):
    result = pca(snapshot)
    assert np.isfinite(result.xy).all()
    assert "NaN" not in result.note
    assert "nan" not in result.note
    assert len(result.xy) == len(result.group) == len(result.sample) == len(snapshot.index) * len(result.groups)


def test_a_value_that_is_not_finite_moves_no_other_sample_much():
    clean = made(samples=200)
    spoiled = clean.arrays["common/one"].copy()
    spoiled[3] = np.nan
    basis = fit_basis(clean)
    before, after = pca(clean, basis), pca(replaced(clean, arrays=clean.arrays | {"common/one": spoiled}), basis)
    assert (~np.isclose(before.xy, after.xy).all(axis=1)).sum() == 1


def test_nets_of_different_widths_make_no_one_picture():
    snapshot = made()
    other = replaced(snapshot, arrays=snapshot.arrays | {"common/one": np.zeros((12, 3))})
    with pytest.raises(InputError, match=r"different widths \[3, 6\]"):
        pca(other)


def test_other_arrays_of_one_width_can_be_looked_at():
    assert pca(made(), space="logits").groups == ("one", "two")


# Agreement and accuracy, against loops


@pytest.mark.parametrize("options", [{}, {"overlap": True}, {"nets": ("student", "a", "b", "c", "d"), "tasks": 2}])
def test_agreement_equals_the_slow_loop(options):
    snapshot = made(40, **options)
    expected = {}
    for teacher, classes in snapshot.knows.items():
        same = 0
        for i in range(40):
            best = max(classes, key=lambda c: snapshot.arrays["scores"][i, c])
            said = classes[max(range(3), key=lambda k: snapshot.arrays[f"logits/{teacher}"][i, k])]
            same += best == said
        expected[teacher] = same / 40
    assert agreement(snapshot).values == pytest.approx(expected)
    assert agreement(replaced(snapshot, labels=None)).values == pytest.approx(expected)


@pytest.mark.parametrize("options", [{}, {"overlap": True}, {"nets": ("student", "a", "b", "c", "d"), "tasks": 2}])
def test_accuracy_equals_the_slow_loop(options):
    snapshot = made(60, **options)
    scores = snapshot.arrays["scores"]
    expected = {}
    for task, y in snapshot.labels.items():
        mine = [c for c, (t, _) in enumerate(snapshot.classes) if t == task]
        known = [i for i in range(60) if y[i] >= 0]
        right = sum(max(mine, key=lambda c: scores[i, c]) == mine[y[i]] for i in known)
        expected["joint" if len(snapshot.labels) == 1 else f"joint {task}"] = right / len(known)
    for teacher, classes in snapshot.knows.items():
        task = snapshot.classes[classes[0]][0]
        mine = [c for c, (t, _) in enumerate(snapshot.classes) if t == task]
        truth = [mine[y] if y >= 0 else None for y in snapshot.labels[task]]
        own = [i for i in range(60) if truth[i] in classes]
        right = sum(max(classes, key=lambda c: scores[i, c]) == truth[i] for i in own)
        expected[f"within {teacher}"] = right / len(own)
    assert accuracy(snapshot).values == pytest.approx(expected)


def test_agreement_with_a_student_that_copies_is_one_and_accuracy_of_the_truth_too():
    snapshot = made(labels=True)
    stacked = np.concatenate([snapshot.arrays["logits/one"], snapshot.arrays["logits/two"]], axis=1)
    copied = replaced(snapshot, arrays=snapshot.arrays | {"scores": stacked})
    assert set(agreement(copied).values.values()) == {1.0}
    truth = np.eye(6)[snapshot.labels["task 0"]]
    assert set(accuracy(replaced(snapshot, arrays=snapshot.arrays | {"scores": truth})).values.values()) == {1.0}


def test_without_labels_accuracy_says_what_needs_none():
    for labels in (None, {}):
        with pytest.raises(InputError, match="agreement needs none"):
            accuracy(replaced(made(), labels=labels))
    unknown = accuracy(replaced(made(), labels={"task 0": np.full(12, -1)})).values
    assert all(np.isnan(value) for value in unknown.values())


def test_the_reconstruction_error_is_the_stages_own_by_teacher():
    snapshot = made()
    result = reconstruction_error(snapshot)
    assert list(result.values) == ["one", "two"]
    assert all(np.array_equal(result.values[t], snapshot.arrays[f"error/{t}"]) for t in result.values)


# Whose image it is


def test_claims_are_shares_of_the_joint_softmax_by_a_slow_loop():
    snapshot = made(tasks=2, nets=("student", "a", "b", "c", "d"))
    result = responsibility(snapshot, 5)
    assert result.columns == ("a", "b", "c", "d")
    for row, logits in (
        ("own answers", {t: snapshot.arrays[f"logits/{t}"][5] for t in "abcd"}),
        ("student", {t: snapshot.arrays["scores"][5, list(snapshot.knows[t])] for t in "abcd"}),
    ):
        for mine in ("ac", "bd"):
            whole = sum(np.exp(logits[t]).sum() for t in mine)
            for teacher in mine:
                share = result.values[result.rows.index(row), result.columns.index(teacher)]
                assert np.isclose(share, np.exp(logits[teacher]).sum() / whole)
    mean = responsibility(snapshot)
    assert "entropy of the answer" not in mean.rows
    assert np.allclose(mean.values[0], np.mean([responsibility(snapshot, i).values[0] for i in range(12)], axis=0))


def test_claims_show_what_the_targets_were_made_of():
    run = Run(toy.digits(unlabelled=20), "adaptive", steps=4, batch_size=8, targets="consistent")
    snapshot = run.advance(1).snapshot()
    result = responsibility(snapshot, 3)
    assert {"own answers", "neighbours", "target", "student", "entropy of the answer"} <= set(result.rows)
    assert np.allclose(result.values[:-1].sum(axis=1), 1, atol=1e-5)
    assert np.allclose(result.values[0], [snapshot.arrays[f"claim/own/{t}"][3] for t in snapshot.teachers], atol=1e-5)
    assert not set(snapshot.index[[3]]) & set(snapshot.arrays["neighbours"][3])
    with pytest.raises(InputError, match="expected 0 to 19"):
        responsibility(snapshot, 20)


def test_selection_is_the_mean_weight_of_each_class():
    snapshot = made()
    weights = {"one": np.linspace(0, 1, 12), "two": 1 - np.linspace(0, 1, 12)}
    snapshot = replaced(snapshot, arrays=snapshot.arrays | {f"weight/{t}": w for t, w in weights.items()})
    result = selection(snapshot)
    assert result.rows[0] == "all images"
    assert np.allclose(result.values[0], [0.5, 0.5])
    for row, name in enumerate(result.rows[1:], start=1):
        chosen = snapshot.labels["task 0"] == int(name.split()[-1])
        assert np.allclose(result.values[row], [w[chosen].mean() for w in weights.values()])


# Results as tables, and what a snapshot refuses


def test_every_result_is_a_table_of_what_is_drawn():
    frame = Scalars({"a": 1.0, "b": 2.0}, unit="nats").to_pandas()
    assert frame.to_dict("list") == {"name": ["a", "b"], "value": [1.0, 2.0], "unit": ["nats", "nats"]}
    frame = Scalars({"a": 1.0, "b": 2.0}, spread={"b": 0.2, "a": 0.1}).to_pandas()
    assert frame["standard error"].tolist() == [0.1, 0.2]
    for wrong in ({"a": 0.1}, {"a": 0.1, "b": -0.1}):
        with pytest.raises(InputError, match="spread"):
            Scalars({"a": 1.0, "b": 2.0}, spread=wrong)
    frame = Matrix(np.arange(6).reshape(2, 3), ("r", "s"), ("a", "b", "c")).to_pandas()
    assert frame.loc["s", "b"] == 4
    frame = Distribution({"a": np.array([1.0, 2.0]), "b": np.array([3.0])}).to_pandas()
    assert frame.to_dict("list") == {"group": ["a", "a", "b"], "value": [1.0, 2.0, 3.0]}
    assert list(Distribution().to_pandas().columns) == ["group", "value"]
    points = Points(np.eye(2), np.array([1, 0]), ("student", "one"), np.array([4, 5]), np.array([-1, 0]), ("zero",))
    assert points.to_pandas()["net"].tolist() == ["one", "student"]
    assert points.to_pandas()["class"].tolist()[1] == "zero"
    assert points.to_pandas()["class"].isna().tolist() == [True, False]
    assert "class" not in Points(np.eye(2), np.zeros(2, int), ("a",), np.arange(2)).to_pandas()
    curves = Curves({"a": [1, 2]}, {"a": [0.5, 0.25]}, across="confidence", unit="share")
    assert curves.table() == (["line", "confidence", "share"], [["a", 1, 0.5], ["a", 2, 0.25]])
    assert list(curves.to_pandas().columns) == ["line", "confidence", "value"]
    assert Diagram((), ()).table() == (["name", "kind", "state", "text"], [])


def test_results_of_few_numbers_can_be_laid_out_in_cells():
    cells = as_matrix(Scalars({"a": 1.0, "b": 2.0}, unit="nats", title="t", note="n", step=3))
    assert (cells.rows, cells.columns, cells.title, cells.note, cells.step) == (("a", "b"), ("nats",), "t", "n", 3)
    assert cells.values.tolist() == [[1.0], [2.0]]
    cells = as_matrix(Scalars({"a": 1.0}, spread={"a": 0.1}, levels={"by chance": 0.25}, note="n"))
    assert (cells.columns, cells.values.tolist()) == (("value", "standard error"), [[1.0, 0.1]])
    assert cells.note == "by chance = 0.25; n"
    assert as_matrix(Scalars({})).values.shape == (0, 1)
    curves = Curves({"a": [1, 2]}, {"a": [0.5, 0.25]}, across="confidence", levels={"floor": 0.125})
    assert as_matrix(curves).columns == ("1", "2")
    assert as_matrix(curves).note == "columns: confidence; floor = 0.125"
    assert as_matrix(Curves({"a": [1, 2], "b": [1, 3]}, {"a": [0, 0], "b": [0, 0]})) is None
    assert as_matrix(Distribution({"a": np.arange(3.0)})) is None


def test_a_heading_says_the_step_and_what_must_be_known():
    assert heading(Scalars({}, title="rank", note="1 left out", step=7)) == "rank, step 7 (1 left out)"
    assert heading(Matrix(np.eye(1), ("a",), ("b",), title="cka", note="below it")) == "cka"
    assert heading(Scalars({}, title="rank", step=7), Scalars({}, title="rank", step=8)) == "rank"


def test_a_snapshot_refuses_names_outside_its_vocabulary_and_rows_that_do_not_fit():
    for name in ("logit/student", "feature/student", "common/a/b", "", "scores/x"):
        with pytest.raises(InputError, match="not a name"):
            replaced(made(), arrays={name: np.zeros((12, 2))})
    with pytest.raises(InputError, match="3 rows for 12 samples"):
        replaced(made(), arrays={"scores": np.zeros((3, 2))})


def test_a_missing_group_says_what_there_is():
    with pytest.raises(InputError, match=r"no feature/…: it has common, error, logits, scores, selected, weight"):
        made().group("feature")


# Names of version 0.1, which go on working


def test_old_names_go_on_with_a_warning_that_tells_the_new_one():
    snapshot = made()
    with pytest.warns(FutureWarning, match=r"frame\(\) is to_pandas\(\)"):
        table = agreement(snapshot).frame()
    assert table.equals(agreement(snapshot).to_pandas())
    with pytest.warns(FutureWarning, match="of= is space="):
        old = pca(snapshot, of="logits")
    assert np.array_equal(old.xy, pca(snapshot, space="logits").xy)
    assert "claims" in PROBES
    assert "claims" not in list(PROBES)
    with pytest.warns(FutureWarning, match="the probe claims is responsibility"):
        old = PROBES["claims"](snapshot)
    with pytest.warns(FutureWarning, match="the probe claims is responsibility"):
        assert np.array_equal(claims(snapshot, 3).values, responsibility(snapshot, 3).values)
    assert np.array_equal(old.values, responsibility(snapshot).values)
    with pytest.raises(KeyError):
        PROBES["nothing"]


def test_every_function_that_names_a_space_takes_the_old_word_for_it():
    for module in (embedding, jobs, similarity, spaces, spectrum):
        for name, function in vars(module).items():
            if callable(function) and name in module.__dict__.get("__all__", vars(module)):
                parameters = inspect.signature(function).parameters if inspect.isroutine(function) else {}
                public = "space" in parameters and parameters["space"].default is not inspect.Parameter.empty
                assert not public or hasattr(function, "__wrapped__"), name
