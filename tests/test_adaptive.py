"""Laws of adaptive amalgamation: who teaches an image, what a bridge costs, and that step 2 leaves components alone."""

import pytest
import torch

from ka_explore import InputError, Labelled, Pool, Problem, Run, Teacher, toy
from ka_explore.methods.adaptive import Bridge
from ka_explore.methods.losses import selection_weights
from ka_explore.run.loss import loss_of, sums

SHORT = {"steps": 8, "batch_size": 16}


@pytest.fixture(scope="module")
def problem() -> Problem:
    return toy.digits(unlabelled=96)


@pytest.fixture(scope="module")
def several(problem) -> Problem:
    """Three teachers: two share task "low", overlapping in three labels, the third answers "high"."""
    one, two = problem.teachers
    made = [
        Teacher(name, t.module, layers=t.blocks, labels=labels, task=task, preprocess=t.preprocess)
        for name, t, labels, task in (
            ("first", one, "01234", "low"), ("second", two, "23456", "low"), ("third", two, "56789", "high")
        )
    ]  # fmt: skip
    labels = {"low": torch.arange(96) % 7, "high": torch.arange(96) % 5}
    return Problem(
        made,
        Pool(problem.pool.images, labels=labels),
        problem.student,
        test=Labelled(problem.pool.images, {task: y.numpy() for task, y in labels.items()}),
    )


def batch_of(run: Run):
    return run._batch(run.problem.pool.at(0, 0, 16), augment_step=None)


def test_the_penalty_is_zero_for_unit_rows_and_a_slow_sum_for_others():
    bridge = Bridge([4, 6], [5, 7], 0.5, scaled=True)
    slow = 0.0
    for layer in bridge.source_side:
        rows = layer.weight.flatten(1).tolist()
        slow += sum((sum(v * v for v in row) - 1) ** 2 for row in rows) / len(rows)
    assert float(bridge.norm_penalty().detach()) == pytest.approx(slow, rel=1e-5)
    with torch.no_grad():
        for layer in bridge.source_side:
            layer.weight /= layer.weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert float(bridge.norm_penalty().detach()) == pytest.approx(0, abs=1e-10)


def test_the_distance_is_a_slow_sum_over_blocks():
    generator = torch.Generator().manual_seed(0)
    bridge = Bridge([4, 6], [5, 7], 0.5, scaled=False)
    net = [torch.randn(3, c, 8, 8, generator=generator) for c in (4, 6)]
    source = [torch.randn(3, 5, 8, 8, generator=generator), torch.randn(3, 7, 4, 4, generator=generator)]
    wanted = torch.zeros(3)
    for own, other, a, b in zip(net, source, bridge.net_side, bridge.source_side, strict=True):
        own = torch.nn.functional.avg_pool2d(own, own.shape[2] // other.shape[2])
        wanted += (a(own) - b(other)).square().flatten(1).mean(dim=1)
    assert torch.allclose(bridge.distance(net, source), wanted)


def test_an_image_is_taught_by_the_teacher_of_least_entropy_alone(several):
    run = Run(several, "adaptive", weight_decay=0.0, **SHORT)
    batch, method = batch_of(run), run.method
    weights = method.selection([batch.teachers[name].logits for name in ("first", "second")])
    for image in range(16):
        entropies = []
        for name in ("first", "second"):
            p = torch.softmax(batch.teachers[name].logits[image].double(), dim=0)
            entropies.append(float(-(p * p.log()).sum()))
        assert weights[image].tolist() == [float(i == entropies.index(min(entropies))) for i in range(2)]
    snapshot = run.snapshot()
    assert set(snapshot.group("entropy")) == {"first", "second"}
    assert (snapshot.group("weight")["first"] == (snapshot.group("selected")["low"] == 0)).all()


@pytest.mark.parametrize("weighting", ["sample", "teacher"])
def test_the_loss_is_the_papers_sum_over_teachers_and_their_images(several, weighting):
    run = Run(several, "adaptive", form="paper", weighting=weighting, bridge_weight=1.0, **SHORT)
    batch, method = batch_of(run), run.method
    (net, bridges), names = method.component_of("low"), ("first", "second")
    with torch.no_grad():
        out = net(batch.images)
        won = method.selection([batch.teachers[n].logits for n in names]).argmax(dim=1).tolist()
        total, counts = torch.zeros(2), [won.count(0), won.count(1)]
        for image, teacher in enumerate(won):
            said, bridge = batch.teachers[names[teacher]], bridges[teacher]
            part = torch.zeros(())
            for place, block in enumerate(net.blocks):
                own = out.features[block][image : image + 1]
                other = said.features[several.teacher(names[teacher]).blocks[place]][image : image + 1]
                part = part + (bridge.net_side[place](own) - bridge.source_side[place](other)).square().mean()
            target = torch.zeros(7)
            target[[0, 1, 2, 3, 4] if teacher == 0 else [2, 3, 4, 5, 6]] = said.logits[image]
            part = part + (bridge.scale * out.logits[image] - target).square().mean()
            total[teacher] += part
        expected = (
            total.sum() / 16 if weighting == "sample" else sum(t / c for t, c in zip(total, counts, strict=True) if c)
        )
        expected = expected + sum(bridge.norm_penalty() for bridge in bridges)
        assert min(counts) > 0
        loss = loss_of(method, method.stages()[0], sums(method.component(batch, task="low")))
        assert torch.allclose(loss, expected, rtol=1e-4)


def test_soft_selection_becomes_the_hard_one(several):
    run = Run(several, "adaptive", **SHORT)
    answers = [batch_of(run).teachers[name].logits for name in ("first", "second")]
    hard = selection_weights(answers, "hard")
    assert torch.allclose(selection_weights(answers, "soft", 1e-4), hard)
    forks = [run.fork(kind, selection=kind, selection_temperature=1e-4).method for kind in ("hard", "soft")]
    hard, soft = (sums(method.component(batch_of(run), task="low")) for method in forks)
    assert hard.keys() == soft.keys()
    assert all(torch.allclose(hard[term], soft[term]) for term in hard)


def test_step_two_touches_no_component(several):
    run = Run(several, "adaptive", **SHORT)
    run.advance(4)
    assert run.stage.name == "target"
    before = {name: value.clone() for name, value in run.method.components.state_dict().items()}
    student = {name: value.clone() for name, value in run.student.state_dict().items()}
    run.advance(None)
    assert all(torch.equal(value, before[name]) for name, value in run.method.components.state_dict().items())
    assert not all(torch.equal(value, student[name]) for name, value in run.student.state_dict().items())


def test_step_two_selects_the_surest_component_where_asked(several):
    run = Run(several, "adaptive", form="both_steps", **SHORT).advance(5)
    batch, method = batch_of(run), run.method
    nets = [method.component_of(task)[0] for task in ("low", "high")]
    with torch.no_grad():
        weights = selection_weights([net(batch.images).logits for net in nets], "hard")
        assert weights.sum(dim=1).tolist() == [1.0] * 16
    plain = run.fork("plain", at=5, select_components=False)
    method.eval()
    selected, everyone = (
        loss_of(m, m.stages()[-1], sums(m.target(batch))).item() for m in (method, plain.method.eval())
    )
    assert selected < everyone


def test_the_student_has_one_head_a_task_and_one_column_a_class(several):
    run = Run(several, "adaptive", **SHORT).advance(None)
    assert len(several.labels.columns) == 15
    assert len(run.method.labels.columns) == len(several.labels.classes) == 12
    assert run.method.labels.classes == several.labels.classes
    assert list(run.student.heads) == ["low", "high"]


def test_only_the_wanted_tasks_are_learned(several, tmp_path):
    run = Run(several, "adaptive", tasks=["low"], folder=tmp_path / "low", **SHORT).advance(None)
    run.save()
    assert [stage.name for stage in run.method.stages()] == ["component low", "target"]
    assert run.predict(several.pool.images[:3]).shape == (3, 7)
    assert Run.open(tmp_path / "low", several).problem.names == ("first", "second")
    with pytest.raises(InputError, match="unknown task 'lowest'"):
        Run(several, "adaptive", tasks=["lowest"])
    with pytest.raises(InputError, match="expected a list of different tasks"):
        Run(several, "adaptive", tasks=[])


def test_one_teacher_for_a_task_is_always_chosen(several):
    run = Run(several, "adaptive", tasks=["high"], **SHORT)
    weights = run.method.selection([batch_of(run).teachers["third"].logits])
    assert weights.tolist() == [[1.0]] * 16
    assert run.advance(None).done


@pytest.mark.parametrize("weighting", ["sample", "teacher"])
def test_a_teacher_that_never_wins_does_no_harm(problem, weighting):
    def vague(output):
        return 1e-3 * output

    one, two = problem.teachers
    never = Teacher("never", two.module, layers=two.blocks, labels="01234", read=vague, preprocess=two.preprocess)
    made = Problem([one, never], Pool(problem.pool.images), problem.student)
    run = Run(made, "adaptive", weighting=weighting, **SHORT).advance(1)
    assert run.snapshot().group("weight")["never"].max() == 0
    assert run.advance(None).done


def test_a_wider_student_and_wider_components(several):
    plain, wide = (Run(several, "adaptive", student_width=w, component_width=w, **SHORT) for w in (1.0, 1.5))
    assert wide.method.deployed_parameters > 2 * plain.method.deployed_parameters
    assert wide.advance(None).done
    narrow = Problem(several.teachers, several.pool, lambda labels: several.student(labels))
    with pytest.raises(InputError, match=r"student_width=1\.5: this problem's student comes in one width"):
        Run(narrow, "adaptive", student_width=1.5)
