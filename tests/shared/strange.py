"""Values that people, and those who wish us ill, hand in."""

import math
import warnings
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Nasty:
    """Fails whatever it is asked."""

    def fails(self, *_: Any) -> Any:
        raise RuntimeError("no")

    __len__ = __getitem__ = __iter__ = __array__ = __repr__ = __call__ = __float__ = __index__ = fails


def raises(*_: Any) -> Any:
    raise ZeroDivisionError("mine")


def tensors(*shape: int) -> dict[str, Tensor]:
    """A batch of images as floats and as what is no plain floats, and tensors that are no images."""
    dense = torch.rand(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of what it calls prototypes
        return {
            "coo": dense.to_sparse(), "csr": dense[0, 0].to_sparse_csr(), "half": dense.half(),
            "double": dense.double(), "quantised": torch.quantize_per_tensor(dense, 0.1, 0, torch.quint8),
            "bfloat16": dense.bfloat16(),
            "meta": torch.empty(shape, device="meta"), "nested": torch.nested.nested_tensor([dense[0], dense[1]]),
            "complex": dense.to(torch.complex64), "conjugate": dense.to(torch.complex64).conj(),
            "float8": dense.to(torch.float8_e4m3fn), "bytes tensor": dense.to(torch.uint8), "bools": dense > 0.5,
            "of indices": torch.arange(shape[0]), "of one number": torch.tensor(1.0), "of one index": torch.tensor(3),
            "empty": torch.zeros(0), "table": torch.zeros(2, 3), "to be trained": dense.clone().requires_grad_(),
            "tensor of NaN": torch.full(shape, math.nan), "grey": dense[:, :1], "many": dense.repeat(1, 7, 1, 1),
            "no image": dense[:0], "no rows": dense[:, :, :0], "small": dense[..., :2, :2], "images": dense,
        }  # fmt: skip


def strange(*shape: int) -> Mapping[str, Any]:
    """Strange values by what they are, made anew; images, and what is nearly images, of a shape (4×3×16×16).

    None takes more than a moment to be refused; the huge ones would, if they were taken.
    """
    circle: list[Any] = []
    circle.append(circle)
    shape = shape or (4, 3, 16, 16)
    return {
        "None": None, "True": True, "False": False, "zero": 0, "negative": -1, "one": 1, "three": 3, "huge": 2**70,
        "beyond floats": 10**400, "beyond text": 10**5000, "fraction": 2.5, "share": 0.5, "nan": math.nan,
        "inf": math.inf, "-inf": -math.inf, "imaginary": 1j, "exact fraction": Fraction(1, 3),
        "no text": "", "blank": "  ", "letter": "a", "text": "text", "line": "a\nb", "surrogate": "\ud800",
        "nul": "a\0", "slash": "a/b", "up": "..", "long": "x" * 100_000, "bytes": b"x", "byte array": bytearray(b"xyz"),
        "no list": [], "list of None": [None], "list of no text": [""], "list of surrogates": ["\ud800"],
        "ragged": [1, [2]], "mixed": [1, "a"], "texts": ["cat", "dog", "eel", "fox"], "floats": [0.5] * 4,
        "long list": [0.1] * 5_000, "circle": circle, "no tuple": (), "tuple": (1,), "tuple of three": (1, 2, 3),
        "no mapping": {}, "mapping": {"class": 1}, "mapping of text": {"a": "b"}, "mapping of a list": {"a": []},
        "mapping of a number": {1: 2}, "mapping of nets": {"\ud800": nn.ReLU()}, "no set": set(), "set": {1},
        "set of text": {"a"}, "range": range(4), "endless range": range(2**70), "iterator": iter("abc"),
        "generator": (i for i in range(2)), "object": object(), "path": Path("x"), "path with nul": Path("a\0b"),
        "nasty": Nasty(), "error": Exception("a"), "class": int, "net class": nn.ReLU, "net": nn.ReLU(),
        "lazy net": nn.LazyLinear(2), "built in": len, "no arguments": lambda: None, "identity": lambda x, *_: x,
        "nothing": lambda *_: None, "gives numpy": lambda x, *_: np.zeros(3), "raises": raises,
        "numpy number": np.float32(2), "numpy index": np.int64(3), "numpy nan": np.float64("nan"),
        "numpy bool": np.bool_(True), "array of nothing": np.zeros(0), "array of a number": np.array(0),
        "array": np.array([1, 2]), "array table": np.zeros((2, 3)), "array of texts": np.array(["a"] * 4),
        "array of objects": np.array([object()] * 4), "array of None": np.array([None]),
        "array of times": np.zeros(4, "datetime64[s]"), "record array": np.zeros(4, [("a", int)]),
        "array of NaN": np.full(shape, np.nan), "array of longs": np.zeros(shape, np.longdouble),
        "long axes": np.zeros((1,) * 30), **tensors(*shape),
    }  # fmt: skip
