"""Laws of the teacher cache: it answers as the teachers would, bit for bit, and its files are whole or not there."""

import copy
import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ka_explore import InputError, Preprocess, StoreError, Teacher
from ka_explore.problem.cache import CHUNK, TeacherCache, cache_root
from ka_explore.problem.constancy import ASKED
from ka_explore.problem.pool import Images

ALL = np.arange(60)


class Counted:
    """How often a module runs, and on how many images."""

    def __init__(self, module: nn.Module):
        self.runs = self.images = 0
        module.register_forward_pre_hook(self.count)

    def count(self, _module, inputs) -> None:
        self.runs += 1
        self.images += len(inputs[0])


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def all_layers(teachers) -> dict[str, list[str]]:
    return {teacher.name: list(teacher.layers) for teacher in teachers}


@pytest.mark.parametrize("index", [ALL, ALL[::-1].copy(), np.array([7, 7, 3]), np.array([], dtype=np.int64)])
def test_the_cache_equals_live_answers_bit_for_bit(tiny_problem, tmp_path, index):
    problem = tiny_problem(3)
    cache = TeacherCache(problem.teachers, problem.pool.images, all_layers(problem.teachers), folder=tmp_path)
    answers = cache[index]
    for teacher in problem.teachers:
        live = teacher(problem.pool.images[ALL])
        assert torch.equal(answers[teacher.name].logits, live.logits[torch.from_numpy(index)])
        assert list(answers[teacher.name].features) == list(teacher.layers)
        for layer, feature in live.features.items():
            assert torch.equal(answers[teacher.name].features[layer], feature[torch.from_numpy(index)])


def test_a_pool_of_several_parts_is_put_together_in_order(tiny_problem, tmp_path):
    problem = tiny_problem(images=2 * CHUNK + 5, shape=(1, 8, 8))
    images = problem.pool.images
    cache = TeacherCache(problem.teachers, images, {}, folder=tmp_path)
    answers = cache[np.arange(len(images))]
    for teacher in problem.teachers:
        for start in range(0, len(images), CHUNK):
            part = teacher(images[start : start + CHUNK]).logits
            assert torch.equal(answers[teacher.name].logits[start : start + CHUNK], part)


def test_a_second_cache_asks_the_teachers_of_a_few_images_only(tiny_problem, tmp_path):
    problem = tiny_problem()
    counts = [Counted(teacher.module) for teacher in problem.teachers]
    one = TeacherCache(problem.teachers, problem.pool.images, all_layers(problem.teachers), folder=tmp_path)
    assert [count.runs for count in counts] == [1, 1]
    again = TeacherCache(problem.teachers, problem.pool.images, all_layers(problem.teachers), folder=tmp_path)
    fewer = TeacherCache(problem.teachers, problem.pool.images, {}, folder=tmp_path)
    assert [(count.runs, count.images) for count in counts] == [(3, 60 + 2 * ASKED)] * 2
    for other in (again, fewer):
        for name, answer in other[ALL].items():
            assert torch.equal(answer.logits, one[ALL][name].logits)
    assert fewer[ALL]["teacher 0"].features == {}


def test_what_is_given_out_can_be_changed_without_harm(tiny_problem, tmp_path):
    problem = tiny_problem()
    cache = TeacherCache(problem.teachers, problem.pool.images, {}, folder=tmp_path)
    before = cache[ALL]["teacher 0"].logits.clone()
    cache[ALL]["teacher 0"].logits.zero_()
    assert torch.equal(cache[ALL]["teacher 0"].logits, before)


# Shared modules


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.one, self.two = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, images):
        feature = self.body(images)
        return self.one(feature), self.two(feature)


def first(output):
    return output[0]


def second(output):
    return output[1]


def test_a_shared_module_with_two_heads_runs_once(blobs, tmp_path):
    torch.manual_seed(0)
    module = TwoHeads()
    counted = Counted(module)
    images = Images(blobs(60))
    step = Preprocess(mean=(0.5,))
    teachers = [
        Teacher("one", module, layers=["body.0"], labels="abc", read=first, preprocess=step),
        Teacher("two", module, layers=["body.2"], labels="abc", read=second, preprocess=Preprocess(mean=(0.5,))),
    ]
    cache = TeacherCache(teachers, images, all_layers(teachers), folder=tmp_path)
    assert counted.runs == 1
    for teacher in teachers:
        live, kept = teacher(images[:]), cache[ALL][teacher.name]
        assert torch.equal(live.logits, kept.logits)
        assert all(torch.equal(live.features[layer], kept.features[layer]) for layer in teacher.layers)
        assert kept.features.keys() == live.features.keys()


@pytest.mark.parametrize("how", ["preprocess", "modules", "layout"])
def test_a_shared_module_that_is_asked_differently_answers_each_as_asked(how, blobs, tmp_path):
    torch.manual_seed(0)
    module = TwoHeads()
    images = Images(blobs(60))
    one: dict = {"layers": ["body.0"], "read": first}
    two: dict = {"layers": ["body.0"], "read": first}
    if how == "preprocess":
        two["preprocess"] = Preprocess(mean=(0.5,))
    elif how == "modules":  # they print alike
        one["preprocess"], two["preprocess"] = nn.BatchNorm2d(3).eval(), nn.BatchNorm2d(3).eval()
        two["preprocess"].running_mean.fill_(0.5)
    else:
        two["layers"] = {"body.0": "NHWC"}
    teachers = [Teacher("one", module, labels="abc", **one), Teacher("two", module, labels="abc", **two)]
    cache = TeacherCache(teachers, images, all_layers(teachers), folder=tmp_path)
    for teacher in teachers:
        live, kept = teacher(images[:]), cache[ALL][teacher.name]
        assert torch.equal(live.logits, kept.logits)
        assert torch.equal(live.features["body.0"], kept.features["body.0"])
    assert not torch.equal(
        cache[ALL]["one"].features["body.0"].sum((2, 3)), cache[ALL]["two"].features["body.0"].sum((2, 3))
    )


# When answers are made anew


def test_another_weight_image_or_code_is_asked_anew(blobs, net, tmp_path):
    def teacher(module) -> Teacher:
        return Teacher("one", module, layers=["conv1"], labels="abc")

    def answers(one: Teacher, images: np.ndarray) -> torch.Tensor:
        return TeacherCache([one], Images(images), {}, folder=tmp_path)[ALL[: len(images)]]["one"].logits

    images, module = blobs(60), net("conv")
    before = answers(teacher(module), images)
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.head[-1].bias += 1
    assert not torch.equal(answers(teacher(other), images), before)
    assert not torch.equal(answers(teacher(module), blobs(60, seed=5)), before)
    assert torch.equal(answers(teacher(net("conv")), images), before)


def test_an_edited_forward_does_not_meet_the_answers_of_the_old_one(blobs, tmp_path):
    def net(factor: int) -> nn.Module:
        source = f"def forward(self, images):\n    return self.inner(images).mean(dim=(2, 3)) * {factor}"
        space: dict = {}
        exec(source, space)
        kind = type("Net", (nn.Module,), {"forward": space["forward"]})
        made = kind()
        made.inner = nn.Identity()
        return made

    one, other = (Teacher("one", net(factor), layers=["inner"], labels="abc") for factor in (1, 2))
    assert one.fingerprint == other.fingerprint
    assert one.cache_key != other.cache_key
    images = Images(blobs(60))
    answers = [TeacherCache([t], images, {}, folder=tmp_path)[ALL]["one"].logits for t in (one, other)]
    assert torch.equal(2 * answers[0], answers[1])


def test_a_forward_that_one_net_has_of_its_own_is_part_of_the_key(net):
    def own(factor: int) -> nn.Module:
        made = net("conv")
        made.head.forward = lambda feature, forward=made.head.forward: factor * forward(feature)
        return made

    modules = [net("conv"), own(1), own(2), own(2)]
    keys = [Teacher("one", module, layers=["conv1"], labels="abc").cache_key for module in modules]
    assert len(set(keys)) == 3
    assert keys[2] == keys[3]


def test_layers_with_any_name_are_files_in_the_folder(blobs, tmp_path):
    module = nn.Sequential(OrderedDict({"/up": nn.Conv2d(3, 4, 3), "a b%2F": nn.ReLU(), "é": nn.AdaptiveAvgPool2d(1)}))
    module.add_module("flat", nn.Flatten())
    teacher = Teacher("..", module, layers=["/up", "a b%2F", "é"], labels="abcd")
    images = Images(blobs(60))
    cache = TeacherCache([teacher], images, all_layers([teacher]), folder=tmp_path / "deep" / "cache")
    assert torch.equal(cache[ALL][".."].features["/up"], teacher(images[:]).features["/up"])
    assert {path.parent.parent for path in tmp_path.rglob("*.npy")} == {tmp_path / "deep" / "cache"}
    assert len(files(tmp_path)) == 4


# What goes wrong


class Breaks(nn.Module):
    """Fails, or gives NaN, at the image of that number."""

    def __init__(self, at: int, how: str):
        super().__init__()
        self.inner = nn.Identity()
        self.at, self.how, self.seen = at, how, [0]

    def forward(self, images):
        logits = self.inner(images).mean(dim=(2, 3))
        index = self.at - self.seen[0]
        self.seen[0] += len(images)
        if 0 <= index < len(images):
            if self.how == "error":
                raise RuntimeError("out of luck")
            logits[index, 1] = float(self.how)
        return logits


@pytest.mark.parametrize("how", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("at", [0, 40, CHUNK + 3])
def test_an_answer_that_is_not_finite_names_teacher_and_image_and_leaves_no_file(how, at, blobs, tmp_path):
    teacher = Teacher("bad", Breaks(at, how), layers=["inner"], labels="abc")
    with pytest.raises(InputError, match=rf"'bad' gives NaN or infinity \(logits, image {at} of the pool\)"):
        TeacherCache([teacher], Images(blobs(CHUNK + 20, (3, 4, 4))), all_layers([teacher]), folder=tmp_path)
    assert files(tmp_path) == []


def test_a_feature_that_is_not_finite_is_named(blobs, tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, images):
            self.inner(images / 0)
            return images.mean(dim=(2, 3))

    teacher = Teacher("bad", Net(), layers=["inner"], labels="abc")
    with pytest.raises(InputError, match=r"\(inner, image 0"):
        TeacherCache([teacher], Images(blobs(60)), all_layers([teacher]), folder=tmp_path)
    assert files(tmp_path) == []


def test_no_part_is_left_after_an_error_in_the_middle(blobs, tmp_path):
    teacher = Teacher("bad", Breaks(CHUNK + 3, "error"), layers=["inner"], labels="abc")
    with pytest.raises(RuntimeError, match="out of luck"):
        TeacherCache([teacher], Images(blobs(CHUNK + 20, (3, 4, 4))), all_layers([teacher]), folder=tmp_path)
    assert files(tmp_path) == []


def test_a_constant_teacher_is_refused_and_one_that_varies_little_is_not(blobs, tmp_path):
    class Net(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.inner = nn.Identity()
            self.scale = scale

        def forward(self, images):
            return 1 + self.scale * self.inner(images).mean(dim=(2, 3))

    with pytest.raises(InputError, match="the same logits for every one of 60 images"):
        TeacherCache([Teacher("bad", Net(0.0), layers=["inner"], labels="abc")], Images(blobs(60)), {}, folder=tmp_path)
    assert files(tmp_path) == []
    TeacherCache([Teacher("fine", Net(1e-3), layers=["inner"], labels="abc")], Images(blobs(60)), {}, folder=tmp_path)


def test_a_folder_that_cannot_be_made_is_a_clear_error(tiny_problem, tmp_path, monkeypatch):
    problem = tiny_problem()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(tmp_path / "file" / "below"))
    assert cache_root() == tmp_path / "file" / "below"
    with pytest.raises(StoreError, match="set KA_EXPLORE_CACHE to another folder"):
        TeacherCache(problem.teachers, problem.pool.images, {})


def test_a_damaged_file_is_named_with_what_to_do(tiny_problem, tmp_path):
    problem = tiny_problem()
    TeacherCache(problem.teachers, problem.pool.images, {}, folder=tmp_path)
    path = next(tmp_path.rglob("logits.npy"))
    whole = path.read_bytes()
    for cut in (0, 5, 60, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(StoreError, match="remove it"):
            TeacherCache(problem.teachers, problem.pool.images, {}, folder=tmp_path)
    path.unlink()
    TeacherCache(problem.teachers, problem.pool.images, {}, folder=tmp_path)
    assert path.read_bytes() == whole


FULL_DISK = """
import resource, sys, numpy as np, torch
from pathlib import Path
from torch import nn
from ka_explore import StoreError, Teacher
from ka_explore.problem.cache import TeacherCache
from ka_explore.problem.pool import Images
folder = Path(sys.argv[1])
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
teacher = Teacher("one", net, layers=["0"], labels="abcdefgh")
images = Images(np.random.default_rng(0).random((300, 1, 8, 8), dtype=np.float32))
for size in (0, 100, 5_000, 100_000, 300_000, -1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        TeacherCache([teacher], images, {"one": ["0"]}, folder=folder)
        message = "made"
    except StoreError as error:
        message = str(error)
    print(message, sorted(path.name for path in folder.rglob("*") if path.is_file()), sep="|")
"""


def test_a_full_disk_is_a_clear_error_and_leaves_no_part(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True, text=True, env=dict(os.environ), timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *full, room = (line.split("|") for line in done.stdout.splitlines())
    assert len(full) == 5
    for message, left in full:
        assert "cannot write the teacher cache" in message
        assert left == "[]"
    assert room == ["made", "['feature-0-nhwc.npy', 'logits.npy']"]
