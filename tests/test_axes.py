"""The axes of linear views: laws of the fitter, what is drawn apart and what together, and what a run keeps."""

import shutil

import matplotlib
import numpy as np
import pytest

from ka_explore.cli.viewing import film_frames
from ka_explore.errors import InputError
from ka_explore.plots import draw, draw_steps
from ka_explore.plots.film import film_html
from ka_explore.probes import axes
from ka_explore.probes.axes import basis_of
from ka_explore.probes.clouds import KINDS, MUCH_LESS, cloud_of, hides
from ka_explore.probes.colouring import colour, join_pairs
from ka_explore.probes.embedding import film, fit_basis, pca
from ka_explore.probes.fitting import discriminant_axes, principal_axes, said_by
from ka_explore.probes.linear import class_axes
from ka_explore.probes.spaces import rows_of
from ka_explore.run.snapshot import Snapshot
from ka_explore.run.store import Store
from tests.shared.clouds import ABOUT, CLASSES, WIDTH, clouds, far_apart, stored

matplotlib.use("Agg")

NETS = 3
APART, TOGETHER = [clouds(step, gap=1.2) for step in (0, 10)], [clouds(step) for step in range(0, 120, 10)]
LONG_APART = [clouds(step, gap=1.2) for step in range(0, 120, 10)]
PICTURES = {"pca": pca, "class_axes": class_axes}


def replaced(snapshot: Snapshot, **changes) -> Snapshot:
    return Snapshot(**{name: getattr(snapshot, name) for name in snapshot.__dataclass_fields__} | changes)


def changed(snapshot: Snapshot, change) -> Snapshot:
    """The snapshot with other rows in the common space."""
    rows = {name: change(a) if name.startswith("common/") else a for name, a in snapshot.arrays.items()}
    return replaced(snapshot, arrays=rows)


def rows(snapshot: Snapshot) -> list[np.ndarray]:
    return list(rows_of(snapshot).values())


def drawn(picture) -> list[np.ndarray]:
    """The positions of each net's points, as they stand in the picture that is drawn: what its artists say."""
    ax = draw(picture)
    found = {c.get_label(): np.asarray(c.get_offsets()) for c in ax.collections if c.get_label() in picture.groups}
    return [found[net] for net in picture.groups]


def shares(snapshot: Snapshot) -> np.ndarray:
    """The covariance of all rows as shares of their variance: the slow reference."""
    covariance = np.cov(np.concatenate(rows(snapshot)).T, bias=True)
    return covariance / np.trace(covariance)


# What is apart is drawn apart, what is together together


@pytest.mark.parametrize("runs", [(APART, TOGETHER), (TOGETHER[:2], LONG_APART)], ids=["more together", "more apart"])
def test_clouds_are_drawn_apart_where_they_are_whichever_run_is_longer(runs):
    basis = fit_basis(runs)
    for snapshot in (snapshot for run in runs for snapshot in run):
        real = far_apart(rows(snapshot))
        seen = far_apart(drawn(pca(snapshot, basis)))
        assert (seen > 1) == (real > 1), f"{real:.2f} spreads apart, drawn {seen:.2f}"
        assert seen > MUCH_LESS * real if real > 1 else seen < 0.1


def test_the_two_strongest_directions_alone_would_hide_it():
    covariance = sum(np.mean([shares(snapshot) for snapshot in run], axis=0) for run in (APART, TOGETHER))
    plane = np.linalg.eigh(covariance)[1][:, -2:]
    assert far_apart(rows(APART[0])) > 1
    assert far_apart([part @ plane for part in rows(APART[0])]) < 0.1
    kept, most = (np.trace(axes.T @ covariance @ axes) for axes in (fit_basis([APART, TOGETHER]).axes.T, plane))
    assert kept > 0.7 * most, "the first axis is no longer the strongest"


def test_a_gap_that_the_strongest_directions_show_changes_no_axis():
    runs = [[clouds(step, gap=3.0) for step in (0, 10)], TOGETHER]
    covariance = sum(np.mean([shares(snapshot) for snapshot in run], axis=0) for run in runs)
    plane = np.linalg.eigh(covariance)[1][:, :-3:-1].T
    assert np.allclose(np.abs(fit_basis(runs).axes), np.abs(plane), atol=1e-6)


@pytest.mark.parametrize("together_first", [True, False])
def test_a_film_and_a_strip_of_stored_runs_draw_apart_what_is_apart(tmp_path, together_first):
    """Slow reference: the rows themselves."""
    stores = [stored(tmp_path / "together", TOGETHER), stored(tmp_path / "apart", APART)]
    basis = basis_of(stores if together_first else stores[::-1])
    frames = {"together": pca(TOGETHER[-1], basis), "apart": pca(APART[-1], basis)}
    figure = draw_steps(frames)
    found = {}
    for ax in figure.axes[:2]:
        offsets = {c.get_label(): np.asarray(c.get_offsets()) for c in ax.collections if c.get_label() in basis_nets()}
        found[ax.get_title()] = far_apart([offsets[net] for net in basis_nets()])
    assert found["apart"] > 1 > 0.1 > found["together"]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    alone = film_frames(stores[1], APART)
    assert far_apart(drawn(alone[-1])) > 1


def basis_nets() -> list[str]:
    return list(rows_of(APART[0]))


def test_five_teachers_lie_apart_from_the_student_who_is_one_of_six():
    teachers = ("one", "two", "three")
    apart = clouds(gap=1.5, teachers=teachers)
    basis = fit_basis([[apart], [clouds(step, teachers=teachers) for step in range(0, 50, 10)]])
    assert far_apart(drawn(pca(apart, basis))) > 1


# Laws of the fitter


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [WIDTH, 400], ids=["covariance", "Gram matrix"])
def test_a_rotation_of_the_space_leaves_what_is_seen_but_for_the_signs(kind, width):
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(width, width)))[0]
    runs = [[clouds(0, gap=0.7)], [clouds(0), clouds(10)]]
    wide = [[changed(one, lambda a: np.pad(a, ((0, 0), (0, width - WIDTH)))) for one in run] for run in runs]
    turned = [[changed(one, lambda a: a @ turn) for one in run] for run in wide]
    before, after = fit_basis(wide, kind=kind), fit_basis(turned, kind=kind)
    assert after.kept == pytest.approx(before.kept, rel=1e-6)
    for one, other in zip(wide[1], turned[1], strict=True):
        seen, again = (PICTURES[kind](s, b).xy for s, b in ((one, before), (other, after)))
        assert np.allclose(np.abs(again), np.abs(seen), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_runs_and_of_their_snapshots_changes_no_bit(kind):
    other = [clouds(step, gap=0.4, seed=3) for step in (0, 50)]
    first = fit_basis([APART, TOGETHER, other], kind=kind)
    for runs in ([other, TOGETHER, APART], [TOGETHER[::-1], other[::-1], APART]):
        again = fit_basis(runs, kind=kind)
        assert np.array_equal(again.axes, first.axes)
        assert np.array_equal(again.mean, first.mean)
        assert (again.steps, again.runs) == (first.steps, 3)
    assert np.array_equal(fit_basis([APART, TOGETHER, other], kind=kind).axes, first.axes)


def test_a_run_counts_as_much_as_another_however_many_snapshots_it_has():
    short, once = fit_basis([APART[:1], TOGETHER[:1]]), fit_basis([APART[:1] * 9, TOGETHER[:1]])
    assert np.allclose(short.axes, once.axes, atol=1e-9)
    assert np.allclose(short.kept, once.kept)


@pytest.mark.parametrize("runs", [[TOGETHER], [TOGETHER[:3], [clouds(5, seed=2, loud=0.1)]]])
def test_no_other_plane_keeps_more_in_the_mean_of_runs_and_snapshots(runs):
    basis = fit_basis(runs)
    covariance = np.mean([np.mean([shares(snapshot) for snapshot in run], axis=0) for run in runs], axis=0)
    assert np.allclose(basis.kept, np.linalg.eigvalsh(covariance)[:-3:-1])
    assert np.allclose(basis.axes @ basis.axes.T, np.eye(2))
    random = np.random.default_rng(0)
    for _ in range(50):
        other = np.linalg.qr(random.normal(size=(WIDTH, 2)))[0]
        assert np.trace(other.T @ covariance @ other) < sum(basis.kept)
    kept = np.mean([np.mean([pca(snapshot, basis).quality["variance kept"] for snapshot in run]) for run in runs])
    assert kept == pytest.approx(sum(basis.kept))


def test_the_signs_of_axes_are_fixed():
    for kind in KINDS:
        basis = fit_basis([APART, TOGETHER], kind=kind)
        assert (basis.axes[[0, 1], np.abs(basis.axes).argmax(axis=1)] > 0).all()


def test_where_a_cloud_lies_and_how_large_it_is_move_no_axis():
    parts, others = rows(TOGETHER[0]), rows(clouds(10, loud=0.2, seed=1))
    shift = np.random.default_rng(0).normal(size=WIDTH)
    before = principal_axes([cloud_of(parts, 0.5), cloud_of(others, 0.5)])
    moved = principal_axes([cloud_of([7 * part + shift for part in parts], 0.5), cloud_of(others, 0.5)])
    assert np.allclose(moved.axes, before.axes, atol=1e-6)
    assert moved.kept == pytest.approx(before.kept)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "odd",
    [
        clouds(samples=1), clouds(samples=2), clouds(samples=6), changed(clouds(), np.zeros_like),
        changed(clouds(), np.ones_like), changed(clouds(), lambda a: a[:, :1]), changed(clouds(), lambda a: a * np.nan),
        replaced(clouds(), arrays=clouds().arrays | {"logits/one": np.full((90, 3), np.nan)}),
        replaced(clouds(), arrays=clouds().arrays | {f"logits/{t}": np.eye(3)[[0] * 90] for t in ("one", "two")}),
    ],
    ids=["one sample", "two", "six", "zero", "constant", "width 1", "NaN", "NaN answers", "one class a teacher"],
)  # fmt: skip
def test_odd_clouds_have_axes(kind, odd):
    basis = fit_basis([[odd], [odd]], kind=kind)
    lengths = np.linalg.norm(basis.axes, axis=1)
    assert (np.isclose(lengths, 1) | (lengths == 0)).all()
    assert abs(basis.axes[0] @ basis.axes[1]) < 1e-9
    picture = PICTURES[kind](odd, basis)
    assert np.isfinite(picture.xy).all()
    assert "nan" not in picture.note.lower()


def test_fitting_needs_snapshots_and_class_axes_teachers():
    for nothing in ([], [[]], [TOGETHER, []]):
        with pytest.raises(InputError, match="at least one"):
            fit_basis(nothing)
    with pytest.raises(InputError, match="here are student"):
        fit_basis(TOGETHER[0], "common/student", "class_axes")
    with pytest.raises(InputError, match="this basis is of pca"):
        class_axes(TOGETHER[0], fit_basis(TOGETHER[0]))


# Class axes


def test_class_axes_are_scikit_learns_discriminants_of_the_teachers_by_their_own_answers():
    from scipy.linalg import subspace_angles
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    snapshot, values, classes = clouds(), [], []
    for teacher, columns in snapshot.knows.items():
        values.append(rows_of(snapshot)[teacher] - rows_of(snapshot)[teacher].mean(axis=0))
        classes.append(np.array(columns)[snapshot.arrays[f"logits/{teacher}"].argmax(axis=1)])
    model = LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.1)
    model.fit(np.concatenate(values), np.concatenate(classes))
    found = fit_basis(snapshot, kind="class_axes").axes
    assert np.degrees(subspace_angles(found.T, model.scalings_[:, :2])).max() < 1e-3
    assert np.allclose(found @ found.T, np.eye(2))


def test_class_axes_show_classes_that_the_strongest_directions_hide():
    random = np.random.default_rng(0)
    noise = {net: random.normal(size=(90, 2)) for net in rows_of(clouds())}
    snapshot = clouds(loud=0.12)
    loud = {f"common/{net}": snapshot.arrays[f"common/{net}"].copy() for net in noise}
    for net, own in noise.items():
        loud[f"common/{net}"][:, -3:-1] += 0.5 * own
    snapshot = replaced(snapshot, arrays=snapshot.arrays | loud)

    def right(picture) -> float:
        """The share of the student's points whose nearest class mean of a teacher is that of their class."""
        truth, (student, one, two) = picture.label[:90], drawn(picture)
        means = [np.concatenate([one[truth == c], two[truth == c]]).mean(axis=0) for c in range(CLASSES)]
        return float((np.linalg.norm(student[:, None] - np.array(means), axis=2).argmin(axis=1) == truth).mean())

    assert right(class_axes(snapshot)) > right(pca(snapshot)) + 0.2


def test_what_two_teachers_differ_by_is_no_class_axis():
    snapshot, away = clouds(), 3 * np.random.default_rng(0).normal(size=WIDTH)
    answers = said_by(snapshot, basis_nets())
    student, one, two = rows(snapshot)
    near, far = (discriminant_axes([cloud_of([student, one + move, two])], [answers]).axes for move in (0.0, away))
    assert np.allclose(far, near, atol=1e-9)


def test_class_axes_look_at_no_label_and_at_no_student():
    snapshot, random = clouds(), np.random.default_rng(1)
    before = fit_basis(snapshot, kind="class_axes")
    blind = replaced(snapshot, labels=None)
    other = replaced(snapshot, arrays=snapshot.arrays | {"common/student": random.normal(size=(90, WIDTH))})
    assert np.array_equal(fit_basis(blind, kind="class_axes").axes, before.axes)
    assert np.allclose(fit_basis(other, kind="class_axes").axes, before.axes, atol=1e-9)


def test_class_axes_of_two_classes_are_the_discriminant_and_the_strongest_beside_it():
    snapshot = clouds()
    two = {"one": (0, 1), "two": (0, 1)}
    answers = {f"logits/{net}": snapshot.arrays[f"logits/{net}"][:, :2] for net in two}
    snapshot = replaced(snapshot, knows=two, arrays=snapshot.arrays | answers)
    first, second = fit_basis(snapshot, kind="class_axes").axes
    left = np.eye(WIDTH) - np.outer(first, first)
    strongest = np.linalg.eigh(left @ shares(snapshot) @ left)[1][:, -1]
    assert abs(second @ strongest) == pytest.approx(1)


# What is said, and axes of its own


def test_a_picture_says_when_its_own_axes_would_keep_much_more():
    odd, basis = clouds(gap=6.0, seed=4), fit_basis(TOGETHER)
    picture = pca(odd, basis)
    kept, own = picture.quality["variance kept"], picture.own.quality["variance kept"]
    assert kept < MUCH_LESS * own
    assert f"keeps {kept:.0%} of the variance here, {own:.0%} on its own axes" in picture.note
    assert draw(picture).texts, "the words are not drawn"
    assert "on its own axes" not in pca(TOGETHER[-1], basis).note
    assert pca(TOGETHER[-1], basis).note.endswith("; axes of steps 0 to 110")
    assert pca(TOGETHER[-1], fit_basis([TOGETHER, APART])).note.endswith("; axes of steps 0 to 110 of 2 runs")


def test_a_picture_says_when_nets_lie_farther_apart_than_is_drawn():
    picture = pca(APART[0], fit_basis(TOGETHER))
    assert far_apart(drawn(picture)) < 0.1
    assert "nets lie farther apart than is drawn" in picture.note
    for snapshot, basis in ((TOGETHER[0], fit_basis(TOGETHER)), (APART[0], fit_basis([APART, TOGETHER]))):
        assert "farther" not in pca(snapshot, basis).note
        assert not hides(cloud_of(rows(snapshot)), pca(snapshot, basis).xy)


def test_own_axes_are_those_of_the_snapshot_alone_in_every_picture(tmp_path):
    frames = film(LONG_APART[:1] + TOGETHER[1:3])
    for frame, snapshot in zip(frames, [LONG_APART[0], *TOGETHER[1:3]], strict=True):
        own = frame.on_own_axes()
        assert (own.own_axes, frame.own_axes) == (True, False)
        assert np.array_equal(own.xy, pca(snapshot).xy)
        assert own.note == pca(snapshot).note
        assert np.array_equal(np.concatenate(drawn(own)), np.concatenate([own.xy[own.group == i] for i in range(NETS)]))
        assert np.array_equal(draw(frame, own_axes=True).collections[0].get_offsets(), drawn(own)[0])
    figure = draw_steps(frames, own_axes=True)
    assert len({ax.get_xlim() for ax in figure.axes}) == len(frames)
    assert "axes of its own in each" in figure.get_supxlabel()
    assert "the same axes in each" in draw_steps(frames).get_supxlabel()
    assert '"own": {' in film_html(frames)


def test_own_axes_keep_colours_and_lines():
    snapshot = TOGETHER[0]
    picture = join_pairs(colour(pca(snapshot, fit_basis(TOGETHER)), snapshot, "teacher"), 10)
    own = picture.on_own_axes()
    assert np.array_equal(own.label, picture.label)
    assert np.array_equal(own.pairs, picture.pairs)
    assert own.on_own_axes() is own


# The axes that a run keeps


@pytest.fixture
def store(tmp_path) -> Store:
    """A run with two snapshots."""
    return stored(tmp_path / "run", TOGETHER[:2])


def same(one, other) -> bool:
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in ("mean", "axes", "kept", "steps", "runs"))


def without_space(snapshot: Snapshot) -> Snapshot:
    return replaced(snapshot, arrays={n: a for n, a in snapshot.arrays.items() if not n.startswith("common/")})


@pytest.mark.parametrize("kind", KINDS)
def test_axes_are_kept_and_fitted_anew_when_a_run_has_gone_on(store, kind, monkeypatch):
    first = basis_of(store, kind=kind)
    assert same(first, fit_basis(TOGETHER[:2], kind=kind))
    with monkeypatch.context() as patch:
        patch.setattr(axes, "fit_basis", None)  # nothing is fitted the second time
        for again in (store, store.folder, str(store.folder), [store]):
            assert same(basis_of(again, kind=kind), first)
    store.save_snapshot(clouds(20, gap=2.0))
    anew = basis_of(store, kind=kind)
    assert anew.steps == (0, 10, 20)
    assert not same(anew, first)
    assert same(basis_of(store, kind=kind), anew)


def test_runs_share_axes_in_whatever_order_and_one_alone_has_its_own(store, tmp_path):
    other = stored(tmp_path / "other", LONG_APART)
    both, again = basis_of([store, other]), basis_of([other, store])
    assert same(both, again)
    assert both.runs == 2
    assert same(both, fit_basis([TOGETHER[:2], [LONG_APART[i] for i in (0, 3, 6, 8, 11)]]))
    assert same(basis_of(store), fit_basis(TOGETHER[:2]))


def test_a_fork_is_drawn_on_axes_of_what_it_has_itself(store, tmp_path):
    basis_of(store)
    shutil.copytree(store.folder, tmp_path / "fork")
    fork = Store(tmp_path / "fork")
    fork.save_snapshot(clouds(10, gap=2.0))
    assert same(basis_of(fork), fit_basis([TOGETHER[0], clouds(10, gap=2.0)]))


def test_every_space_and_view_has_axes_of_its_own(store):
    assert basis_of(store, "logits/one").mean.shape == (3,)
    assert basis_of(store).mean.shape == (WIDTH,)
    assert basis_of(store, kind="class_axes").kind == "class_axes"
    assert basis_of(store, "scores").steps == (0, 10)
    assert len(list((store.folder / "views").iterdir())) == 4


def test_axes_are_fitted_to_first_last_and_some_between(store):
    for step in range(20, 200, 10):
        store.save_snapshot(clouds(step))
    steps = basis_of(store).steps
    assert (steps[0], steps[-1]) == (0, 190)
    assert len(steps) == axes.BASIS_SNAPSHOTS


def test_stages_without_the_space_or_of_another_width_are_passed_over(store, tmp_path):
    store.save_snapshot(without_space(clouds(20)))
    assert basis_of(store).steps == (0, 10)
    store.save_snapshot(changed(clouds(30), lambda a: a[:, :5]))
    assert basis_of(store).steps == (30,)
    wide = stored(tmp_path / "wide", TOGETHER[:2])
    assert basis_of([wide, store]).mean.shape == (WIDTH,)
    assert (basis_of([wide, store]).runs, basis_of([wide, store]).steps) == (2, (0, 10))
    with pytest.raises(InputError, match="has no feature/…"):
        basis_of(store, "feature")


@pytest.mark.parametrize("damage", [b"", b"PK", "an older version", "other shapes", "another kind"])
def test_axes_that_are_damaged_or_of_an_older_version_are_fitted_anew(store, damage):
    first = basis_of(store)
    (path,) = (store.folder / "views").iterdir()
    with np.load(path) as file:
        whole = dict(file)
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    elif damage == "an older version":  # as 0.1 kept them: fitted to who knows what
        np.savez(path, **{n: whole[n] for n in ("of", "mean", "kept", "steps")}, axes=whole["axes"][::-1])
    else:
        wrong = {"axes": np.zeros((2, 4))} if damage == "other shapes" else {"kind": np.array("tsne")}
        np.savez(path, **whole | wrong)
    assert same(basis_of(store), first)
    assert axes.read_basis(path, "common", axes.stamp_of([store])) is not None


def test_axes_need_a_run_with_snapshots(tmp_path, monkeypatch, store):
    with pytest.raises(InputError, match="there is no run"):
        basis_of(tmp_path / "nothing")
    with pytest.raises(InputError, match="no snapshot yet"):
        basis_of(Store.create(tmp_path / "empty", ABOUT))
    with pytest.raises(InputError, match="at least one"):
        basis_of([])

    def refused(*_arguments):
        raise OSError("read only")

    monkeypatch.setattr(axes, "replace_file", refused)
    assert same(basis_of(store), fit_basis(TOGETHER[:2]))  # drawn all the same
