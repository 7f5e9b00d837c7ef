"""Laws of a run on disk: what was written comes back, what was cut off costs only itself, and no code runs."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ka_explore import InputError, KaError, Problem, Run, Snapshot, StoreError, toy
from ka_explore.run.store import FORMAT, Store


@pytest.fixture(scope="module")
def problem(tiny_problem) -> Problem:
    return tiny_problem(images=30, shape=(1, 8, 8))


def run_in(problem: Problem, folder: Path, **options) -> Run:
    return Run(problem, "distillation", folder=folder, **{"steps": 8, "batch_size": 8, "checkpoint_every": 3} | options)


@pytest.fixture
def folder(problem, tmp_path) -> Path:
    """A finished run of eight steps, with checkpoints 0, 3, 6, 8 and snapshots 0, 4, 8."""
    run_in(problem, tmp_path / "run", snapshot_every=4).advance(None)
    return tmp_path / "run"


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.method.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture
def empty(tmp_path) -> Store:
    """A store without rows."""
    about = {
        "name": "one", "method": "distillation", "configs": [[0, {}]], "seed": 0, "device": "cpu", "threads": None,
        "problem": {"name": "", "options": {}}, "fingerprints": {}, "environment": {}, "precision": "float32",
        "checkpoint_every": 1, "snapshot_every": 0, "parent": None, "tasks": None,
    }  # fmt: skip
    return Store.create(tmp_path / "run", about)


def child(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, env=dict(os.environ), timeout=100,
    )  # fmt: skip


# What was written comes back


def test_rows_come_back_as_they_were_written(empty, tmp_path):
    store = empty
    rows = [
        {"step": i, "stage": "joint", "rate": 0.1, "loss": 1 / i, "terms": {"a": 0.1 * i, "é": 1e-300}}
        for i in range(1, 20)
    ]
    for row in rows:
        store.append(row)
    for opened in (store, Store(tmp_path / "run")):
        assert list(opened.rows()) == rows
        assert opened.rows_kept == 19
        for index in (18, 0, 7, 7, 6):
            assert opened.row(index) == rows[index]
        assert list(opened.rows(3, 9)) == rows[3:9]
        assert list(opened.rows(15, 99)) == rows[15:]
        assert list(opened.rows(4)) == rows[4:]


def test_checkpoints_come_back_bit_for_bit(empty, tmp_path):
    store = empty
    store.append({"step": 1})
    state = {
        "step": 1,
        "method": {"a": torch.randn(3, 4), "b": torch.tensor(float("nan")), "c": torch.arange(3), "d": torch.zeros(0)},
        "optimizer": {"stage": "joint", "state": {"a": {"step": torch.tensor(3.0), "exp_avg": torch.randn(3, 4)}}},
    }
    store.save_checkpoint(1, state)
    back = Store(tmp_path / "run").load_checkpoint(1)
    assert back["step"] == 1
    for name, value in state["method"].items():
        assert torch.equal(back["method"][name].nan_to_num(7), value.nan_to_num(7))
        assert back["method"][name].dtype == value.dtype
    assert torch.equal(back["optimizer"]["state"]["a"]["exp_avg"], state["optimizer"]["state"]["a"]["exp_avg"])
    assert back["optimizer"]["stage"] == "joint"


def test_snapshots_come_back_bit_for_bit_whatever_their_names(empty, tmp_path):
    strange = ["../../etc", "<script>alert(1)</script>", "a b", "é", '"', "file", "%2e", "C:\\x", "index", "about"]
    arrays = {
        f"feature/{name}/{name}/{name}": np.random.default_rng(0).random((3, 2)) for name in strange if "/" not in name
    }
    arrays |= {f"feature/student/{name}": np.ones((3, 1), np.float32) for name in strange}
    arrays["logits/student"] = np.array([[np.nan, np.inf]] * 3, np.float32)
    snapshot = Snapshot(
        step=5,
        stage="joint <b>",
        index=np.array([3, 1, 2]),
        labels={name: np.array([0, -1, 2]) for name in strange},
        classes=tuple((name, label) for name in strange for label in (name, "b", "c")),
        knows={name: (3 * i, 3 * i + 2) for i, name in enumerate(strange)},
        arrays=arrays,
    )
    store = empty
    store.save_snapshot(snapshot)
    back = Store(tmp_path / "run").load_snapshot(5)
    assert (back.step, back.stage, back.classes, back.knows) == (5, "joint <b>", snapshot.classes, snapshot.knows)
    assert back.index.tolist() == [3, 1, 2]
    assert {name: y.tolist() for name, y in back.labels.items()} == {name: [0, -1, 2] for name in strange}
    assert back.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back.arrays[name].dtype == array.dtype
        assert np.array_equal(back.arrays[name], array, equal_nan=True)
    assert sorted(path.name for path in tmp_path.rglob("*.npz")) == ["000005.npz", "teachers.npz"]
    with pytest.raises(InputError, match=r"no snapshot of step 4; there are \[5\]"):
        store.load_snapshot(4)


def test_a_snapshot_of_a_run_comes_back_from_its_folder(problem, folder):
    run = Run.open(folder, problem)
    now, stored = run.snapshot(), run.store.load_snapshot(8)
    assert run.store.snapshot_steps() == [0, 4, 8]
    assert now.arrays.keys() == stored.arrays.keys()
    assert all(np.array_equal(now.arrays[name], stored.arrays[name], equal_nan=True) for name in now.arrays)
    assert (now.classes, now.knows, now.stage) == (stored.classes, stored.knows, stored.stage)


# What was cut off


def test_snapshots_share_what_the_frozen_teachers_say_and_a_fork_has_it_too(problem, folder, tmp_path):
    run = Run.open(folder, problem)
    with np.load(folder / "snapshots" / "teachers.npz") as shared, np.load(folder / "snapshots" / "000004.npz") as own:
        assert "feature/teacher 0/0" in shared.files or any(
            name.startswith("feature/teacher 0") for name in shared.files
        )
        assert not any(name.startswith("array:logits/teacher") for name in own.files)
    other = run.fork("other", at=4, folder=tmp_path / "other")
    assert other.store.load_snapshot(4).arrays.keys() == run.store.load_snapshot(4).arrays.keys()


def test_what_a_teacher_says_otherwise_stands_in_the_snapshot_itself(empty):
    logits = np.zeros((3, 2), np.float32)
    about = {"stage": "joint", "index": np.arange(3), "labels": None, "classes": (("class", "a"), ("class", "b"))}
    for step, value in ((0, logits), (1, logits), (2, logits + 1)):
        arrays = {"scores": np.ones((3, 2), np.float32), "logits/one": value}
        empty.save_snapshot(Snapshot(step=step, knows={"one": (0, 1)}, arrays=arrays, **about))
    again = Store(empty.folder)
    assert [float(again.load_snapshot(step).arrays["logits/one"].max()) for step in range(3)] == [0.0, 0.0, 1.0]


def test_what_is_written_may_be_read_by_whom_any_new_file_may(folder, tmp_path):
    (tmp_path / "plain").write_text("")
    expected = (tmp_path / "plain").stat().st_mode
    for path in (folder / "run.json", *folder.glob("*/*.npz"), *folder.glob("*/*.pt")):
        assert path.stat().st_mode == expected, path.name


def test_samples_of_which_nothing_is_known_take_no_room_at_the_end(empty):
    arrays = {"scores": np.ones((400, 2), np.float32), "logits/one": np.ones((400, 2), np.float32)}
    arrays |= {
        "error/one": np.full(400, np.nan, np.float32),
        "channel_error/one": np.full((400, 9), np.nan, np.float16),
    }
    arrays["error/one"][[0, 5]] = 1.0
    arrays["channel_error/one"][3, 4] = 2.0
    about = {"stage": "joint", "index": np.arange(400), "labels": None, "classes": (("class", "a"), ("class", "b"))}
    empty.save_snapshot(Snapshot(step=0, knows={"one": (0, 1)}, arrays=arrays, **about))
    back = Store(empty.folder).load_snapshot(0)
    for name, array in arrays.items():
        assert back.arrays[name].dtype == array.dtype
        assert np.array_equal(back.arrays[name], array, equal_nan=True), name
    with np.load(empty.folder / "snapshots" / "000000.npz") as file:
        assert len(file["array:error/one"]) == 6
        assert len(file["array:channel_error/one"]) == 4


def test_shared_answers_that_are_damaged_are_a_clear_error(folder):
    (folder / "snapshots" / "teachers.npz").write_bytes(b"nothing")
    with pytest.raises(StoreError, match="cannot be read"):
        Store(folder).load_snapshot(4)


def test_a_history_cut_off_at_any_byte_of_its_last_line_opens_with_the_rows_before(folder):
    history = folder / "history.jsonl"
    whole = history.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(whole)):
        history.write_bytes(whole[:end])
        store = Store(folder)
        assert store.rows_kept == 7
        assert [row["step"] for row in store.rows()] == list(range(1, 8))
        assert store.checkpoint_steps() == [0, 3, 6]
        assert bool(store.notes) == (end > start)
    assert "after step 7" in store.notes[0]


def test_a_run_cut_off_goes_on_as_if_it_had_not_been(problem, folder):
    expected = weights(Run.open(folder, problem))
    history = folder / "history.jsonl"
    whole = history.read_bytes()
    for end in (len(whole) - 1, len(whole) - 30, len(whole) // 2, 1, 0):
        history.write_bytes(whole[:end])
        run = Run.open(folder, problem)
        assert run.step <= run.recorded < 8
        assert same(weights(run.advance(None)), expected)
        again = Store(folder)
        assert again.notes == []
        assert [row["step"] for row in again.rows()] == list(range(1, 9))


@pytest.mark.parametrize(
    "junk", [b"\xff\xfe\n", b"[1, 2]\n", b'{"step": 9}\n', b"null\n", b"\n", b"\x00" * 50, b"[" * 100_000 + b"\n"]
)
def test_junk_in_the_history_is_dropped_with_what_follows(folder, junk):
    history = folder / "history.jsonl"
    lines = history.read_bytes().splitlines(keepends=True)
    history.write_bytes(b"".join(lines[:5]) + junk + b"".join(lines[5:]))
    store = Store(folder)
    assert store.rows_kept == 5
    assert "after step 5" in store.notes[0]
    store.append(json.loads(lines[5]))
    assert history.read_bytes() == b"".join(lines[:6])


def test_a_missing_history_is_told(problem, folder):
    (folder / "history.jsonl").unlink()
    run = Run.open(folder, problem)
    assert run.step == 0
    assert "history.jsonl is missing" in run.notes[0]
    assert run.advance(None).step == 8


def test_a_damaged_checkpoint_is_passed_over_for_an_earlier_one_and_the_run_says_so(problem, folder):
    expected = weights(Run.open(folder, problem))
    path = folder / "checkpoints/000008.pt"
    whole = path.read_bytes()
    for damaged in (b"", whole[:20], whole[: len(whole) // 2], whole[:-1], b"junk", b"\x80\x04N."):
        path.write_bytes(damaged)
        run = Run.open(folder, problem)
        assert run.step == 6
        assert "000008.pt" in run.notes[0]
        assert "earlier checkpoint" in run.notes[0]
        assert same(weights(run.advance(None)), expected)
        assert Run.open(folder, problem).step == 8  # written again


def test_a_checkpoint_of_another_net_is_passed_over(problem, folder):
    state = torch.load(folder / "checkpoints/000008.pt", weights_only=True)
    for method in (
        {},
        {"student.x": torch.zeros(3)},
        {name: value[..., None] for name, value in state["method"].items()},
    ):
        torch.save(state | {"method": method}, folder / "checkpoints/000008.pt")
        assert Run.open(folder, problem).step == 6
    torch.save([1, 2], folder / "checkpoints/000006.pt")
    run = Run.open(folder, problem)
    assert run.step == 3
    assert len(run.notes) == 2


def test_no_checkpoint_that_can_be_read_is_a_clear_error(problem, folder):
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(StoreError, match="no checkpoint at or before step 8"):
        Run.open(folder, problem)


@pytest.mark.parametrize("kind", ["checkpoints/000008.pt", "snapshots/000008.npz"])
def test_a_damaged_file_is_a_clear_error_wherever_it_is_damaged(folder, kind):
    path = folder / kind
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    load = Store(folder).load_checkpoint if kind.endswith("pt") else Store(folder).load_snapshot
    refused = 0
    for byte in random.integers(0, len(whole), 150):
        changed = bytearray(whole)
        changed[byte] ^= int(random.integers(1, 256))
        for damaged in (bytes(changed), whole[:byte]):
            path.write_bytes(damaged)
            try:
                load(8)
            except StoreError as error:
                refused += path.name in str(error)
    assert refused >= 150  # every cut, and most changes


@pytest.mark.parametrize(
    "damaged", ["", "{", "[]", "null", '"text"', "{}", '{"format": null}', '{"format": "x"}', "\x00"]
)
def test_a_damaged_run_json_is_a_clear_error(problem, folder, damaged):
    (folder / "run.json").write_text(damaged)
    with pytest.raises(StoreError, match="was damaged"):
        Run.open(folder, problem)


def test_bytes_that_are_no_text_are_a_clear_error(folder):
    (folder / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreError, match="was damaged"):
        Store(folder)


def test_a_run_json_that_lacks_or_garbles_a_part_is_a_clear_error_or_opens(problem, folder):
    whole = json.loads((folder / "run.json").read_text())
    escaped = []
    for key in whole:
        for value in ("lacking", None, "x", 7, -1, [], {}, [[]], True):
            about = {k: v for k, v in whole.items() if k != key} | ({} if value == "lacking" else {key: value})
            (folder / "run.json").write_text(json.dumps(about))
            try:
                run = Run.open(folder, problem)
                assert repr(run)
                assert run.parent is None or isinstance(run.parent, tuple)
            except KaError:
                pass
            except Exception as error:
                escaped.append((key, value, repr(error)))
    assert escaped == []


def test_no_run_in_a_folder_is_a_clear_error(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="there is no run"):
            Run.open(folder)


def test_a_run_of_a_newer_version_is_refused(problem, folder):
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(about | {"format": FORMAT + 1, "new": "thing"}))
    with pytest.raises(StoreError, match=f"format {FORMAT + 1}, this version reads up to {FORMAT}: update"):
        Run.open(folder, problem)


def test_a_folder_that_has_a_run_takes_no_other(problem, folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"open it with Run\.open"):
        run_in(problem, folder)
    with pytest.raises(InputError, match="there is a run"):
        Run.open(folder, problem).fork("other", folder=folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_file_in_the_way_is_a_clear_error(problem, folder, tmp_path):
    (tmp_path / "file").write_text("")
    for there in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="another folder"):
            run_in(problem, there)
        with pytest.raises(StoreError, match="another folder"):
            Run.open(folder, problem).fork("x", folder=there)
    assert (tmp_path / "file").read_text() == ""


# No code runs


class Harm:
    def __init__(self, proof: Path):
        self.proof = str(proof)

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


@pytest.mark.parametrize("how", ["a pickle", "in torch's file", "in the optimiser", "torch's old format"])
def test_a_checkpoint_with_a_pickle_inside_is_refused_and_its_code_does_not_run(problem, folder, tmp_path, how):
    proof, path = tmp_path / "proof", folder / "checkpoints/000008.pt"
    state = torch.load(path, weights_only=True)
    if how == "a pickle":
        path.write_bytes(pickle.dumps(Harm(proof)))
    elif how == "in torch's file":
        torch.save(Harm(proof), path)
    elif how == "in the optimiser":
        torch.save(state | {"optimizer": {"stage": "joint", "state": {"a": Harm(proof)}}}, path)
    else:
        torch.save(state | {"extra": Harm(proof)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(StoreError, match="could run code: refused"):
        Store(folder).load_checkpoint(8)
    run = Run.open(folder, problem)
    assert run.step == 6
    assert "could run code" in run.notes[0]
    assert not proof.exists()
    pickle.loads(pickle.dumps(Harm(proof)))
    assert proof.exists()  # it would have


def test_a_snapshot_with_a_pickle_inside_is_refused_and_its_code_does_not_run(folder, tmp_path):
    proof = tmp_path / "proof"
    np.savez(folder / "snapshots/000008.npz", index=np.array([Harm(proof)], dtype=object), about=np.array("{}"))
    with pytest.raises(StoreError, match="cannot be read"):
        Store(folder).load_snapshot(8)
    np.save(folder / "snapshots/000008.npz", np.array([Harm(proof)], dtype=object))
    (folder / "snapshots/000008.npz.npy").rename(folder / "snapshots/000008.npz")
    with pytest.raises(StoreError, match="cannot be read"):
        Store(folder).load_snapshot(8)
    assert not proof.exists()


@pytest.mark.parametrize(
    "name",
    ["os:system", "ka_explore.toy:os.system", "ka_explore.toy:__import__", "ka_explore.cli:main", "", "os", None, 3],
)
def test_a_folder_that_names_code_of_its_own_runs_none(folder, tmp_path, monkeypatch, name):
    proof = tmp_path / "proof"
    about = json.loads((folder / "run.json").read_text())
    about["problem"] = {"name": name, "options": {"command": f"touch {proof}"}}
    (folder / "run.json").write_text(json.dumps(about))
    calls = []
    monkeypatch.setattr(os, "system", calls.append)
    with pytest.raises(InputError, match="not one of"):
        Run.open(folder)
    assert calls == []
    assert not proof.exists()


def test_options_that_a_problem_does_not_take_are_a_clear_error(folder):
    about = json.loads((folder / "run.json").read_text())
    for options in ({"command": "ls"}, {"seed": "x"}, {"unlabelled": -3}):
        about["problem"] = {"name": "ka_explore.toy:digits", "options": options}
        (folder / "run.json").write_text(json.dumps(about))
        with pytest.raises(InputError):
            Run.open(folder)


def test_strange_names_of_teachers_layers_and_labels_stay_in_the_folder(tiny_problem, tmp_path):
    names = ["..", '<script>alert("1")</script>'.replace("/", "")]
    problem = tiny_problem(names=names, images=30, shape=(1, 8, 8))
    run = Run(problem, "common_feature", folder=tmp_path / "deep" / "run", name="../../<b>", snapshot_every=2, steps=2,
              batch_size=8, width=4, blocks=1).advance(None)  # fmt: skip
    again = Run.open(tmp_path / "deep" / "run", problem)
    assert again.name == "../../<b>"
    assert again.store.load_snapshot(2).teachers == tuple(names)
    assert same(weights(run), weights(again))
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["run"]


# Full disks and other processes


FULL_DISK = """
import os, resource, sys
from pathlib import Path
from ka_explore import Run, StoreError, toy
from ka_explore.run.store import Store

def room(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

problem = toy.digits(unlabelled=60)
# No room for a row; for a part of a row; for a row and not for the checkpoint that is due.
for name, every, more in (("rows", 100, (0, 1, 100)), ("checkpoints", 5, (3_000,))):
    folder = Path(sys.argv[1]) / name
    run = Run(problem, "distillation", folder=folder, steps=8, batch_size=16, checkpoint_every=every)
    run.advance(4)
    size = (folder / "history.jsonl").stat().st_size
    for extra in more:
        room(size + extra)
        try:
            run.advance(1)
            message = "written"
        except StoreError as error:
            message = str(error).replace(str(folder), "FOLDER")
        room(-1)
        parts = list(folder.rglob("*.part"))
        print(message, run.step, run.recorded, len(list(Store(folder).rows())), len(parts), sep="|")
    run.advance(None)
    run.save()
"""


@pytest.mark.slow
def test_a_full_disk_keeps_what_was_written_and_the_run_goes_on_when_there_is_room(tmp_path):
    done = child(FULL_DISK, tmp_path)
    assert done.returncode == 0, done.stderr
    told = [line.split("|") for line in done.stdout.splitlines()]
    for message, *_ in told:
        assert "cannot write in FOLDER" in message
        assert "make room" in message
    assert [left for _, *left in told] == [["4", "4", "4", "0"]] * 3 + [["5", "5", "5", "0"]]
    uninterrupted = Run(toy.digits(unlabelled=60), "distillation", steps=8, batch_size=16).advance(None)
    for name in ("rows", "checkpoints"):
        run = Run.open(tmp_path / name)
        assert run.notes == ()
        assert run.step == 8
        assert [row["step"] for row in run.history()] == list(range(1, 9))
        assert same(weights(run), weights(uninterrupted))


HOLD = """
import sys
from ka_explore.run.store import Store
with Store(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_another_process_writes_can_be_read_and_not_written(problem, folder):
    (folder / "checkpoints/000008.pt").unlink()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        run = Run.open(folder, problem)
        assert run.step == 6
        assert run.snapshot().step == 6
        for write in (lambda: run.advance(1), run.save, lambda: run.rewind(3)):
            with pytest.raises(StoreError, match="written by another process"):
                write()
        assert run.step == 6
    finally:
        holder.communicate("")
    assert run.advance(None).step == 8


def test_two_runs_of_one_folder_in_one_process_do_not_write_at_once(problem, folder):
    one, other = Run.open(folder, problem), Run.open(folder, problem)
    with one.store.lock(), pytest.raises(StoreError, match="another process"):
        other.save()
    other.save()


# Another name


def test_a_new_name_is_there_when_the_run_is_opened_again_and_nothing_else_changed(problem, folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "run.json"}
    about = json.loads((folder / "run.json").read_text())
    Store(folder).amend(name="Ärger mit α")
    assert json.loads((folder / "run.json").read_text()) == about | {"name": "Ärger mit α"}
    assert {path: path.read_bytes() for path in before} == before
    assert Run.open(folder, problem).name == "Ärger mit α"


def test_the_parents_new_name_keeps_the_step_and_what_another_store_amended(problem, folder, tmp_path):
    child = Run.open(folder, problem).fork("child", at=3, folder=tmp_path / "child")
    other = Store(tmp_path / "child")
    child.store.amend(parent=("renamed", 3))
    other.amend(name="child too")
    opened = Run.open(tmp_path / "child", problem)
    assert (opened.name, opened.parent) == ("child too", ("renamed", 3))


@pytest.mark.parametrize("name", ["", "  "])
def test_no_name_at_all_is_refused(folder, name):
    before = (folder / "run.json").read_bytes()
    with pytest.raises(InputError, match="at least one letter"):
        Store(folder).amend(name=name)
    assert (folder / "run.json").read_bytes() == before


def test_a_name_that_cannot_be_written_leaves_the_old_one(folder, monkeypatch):
    store, before = Store(folder), (folder / "run.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="make room"):
        store.amend(name="other")
    assert (folder / "run.json").read_bytes() == before
    assert store.about["name"] == json.loads(before)["name"]
    assert not list(folder.glob("*.part"))
