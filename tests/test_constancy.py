"""A teacher that says something else than what was kept of it is found, whatever made it change; others are left be."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ka_explore import InputError, Pool, Problem, Run, Teacher, diagnose
from ka_explore.problem import folders
from ka_explore.problem.cache import TeacherCache
from ka_explore.problem.constancy import ASKED, asked_images, says_the_same
from ka_explore.problem.pool import Images

STD = {"value": 1.0}
ALL = np.arange(60)


def in_place(images: Tensor) -> Tensor:
    return images / STD["value"]


def helper(images: Tensor) -> Tensor:
    return in_place(images)


class Attribute(nn.Module):
    """A net that looks at an attribute which is neither a weight nor a number."""

    def __init__(self, scale: object, net: nn.Module):
        super().__init__()
        self.scale, self.net = scale, net

    def forward(self, images: Tensor) -> Tensor:
        scale = self.scale["by"] if isinstance(self.scale, dict) else self.scale[0]
        return self.net(images) * scale


def one(net, **options) -> Teacher:
    return Teacher("one", net, layers=["conv1"], labels="abc", **options)


def of_attribute(net, scale) -> Teacher:
    return Teacher("one", Attribute(scale, net), layers=["net.conv1"], labels="abc")


# What is the same for the key, before and after.
CHANGES = {
    "a global of preprocess": lambda net, _: one(net, preprocess=in_place),
    "a global of its helper": lambda net, _: one(net, preprocess=helper),
    "a global of read": lambda net, _: one(net, read=lambda output: output * STD["value"]),
    "a tuple": lambda net, value: of_attribute(net, (value,)),
    "a list": lambda net, value: of_attribute(net, [value]),
    "a dict": lambda net, value: of_attribute(net, {"by": value}),
    "a tensor": lambda net, value: of_attribute(net, torch.tensor([value])),
}


@pytest.fixture
def standard(monkeypatch):
    monkeypatch.setitem(STD, "value", 1.0)

    def change(value: float) -> None:
        monkeypatch.setitem(STD, "value", value)

    return change


@pytest.mark.parametrize("value", [3.0, 0.98])
@pytest.mark.parametrize("what", CHANGES)
def test_a_cache_of_a_teacher_that_has_changed_is_made_anew_and_says_so(what, value, net, blobs, tmp_path, standard):
    images, before = Images(blobs(60)), CHANGES[what](net("conv"), 1.0)
    layers = {"one": list(before.layers)}
    TeacherCache([before], images, layers, folder=tmp_path)
    standard(value)
    changed = CHANGES[what](net("conv"), value)
    if what.startswith("a global"):
        assert changed.cache_key == before.cache_key
    with pytest.warns(UserWarning, match="'one': the answers kept in .* made anew") as told:
        cache = TeacherCache([changed], images, layers, folder=tmp_path)
    assert len(told) == 1
    assert torch.equal(cache[ALL]["one"].logits, changed(images[:]).logits)
    again = TeacherCache([changed], images, layers, folder=tmp_path)  # a warning would be an error
    assert torch.equal(again[ALL]["one"].logits, cache[ALL]["one"].logits)


def test_two_teachers_that_the_key_takes_for_one_keep_their_own_answers(net, blobs, tmp_path):
    images = Images(blobs(60))
    teachers = [Teacher(f"by {by}", Attribute((by,), net("conv")), layers=["net"], labels="abc") for by in (1.0, 2.0)]
    assert teachers[0].cache_key == teachers[1].cache_key
    for _ in range(2):
        cache = TeacherCache(teachers, images, {}, folder=tmp_path)
        for teacher in teachers:
            assert torch.equal(cache[ALL][teacher.name].logits, teacher(images[:]).logits)


def test_a_feature_alone_that_has_changed_is_found(blobs, tmp_path, standard):
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.side, self.body = nn.Identity(), nn.AdaptiveAvgPool2d(1)

        def forward(self, images):
            self.side(images * STD["value"])
            return self.body(images).flatten(1)

    teacher, images = Teacher("one", Aside(), layers=["side"], labels="abc"), Images(blobs(60))
    TeacherCache([teacher], images, {"one": ["side"]}, folder=tmp_path)
    standard(2.0)
    TeacherCache([teacher], images, {}, folder=tmp_path)  # the logits are what they were
    with pytest.warns(UserWarning, match="'one'"):
        cache = TeacherCache([teacher], images, {"one": ["side"]}, folder=tmp_path)
    assert torch.equal(cache[ALL]["one"].features["side"], 2 * images[:])


def test_only_the_teacher_that_changed_is_asked_about_all_images(net, blobs, tmp_path, standard):
    asked = {"one": 0, "two": 0}
    teachers = []
    for name in asked:
        module = net("conv", seed=len(name))
        options = {"preprocess": in_place} if name == "two" else {}
        teachers.append(Teacher(name, module, layers=["conv1"], labels="abc", **options))
        module.register_forward_pre_hook(lambda _m, given, n=name: asked.update({n: asked[n] + len(given[0])}))
    images = Images(blobs(60))
    TeacherCache(teachers, images, {}, folder=tmp_path)
    assert asked == {"one": 60, "two": 60}
    standard(2.0)
    with pytest.warns(UserWarning, match="^teacher 'two': "):
        TeacherCache(teachers, images, {}, folder=tmp_path)
    assert asked["one"] == 60 + ASKED
    assert asked["two"] <= 60 + 2 * ASKED + 60


class Drops(nn.Module):
    def forward(self, images):
        return nn.functional.dropout(images, 0.3, training=True)


class Standardises(nn.Module):
    """Looks at the whole batch."""

    def forward(self, images):
        return (images - images.mean()) / images.std()


@pytest.mark.parametrize("first", [Drops(), Standardises()])
def test_a_teacher_that_wavers_is_not_taken_for_one_that_changed(first, net, blobs, tmp_path):
    teacher, images = one(net("conv"), preprocess=first), Images(blobs(300, (3, 8, 8)))
    TeacherCache([teacher], images, {"one": ["conv1"]}, folder=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    for _ in range(5):
        TeacherCache([teacher], images, {"one": ["conv1"]}, folder=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == before


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("kind", ["conv", "tokens", "vector"])
def test_rounding_is_no_change_and_a_thousandth_of_the_spread_is_the_limit(kind, offset, teacher, blobs):
    made = (
        teacher("one", kind, read=lambda output: (output[0] if kind == "vector" else output) + offset)
        if (kind != "tokens")
        else teacher("one", kind, read=lambda output: output["logits"] + offset)
    )
    images = torch.from_numpy(blobs(ASKED))
    alone = torch.cat([made(image[None]).logits for image in images])
    assert says_the_same(made, images, [alone], lambda outputs: [outputs.logits])
    moved = alone.clone()
    moved[3, 1] += 0.05 * alone.std() + 1e-3 * offset
    assert not says_the_same(made, images, [moved], lambda outputs: [outputs.logits])
    assert not says_the_same(made, images, [alone * torch.nan], lambda outputs: [outputs.logits])


def test_the_images_asked_are_some_of_all_and_always_the_same():
    assert asked_images(5).tolist() == [0, 1, 2, 3, 4]
    some = asked_images(10_000)
    assert (np.diff(some) > 0).all()
    assert len(some) == ASKED
    assert some.max() - some.min() > 5_000
    assert some.tolist() == asked_images(10_000).tolist()


# Runs


@pytest.fixture
def fed(tiny_problem, net):
    """A problem whose first teacher is given images that a global scales; with and without augmentation."""

    def make(**options) -> Problem:
        problem = tiny_problem()
        first = Teacher("fed", net("conv"), layers=["conv1", "conv2"], labels="uvw", preprocess=helper)
        return Problem([first, problem.teachers[1]], Pool(problem.pool.images, **options), problem.student)

    return make


def last(run: Run) -> float:
    return run.history()[-1]["loss"]


def test_a_run_after_a_global_was_corrected_is_the_run_that_never_had_it_wrong(fed, standard, monkeypatch, tmp_path):
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(tmp_path / "one"))
    right = Run(fed(), "distillation", steps=4).advance(None)
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(tmp_path / "other"))
    standard(30.0)
    wrong = Run(fed(), "distillation", steps=4).advance(None)
    standard(1.0)
    with pytest.warns(UserWarning, match="'fed'"):
        mended = Run(fed(), "distillation", steps=4).advance(None)
    assert last(mended) == last(right) != last(wrong)


def test_a_run_is_not_opened_forked_or_gone_on_with_when_a_teacher_has_changed(fed, standard, tmp_path):
    problem = fed()
    run = Run(problem, "distillation", steps=60, folder=tmp_path / "run", snapshot_every=0).advance(2)
    before = last(run)
    standard(2.0)
    for go_on in (lambda: Run.open(run.folder, problem), lambda: run.fork("b"), lambda: run.advance(None)):
        with pytest.raises(InputError, match=r"'fed' says something else .* than when the run in .* was made"):
            go_on()
    assert (run.step, last(run)) == (2, before)
    standard(1.0)
    assert Run.open(run.folder, problem).advance(25).step == 25


def test_teachers_that_are_asked_live_are_not_mixed_either(fed, standard):
    run = Run(fed(augment=lambda images, _: images.flip(3)), "distillation", steps=60, snapshot_every=0).advance(2)
    standard(2.0)
    with pytest.raises(InputError, match="'fed' says something else"):
        run.advance(30)


@pytest.mark.parametrize("options", [{}, {"augment": lambda images, _: images.flip(3)}])
@pytest.mark.parametrize("count", [1, 7])
def test_whoever_goes_in_small_pieces_is_told_of_a_change_within_twenty_steps(count, options, fed, standard):
    run = Run(fed(**options), "distillation", steps=80, snapshot_every=0)
    for _ in range(-(-40 // count)):
        run.advance(count)  # healthy
    changed_at = run.step
    standard(2.0)

    def go_on():
        while run.step < changed_at + 20:
            run.advance(count)

    with pytest.raises(InputError, match="'fed' says something else"):
        go_on()
    standard(1.0)
    assert run.advance(None).done


def test_a_diagnosis_of_teachers_that_have_changed_would_be_of_others(fed, standard):
    run = Run(fed(), "distillation", steps=4).advance(None)
    standard(2.0)
    with pytest.raises(InputError, match="'fed' says something else"):
        diagnose(run)
    assert diagnose(run.folder).skipped, "what is stored can be judged"
    standard(1.0)
    assert diagnose(run).checked


def test_a_teacher_that_draws_can_be_opened_and_forked(tiny_problem, net, tmp_path):
    problem = tiny_problem()
    noisy = Teacher("noisy", net("conv"), layers=["conv1"], labels="uvw", preprocess=Drops())
    problem = Problem([noisy, problem.teachers[1]], Pool(problem.pool.images), problem.student)
    run = Run(problem, "distillation", steps=3, folder=tmp_path / "run").advance(1)
    run.fork("other").advance(1)
    assert Run.open(run.folder, problem).advance(2).step == 2


@pytest.mark.parametrize("says", [None, [], 3, ["a"] * ASKED, [None] * ASKED, ["1"], {"a": 1}])
def test_a_folder_that_does_not_tell_what_was_said_opens(says, tiny_problem, tmp_path):
    problem = tiny_problem()
    run = Run(problem, "distillation", steps=3, folder=tmp_path / "run").advance(1)
    path = run.folder / "run.json"
    about = json.loads(path.read_text())
    assert all(len(teacher["says"]) == ASKED for teacher in about["teachers"])
    for teacher in about["teachers"]:
        if says is None:
            del teacher["says"]
        else:
            teacher["says"] = says
    path.write_text(json.dumps(about))
    assert Run.open(run.folder, problem).advance(2).step == 2
    path.write_text(json.dumps(about | {"teachers": []}))
    assert Run.open(run.folder, problem).advance(None).step == 3


# What a kill leaves

WRITES = """
import sys, time
from pathlib import Path
from ka_explore.problem.folders import new_part
file = new_part(Path(sys.argv[1]))
file.write(b"x" * 1000)
file.flush()
print("writing", flush=True)
time.sleep(60)
"""


@pytest.fixture
def writer():
    """Starts processes that are in the middle of writing a part to a folder; they end with the test."""
    started = []

    def start(folder: Path) -> subprocess.Popen:
        folder.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen([sys.executable, "-c", WRITES, str(folder)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "writing\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def cached(folder: Path, net, blobs) -> None:
    TeacherCache([one(net("conv"))], Images(blobs(60)), {}, folder=folder)


def kept(folder: Path, _net, _blobs) -> None:
    folders.write_whole(folder / "weights", lambda file: file.write(b"y"))


@pytest.mark.parametrize("write", [cached, kept])
def test_parts_of_the_dead_are_swept_up_and_those_of_the_living_stay(write, writer, net, blobs, tmp_path):
    writer(tmp_path / "another teacher").send_signal(signal.SIGKILL)
    living = writer(tmp_path / "another teacher")
    (tmp_path / "old.part").write_bytes(b"x")
    left = len(parts(tmp_path))
    assert left in (2, 3)  # the system may take a while to let go of a lock
    for process in (living,):
        assert process.poll() is None
    write(tmp_path, net, blobs)
    assert len(parts(tmp_path)) == 1
    living.kill()
    living.wait()
    kept(tmp_path, net, blobs)
    assert parts(tmp_path) == []
    assert (tmp_path / "weights").read_bytes() == b"y"


def test_a_writer_whose_part_was_swept_before_it_was_locked_makes_another(tmp_path, monkeypatch):
    made = []

    def swept(file, _how):
        if not made:
            os.unlink(file.name)
        made.append(file)

    monkeypatch.setattr(folders.fcntl, "flock", swept)
    with folders.new_part(tmp_path) as file:
        assert Path(file.name).exists()
    assert len(made) == 2


def test_what_cannot_be_written_leaves_no_part_and_what_was_there(tmp_path):
    path = tmp_path / "kept"
    path.write_bytes(b"old")

    def fails(file) -> None:
        file.write(b"half")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        folders.write_whole(path, fails)
    assert path.read_bytes() == b"old"
    assert parts(tmp_path) == []
