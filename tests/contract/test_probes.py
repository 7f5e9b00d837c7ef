"""What every probe keeps, whoever adds one to the table: tested over PROBES, on made snapshots and on real runs."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from ka_explore import METHODS, InputError, Run, Snapshot
from ka_explore.probes import PROBES
from ka_explore.probes.over_steps import over_steps
from ka_explore.probes.results import Curves, Distribution, Matrix, Points, Result, Scalars, heading

NEEDS_LABELS = [name for name, probe in PROBES.items() if probe.labels == "needed"]
# Pictures colour by class where labels are known, and draw every sample, also one whose row is not finite.
PICTURES = [name for name, probe in PROBES.items() if "Points" in str(probe.__annotations__.get("return"))]


def made(
    samples: int = 30, teachers: int = 2, *, tasks: int = 1, labels: bool = True, seed: int = 0, step: int = 7
) -> Snapshot:
    """A snapshot with an array of every kind; each teacher knows three classes."""
    random = np.random.default_rng(seed)
    names = [f"teacher {i}" for i in range(teachers)]
    owners = [name for task in range(tasks) for name in names[task::tasks]]
    of_task = {name: names.index(name) % tasks for name in names}
    classes = tuple((f"task {of_task[name]}", f"{name}, {i}") for name in owners for i in range(3))
    knows = {name: tuple(range(3 * owners.index(name), 3 * owners.index(name) + 3)) for name in names}
    nets = ("student", *names)
    blocks, terms = ("early", "late"), ("soft", "mmd")
    rows: dict[str, np.ndarray] = {"scores": random.normal(size=(samples, len(classes)))}

    def add(name: str, *shape: int) -> None:
        rows[name] = random.random((samples, *shape))

    for width, net in enumerate(nets, start=4):
        add(f"common/{net}", 5)
        add(f"logits/{net}", len(classes) if net == "student" else 3)
        for block in blocks:
            add(f"feature/{net}/{block}", width)
    for width, name in enumerate(names, start=4):
        for what in ("error", "entropy", "claim/own", "claim/target"):
            add(f"{what}/{name}")
        add(f"channel_error/{name}", width)
        for sigma in (0.01, 0.1, 1.0):
            add(f"mmd/{name}/{sigma}")
        for block in blocks:
            add(f"bridge/{name}/{block}")
    for name in [name for name in names if not of_task[name]]:
        add(f"weight/{name}")
    rows["selected/task 0"] = random.integers(0, len(names[::tasks]), samples).astype(float)
    for part in [*terms, *(f"{term}/{name}" for term in terms for name in names)]:
        add(f"gradient/{part}")
        add(f"along/{part}")
    for block in blocks:
        for what in ("code", "regressed", "branch"):
            add(f"{what}/{block}", 4)
    truth = {f"task {t}": random.integers(-1, 3 * len(names[t::tasks]), samples) for t in range(tasks)}
    return Snapshot(step, "joint", np.arange(samples) + 50, truth if labels else None, classes, knows, rows)


def replaced(snapshot: Snapshot, **changes) -> Snapshot:
    return Snapshot(**{name: getattr(snapshot, name) for name in snapshot.__dataclass_fields__} | changes)


def changed(snapshot: Snapshot, change: Callable[[np.ndarray], np.ndarray]) -> Snapshot:
    return replaced(snapshot, arrays={name: change(array) for name, array in snapshot.arrays.items()})


def chosen(snapshot: Snapshot, places: np.ndarray) -> Snapshot:
    """The snapshot of some of its samples."""
    return replaced(
        snapshot,
        arrays={name: array[places] for name, array in snapshot.arrays.items()},
        index=snapshot.index[places],
        labels=None if snapshot.labels is None else {task: y[places] for task, y in snapshot.labels.items()},
    )


def spoiled(snapshot: Snapshot, places, value: float) -> Snapshot:
    def put(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[places] = value
        return array

    return changed(snapshot, put)


def values(result: Result) -> dict[str, list[float]]:
    """All numbers of a result by name; those of a distribution sorted."""
    if isinstance(result, Scalars):
        return {name: [value] for name, value in result.values.items()}
    if isinstance(result, Matrix):
        return {name: list(row) for name, row in zip(result.rows, result.values, strict=True)} | {
            "": list(result.columns)
        }
    if isinstance(result, Distribution):
        return {name: sorted(group) for name, group in result.values.items()}
    if isinstance(result, Curves):
        return {f"x {n}": list(x) for n, x in result.x.items()} | {n: list(y) for n, y in result.y.items()}
    raise AssertionError(type(result))


def alike(one: Result, other: Result) -> bool:
    first, second = values(one), values(other)
    assert first.pop("", None) == second.pop("", None)
    assert list(first) == list(second)
    return all(first[name] == pytest.approx(second[name], rel=1e-6, abs=1e-8, nan_ok=True) for name in first)


def check(probe: str, snapshot: Snapshot) -> Result:
    """The probe gives the same twice, a table that is not empty, names that fit, and leaves the snapshot as it was."""
    before = {name: array.copy() for name, array in snapshot.arrays.items()}
    one, other = PROBES[probe](snapshot), PROBES[probe](snapshot)
    assert isinstance(one, Result)
    assert one.to_pandas().equals(other.to_pandas())
    assert one.title
    assert not one.title.startswith(" ")
    assert one.step == snapshot.step
    assert heading(one).startswith(f"{one.title}, step {snapshot.step}")
    assert all(np.array_equal(array, before[name], equal_nan=True) for name, array in snapshot.arrays.items())
    if isinstance(one, Matrix):
        assert one.values.shape == (len(one.rows), len(one.columns))
        assert len(set(one.rows)) == len(one.rows)
        assert len(set(one.columns)) == len(one.columns)
    elif isinstance(one, Curves):
        assert all(len(one.x[name]) == len(one.y[name]) for name in one.x | one.y)
    elif isinstance(one, Scalars):
        assert all(type(value) is float for value in one.values.values())
    return one


SNAPSHOTS: dict[str, Callable[[], Snapshot]] = {
    "two teachers": made,
    "one sample": lambda: made(1),
    "two samples": lambda: made(2),
    "three samples": lambda: made(3),
    "one teacher": lambda: made(teachers=1),
    "five teachers": lambda: made(teachers=5),
    "two tasks": lambda: made(teachers=4, tasks=2),
    "no labels": lambda: made(labels=False),
    "no known label": lambda: replaced(made(), labels={"task 0": np.full(30, -1)}),
    "constant": lambda: changed(made(), lambda array: np.full_like(array, 0.1)),
    "zero": lambda: changed(made(), np.zeros_like),
    "NaN rows": lambda: spoiled(made(), [0, 4], np.nan),
    "infinite rows": lambda: spoiled(made(), [0, 4], np.inf),
    "all NaN": lambda: changed(made(), lambda array: np.full_like(array, np.nan)),
    "all but one NaN": lambda: spoiled(made(), slice(1, None), np.nan),
    "half precision": lambda: changed(made(), lambda array: array.astype(np.float16)),
    "single precision": lambda: changed(made(), lambda array: array.astype(np.float32)),
    "huge": lambda: changed(made(), lambda array: (1e30 * array).astype(np.float32)),
    "tiny": lambda: changed(made(), lambda array: (1e-30 * array).astype(np.float32)),
}


@pytest.mark.parametrize("of", [name for name in SNAPSHOTS if name not in ("huge", "tiny")])
@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_survives(probe, of):
    snapshot = SNAPSHOTS[of]()
    if probe in NEEDS_LABELS and snapshot.labels is None:
        with pytest.raises(InputError, match="no true labels"):
            PROBES[probe](snapshot)
        return
    assert len(check(probe, snapshot).to_pandas()) > 0 or of == "all NaN"


@pytest.mark.parametrize("of", ["huge", "tiny"])
@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_survives_any_scale(probe, of):
    snapshot = SNAPSHOTS[of]()
    check(probe, replaced(snapshot, arrays=snapshot.arrays | {"selected/task 0": made().arrays["selected/task 0"]}))


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("probe", [name for name in PROBES if name not in PICTURES])
def test_rows_that_are_not_finite_are_as_if_they_were_not_there(probe, labels):
    if not labels and probe in NEEDS_LABELS:
        return
    snapshot, kept = made(40, teachers=4, tasks=2, labels=labels), np.delete(np.arange(40), [0, 7, 8])
    for value in (np.nan, np.inf):
        assert alike(PROBES[probe](spoiled(snapshot, [0, 7, 8], value)), PROBES[probe](chosen(snapshot, kept)))


@pytest.mark.parametrize("probe", [name for name in PROBES if name not in PICTURES])
def test_the_order_of_the_samples_does_not_matter(probe):
    snapshot = made(40)
    order = np.random.default_rng(1).permutation(40)
    assert alike(PROBES[probe](chosen(snapshot, order)), PROBES[probe](snapshot))


@pytest.mark.parametrize("probe", [name for name in PROBES if name not in PICTURES and PROBES[name].labels == "unread"])
def test_labels_never_reach_a_probe_that_needs_none(probe):
    assert PROBES[probe](made()).to_pandas().equals(PROBES[probe](made(labels=False)).to_pandas())


@pytest.mark.parametrize("probe", [name for name in PROBES if PROBES[name].needs])
def test_a_probe_names_the_arrays_that_are_missing(probe):
    snapshot = made()
    rest = {name: array for name, array in snapshot.arrays.items() if not PROBES[probe].fits([name])}
    missing = PROBES[probe].needs[-1].split("/")[0]
    with pytest.raises(InputError, match=rf"this snapshot \(stage 'joint'\) has no .*{missing}"):
        PROBES[probe](replaced(snapshot, arrays=rest))


@pytest.mark.parametrize("probe", [name for name in PROBES if not PROBES[name].needs])
def test_what_needs_nothing_special_runs_on_what_is_always_there(probe):
    snapshot = made()
    always = {n: a for n, a in snapshot.arrays.items() if n.split("/")[0] in ("scores", "logits", "feature")}
    check(probe, replaced(snapshot, arrays={n: a for n, a in always.items() if "student" not in n}))


@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_has_lines_over_steps_or_says_that_its_shape_has_none(probe):
    snapshots = [made(seed=step, step=step) for step in (0, 10)]
    if isinstance(PROBES[probe](snapshots[0]), (Points, Curves)):
        with pytest.raises(InputError, match="no lines over steps"):
            over_steps(PROBES[probe], snapshots)
        return
    result = over_steps(PROBES[probe], snapshots)
    assert len(result.x) > 0
    assert all(len(result.x[name]) == len(result.y[name]) > 0 for name in result.x)
    if set(values(PROBES[probe](snapshots[0]))) == set(values(PROBES[probe](snapshots[1]))):  # not of the worst alone
        assert all(list(x) == [0, 10] for x in result.x.values())
    assert "step" not in result.title


# Real runs


@pytest.fixture(scope="module")
def runs(tiny_problem) -> dict[str, list[Snapshot]]:
    """A snapshot of every stage of every method, on the smallest problem that it takes."""
    found: dict[str, list[Snapshot]] = {}
    for name in METHODS:
        options = {} if name == "ensemble" else {"steps": 6, "batch_size": 8}
        for teachers in (2, 1):
            try:
                run = Run(tiny_problem(teachers, images=20, shape=(1, 8, 8), probe=16), name, **options)
            except InputError:
                continue
            found[name] = [run.snapshot()]
            while run.step < run.steps:
                found[name].append(run.advance(1).snapshot())
            break
    return found


def test_most_methods_are_looked_at(runs):
    assert set(METHODS) - set(runs) <= {"layer_wise", "permutation_merging"}


@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_gives_a_result_of_a_real_stage_or_says_what_it_lacks(probe, runs):
    for name, snapshots in runs.items():
        stages = {snapshot.stage: snapshot for snapshot in snapshots}
        for snapshot in stages.values():
            if PROBES[probe].fits(snapshot.arrays):
                assert len(check(probe, snapshot).to_pandas()) > 0, name
                continue
            with pytest.raises(InputError, match="this snapshot"):
                PROBES[probe](snapshot)


def test_the_soft_target_of_a_real_run_goes_along_with_itself(runs):
    seen = 0
    for name in ("common_feature", "adaptive", "logit_space", "distillation"):
        for snapshot in runs[name]:
            result = PROBES["gradient_cosine"](snapshot)
            row = next(place for place, term in enumerate(result.rows) if term in ("soft", "logits"))
            value = result.values[row, 0]
            seen += math.isfinite(value)
            assert value == pytest.approx(1, abs=1e-3, nan_ok=True), name
            sizes = PROBES["gradient_ratio"](snapshot).values
            assert sizes[result.rows[row]] == pytest.approx(1, nan_ok=True)
    assert seen > 10


def test_a_recorded_mmd_is_that_of_the_rows_where_maps_are_averaged(runs, tiny_problem):
    run = Run(
        tiny_problem(2, images=20, shape=(1, 8, 8), probe=16), "common_feature", steps=2, batch_size=8, pooling="mean"
    )
    snapshot = run.advance(1).snapshot()
    bare = {name: array for name, array in snapshot.arrays.items() if not name.startswith("mmd/")}
    result = PROBES["mmd"](snapshot)
    assert "as the stage saw it" in result.note
    assert result.values == pytest.approx(PROBES["mmd"](replaced(snapshot, arrays=bare)).values, abs=1e-4)
