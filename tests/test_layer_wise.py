"""Laws of layer-wise amalgamation: its codes are principal components, its folding loses nothing, its stages keep to
their layer."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from ka_explore import InputError, LabelSpace, Pool, Problem, Run, Student, Teacher, toy
from ka_explore.methods.compress import Compressor, moments
from ka_explore.methods.layer_wise import LayerWise

SHORT = {"steps": 16, "batch_size": 16}


@pytest.fixture(scope="module")
def problem() -> Problem:
    return toy.digits(unlabelled=96)


@pytest.fixture(scope="module")
def stacked() -> list[torch.Tensor]:
    """Features of three teachers, correlated between channels."""
    generator = torch.Generator().manual_seed(0)
    sources = torch.randn(64, 5, 4, 4, generator=generator)
    mixes = [torch.randn(c, 5, generator=generator) for c in (4, 6, 3)]
    noise = [0.1 * torch.randn(64, c, 4, 4, generator=generator) for c in (4, 6, 3)]
    return [torch.einsum("oc,nchw->nohw", m, sources) + n + 1 for m, n in zip(mixes, noise, strict=True)]


def error(compressor: Compressor, features: list[torch.Tensor]) -> float:
    with torch.no_grad():
        rebuilt = compressor.rebuilt(compressor.code(features))
    return float((torch.cat(rebuilt, 1) - torch.cat(features, 1)).square().mean())


@pytest.mark.parametrize("width", [1, 3, 5, 20])
def test_the_closed_form_leaves_the_smallest_eigenvalues(stacked, width):
    compressor = Compressor([4, 6, 3], width, order="direct")
    with torch.no_grad():
        compressor.solve(0, iter(torch.cat(stacked, 1).split(10)))
    _, covariance = moments([torch.cat(stacked, 1)])
    left = torch.linalg.eigvalsh(covariance)[: max(13 - width, 0)].sum() / 13
    assert error(compressor, stacked) == pytest.approx(float(left), rel=1e-3, abs=1e-9)


def test_moments_are_those_of_numpy(stacked):
    rows = torch.cat(stacked, 1).permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
    mean, covariance = moments(torch.cat(stacked, 1).split(7))
    assert np.allclose(mean, rows.mean(0))
    assert np.allclose(covariance, np.cov(rows.T, bias=True))


@pytest.mark.slow
def test_the_trained_autoencoder_reaches_the_principal_components(problem):
    run = Run(
        problem, "layer_wise", steps=2600, compress_share=0.9, regress_share=0.0, batch_size=96, learning_rate=2e-3,
        weight_decay=0.0, layers=["conv3"], amalgamation="autoencoder",
    )  # fmt: skip
    run.advance(run.method.stages()[0].steps)
    best = Run(problem, "layer_wise", layers=["conv3"], **SHORT).advance(1)
    features = run.method.features(run._batch(torch.arange(96).numpy(), augment_step=None).teachers, "conv3")
    trained, optimum = (error(r.method.compressor("conv3"), features) for r in (run, best))
    assert optimum <= trained * (1 + 1e-5)
    assert trained < 1.01 * optimum


def test_direct_and_incremental_are_one_for_one_or_two_teachers(problem):
    one = Problem(problem.teachers[:1], Pool(problem.pool.images), problem.student)
    for chosen, name in ((one, "one"), (problem, "two")):
        runs = [
            Run(chosen, "layer_wise", name=name, order=order, **SHORT).advance(None)
            for order in ("direct", "incremental")
        ]
        states = [run.method.state_dict() for run in runs]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_incremental_takes_one_more_teacher_at_a_time(tiny_problem, stacked):
    compressor = Compressor([4, 6, 3], 3, order="incremental")
    assert compressor.groups == [[0, 1], [2]]
    with torch.no_grad():
        first = compressor.encoders[0](torch.cat(stacked[:2], 1))
        second = compressor.encoders[1](torch.cat([first, stacked[2]], 1))
        assert torch.equal(compressor.code(stacked), second)
        for level in range(2):
            compressor.solve(level, iter([compressor.stacked(stacked, level)]))
    direct = Compressor([4, 6, 3], 3, order="direct")
    with torch.no_grad():
        direct.solve(0, iter([torch.cat(stacked, 1)]))
    assert error(direct, stacked) <= error(compressor, stacked) + 1e-6  # direct is the optimum
    rebuilt = compressor.rebuilt(compressor.code(stacked))
    assert [r.shape for r in rebuilt] == [s.shape for s in stacked]


def test_stages_follow_the_paper(problem):
    method = Run(problem, "layer_wise", **SHORT).method
    names = [stage.name for stage in method.stages()]
    layers = ["conv1", "conv2", "conv3"]
    assert names == [f"compress {x}" for x in layers] + [f"regress {x}" for x in layers] + ["regress scores", "joint"]
    chosen = Run(problem, "layer_wise", layers=["conv2"], **SHORT).method
    assert [s.name for s in chosen.stages()] == ["compress conv2", "regress conv2", "regress scores", "joint"]
    (trained,) = [s.trains for s in chosen.stages() if s.name == "regress conv2"]
    assert trained == (chosen.student.segments["conv1"], chosen.student.segments["conv2"])


@pytest.mark.parametrize("amalgamation", ["pca", "autoencoder"])
def test_incremental_stages_name_the_teacher_that_joins(problem, amalgamation):
    third = Teacher(
        "again", problem.teachers[1].module, layers=["block3"], blocks=problem.teachers[1].blocks, labels="abcde",
        preprocess=problem.teachers[1].preprocess,
    )  # fmt: skip
    three = Problem([*problem.teachers, third], problem.pool, problem.student)
    run = Run(three, "layer_wise", order="incremental", **SHORT | {"amalgamation": amalgamation})
    names = [stage.name for stage in run.method.stages()][:3]
    assert names == ["compress conv1 with digits 5-9", "compress conv1 with again", "compress conv2 with digits 5-9"]
    run.advance(None)
    assert set(run.rewind(1).snapshot().group("error")) == {"digits 0-4", "digits 5-9", "again"}


def test_a_layer_regresses_from_the_code_before_it_and_not_from_the_students_own(problem):
    run = Run(problem, "layer_wise", **SHORT)
    stages = {stage.name: stage for stage in run.method.stages()}
    run.advance(3)
    batch = run._batch(problem.pool.at(0, 0, 16), augment_step=None)
    before = stages["regress conv3"].forward(batch).terms["regression"]
    with torch.no_grad():
        for parameter in run.method.student.segments["conv1"].parameters():
            parameter.zero_()
    assert torch.equal(before, stages["regress conv3"].forward(batch).terms["regression"])
    assert not torch.equal(before, stages["regress conv2"].forward(batch).terms["regression"])


def test_folding_changes_no_answer_and_leaves_no_module(problem):
    run = Run(problem, "layer_wise", regress_share=0.8, steps=60, batch_size=32)
    images = problem.pool.images[:32]
    end = 0
    for stage in run.method.stages():
        end += stage.steps
        if stage.finish is None:
            continue
        run.advance(end - 1 - run.step)
        unfolded = copy.deepcopy(run.method)
        assert isinstance(unfolded, LayerWise)
        last = list(unfolded.stages())[[s.name for s in run.method.stages()].index(stage.name)]
        unfolded.eval()
        before = run.predict(images)
        with torch.no_grad():
            last.finish(run._batches)
        assert torch.allclose(unfolded.predict(images), before, atol=1e-4, rtol=1e-4)
        run.advance(1)
        for adaption in run.method.adaptions.values():
            assert torch.equal(adaption.weight.flatten(1), torch.eye(adaption.in_channels))
    run.advance(None)
    assert torch.equal(run.predict(images), run.method.labels.merge(run.student.eval()(images).logits))


def test_without_adaption_nothing_is_folded(problem):
    method = Run(problem, "layer_wise", form="without_adaption", **SHORT).method
    assert not method.adaptions
    assert all(stage.finish is None for stage in method.stages())


class Vectors(nn.Sequential):
    """A perceptron with two hidden layers, each before its activation."""

    def __init__(self, labels: int):
        super().__init__()
        self.add_module("flat", nn.Flatten())
        self.add_module("fc1", nn.Linear(64, 12))
        self.add_module("act1", nn.ReLU())
        self.add_module("fc2", nn.Linear(12, 9))
        self.add_module("act2", nn.ReLU())
        self.add_module("out", nn.Linear(9, labels))


def vector_student(labels: LabelSpace) -> Student:
    return Student.chain(
        {"fc1": nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), "fc2": nn.Sequential(nn.ReLU(), nn.Linear(8, 6))},
        {task: nn.Sequential(nn.ReLU(), nn.Linear(6, len(labels.columns))) for task in labels.tasks},
    )


def test_fully_connected_layers_are_amalgamated_too(problem):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teachers = [
            Teacher(name, Vectors(2), layers=["act2"], blocks=["fc1", "fc2"], labels=labels)
            for name, labels in (("one", "ab"), ("two", "cd"))
        ]
    run = Run(Problem(teachers, Pool(problem.pool.images), vector_student), "layer_wise", **SHORT).advance(None)
    assert run.done
    images = problem.pool.images[:8]
    assert torch.equal(run.predict(images), run.method.labels.merge(run.student(images).logits))


def test_larger_maps_are_averaged_and_smaller_ones_refused(problem):
    early = [
        Teacher(t.name, t.module, layers=t.blocks, blocks=blocks, labels=t.labels, preprocess=t.preprocess)
        for t, blocks in zip(
            problem.teachers, (("stem", "layer1.sum", "layer2.sum"), problem.teachers[1].blocks), strict=True
        )
    ]
    run = Run(Problem(early, problem.pool, problem.student), "layer_wise", **SHORT)
    batch = run._batch(problem.pool.at(0, 0, 4), augment_step=None)
    first, _ = run.method.features(batch.teachers, "conv2")
    raw = batch.teachers["digits 0-4"].features["layer1.sum"]
    assert torch.allclose(first, nn.functional.avg_pool2d(raw, 2))
    late = [
        Teacher(t.name, t.module, layers=t.blocks, blocks=t.blocks[::-1], labels=t.labels, preprocess=t.preprocess)
        for t in problem.teachers
    ]
    with pytest.raises(InputError, match=r"layer 'conv1': teacher 'digits 0-4' has maps of 2×2, the student of 8×8"):
        Run(Problem(late, problem.pool, problem.student), "layer_wise")


def test_what_cannot_be_taught_layer_by_layer_is_said(problem, tiny_problem, tiny_student):
    with pytest.raises(InputError, match=r"blocks one for one: the student has 2 .* teacher 'teacher 2' 1"):
        Run(tiny_problem(3), "layer_wise")
    with pytest.raises(InputError, match=r"unknown layer 'conv9' of the student"):
        Run(problem, "layer_wise", layers=["conv9"])

    def wrapped(labels: LabelSpace) -> Student:
        return Student.of(toy.student(labels).segments["conv1"], layers=["0"], labels=labels)

    def ends_in_relu(labels: LabelSpace) -> Student:
        made = toy.student(labels)
        segments = dict(made.segments) | {"conv2": nn.Sequential(made.segments["conv2"], nn.ReLU())}
        return Student.chain(segments, dict(made.heads))

    with pytest.raises(InputError, match="ends with ReLU"):
        Run(Problem(problem.teachers, problem.pool, ends_in_relu), "layer_wise")
    assert Run(Problem(problem.teachers, problem.pool, ends_in_relu), "layer_wise", adaption=False).steps > 0


def test_a_fork_across_stages_takes_the_other_road_from_there(problem):
    run = Run(problem, "layer_wise", **SHORT).advance(None)
    start = sum(stage.steps for stage in list(run.method.stages())[:-1])
    fork = run.fork("scores", at=start, soft_target="score_distance")
    assert fork.history() == run.history()[:start]
    assert fork.advance(1).history()[-1]["terms"]["soft"] != run.history()[start]["terms"]["soft"]


def test_the_one_stage_form_pairs_the_students_own_features(problem):
    run = Run(problem, "one_stage", **SHORT).advance(None)
    assert [stage.name for stage in run.method.stages()] == ["joint"]
    rows = run.history()
    assert rows[-1]["terms"]["feature"] < rows[0]["terms"]["feature"]
    snapshot = run.snapshot()
    assert set(snapshot.group("code")) == set(snapshot.group("regressed")) == {"conv1", "conv2", "conv3"}
