"""Whatever people bring as images or labels, as an array of numpy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ka_explore.errors import InputError, brief

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def as_array(data: Any) -> np.ndarray:
    """A tensor, of any floating type, or whatever numpy reads. Raises InputError for what has no values to read."""
    try:
        if isinstance(data, Tensor):
            return (data.float() if data.dtype == torch.bfloat16 else data).detach().cpu().numpy()
        if np.ma.isMaskedArray(data):
            raise ValueError("it is masked: fill what is masked, or leave it out")
        return np.asarray(data) if not isinstance(data, np.ndarray) else data
    except Exception as error:  # any class may tell numpy what it likes of itself
        what = f"{data.layout} tensor of {data.dtype}" if isinstance(data, Tensor) else type(data).__name__
        raise InputError(
            f"cannot read the values of a {what} ({error}): expected a plain tensor (to_dense(), dequantize(), not on "
            "the device 'meta'), an array, or a sequence of numbers."
        ) from error


def check_table(what: str, values: Any, rows: int | None = None) -> None:
    """Raises InputError unless values are a plain tensor of floats with two axes, and of so many rows."""
    if not is_plain(values) or values.ndim != 2:
        raise InputError(f"{what} must be a plain tensor of floats, (image, column), got {brief(values)}.")
    if rows is not None and len(values) != rows:
        raise InputError(f"{what} are of {len(values)} images, others of {rows}: expected the same images.")


def is_plain(values: Any) -> bool:
    """Whether it is a tensor of floats, on a device, each in its place: not sparse, quantised, nested or meta."""
    return (
        isinstance(values, Tensor)
        and values.dtype in FLOATS
        and values.layout is torch.strided
        and not (values.is_meta or values.is_nested)
    )


def gather(items: Sequence[Any]) -> np.ndarray:
    """The images of a sequence or dataset as one array, labels left behind. Raises InputError."""
    try:
        arrays = [as_array(without_label(items[i])) for i in range(len(items))]
    except Exception as error:  # what is not a sequence, and whatever a data set raises
        raise InputError(
            f"cannot read images from a {type(items).__name__} ({type(error).__name__}: {error}): expected an array, a "
            "tensor or a sequence of images."
        ) from error
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise InputError(
            f"images have different shapes ({', '.join(map(str, sorted(shapes)[:3]))} …): resize them to one."
        )
    return np.stack(arrays) if arrays else np.empty((0, 1, 1, 1), np.float32)


def without_label(item: Any) -> Any:
    """The image of an (image, label) pair, or of a list of both; a list of rows or channels is an image itself."""
    if isinstance(item, tuple) or (
        isinstance(item, list) and len(item) > 1 and np.ndim(item[0]) > np.ndim(item[1]) == 0
    ):
        return item[0]
    return item
