"""Gradients at the student's feature: against differences of the loss itself, and as a run stores them."""

import numpy as np
import pytest
import torch

from ka_explore import METHODS, Run
from ka_explore.run.gradients import gradients, marked


def made(tiny_problem, method="common_feature", **options) -> Run:
    return Run(tiny_problem(), method, steps=6, batch_size=12, **options).advance(3)


def test_a_gradient_is_what_a_small_change_of_the_feature_does_to_the_weighted_term(tiny_problem):
    weights = {"mmd_weight": 0.5, "paired_weight": 0.25}
    run = made(tiny_problem, form="clouds", norm="none", bandwidths=(0.5, 1.0), **weights)
    method, stage = run.method.double().eval(), run.stage
    batch = run._batch(np.arange(12), augment_step=None)
    doubled = {
        n: type(o)(o.logits.double(), {k: f.double() for k, f in o.features.items()}) for n, o in batch.teachers.items()
    }
    batch = type(batch)(batch.index, batch.images.double(), doubled)
    found = gradients(method, stage, batch)
    weights = {"soft": 1.0, "mmd": 0.5, "paired": 0.25}
    with torch.no_grad():
        feature = method.student(batch.images).features[method.student.feature_layer]
    torch.manual_seed(0)
    sample, step = 4, 1e-4
    direction = torch.randn_like(feature[sample])

    def terms(amount: float) -> dict[str, float]:
        def move(_module, _inputs, output):
            moved = output.clone()
            moved[sample] += amount * direction.reshape(moved[sample].shape)
            return moved

        handle = method.feature_module(stage).register_forward_hook(move)
        with torch.no_grad():
            output = stage.forward(batch)
        handle.remove()
        return {name: float(term.sum()) for name, term in output.terms.items()}

    above, below = terms(step), terms(-step)
    with torch.enable_grad(), marked(method.feature_module(stage)) as marks:
        output = stage.forward(batch)
    for name, weight in weights.items():
        slope = weight * (above[name] - below[name]) / (2 * step)
        (gradient,) = torch.autograd.grad(weight * output.terms[name].sum(), marks, retain_graph=True)
        assert float((gradient[sample].flatten() * direction.flatten()).sum()) == pytest.approx(
            slope, rel=5e-3, abs=1e-9
        )
        expected = gradient.flatten(1).norm(dim=1)
        torch.testing.assert_close(found[f"gradient/{name}"], expected)
    assert float(found["gradient/reconstruction"].abs().max()) == 0.0  # it never reaches the student


def test_the_inner_product_with_the_soft_target_follows_from_the_sizes(tiny_problem):
    run = made(tiny_problem)
    found = gradients(run.method.eval(), run.stage, run._batch(np.arange(12), augment_step=None))
    torch.testing.assert_close(found["along/soft"], found["gradient/soft"] ** 2)
    for name, along in found.items():
        if name.startswith("along/"):
            size = found[name.replace("along/", "gradient/", 1)]
            assert bool((along.abs() <= size * found["gradient/soft"] * 1.0001 + 1e-12).all()), name
    parts = sum(found[f"along/soft/{teacher}"] for teacher in run.problem.names)
    torch.testing.assert_close(parts, found["along/soft"])


def test_a_term_without_weight_asks_for_nothing_and_weights_scale(tiny_problem):
    sizes = []
    for weight in (0.0, 0.1, 1.0):
        run = Run(tiny_problem(), "common_feature", steps=6, batch_size=12, mmd_weight=weight)
        found = gradients(run.method.eval(), run.stage, run._batch(np.arange(12), augment_step=None))
        sizes.append(found["gradient/mmd"])
    assert float(sizes[0].abs().max()) == 0.0
    torch.testing.assert_close(sizes[2], 10 * sizes[1])


def test_moving_weights_are_the_ones_in_force(tiny_problem):
    run = made(tiny_problem, form="clouds", balance="gradnorm")
    theta = run.method.balances["joint"].theta
    with torch.no_grad():
        theta.copy_(torch.tensor([2.0, 0.0, 0.0]))
    batch = run._batch(np.arange(12), augment_step=None)
    strong = gradients(run.method.eval(), run.stage, batch)["gradient/soft"]
    with torch.no_grad():
        theta.zero_()
    plain = gradients(run.method.eval(), run.stage, batch)["gradient/soft"]
    factor = 3 * torch.softmax(torch.tensor([2.0, 0.0, 0.0]), dim=0)[0]
    torch.testing.assert_close(strong, factor * plain)


@pytest.mark.parametrize(
    "method", [name for name in METHODS if name not in ("permutation_merging", "layer_wise", "one_stage")]
)
def test_looking_at_gradients_leaves_no_trace(tiny_problem, method):
    options = {} if method == "ensemble" else {"steps": 6, "batch_size": 12}
    run = Run(tiny_problem(overlap=True), method, **options)
    before = [(name, p.requires_grad, p.grad) for name, p in run.method.named_parameters()]
    hooks = [len(m._forward_hooks) for m in run.method.modules()]
    weights = {name: value.clone() for name, value in run.method.state_dict().items()}
    run.snapshot()
    assert before == [(name, p.requires_grad, p.grad) for name, p in run.method.named_parameters()]
    assert hooks == [len(m._forward_hooks) for m in run.method.modules()]
    assert all(torch.equal(value, weights[name]) for name, value in run.method.state_dict().items())
    assert "forward" not in vars(run.method.student)
