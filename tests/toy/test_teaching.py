"""Laws of teaching: a teacher is a function of its arguments, and what is kept of it is read or made again."""

import contextlib
import json

import numpy as np
import pytest
import torch

from ka_explore import toy
from ka_explore.toy import teaching

QUICK = {"unlabelled": 40, "labelled": 20}


def test_same_arguments_same_bits_in_empty_caches(same, weights_of, tmp_path, monkeypatch):
    first = toy.digits(seed=1, **QUICK)
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(tmp_path / "another"))
    assert same(first, toy.digits(seed=1, **QUICK))
    other = toy.digits(seed=2, **QUICK)
    assert not same(first, other)
    assert not any(torch.equal(a, b) for a, b in zip(weights_of(first), weights_of(other), strict=True) if a.ndim == 4)


def test_options_make_the_same_problem(same, untrained):
    for make in (toy.digits, toy.mnist, toy.four_teachers, toy.shared_digits, toy.sprites):
        problem = make(seed=np.int64(3), unlabelled=50, labelled=30, label_noise=0)
        module, name = problem.name.split(":")
        assert module == "ka_explore.toy"
        again = toy.PROBLEMS[name](**json.loads(json.dumps(dict(problem.options))))
        assert same(problem, again)
        assert again.options == problem.options


def test_randomness_and_threads_are_left_alone():
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    numpy_before = np.random.get_state()[1].tolist()
    toy.digits(**QUICK)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert np.random.get_state()[1].tolist() == numpy_before


def test_threads_are_put_back_after_an_error():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with contextlib.suppress(KeyError), toy.one_thread():
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_the_outer_seed_does_not_matter(same, tmp_path, monkeypatch):
    torch.manual_seed(1)
    first = toy.digits(**QUICK)
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(tmp_path / "another"))
    torch.manual_seed(2)
    assert same(first, toy.digits(**QUICK))


def test_second_call_trains_nothing(same, monkeypatch, cache):
    first = toy.digits(**QUICK)
    assert len(list((cache / "toy").glob("*.safetensors"))) == 2
    assert not list((cache / "toy").glob("*.part"))

    def never(*_, **__):
        raise AssertionError("trained although the weights are kept")

    monkeypatch.setattr(teaching, "train", never)
    assert same(first, toy.digits(**QUICK))
    assert same(first, toy.digits(labelled=20, unlabelled=40))
    with pytest.raises(AssertionError):
        toy.digits(labelled=21, unlabelled=40)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "another net"])
def test_damaged_weights_are_trained_again(same, cache, damage):
    first = toy.digits(**QUICK)
    files = sorted((cache / "toy").glob("*.safetensors"))
    contents = [file.read_bytes() for file in files]
    bad = {"cut": contents[0][:-100], "empty": b"", "text": b"no weights at all", "another net": contents[1]}[damage]
    files[0].write_bytes(bad)
    assert same(first, toy.digits(**QUICK))
    assert [file.read_bytes() for file in files] == contents


@pytest.mark.usefixtures("kept_teachers")
@pytest.mark.parametrize("make", [toy.digits, toy.four_teachers])
def test_teachers_learn(make):
    problem = make(unlabelled=40)
    images, truth = problem.test.images[:], torch.from_numpy(problem.test.labels["class"])
    for teacher in problem.teachers:
        columns = problem.labels.columns_of(teacher.name)
        own = (truth >= columns.start) & (truth < columns.stop)
        right = teacher(images[own]).logits.argmax(1) + columns.start == truth[own]
        assert right.float().mean() > 0.9


def test_training_of_one_task_is_the_same_with_and_without_its_name():
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(20, 1, 8, 8, generator=generator), torch.arange(20) % 3
    nets = []
    for classes, targets in ((3, labels), ({"kind": 3}, {"kind": labels})):
        with teaching.own_randomness(1):
            net = toy.plain_net(1, (4, 8, 16), classes)
        nets.append(toy.train(net, images, targets, steps=5, batch=8))
    for one, other in zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_loss_of_several_tasks_is_their_sum():
    """With stochastic gradient descent's gradient seen directly: Adam's first step is the sign of the gradient."""
    images, labels = torch.rand(12, 1, 8, 8), {"a": torch.arange(12) % 3, "b": torch.arange(12) % 2}
    with teaching.own_randomness(1):
        net = toy.plain_net(1, (4, 8, 16), {"a": 3, "b": 2})
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    logits = net.train()(images)
    sum(torch.nn.functional.cross_entropy(logits[t], y) for t, y in labels.items()).backward()
    gradient = {name: weight.grad.clone() for name, weight in net.named_parameters()}
    toy.train(net, images, labels, steps=1, rate=1e-3, batch=12)
    moved = {name: weight.detach() - before[name] for name, weight in net.named_parameters()}
    for name, slope in gradient.items():
        clear = slope.abs() > 1e-5
        assert torch.equal(moved[name].sign()[clear], -slope.sign()[clear])
        assert clear.any()
