"""The teacher cache: what every teacher says of every image of the pool, computed once.

One file a teacher and layer, memory-mapped, channels last (which convolutions like best), in a folder named after
the fingerprints of teacher and images, so that runs, forks and processes share it. Files appear whole or not at all.
What is found there is held against what the teacher says now of a few images, and made anew where that differs.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ka_explore.errors import InputError, StoreError
from ka_explore.problem.constancy import asked_images, says_the_same
from ka_explore.problem.folders import cache_root, discard, new_part, publish, sweep
from ka_explore.problem.layers import Outputs
from ka_explore.problem.pool import Images
from ka_explore.problem.preprocess import Preprocess
from ka_explore.problem.progress import progress_bar
from ka_explore.problem.teachers import Teacher

Append = Callable[[tuple[str, str], Tensor], None]
CHUNK = 128  # images a forward: larger ones leave the processor's cache and are slower


class TeacherCache:
    """Answers of teachers by image index, with the wanted layers by teacher, in ``teachers`` under `cache_root`.

    Warns (UserWarning) of a teacher that by now says something else than what was kept of it, and makes that anew: its
    key knows weights, code and settings, but not all that these use (a global, a helper function, a tensor).

    Raises InputError when a teacher's answer is NaN, infinite, or the same for every image, StoreError when the folder
    cannot be written.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        images: Images,
        layers: Mapping[str, Sequence[str]],
        *,
        folder: Path | None = None,
        device: torch.device | str = "cpu",
    ):
        self.device = torch.device(device)
        self.layers = {teacher.name: tuple(layers.get(teacher.name, ())) for teacher in teachers}
        self.root = Path(folder) if folder is not None else cache_root() / "teachers"
        keys = [f"{t.cache_key}-{images.fingerprint}" for t in teachers]
        # Teachers of one key may differ in what it does not know.
        self.folders = {
            t.name: self.root / (keys[i] if keys[i] not in keys[:i] else f"{keys[i]}-{i}")
            for i, t in enumerate(teachers)
        }
        changed = [t for t in teachers if self.is_stale(t, images)]
        missing = [t for t in teachers if not all(path.exists() for path in self.paths(t.name).values())]
        if wanted := [t for t in teachers if t in missing or t in changed]:
            self.build(wanted, images)
        if changed:
            # Told every time, while Python's usual warning is told once a place.
            warnings.warn_explicit(
                f"teacher {', '.join(repr(t.name) for t in changed)}: the answers kept in {self.root} are not those of "
                "now. Something that their key does not know has changed (a global or a helper function of preprocess= "
                "or read=, an attribute of the net). They were made anew; runs from before learned from the old ones.",
                UserWarning,
                "teacher cache",
                1,
            )
        self.arrays = {t.name: {what: open_array(path) for what, path in self.paths(t.name).items()} for t in teachers}

    def is_stale(self, teacher: Teacher, images: Images) -> bool:
        """Whether a teacher says something else now of a few images than the files do."""
        index = asked_images(len(images))
        there = [what for what, path in self.paths(teacher.name).items() if path.exists()]
        kept = [torch.from_numpy(open_array(self.paths(teacher.name)[what])[index]) for what in there]

        def read(outputs: Outputs) -> list[Tensor]:
            return [outputs.features[what].permute(0, 2, 3, 1) if what else outputs.logits for what in there]

        if not there:
            return False
        return not says_the_same(teacher, images[index].to(self.device), kept, read)

    def paths(self, teacher: str) -> dict[str, Path]:
        """The files of a teacher: its logits (under the empty name) and each wanted layer."""
        folder = self.folders[teacher]
        return {"": folder / "logits.npy"} | {
            layer: folder / f"feature-{quote(layer, safe='')}-nhwc.npy" for layer in self.layers[teacher]
        }

    def __getitem__(self, index: Int64[np.ndarray, "batch"]) -> dict[str, Outputs]:
        """What every teacher says of these images, on the cache's device."""

        def read(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array[index]).to(self.device)

        return {
            name: Outputs(
                read(arrays[""]), {layer: read(arrays[layer]).permute(0, 3, 1, 2) for layer in self.layers[name]}
            )
            for name, arrays in self.arrays.items()
        }

    def build(self, teachers: Sequence[Teacher], images: Images) -> None:
        """Run every module once over all images and write what is wanted of it; sweep up what killed ones left."""
        sweep(self.root)
        groups: dict[tuple[Any, ...], list[Teacher]] = {}
        for teacher in teachers:
            given = teacher.preprocess
            layouts = frozenset(pair for pair in teacher.layers.items() if pair[1] != "auto")
            key = (id(teacher.module), given if isinstance(given, Preprocess) else id(given), layouts)
            groups.setdefault(key, []).append(teacher)
        for group in groups.values():
            with progress_bar(len(images), f"teacher {', '.join(t.name for t in group)}", unit="image") as bar:
                self.write(group, images, bar)

    def write(self, group: Sequence[Teacher], images: Images, bar: Any) -> None:
        """One module's answers for the teachers that share it."""
        paths = {(t.name, what): path for t in group for what, path in self.paths(t.name).items()}
        extremes: dict[str, list[Tensor]] = {teacher.name: [] for teacher in group}
        layers = {layer: t.layers[layer] for t in group for layer in self.layers[t.name]}
        with array_files(paths, len(images)) as append:
            for start in range(0, len(images), CHUNK):
                part = images[start : start + CHUNK].to(self.device)
                raw = group[0].run(part, layers)
                for teacher in group:
                    outputs = teacher.answer(raw)
                    self.check(teacher, outputs, start)
                    extremes[teacher.name] += torch.aminmax(outputs.logits, dim=0)
                    append((teacher.name, ""), outputs.logits)
                    for layer in self.layers[teacher.name]:
                        append((teacher.name, layer), outputs.features[layer].permute(0, 2, 3, 1))
                bar.update(len(part))
            for teacher in group:
                low, high = torch.aminmax(torch.stack(extremes[teacher.name]), dim=0)
                if len(images) > 1 and bool((high - low <= 1e-6 * high.abs().clamp_min(1e-6)).all()):
                    raise InputError(
                        f"teacher {teacher.name!r} gives the same logits for every one of {len(images)} images: "
                        "check its weights and its preprocess."
                    )

    def check(self, teacher: Teacher, outputs: Outputs, start: int) -> None:
        """Raises InputError that names the first image whose answer is not finite."""
        for what, values in [("logits", outputs.logits), *outputs.features.items()]:
            if not bool(torch.isfinite(values.sum())):
                bad = ~torch.isfinite(values).flatten(1).all(dim=1)
                if bool(bad.any()):
                    raise InputError(
                        f"teacher {teacher.name!r} gives NaN or infinity ({what}, image "
                        f"{start + int(bad.int().argmax())} of the pool): check its weights and its preprocess."
                    )


def open_array(path: Path) -> np.ndarray:
    """An array on disk, memory-mapped. Raises StoreError for a damaged file."""
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(
            f"{path} of the teacher cache cannot be read ({error}): remove it, it is made anew."
        ) from error


@contextmanager
def array_files(paths: Mapping[tuple[str, str], Path], length: int) -> Iterator[Append]:
    """Within the ``with``: a function that adds rows to a ``.npy`` file; at the end all appear under their names.

    Plain writes, not a writable memory map: a full disk is then an error and not a crash. Raises StoreError for it.
    """
    files: dict[tuple[str, str], BinaryIO] = {}

    def append(key: tuple[str, str], rows: Tensor) -> None:
        array = np.ascontiguousarray(rows.detach().cpu().numpy())
        if key not in files:
            folder = paths[key].parent
            folder.mkdir(parents=True, exist_ok=True)
            files[key] = new_part(folder)
            shape = (length, *array.shape[1:])
            header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(files[key], header)
        files[key].write(array.data)

    try:
        yield append
        for key, file in files.items():
            publish(file, paths[key])
    except OSError as error:
        raise StoreError(
            f"cannot write the teacher cache in {next(iter(paths.values())).parent}: {error}. "
            "Make room, or set KA_EXPLORE_CACHE to another folder."
        ) from error
    finally:
        for file in files.values():
            discard(file)
