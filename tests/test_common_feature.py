"""Common feature learning does what its paper says, for any number of teachers of any shape."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from ka_explore import Labelled, LabelSpace, Pool, Preprocess, Problem, Run, Student, Teacher
from ka_explore.methods.losses import BANDWIDTHS, pulled
from ka_explore.problem.pool import Images
from ka_explore.run.loss import loss_of, sums


class Tokens(nn.Module):
    """A small transformer with a class token: patches of 16×16 pixels."""

    def __init__(self, labels: int):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 16, stride=16)
        self.first = nn.Parameter(torch.zeros(1, 1, 16))
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, labels)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(tokens), -1, -1), tokens], dim=1)
        return {"logits": self.head(self.encoder(tokens)[:, 0])}


def convolutional(labels: int, width: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=stride, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, labels),
    )  # fmt: skip


def perceptron(labels: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(8 * 8, 24), nn.ReLU(), nn.Linear(24, labels))


def student(labels: LabelSpace) -> Student:
    segments = {"conv": nn.Conv2d(3, 8, 5, stride=4, padding=2), "features": nn.ReLU()}
    heads = {
        task: nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, sum(c.task == task for c in labels.columns))
        )
        for task in labels.tasks
    }
    return Student.chain(segments, heads, preprocess=Preprocess(mean=(0.5,) * 3, std=(0.25,) * 3))


@pytest.fixture(scope="module")
def teachers() -> list[Teacher]:
    """Four of different kinds on RGB images of 64×64, with overlapping labels and two tasks."""
    torch.manual_seed(0)
    small = Preprocess(size=8, channels=1)
    return [
        Teacher("residual v1.5", convolutional(3, 12, 8), layers=["1", "2"], labels=["cat", "dog", "fox"]),
        Teacher("tokens", Tokens(2), layers=["encoder"], labels=["fox", "owl"]),
        Teacher("vector", perceptron(4), layers=["2"], labels=["hen", "cat", "cow", "ram"], preprocess=small),
        Teacher("mood", convolutional(2, 6, 4), layers=["2"], labels=["calm", "wild"], task="temper"),
    ]


def problem_of(teachers: list[Teacher]) -> Problem:
    images = torch.rand(40, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    labels = LabelSpace.of({t.name: (t.task, t.labels) for t in teachers})
    truth = {task: torch.arange(40).numpy() % len(labels.class_names(task)) for task in labels.tasks}
    return Problem(teachers, Pool(images, labels=truth, probe=16), student, Labelled(Images(images), truth))


@pytest.mark.parametrize("form", [None, "code", "kamal", "kamal_vector", "paper", "clouds"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_any_number_of_teachers_of_any_kind(teachers, count, form):
    problem = problem_of(teachers[:count])
    run = Run(problem, form=form, steps=4, batch_size=8).advance(None)
    snapshot = run.snapshot()
    assert set(snapshot.group("common")) == {"student", *problem.names}
    assert set(snapshot.group("error")) == set(problem.names)
    assert run.predict(problem.pool.images[:3]).shape == (3, len(problem.labels.classes))


def test_overlapping_labels_are_columns_in_training_and_one_class_at_prediction(teachers):
    problem = problem_of(teachers)
    assert [c.label for c in problem.labels.columns] == [
        "cat",
        "dog",
        "fox",
        "fox",
        "owl",
        "hen",
        "cat",
        "cow",
        "ram",
        "calm",
        "wild",
    ]
    assert problem.labels.names[:3] == ("class: cat", "class: dog", "class: fox")
    assert len(problem.labels.classes) == 9


def test_maps_of_different_size_are_averaged_to_the_smallest(teachers):
    run = Run(problem_of(teachers[:2]), steps=2)
    batch = run._batch(run.problem.pool.at(0, 0, 8), augment_step=None)
    outputs = run.student(batch.images)
    features = run.method.features(outputs, batch.teachers)
    assert {f.shape[2:] for f in features.values()} == {(4, 4)}
    raw = outputs.features["features"]
    by_hand = raw.reshape(8, 8, 4, 4, 4, 4).mean(dim=(3, 5))
    assert torch.allclose(features["student"], by_hand, atol=1e-6)


def by_hand(run: Run, batch) -> dict[str, torch.Tensor]:
    """The published loss, written again net by net in plain torch."""
    method, names = run.method, list(run.problem.names)
    student_out = method.student(batch.images)
    features = method.features(student_out, batch.teachers)
    common = {n: method.extractor(a(f)) for a, (n, f) in zip(method.adaptions, features.items(), strict=True)}
    rows = {n: functional.normalize(h.flatten(1), dim=1) for n, h in common.items()}
    discrepancy = torch.zeros(())
    for name in names:
        for sigma in BANDWIDTHS:

            def kernel(a, b, sigma=sigma):
                return torch.exp(-(a[:, None] - b[None]).square().sum(-1) / (2 * sigma**2)).mean()

            s, t = rows["student"], rows[name]
            discrepancy = discrepancy + kernel(s, s) + kernel(t, t) - 2 * kernel(s, t)
    rebuilt = sum(functional.mse_loss(d(common[n]), features[n]) for d, n in zip(method.decoders, names, strict=True))
    stacked = torch.cat([batch.teachers[n].logits for n in names], dim=1)
    soft = -(stacked.softmax(1) * student_out.logits.log_softmax(1)).sum(1).mean()
    return {"soft": soft, "mmd": discrepancy, "reconstruction": rebuilt}


def test_the_published_code_s_loss_term_by_term(teachers):
    run = Run(problem_of(teachers[:2]), form="code", steps=3, batch_size=16)
    batch = run._batch(run.problem.pool.at(0, 0, 16), augment_step=None)
    run.method.requires_grad_(True)
    output = run.method.joint(batch)
    reference = by_hand(run, batch)
    for name, value in reference.items():
        assert torch.allclose(output.terms[name].sum(), value, atol=1e-5, rtol=1e-5), name
    loss = loss_of(run.method, run.stage, sums(output))
    whole = reference["soft"] + 10 * (reference["mmd"] + reference["reconstruction"])
    assert torch.allclose(loss, whole, atol=1e-4)
    ours = torch.autograd.grad(loss, list(run.method.parameters()))
    theirs = torch.autograd.grad(whole, list(run.method.parameters()))
    assert all(torch.allclose(a, b, atol=1e-5, rtol=1e-3) for a, b in zip(ours, theirs, strict=True))


def test_a_softmax_never_spans_two_tasks(teachers):
    run = Run(problem_of(teachers), "distillation", steps=2, batch_size=16)
    batch = run._batch(run.problem.pool.at(0, 0, 16), augment_step=None)
    with torch.no_grad():
        logits = run.student(batch.images).logits
        loss = run.method.distil(batch).terms["soft"].sum()
    parts = []
    for own, names in ((logits[:, :9], run.problem.names[:3]), (logits[:, 9:], run.problem.names[3:])):
        target = torch.cat([batch.teachers[n].logits for n in names], dim=1).softmax(1)
        parts.append(-(target * own.log_softmax(1)).sum(1).mean())
    assert torch.allclose(loss, sum(parts) / 2)


def test_alpha_is_the_paper_s_weighting(teachers):
    run = Run(problem_of(teachers[:2]), form="paper", alpha=0.3, steps=2, batch_size=8).advance(1)
    row = run.history()[0]
    terms = row["terms"]
    assert row["loss"] == pytest.approx(0.3 * terms["soft"] + 0.7 * (terms["mmd"] + terms["reconstruction"]), rel=1e-5)


def test_the_mmd_reaches_student_and_teachers_sides(teachers):
    run = Run(
        problem_of(teachers[:2]), form="clouds", soft_weight=0.0, reconstruction_weight=0.0, steps=2, batch_size=8
    )
    before = {name: value.clone() for name, value in run.method.state_dict().items()}
    run.advance(1)
    moved = {name for name, value in run.method.named_parameters() if not torch.equal(value, before[name])}
    assert any(name.startswith("student.segments") for name in moved)
    assert all(any(name.startswith(f"adaptions.{net}.") for name in moved) for net in range(3))
    assert not any(name.startswith("decoders") for name in moved)


def test_a_perfect_decoder_costs_nothing_and_the_channel_mean_costs_one(teachers):
    from ka_explore.methods.losses import reconstruction

    feature = torch.rand(16, 5, 3, 3, generator=torch.Generator().manual_seed(2)) * 7
    mean = feature.mean(dim=(0, 2, 3), keepdim=True).expand_as(feature)
    assert float(reconstruction({"a": feature}, {"a": feature})) == 0
    assert float(reconstruction({"a": mean}, {"a": feature})) == pytest.approx(1, rel=1e-5)
    offset = reconstruction({"a": mean + 1000}, {"a": feature + 1000})
    assert float(offset) == pytest.approx(1, rel=1e-3)  # nor does its offset
    scaled = reconstruction({"a": 100 * mean}, {"a": 100 * feature})
    assert float(scaled) == pytest.approx(1, rel=1e-5)  # a teacher's scale does not matter


SHORT = {"steps": 4, "batch_size": 8, "norm": "none"}  # batch norm mixes the images of a batch


def first_batch(run):
    run.method.requires_grad_(True)
    return run._batch(run.problem.pool.at(0, 0, 8), augment_step=None)


def pull_at_the_student(run, term, teacher=None, *, follows=False):
    """A term's values, and its gradient at the student's feature, of one teacher or all; None where it has none."""
    batch = first_batch(run)
    student = run.student(batch.images)
    values = run.method.terms(batch, student, follows=follows).terms[term]
    value = values.sum() if teacher is None else values[teacher]
    feature = student.features[run.method.student.feature_layer]
    return values, torch.autograd.grad(value, feature, allow_unused=True)[0]


def test_cross_reconstruction_rebuilds_each_teacher_s_feature_from_the_student_s_point(teachers):
    run = Run(problem_of(teachers[:2]), **SHORT)
    batch = first_batch(run)
    features = run.method.features(run.student(batch.images), batch.teachers)
    point = run.method.common(features)["student"]
    for place, name in enumerate(run.problem.names):
        target, rebuilt = features[name], run.method.decoder_of[name](point)
        spread = (target - target.mean((0, 2, 3), keepdim=True)).square().mean()
        error = (rebuilt - target).square().mean() / spread
        assert torch.allclose(run.method.joint(batch).terms["cross"][place], error, rtol=1e-5)


@pytest.mark.parametrize("term", ["paired", "cross", "mmd"])
def test_a_teacher_pulls_as_far_as_it_claims_an_image_and_the_value_stays(teachers, term):
    alike, claim = (Run(problem_of(teachers[:2]), **SHORT | {"pull": kind}) for kind in ("alike", "claim"))
    logits = [output.logits for output in first_batch(claim).teachers.values()]
    share = torch.stack([z.logsumexp(1) for z in logits], 1).softmax(1)
    values, free = pull_at_the_student(alike, term)
    same, drawn = pull_at_the_student(claim, term)
    assert torch.allclose(values, same, rtol=1e-5)
    each = (pull_at_the_student(alike, term, i)[1] * share[:, i, None, None, None] for i in range(2))
    assert torch.allclose(drawn, sum(each), atol=1e-6)
    assert not torch.allclose(drawn, free, atol=1e-6)


def test_after_handing_over_the_soft_target_alone_moves_the_student(teachers):
    run = Run(problem_of(teachers[:2]), **SHORT)
    assert [(stage.name, stage.steps) for stage in run.stages] == [("joint", 2), ("follow", 2)]
    for term in ("mmd", "paired", "cross"):
        assert pull_at_the_student(run, term)[1].abs().sum() > 0
        assert pull_at_the_student(run, term, follows=True)[1] is None
    run.advance(2)
    before = run.method.adaption_of["student"][0].weight.clone()
    run.advance(1)
    assert run.history()[-1]["stage"] == "follow"
    assert not torch.equal(before, run.method.adaption_of["student"][0].weight)  # the common space follows


@pytest.mark.parametrize(("share", "stages"), [(0.0, ["joint"]), (1.0, ["follow"]), (0.1, ["joint"])])
def test_a_stage_without_steps_is_none(teachers, share, stages):
    run = Run(problem_of(teachers[:2]), **SHORT | {"hand_over": share})
    assert [stage.name for stage in run.stages] == stages


def test_pulling_scales_gradients_and_keeps_every_bit_of_the_values():
    point = torch.randn(3, 2, 2, 2, requires_grad=True)
    share = torch.tensor([0.0, 0.3, 1.0])
    out = pulled(point, share)
    assert torch.equal(out, point)
    out.sum().backward()
    assert torch.equal(point.grad, share.view(-1, 1, 1, 1).expand_as(point))
