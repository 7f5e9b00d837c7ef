"""Laws of a run: rewinding is never having left, an unchanged fork is its parent, looking changes nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ka_explore import (
    METHODS,
    Diverged,
    InputError,
    Method,
    NotApplicable,
    Problem,
    ReplayMismatch,
    Run,
    Stage,
    StepOutput,
    StoreError,
    toy,
)
from ka_explore.methods.base import AmalgamationConfig
from ka_explore.run.reproduce import from_scratch
from ka_explore.run.step import rate_at


@pytest.fixture(scope="module")
def problem() -> Problem:
    return toy.digits(unlabelled=200)


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.method.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def rows(run: Run) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.history()]


def small(problem: Problem, method: str = "common_feature", **options) -> Run:
    return Run(problem, method, **{"steps": 24, "checkpoint_every": 7, "width": 8, "blocks": 1} | options)


@pytest.fixture
def uninterrupted(problem) -> Run:
    return small(problem).advance(None)


def test_rewinding_is_never_having_left(problem, uninterrupted):
    run = small(problem).advance(10)
    at_ten = weights(run)
    run.advance(7).rewind(10)
    assert same(weights(run), at_ten)
    run.rewind(0).advance(None)
    assert same(weights(run), weights(uninterrupted))
    assert rows(run) == rows(uninterrupted)


def test_a_long_road_is_many_short_ones(problem, uninterrupted):
    run = small(problem)
    while not run.done:
        run.advance(5)
    assert same(weights(run), weights(uninterrupted))


def test_an_unchanged_fork_is_its_parent(problem, uninterrupted):
    run = small(problem).advance(12)
    for at in (0, 5, 12):
        fork = run.fork("copy", at=at)
        assert fork.step == at
        assert fork.parent == (run.name, at)
        assert same(weights(fork.advance(None)), weights(uninterrupted))


def test_a_fork_leaves_its_parent_alone(problem):
    run = small(problem).advance(12)
    before, recorded = weights(run), rows(run)
    fork = run.fork("other", at=6, mmd_weight=0.0).advance(None)
    assert same(weights(run), before)
    assert rows(run) == recorded
    assert rows(fork)[:6] == recorded[:6]
    assert rows(fork)[8] != recorded[8]


def test_a_fork_stands_alone_and_rewinds_to_before_the_fork(problem, tmp_path):
    run = small(problem, folder=tmp_path / "base").advance(12)
    at_five = weights(small(problem).advance(5))
    fork = run.fork("what-if", at=9, mmd_weight=0.0, learning_rate=1e-3).advance(None)
    end = weights(fork)
    shutil.rmtree(tmp_path / "base")
    again = Run.open(tmp_path / "what-if")
    assert same(weights(again.rewind(5)), at_five)
    assert same(weights(again.advance(None)), end)


def test_a_fork_of_a_fork(problem):
    run = small(problem).advance(12)
    fork = run.fork("one", at=8, mmd_weight=0.0).advance(8)
    second = fork.fork("two", at=12, reconstruction_weight=0.0).advance(None)
    assert [row["step"] for row in second.history()] == list(range(1, 25))
    assert rows(second)[:12] == rows(fork)[:12]
    back = fork.fork("back", at=4).advance(None)
    assert same(weights(back), weights(small(problem).advance(None)))


def test_probing_changes_nothing(problem, uninterrupted):
    run = small(problem, snapshot_every=3)
    while not run.done:
        run.advance(4)
        run.snapshot()
        run.predict(problem.pool.images[:5])
    assert same(weights(run), weights(uninterrupted))
    assert rows(run) == rows(uninterrupted)


def test_the_users_random_numbers_are_left_alone(problem):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run = small(problem).advance(3)
    run.snapshot()
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(99)  # nor do theirs reach the run
    assert same(weights(run.advance(None)), weights(small(problem).advance(None)))


def test_dropout_is_seeded_by_the_step(problem):
    def student(labels):
        made = toy.student(labels)
        made.segments["features"] = nn.Sequential(nn.ReLU(), nn.Dropout(0.5))
        return made

    noisy = Problem(problem.teachers, problem.pool, student, problem.test)
    run = Run(noisy, "distillation", steps=12, checkpoint_every=5)
    run.advance(None)
    end = weights(run)
    assert same(weights(run.rewind(3).advance(None)), end)


def test_seed_decides(problem):
    one, other = small(problem, seed=1).advance(5), small(problem, seed=2).advance(5)
    assert not same(weights(one), weights(other))
    assert same(weights(one), weights(small(problem, seed=1).advance(5)))


def test_methods_of_one_seed_start_from_the_same_student_and_see_the_same_batches(problem):
    one, other = small(problem, snapshot_every=0), Run(problem, "distillation", steps=24, snapshot_every=0)
    assert same(one.student.state_dict(), other.student.state_dict())
    seen: dict[str, list[np.ndarray]] = {}
    for run in (one, other):
        make = run._batch
        run._batch = lambda index, make=make, run=run, **more: (
            seen.setdefault(run.name, []).append(index) or make(index, **more)
        )
        run.advance(9)
    first, second = seen.values()
    assert len(first) == 9
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], first[1])


CHILD = """
import sys
from ka_explore import Run
run = Run.open(sys.argv[1])
run.advance(int(sys.argv[2]) if sys.argv[2] != "all" else None)
run.save()
"""


def child(folder: Path, steps: str) -> None:
    subprocess.run([sys.executable, "-c", CHILD, str(folder), steps], check=True, env=dict(os.environ), timeout=120)


@pytest.mark.slow
def test_stop_and_resume_in_another_process(problem, uninterrupted, tmp_path):
    small(problem, folder=tmp_path / "run").advance(10).save()
    child(tmp_path / "run", "all")
    run = Run.open(tmp_path / "run")
    assert run.step == 24
    assert same(weights(run), weights(uninterrupted))
    assert rows(run) == rows(uninterrupted)


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_from_the_last_checkpoint(problem, tmp_path):
    run = Run(problem, "distillation", folder=tmp_path / "run", steps=100_000, checkpoint_every=5, schedule="constant")
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path / "run"), "all"], env=dict(os.environ))
    deadline = time.monotonic() + 100
    while run.store.__class__(tmp_path / "run").rows_kept < 12 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = Run.open(tmp_path / "run")
    assert again.recorded >= 12
    assert again.step % 5 == 0
    recorded = again.recorded
    again.advance(recorded - again.step + 3)  # replays what was recorded, then goes on
    assert again.step == recorded + 3


def test_a_checkpoint_that_was_lost_is_replayed_from_an_earlier_one(problem, tmp_path):
    run = small(problem, folder=tmp_path / "run").advance(None)
    end = weights(run)
    (tmp_path / "run/checkpoints/000024.pt").write_bytes(b"half a file")
    (tmp_path / "run/checkpoints/000021.pt").unlink()
    again = Run.open(tmp_path / "run")
    assert again.step == 14
    assert "000024.pt" in " ".join(again.notes)
    assert same(weights(again.advance(None)), end)
    assert Run.open(tmp_path / "run").step == 24  # the damaged checkpoint was written again


def test_a_replay_that_differs_announces_itself(problem, tmp_path):
    run = small(problem, folder=tmp_path / "run").advance(10)
    lines = (tmp_path / "run/history.jsonl").read_text().splitlines()
    row = json.loads(lines[8])
    row["loss"] += 1e-6
    lines[8] = json.dumps(row)
    (tmp_path / "run/history.jsonl").write_text("\n".join(lines) + "\n")
    again = Run.open(tmp_path / "run").rewind(8)
    with pytest.raises(ReplayMismatch, match="step 9"):
        again.advance(1)
    assert run.recorded == 10


def test_on_another_machine_a_replay_that_differs_loses_nothing_and_says_how_to_go_on(problem, tmp_path):
    small(problem, folder=tmp_path / "run").advance(10)
    about = json.loads((tmp_path / "run/run.json").read_text())
    about["environment"]["processor"] = "another one"
    (tmp_path / "run/run.json").write_text(json.dumps(about))
    lines = (tmp_path / "run/history.jsonl").read_text().splitlines()
    row = json.loads(lines[8])
    row["loss"] += 1e-6
    lines[8] = json.dumps(row)
    (tmp_path / "run/history.jsonl").write_text("\n".join(lines) + "\n")
    again = Run.open(tmp_path / "run").rewind(8)
    with pytest.raises(ReplayMismatch, match=r"another machine.*at=7"):
        again.advance(1)
    with pytest.raises(ReplayMismatch):
        again.fork("too late", at=9)
    assert not (tmp_path / "too late").exists()
    assert (again.step, again.recorded) == (8, 10)
    assert again.fork("here", at=7).advance(None).done


def test_a_run_made_on_a_gpu_opens_where_there_is_none_and_says_so(problem, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    small(problem, folder=tmp_path / "run").advance(3).save()
    about = json.loads((tmp_path / "run/run.json").read_text())
    (tmp_path / "run/run.json").write_text(json.dumps(about | {"device": "cuda"}))
    run = Run.open(tmp_path / "run")
    assert run.device.type == "cpu"
    assert "GPU" in " ".join(run.notes)
    assert run.advance(1).step == 4


def test_a_loss_that_becomes_nan_stops_at_the_step_before(problem):
    run = small(problem, steps=60, learning_rate=9.9, optimizer="sgd", schedule="constant", norm="none")
    with pytest.raises(Diverged, match="not finite") as caught:
        run.advance(None)
    assert run.step == caught.value.step - 1
    assert run.step == len(run.history())
    assert caught.value.terms
    kept = weights(run)
    assert all(bool(torch.isfinite(value.float()).all()) for value in kept.values())
    with pytest.raises(Diverged):
        run.advance(1)
    assert same(weights(run), kept)
    tamer = run.fork("tamer", at=0, learning_rate=1e-3)
    assert tamer.advance(5).step == 5


def test_interrupted_in_the_middle_of_a_step_it_goes_on_as_if_not(problem, uninterrupted, monkeypatch):
    run = small(problem).advance(9)
    real = torch.optim.Adam.step

    def interrupted(self, *args, **kwargs):
        real(self, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.Adam, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.advance(1)
    monkeypatch.undo()
    assert run.step == 9
    assert run.snapshot().step == 9
    assert same(weights(run.advance(None)), weights(uninterrupted))


@pytest.mark.parametrize(
    ("at", "changes", "reason"),
    [
        (6, {"width": 16}, "adaptions.0.0.weight is"),
        (6, {"blocks": 2}, "not there"),
        (6, {"steps": 4}, "the run has done"),
        (6, {"optimizer": "sgd"}, "Fork at step 0"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_with_the_reason(problem, at, changes, reason):
    run = small(problem).advance(8)
    with pytest.raises(NotApplicable, match=reason):
        run.fork("no", at=at, **changes)
    fork = run.fork("yes", at=0, **changes)  # from the beginning everything can be changed
    assert fork.step == 0
    assert fork.advance(2).step == 2


def test_a_finished_run_can_be_made_longer(problem):
    run = small(problem, form="clouds").advance(None)
    longer = run.fork("longer", steps=30).advance(None)
    assert longer.step == 30
    assert rows(longer)[:24] == rows(run)
    with pytest.raises(NotApplicable, match="cannot go on"):
        run.fork("other", steps=30, optimizer="sgd")


@pytest.mark.parametrize("changes", [{"steps": 30}, {"batch_size": 16}, {"learning_rate": 1e-4}, {"temperature": 4.0}])
def test_what_can_be_changed_on_the_way(problem, changes):
    fork = small(problem).advance(8).fork("yes", **changes).advance(None)
    assert fork.step == fork.config.steps


def test_a_term_switched_off_no_longer_pulls_and_is_still_measured(problem):
    run = small(problem, form="clouds").advance(8)
    fork = run.fork("soft only", mmd_weight=0.0, reconstruction_weight=0.0).advance(1)
    row = fork.history()[-1]
    assert row["loss"] == row["terms"]["soft"]
    assert row["terms"]["mmd"] > 0
    decoder = fork.method.decoders[0][0].weight
    assert torch.equal(decoder, run.method.decoders[0][0].weight)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
def test_the_learning_rate_is_a_function_of_config_and_step(problem, schedule):
    run = small(problem, form="clouds", schedule=schedule).advance(None)
    rates = [row["rate"] for row in run.history()]
    assert rates == [rate_at(run.config, step, 24) for step in range(24)]
    assert rates[0] == run.config.learning_rate
    assert schedule == "constant" or rates[-1] < rates[0] / 5


def test_augmented_images_reach_teachers_and_student_alike(problem):
    from ka_explore import Pool

    def flip(images, generator):
        turn = torch.rand(len(images), generator=generator) < 0.5
        return torch.where(turn[:, None, None, None], images.flip(3), images)

    pool = Pool(problem.pool.images, augment=flip)
    run = Run(Problem(problem.teachers, pool, problem.student), "distillation", steps=6, checkpoint_every=2).advance(
        None
    )
    end = weights(run)
    assert same(weights(run.rewind(1).advance(None)), end)
    assert not same(end, weights(Run(problem, "distillation", steps=6).advance(None)))


def test_memory_holds_no_history(problem):
    run = small(problem)
    sizes = []
    for _ in range(3):
        run.advance(8)
        sizes.append(sum(sys.getsizeof(value) for value in vars(run).values()))
    assert sizes[0] == sizes[-1]


def test_a_run_without_a_folder_leaves_none_behind(problem):
    run = small(problem)
    folder = run.folder
    assert folder.exists()
    del run
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "comon_feature"}, "Did you mean 'common_feature'"),
        ({"mmd_wieght": 1}, "Did you mean 'mmd_weight'"),
        ({"form": "cod"}, "Did you mean 'code'"),
        ({"mmd_weight": -1}, "expected 0"),
        ({"steps": 1.5}, "expected int"),
        ({"soft_target": "hard"}, "expected one of"),
        ({"device": "tpu"}, "unknown device"),
        ({"precision": "bfloat16", "device": "cpu"}, "for a GPU"),
        ({"seed": -1}, "seed"),
        ({"threads": 0}, "threads"),
    ],
)
def test_wrong_arguments_say_what_is_right(problem, arguments, message):
    with pytest.raises(InputError, match=message):
        Run(problem, **arguments)


def test_moving_where_nothing_is_recorded_is_refused(problem):
    run = small(problem).advance(3)
    for step in (-1, 4, 2.0):
        with pytest.raises(InputError, match="0 to 3"):
            run.rewind(step)
    with pytest.raises(InputError, match="0 to 3"):
        run.fork("x", at=9)
    with pytest.raises(InputError, match="plain name"):
        run.fork("../x")
    with pytest.raises(InputError, match="number of steps"):
        run.advance(-1)


def test_opening_with_another_problem_is_refused(problem, tmp_path):
    small(problem, folder=tmp_path / "run").advance(2)
    with pytest.raises(InputError, match="pool"):
        Run.open(tmp_path / "run", toy.digits(unlabelled=201))


def test_an_unwritable_folder_is_a_clear_error(problem, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="another folder"):
        small(problem, folder=tmp_path / "file" / "run")


def test_oracle_and_no_other_needs_labels(problem):
    blind = problem.without_labels()
    with pytest.raises(InputError, match="true labels"):
        Run(blind, "oracle")
    Run(blind, "common_feature", steps=2).advance(None)


def test_bit_equal_without_any_label(problem):
    with_labels, without = small(problem).advance(6), small(problem.without_labels()).advance(6)
    assert same(weights(with_labels), weights(without))


# A method of one's own, and the names of version 0.1.


class Mine(Method):
    """Cross-entropy of the student with the teachers' answers, made outside of the table."""

    Config = AmalgamationConfig

    def stages(self):
        return [Stage("mine", self.step, (self.student,), self.config.steps, {"soft": 2.0})]

    def step(self, batch):
        student = self.student(batch.images)
        return StepOutput({"soft": self.soft_target(student.logits, batch)}, student=student)


def test_a_class_is_a_method_and_its_folder_wants_it_back(problem, tmp_path):
    run = Run(problem, Mine, steps=6, batch_size=8, folder=tmp_path / "own").advance(4)
    assert run.store.about["method"] == "(made by hand)"
    assert run.history()[-1]["loss"] == pytest.approx(2 * run.history()[-1]["terms"]["soft"])
    assert run.history()[-1]["weights"] == {"soft": 2.0}
    fork = run.fork("other", at=2, learning_rate=0.1).advance_to_end()
    assert isinstance(fork.method, Mine)
    with pytest.raises(InputError, match=r"made by hand: give its class, Run\.open\(folder, problem, method="):
        Run.open(run.folder, problem)
    code = from_scratch(run.store.about)
    assert "# Mine: the class of the method" in code
    assert 'run = Run(problem, Mine, name="own"' in code
    again = Run.open(run.folder, problem, method=Mine).seek(1).advance_to_end()
    assert [row["loss"] for row in again.history()[:4]] == [row["loss"] for row in run.history()]
    assert Run(problem, METHODS["distillation"], steps=2).store.about["method"] == "distillation"
    with pytest.raises(InputError, match="a class made from Method"):
        Run(problem, 5)
    with pytest.raises(InputError, match="leave method out"):
        Run.open(Run(problem, "distillation", steps=2, folder=tmp_path / "plain").folder, problem, method=Mine)


def test_a_stage_that_weighs_a_term_it_does_not_have_says_so(problem):
    class Wrong(Mine):
        def stages(self):
            return [Stage("mine", self.step, (self.student,), self.config.steps, {"sofd": 1.0})]

    with pytest.raises(TypeError, match="weighs sofd; its output has soft"):
        Run(problem, Wrong, steps=6, snapshot_every=0).advance(1)


def test_a_folder_of_version_1_goes_on_without_what_was_not_there(problem, tmp_path):
    """Its options do not know cross-reconstruction, pull and hand-over, which are on by default now."""
    run = small(problem, form="clouds", folder=tmp_path / "run").advance(12)
    about = json.loads((run.folder / "run.json").read_text())
    for name in ("cross_weight", "pull", "hand_over"):
        del about["configs"][0][1][name]
    (run.folder / "run.json").write_text(json.dumps(about))
    again = Run.open(run.folder, problem)
    assert again.config == run.config
    assert rows(again.advance(None)) == rows(small(problem, form="clouds").advance(None))


@pytest.mark.parametrize("old", [{"form": "paired"}, {"form": "kamal"}, {"training": "one_stage", "temperature": 2.0}])
def test_the_one_stage_form_goes_by_its_old_name_for_one_version(problem, old, tmp_path):
    with pytest.warns(FutureWarning, match="'one_stage'.* since version 0.2"):
        run = Run(problem, "layer_wise", steps=4, batch_size=8, folder=tmp_path / "run", **old).advance_to_end()
    assert run.store.about["method"] == "one_stage"
    # a folder of version 0.1 has the options of both
    about = json.loads((run.folder / "run.json").read_text())
    more = {"training": "one_stage", "compress_share": 0.15, "regress_share": 0.35, "compress_rate": 10.0}
    about |= {"method": "layer_wise", "configs": [[0, about["configs"][0][1] | more | {"regress_rate": 3.0}]]}
    (run.folder / "run.json").write_text(json.dumps(about))
    again = Run.open(run.folder, problem)
    assert again.config == run.config
    assert rows(again.seek(1).advance_to_end()) == rows(run)
