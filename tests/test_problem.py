"""A problem says at once what does not fit, and hands a method nothing it must not see."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ka_explore import InputError, Labelled, LabelSpace, Pool, Preprocess, Problem, Run, Student, Teacher
from ka_explore.problem.pool import Images


def test_tiny_problems_of_every_kind_work(tiny_problem):
    for options in (
        {},
        {"teachers": 5},
        {"teachers": 3, "overlap": True},
        {"teachers": 4, "tasks": 2, "shape": (1, 8, 8)},
    ):
        problem = tiny_problem(**options)
        problem.check()
        student = problem.make_student()
        assert student(problem.pool.images[:2]).logits.shape == (2, len(problem.labels.columns))


def test_examples_are_what_every_teacher_says_of_the_first_two_images(tiny_problem):
    problem = tiny_problem(3)
    for teacher in problem.teachers:
        answer = teacher(problem.pool.images[:2])
        assert torch.equal(problem.examples[teacher.name].logits, answer.logits)
        assert list(problem.examples[teacher.name].features) == list(teacher.layers)
        assert problem.teacher(teacher.name) is teacher
    assert problem.names == ("teacher 0", "teacher 1", "teacher 2")


def test_every_student_is_a_fresh_one(tiny_problem):
    problem = tiny_problem()
    one, other = problem.make_student(), problem.make_student()
    assert not any(p is q for p in one.parameters() for q in other.parameters())


def test_a_problem_without_labels_has_none_in_reach(tiny_problem):
    problem = tiny_problem()
    blind = problem.without_labels()
    assert blind.pool.labels is None
    assert blind.test is None
    assert blind.teachers == problem.teachers
    assert blind.fingerprints == problem.fingerprints


def test_fingerprints_belong_to_pool_and_teachers_and_not_to_labels_or_test(tiny_problem):
    problem = tiny_problem()
    assert tiny_problem().fingerprints == problem.fingerprints
    assert tiny_problem(labels=False, test=0).fingerprints == problem.fingerprints
    other = tiny_problem(images=59).fingerprints
    assert [what for what in other if other[what] != problem.fingerprints[what]] == ["pool"]
    other = tiny_problem(seed=1).fingerprints
    assert [what for what in other if other[what] != problem.fingerprints[what]] == list(other)


def test_a_data_set_of_pairs_is_a_pool(tiny_problem, blobs):
    data = [(torch.from_numpy(image), index % 3) for index, image in enumerate(blobs(20))]
    problem = tiny_problem(images=20)
    mine = Problem(problem.teachers, Pool(data), problem.student)
    assert mine.fingerprints == problem.fingerprints
    run = Run(mine, "distillation", steps=2, batch_size=8).advance(None)
    assert run.done


# Teachers


def test_no_teacher_is_no_problem_and_one_is_a_small_one(tiny_problem):
    problem = tiny_problem()
    with pytest.raises(InputError, match="at least one teacher, got none"):
        Problem([], problem.pool, problem.student)
    assert Problem(problem.teachers[:1], Pool(problem.pool.images), problem.student).names == problem.names[:1]


def test_two_teachers_of_one_name_are_refused(tiny_problem):
    with pytest.raises(InputError, match="names must differ, got same more than once"):
        tiny_problem(names=["same", "same"])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda net: Teacher("bad", net("conv", 4), layers=["conv1"], labels="ab"), "4 logits for 2 labels"),
        (lambda net: Teacher("bad", net("conv", 2, channels=1), layers=["conv1"], labels="ab"), r"\(3, 16, 16\)"),
        (
            lambda net: Teacher("bad", net("conv", 2), layers=["conv1"], labels="ab", read=lambda _output: "text"),
            "gave str",
        ),
        (
            lambda net: Teacher("bad", net("conv", 2), layers=["conv1"], labels="ab", read=lambda output: output["x"]),
            "bad",
        ),
        (
            lambda net: Teacher(
                "bad", net("conv", 2), layers=["conv1"], labels="ab", preprocess=Preprocess(mean=(1, 2))
            ),
            "2 numbers",
        ),
    ],
)
def test_a_teacher_that_does_not_fit_is_found_before_a_run_has_a_folder(made, message, net, tiny_problem, tmp_path):
    problem = tiny_problem()
    bad = Problem([problem.teachers[0], made(net)], Pool(problem.pool.images), problem.student)
    with pytest.raises(InputError, match=message):
        bad.check()
    with pytest.raises(InputError, match=message):
        Run(bad, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_nan_is_named_before_a_folder_is_made(tiny_problem, net, tmp_path):
    module = net("conv")
    module.head[-1].weight.data.fill_(float("nan"))
    problem = tiny_problem()
    bad = Teacher("bad one", module, layers=["conv1"], labels="xyz")
    spoilt = Problem([problem.teachers[1], bad], Pool(problem.pool.images), problem.student)
    with pytest.raises(InputError, match="'bad one' gives NaN or infinity"):
        Run(spoilt, "distillation", folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_one_answer_only_is_named_and_nothing_is_lost(tiny_problem, net, tmp_path):
    module = net("conv")
    module.head[-1].weight.data.zero_()
    problem = tiny_problem()
    bad = Teacher("bad one", module, layers=["conv1"], labels="xyz")
    spoilt = Problem([problem.teachers[1], bad], Pool(problem.pool.images), problem.student)
    run = Run(spoilt, "distillation", steps=2, folder=tmp_path / "run")
    with pytest.raises(InputError, match="'bad one' gives the same logits for every one"):
        run.advance(1)
    assert run.step == 0
    assert run.history() == []


# Images and labels


@pytest.mark.parametrize("value", [6, -2])
def test_labels_out_of_range_are_refused_where_they_are(value, tiny_problem, blobs):
    problem = tiny_problem()
    y = np.zeros(60, np.int64)
    y[7] = value
    with pytest.raises(InputError, match=r"in the pool go from .* expected 0 to 5"):
        Problem(problem.teachers, Pool(problem.pool.images, labels={"class": y}), problem.student)
    with pytest.raises(InputError, match="in the test go from"):
        Problem(problem.teachers, problem.pool, problem.student, Labelled(problem.pool.images, {"class": y}))
    y[7] = -1
    Problem(problem.teachers, Pool(problem.pool.images, labels={"class": y}), problem.student)


def test_labels_of_an_unknown_task_are_refused(tiny_problem):
    problem = tiny_problem()
    with pytest.raises(InputError, match=r"unknown task 'clas'.*Did you mean 'class'"):
        Problem(problem.teachers, Pool(problem.pool.images, labels={"clas": np.zeros(60, int)}), problem.student)


def test_a_test_has_labels_of_every_task(tiny_problem):
    problem = tiny_problem(4, tasks=2)
    one = {"task 0": np.zeros(60, int)}
    with pytest.raises(InputError, match="task 0, the teachers' tasks are task 0, task 1"):
        Problem(problem.teachers, problem.pool, problem.student, Labelled(problem.pool.images, one))
    both = one | {"task 1": np.full(60, -1)}
    Problem(problem.teachers, problem.pool, problem.student, Labelled(problem.pool.images, both))


@pytest.mark.parametrize("labels", [np.zeros(3, int), np.zeros((60, 1), int), np.zeros(60), ["a"] * 59, ["a", 1] * 30])
def test_labels_of_the_test_are_one_name_or_whole_number_an_image(labels, tiny_problem):
    with pytest.raises(InputError, match="labels of task 'class'"):
        Labelled(tiny_problem().pool.images, {"class": labels})


def test_labels_of_the_test_may_be_a_tensor_or_a_list(blobs):
    for labels in ([0, 1, -1], torch.tensor([0, 1, -1]), np.array([0, 1, -1], np.int8)):
        assert Labelled(Images(blobs(3)), {"class": labels}).labels["class"].tolist() == [0, 1, -1]


# Labels by name

ANIMALS = ("cat", "dog", "eel", "fox")


@pytest.fixture
def animals(teacher, blobs, tiny_student):
    """Problems of two teachers of two animals each, by default without labels."""

    def make(order=(0, 1), *, pool=None, test=None) -> Problem:
        teachers = [teacher(f"one {i}", labels=ANIMALS[2 * i : 2 * i + 2], seed=i) for i in order]
        return Problem(teachers, pool or Pool(blobs(4)), tiny_student, test)

    return make


def named(problem: Problem, labels) -> list[str | None]:
    """The names of a problem's labels, as everybody reads them."""
    names = problem.labels.class_names("class")
    assert labels["class"].dtype == np.int64
    return [names[i] if i >= 0 else None for i in labels["class"]]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda names: np.array(names, dtype=object)])
def test_labels_by_name_mean_the_same_whatever_the_order_of_the_teachers(kind, order, animals, blobs):
    truth = ["fox", "cat", "eel", "cat"]
    labels = {"class": kind(truth)}
    problem = animals(order, pool=Pool(blobs(4), labels=labels), test=Labelled(blobs(4), labels))
    assert named(problem, problem.pool.labels) == named(problem, problem.test.labels) == truth


def test_a_label_that_is_not_known_has_no_name(animals, blobs):
    problem = animals(pool=Pool(blobs(4), labels={"class": ["fox", None, "eel", None]}))
    assert problem.pool.labels["class"].tolist() == [3, -1, 2, -1]


@pytest.mark.parametrize("where", ["pool", "test"])
@pytest.mark.parametrize(
    ("name", "message"), [("foxx", "Did you mean 'fox'"), ("FOX ", "spell both alike"), ("x", "Known")]
)
def test_a_name_that_no_teacher_knows_is_refused_where_it_is(name, message, where, animals, blobs):
    labels = {"class": ["cat", name, "eel", "fox"]}
    given = {"pool": Pool(blobs(4), labels=labels)} if where == "pool" else {"test": Labelled(blobs(4), labels)}
    with pytest.raises(InputError, match=message) as told:
        animals(**given)
    assert f"labels of task 'class' in the {where}" in str(told.value)


def test_indices_into_ones_own_list_of_classes_are_read_by_name(animals, blobs):
    mine = ("ape", "fox", "eel", "dog")  # a data set's: nobody knows apes
    pool = Pool(blobs(4), labels={"class": [1, 0, -1, 3]}, classes={"class": mine})
    for order in ((0, 1), (1, 0)):
        problem = animals(order, pool=pool)
        assert named(problem, problem.pool.labels) == ["fox", None, None, "dog"]
    with pytest.raises(InputError, match="spell both alike"):
        animals(pool=Pool(blobs(4), labels={"class": [1, 0, -1, 3]}, classes={"class": ("Cat", "fox", "eel", "dog")}))
    for wrong in ({"class": mine[:3]}, {"clas": mine}):
        with pytest.raises(InputError, match=r"expected 0 to 2 .* index classes\['class'\]|unknown task 'clas'"):
            Pool(blobs(4), labels={"class": [1, 0, -1, 3]}, classes=wrong)
    with pytest.raises(InputError, match="index nothing"):
        Pool(blobs(4), labels={"class": list(ANIMALS)}, classes={"class": mine})
    with pytest.raises(InputError, match="give the labels too"):
        Pool(blobs(4), classes={"class": mine})


def test_classes_of_which_no_teacher_knows_any_are_refused(animals, blobs):
    for where in ("pool", "test"):
        made = (Pool if where == "pool" else Labelled)(
            blobs(4), labels={"class": [1, 0, -1, 1]}, classes={"class": ("n01", "n02")}
        )
        with pytest.raises(InputError, match=rf"in the {where} index n01, n02 .*no teacher knows any"):
            animals(**{where: made})


@pytest.mark.parametrize("names", [("56789", "01234"), ("1357", "2468"), ("10", "23")])
def test_numbers_that_are_names_of_other_classes_as_well_say_which_they_mean(names, teacher, blobs, tiny_student):
    every = "".join(names)
    digits = np.array([int(name) for name in every])

    def problem(labels, **classes):
        teachers = [teacher(f"one {i}", labels=tuple(own)) for i, own in enumerate(names)]
        return Problem(teachers, Pool(blobs(len(every)), labels={"class": labels}, **classes), tiny_student)

    with pytest.raises(InputError, match=r"may be the class called|expected 0 to"):
        problem(digits)
    by_name = problem(digits.astype(str))
    assert named(by_name, by_name.pool.labels) == list(every)
    told = problem(digits, classes={"class": [str(i) for i in range(10)]})
    assert named(told, told.pool.labels) == list(every)
    again = replace(by_name, teachers=by_name.teachers[::-1])
    assert named(again, again.pool.labels) == list(every)


def test_numbers_that_mean_the_same_either_way_need_no_word(teacher, blobs, tiny_student):
    for names in ("0123", "56"):
        pool = Pool(blobs(2), labels={"class": [1, -1]})
        made = Problem([teacher("one", labels=tuple(names))], pool, tiny_student)
        assert named(made, made.pool.labels) == [names[1], None]


def test_masked_labels_and_images_are_refused(blobs):
    with pytest.raises(InputError, match="masked"):
        Pool(blobs(4), labels={"class": np.ma.array([0, 1, 2, 3], mask=[1, 0, 0, 0])})
    with pytest.raises(InputError, match="masked"):
        Pool(np.ma.array(blobs(4), mask=False))


def test_what_a_problem_indexed_is_read_by_name_in_another(animals, blobs):
    labels = {"class": [0, 1, 2, 3]}
    first = animals(pool=Pool(blobs(4), labels=labels), test=Labelled(blobs(4), labels))
    other = animals((1, 0), pool=first.pool, test=first.test)
    exchanged = replace(first, teachers=first.teachers[::-1])
    for problem in (first, other, exchanged):
        assert named(problem, problem.pool.labels) == named(problem, problem.test.labels) == list(ANIMALS)
    fewer = animals((1,), pool=first.pool, test=first.test)
    assert named(fewer, fewer.pool.labels) == [None, None, "eel", "fox"]


def test_of_classes_that_one_teacher_tells_apart_by_case_one_may_be_left(teacher, blobs, tiny_student):
    pool = Pool(blobs(4), labels={"class": ["A", "a", "b", "A"]})
    letters = Problem([teacher("one", labels=("A", "a", "b"))], pool, tiny_student)
    small = Problem([teacher("other", labels=("a", "b", "c"))], letters.pool, tiny_student)
    assert named(small, small.pool.labels) == [None, "a", "b", None]


def test_an_index_out_of_range_is_told_what_it_indexes(animals, blobs):
    with pytest.raises(InputError, match=r"union of the teachers' labels \(cat, dog, eel, fox\)"):
        animals(pool=Pool(blobs(4), labels={"class": [0, 1, 2, 4]}))


# In words


def test_a_problem_and_its_parts_are_told_in_a_line(tiny_problem):
    problem = tiny_problem(names=["birds", "dogs"])
    text = repr(problem)
    assert "birds" in text
    assert "dogs" in text
    assert "60 images of 3×16×16" in text
    assert "6 classes" in text
    for told in (problem, problem.pool, problem.test, problem.teachers[0], problem.without_labels()):
        assert len(repr(told)) < 250
        assert "array" not in repr(told)
        assert "\n" not in repr(told)


def test_test_images_are_like_the_pools(tiny_problem, blobs):
    problem = tiny_problem()
    other = Labelled(Images(blobs(3, (3, 8, 8))), {"class": [0, 0, 0]})
    with pytest.raises(InputError, match=r"\(3, 8, 8\), the pool's \(3, 16, 16\)"):
        Problem(problem.teachers, problem.pool, problem.student, other)


# Students


@pytest.mark.parametrize("how", ["the module", "one layer", "a parameter over the same memory"])
def test_a_student_that_shares_weights_with_a_teacher_is_refused(how, tiny_problem, teacher):
    one = teacher("one", "conv")

    def student(labels: LabelSpace) -> Student:
        if how == "the module":
            first: nn.Module = one.module.conv1
        elif how == "one layer":
            first = nn.Sequential(one.module.conv1[0], nn.BatchNorm2d(6))
        else:
            first = nn.Conv2d(3, 6, 3)
            first.weight = nn.Parameter(one.module.conv1[0].weight.data)
        tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, len(labels.columns)))
        return Student.chain({"first": first}, {"class": tail})

    problem = tiny_problem()
    with pytest.raises(InputError, match="shares weights with teacher 'one'"):
        Problem([one, problem.teachers[1]], Pool(problem.pool.images), student).make_student()


@pytest.mark.parametrize(
    ("student", "message"),
    [
        (lambda _labels: nn.Linear(2, 2), "returned a Linear: expected a Student"),
        (lambda _labels: None, "returned a NoneType"),
        (
            lambda labels: Student.chain(
                {"first": nn.Conv2d(1, 4, 3)},
                {"class": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, len(labels.columns)))},
            ),
            r"the student cannot take images of shape \(3, 16, 16\)",
        ),
        (
            lambda labels: Student.chain(
                {"first": nn.Conv2d(3, 4, 3)}, {"class": nn.Conv2d(4, len(labels.columns), 1)}
            ),
            "student",
        ),
    ],
)
def test_a_student_that_does_not_fit_is_refused(student, message, tiny_problem):
    problem = tiny_problem(student=student)
    with pytest.raises(InputError, match=message):
        problem.make_student()
    with pytest.raises(InputError, match=message):
        Run(problem)
