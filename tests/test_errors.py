"""Doors: what is handed in is held against the type hints, and what a user wrote fails in the user's name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ka_explore.errors import InputError, StoreError, checked, fits, in_words, theirs

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]

FITTING = [
    (int, 3), (int, np.int64(3)), (float, 3), (float, 0.5), (float, np.float32(0.5)), (bool, True), (str, "ä"),
    (int | None, None), (Sequence[str], ("a", "b")), (Sequence[int], [1, np.int32(2)]), (tuple[float, ...], (1, 2.0)),
    (tuple[int, str], (1, "a")), (Mapping[str, int], {"a": 1}), (Callable[[int], int], len), (type[nn.Module], nn.ReLU),
    (Literal["a", "b"], "a"), (Any, object()), (object, "text"), (Path | str, Path("a")), (nn.Module, nn.ReLU()),
    (Float[Tensor, "a b"], torch.zeros(2)), (Sequence[Sequence[int]], [[1], [2]]), (set[str], {"a"}),
]  # fmt: skip
OTHERS = [
    (int, True), (int, 1.0), (int, "1"), (int, None), (float, float("nan")), (float, float("inf")), (float, True),
    (bool, 1), (str, 3), (str, "\ud800"), (str, "a\0"), (str, b"a"), (int | None, "a"), (Sequence[str], "ab"),
    (Sequence[str], ["a", 1]), (Sequence[int], {1: 2}), (tuple[float, ...], [1.0]), (tuple[int, str], (1,)),
    (tuple[int, str], ("a", 1)), (Mapping[str, int], {"a": "b"}),
    (Mapping[str, int], [("a", 1)]), (Callable[[], int], 3),
    (type[nn.Module], nn.ReLU()), (type[nn.Module], int), (Literal["a", "b"], "c"),
    (Literal[1], True), (Path | str, 3), (Path, Path("a\0")),
    (nn.Module, nn.ReLU), (Float[Tensor, "a b"], np.zeros(2)), (Sequence[Sequence[int]], [[1], ["a"]]), (set[str], {1}),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "value"), FITTING, ids=lambda one: repr(one).partition(" at 0x")[0])
def test_what_fits_its_hint_passes(hint, value):
    assert fits(value, hint)


@pytest.mark.parametrize(("hint", "value"), OTHERS, ids=lambda one: repr(one).partition(" at 0x")[0])
def test_what_does_not_fit_is_found_and_told_in_words(hint, value):
    assert not fits(value, hint)
    assert not {"typing", "<class"} & set(in_words(hint).split())


@checked
@dataclass(frozen=True)
class Made:
    count: int
    names: Sequence[str] = ()


class Thing:
    @checked
    def __init__(self, size: "int | None" = None, *rest: float, odd: "Unknown" = None, **options: str):
        self.size, self.rest, self.options = size, rest, options

    @checked
    def act(self, times: int) -> int:
        return times


def test_doors_name_themselves_the_argument_and_what_was_got():
    with pytest.raises(InputError, match=r"^Made: count must be a whole number, got '3' \(str\)\.$"):
        Made("3")
    with pytest.raises(InputError, match="Made: names must be a sequence, each text"):
        Made(3, names="ab")
    with pytest.raises(InputError, match=r"Thing: rest\[1\] must be a finite number"):
        Thing(1, 2.0, "a")
    with pytest.raises(InputError, match="Thing: other must be text"):
        Thing(other=3)
    with pytest.raises(InputError, match=r"Thing.act: times must be a whole number, got None"):
        Thing().act(None)


def test_doors_let_pass_what_fits_and_keep_name_and_words():
    assert Made(3, ["a"]) == Made(3, ["a"])
    thing = Thing(None, 1, 2.5, odd=object(), other="a")
    assert (thing.size, thing.rest, thing.options) == (None, (1, 2.5), {"other": "a"})
    assert (Thing.act.__name__, Thing().act(times=2)) == ("act", 2)
    with pytest.raises(TypeError, match="missing"):
        Thing().act()


def test_a_users_function_fails_in_its_own_name_with_its_own_error_as_cause():
    def bad(_):
        raise KeyError("sky")

    with pytest.raises(InputError, match=r"augment \(.*bad\) failed with KeyError: 'sky'.*Tensor \(2, 3\)") as caught:
        theirs("augment", bad, torch.zeros(2, 3))
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(InputError, match="failed with TypeError"):
        theirs("student", lambda a: a)

    def refuses():
        raise StoreError("full")

    with pytest.raises(StoreError, match="full"):
        theirs("read", refuses)
    assert theirs("read", max, 1, 2) == 2
