"""Laws of label spaces: disjoint labels pass through, labels of one name have their probabilities added."""

import pytest
import torch

from ka_explore import InputError, LabelSpace
from ka_explore.problem.labels import Column

DISJOINT = {"one": ("class", ("a", "b")), "two": ("class", ("c", "d", "e"))}
OVERLAPPING = {"one": ("class", ("a", "b", "c")), "two": ("class", ("c", "a", "d")), "three": ("class", ("c",))}
TASKS = {
    "shape": ("shape", ("round", "square")),
    "one": ("colour", ("red", "blue")),
    "other": ("shape", ("square", "star")),
    "two": ("colour", ("blue", "green", "red")),
}


def test_disjoint_labels_pass_through_untouched():
    labels = LabelSpace.of(DISJOINT)
    scores = torch.randn(5, 5)
    assert labels.merge(scores) is scores
    assert labels.classes == tuple(("class", label) for label in "abcde")


@pytest.mark.parametrize("spaces", [DISJOINT, OVERLAPPING, TASKS])
def test_merging_adds_the_softmax_probabilities_of_one_name(spaces):
    labels = LabelSpace.of(spaces)
    torch.manual_seed(0)
    scores = 5 * torch.randn(7, len(labels.columns), dtype=torch.float64)
    merged = labels.merge(scores)
    assert merged.shape == (7, len(labels.classes))
    for task in labels.tasks:
        columns = [(i, column) for i, column in enumerate(labels.columns) if column.task == task]
        got = merged[:, labels.task_slice(task)].softmax(dim=1)
        for row in range(7):
            total = sum(float(scores[row, i].exp()) for i, _ in columns)
            for index, label in enumerate(labels.class_names(task)):
                expected = sum(float(scores[row, i].exp()) for i, column in columns if column.label == label) / total
                assert got[row, index] == pytest.approx(expected, rel=1e-9)


def test_merging_survives_scores_of_any_size_and_has_gradients():
    labels = LabelSpace.of(OVERLAPPING)
    scores = (1000 * torch.randn(3, 7)).requires_grad_()
    merged = labels.merge(scores)
    assert torch.isfinite(merged).all()
    merged.sum().backward()
    assert torch.isfinite(scores.grad).all()


def test_columns_are_a_block_a_task_and_in_it_a_block_a_teacher():
    labels = LabelSpace.of(TASKS)
    assert labels.tasks == ("shape", "colour")
    assert labels.teachers == ("shape", "other", "one", "two")
    assert [(c.teacher, c.task, c.label) for c in labels.columns] == [
        ("shape", "shape", "round"), ("shape", "shape", "square"), ("other", "shape", "square"),
        ("other", "shape", "star"), ("one", "colour", "red"), ("one", "colour", "blue"), ("two", "colour", "blue"),
        ("two", "colour", "green"), ("two", "colour", "red"),
    ]  # fmt: skip
    assert labels.class_names("shape") == ("round", "square", "star")
    assert labels.class_names("colour") == ("red", "blue", "green")
    assert labels.names[3] == "colour: red"
    assert LabelSpace.of(DISJOINT).names == tuple("abcde")


@pytest.mark.parametrize("spaces", [DISJOINT, OVERLAPPING, TASKS])
def test_places_agree_with_the_columns(spaces):
    labels = LabelSpace.of(spaces)
    for teacher, (task, own) in spaces.items():
        assert [c.label for c in labels.columns[labels.columns_of(teacher)]] == list(own)
        assert {c.teacher for c in labels.columns[labels.columns_of(teacher)]} == {teacher}
        assert [labels.classes[i] for i in labels.classes_of(teacher)] == [(task, label) for label in own]
        assert teacher in labels.teachers_of(task)
    for task in labels.tasks:
        assert {c.task for c in labels.columns[labels.task_columns(task)]} == {task}
        assert sum(c.task == task for c in labels.columns) == len(labels.columns[labels.task_columns(task)])
        assert [t for t, _ in labels.classes[labels.task_slice(task)]] == [task] * len(labels.class_names(task))
    for column, index in zip(labels.columns, labels.class_of_column, strict=True):
        assert labels.classes[index] == (column.task, column.label)


def test_stacking_is_in_the_order_of_the_columns_whatever_the_order_given():
    labels = LabelSpace.of(TASKS)
    logits = {name: torch.randn(2, len(own)) for name, (_, own) in TASKS.items()}
    stacked = labels.stack(logits)
    for name in TASKS:
        assert torch.equal(stacked[:, labels.columns_of(name)], logits[name])
    assert torch.equal(labels.stack(dict(reversed(logits.items()))), stacked)


def test_one_name_in_two_tasks_is_two_classes():
    labels = LabelSpace.of({"one": ("fruit", ("orange",)), "two": ("colour", ("orange",))})
    scores = torch.randn(3, 2)
    assert labels.merge(scores) is scores
    assert labels.names == ("fruit: orange", "colour: orange")


def test_labels_need_not_be_text():
    assert LabelSpace.of({"one": ("class", (0, 1))}).class_names("class") == ("0", "1")


def test_a_label_space_is_a_value():
    assert LabelSpace.of(DISJOINT) == LabelSpace.of(DISJOINT)
    assert LabelSpace.of(DISJOINT) != LabelSpace.of(OVERLAPPING)
    assert LabelSpace((Column("one", "class", "a"),)).classes == (("class", "a"),)


def test_unknown_names_say_which_are_known():
    labels = LabelSpace.of(TASKS)
    for ask in (labels.class_names, labels.task_columns, labels.task_slice):
        with pytest.raises(InputError, match="Did you mean 'colour'"):
            ask("color")
    for ask in (labels.columns_of, labels.classes_of):
        with pytest.raises(InputError, match="unknown teacher"):
            ask("nobody")


def test_scores_of_another_width_are_refused():
    for spaces in (DISJOINT, OVERLAPPING):
        labels = LabelSpace.of(spaces)
        with pytest.raises(InputError, match=f"4 columns, the label space has {len(labels.columns)}"):
            labels.merge(torch.zeros(2, 4))


# Names that are nearly alike

TWINS = [
    ("cat", "Cat"),
    ("cat", "cat "),
    ("polar bear", "polar_bear"),
    ("polar bear", "Polar  Bear"),
    ("straße", "STRASSE"),
    ("polar bear", "polar-bear"),
    ("polar_bear", "polar\u2013bear"),
    ("cat", "\ufeffcat"),
    ("cat", "c\u00adat"),
    ("cat\u200b", "CAT"),
    ("\u2764", "\u2764\ufe0f"),
]


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_labels_of_two_teachers_that_are_spelled_nearly_alike_are_refused(one, other):
    for teachers in ({"a": ("class", [one, "x"]), "b": ("class", ["y", other])}, {"a": (one, "x"), "b": (other, "y")}):
        with pytest.raises(InputError) as told:
            LabelSpace.of(teachers)
        assert repr(one) in str(told.value)
        assert repr(other) in str(told.value)


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_a_teacher_may_tell_apart_what_others_cannot(one, other):
    both = LabelSpace.of({"a": ("class", [one, other]), "b": ("class", [other]), "c": ("class", [one])})
    assert both.class_names("class") == (one, other)
    assert len(LabelSpace.of({"a": ("class", [one]), "b": ("kind", [other])}).classes) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [("cat", "cats"), ("1", "-1"), ("a b", "ab"), ("c", "c++"), ("é", "e"), ("1-2", "1 2"), ("non-cat", "noncat")],
)
def test_other_names_are_other_classes(one, other):
    assert LabelSpace.of({"a": ("class", [one]), "b": ("class", [other])}).class_names("class") == (one, other)


def test_the_same_name_is_the_same_class():
    assert LabelSpace.of({"a": ("class", ["Cat"]), "b": ("class", ["Cat"])}).class_names("class") == ("Cat",)


@pytest.mark.parametrize("name", ["\ud800", "a\0b"])
def test_names_that_cannot_be_written_are_refused(name):
    for teachers in ({name: ("class", "a")}, {"one": (name, "a")}, {"one": ("class", [name])}):
        with pytest.raises(InputError, match="UTF-8"):
            LabelSpace.of(teachers)
