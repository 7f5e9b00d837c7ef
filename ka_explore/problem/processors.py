"""Image processors of transformers, read by their fields: what they do to images, without importing transformers."""

from collections.abc import Mapping
from typing import Any

from ka_explore.errors import InputError, brief, fits

STEPS = {"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", "do_reduce_labels"}
FIELDS = ("size", "crop_size", "crop_pct", "resample", "rescale_factor", "rescale_offset", "image_mean", "image_std")
RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # PIL's numbers
WARPED = 384  # pixels: ConvNeXt's processor crops to sides below it, and resizes to squares from there on


def is_processor(thing: object) -> bool:
    """Whether it is an image processor of transformers, the settings of one, or a processor that holds one."""
    return {"do_resize", "do_normalize"} & set(fields_of(thing)) != set()


def fields_of(thing: Any) -> dict[str, Any]:
    """The fields of an image processor that are set."""
    thing = getattr(thing, "image_processor", thing)
    if isinstance(thing, Mapping):
        return {str(name): value for name, value in thing.items() if value is not None}
    names = [*(name for name in dir(thing) if name.startswith("do_")), *FIELDS, "include_top"]
    return {name: value for name in names if (value := getattr(thing, name, None)) is not None}


def settings_of(processor: Any) -> dict[str, Any]:
    """The arguments of the `Preprocess` that does the same to images of 0 to 1.

    Raises InputError for what is no image processor, and, by name, for what it does besides.
    """
    held, kind = fields_of(processor), type(getattr(processor, "image_processor", processor))
    if not is_processor(processor):
        raise InputError(f"expected an image processor of transformers or its settings, got {brief(processor)}.")
    does = {name for name, value in held.items() if name.startswith("do_") and value is not False}
    strange = sorted(does - STEPS)
    if "resize" in vars(kind) and "crop_pct" not in held:
        strange.append("a resize of its own")
    made: dict[str, Any] = {}
    try:
        if "do_resize" in does:
            made |= resizing(held, crops="do_center_crop" in does)
        if "do_center_crop" in does:
            made["crop"] = height_and_width(held["crop_size"])
        made |= normalising(held, does)
    except Exception as error:  # a processor may hold anything
        strange.append(f"something that cannot be read ({type(error).__name__}: {error})")
    if strange:
        raise InputError(
            f"{kind.__name__} does what Preprocess does not: {', '.join(strange)}. Give preprocess= a function from "
            "images (batch, channel, height, width) of 0 to 1 to what the net takes."
        )
    return made


def resizing(held: Mapping[str, Any], *, crops: bool) -> dict[str, Any]:
    """Size and interpolation. A ``crop_pct`` enlarges the shorter side for the crop that follows or that it implies."""
    number = getattr(held.get("resample", 2), "value", held.get("resample", 2))
    if number not in {*RESAMPLING, *RESAMPLING.values()}:
        raise ValueError(f"resample={brief(number)}")
    made: dict[str, Any] = {"interpolation": RESAMPLING.get(number, number)}
    size = dict(held["size"])
    if set(size) != {"shortest_edge"}:
        return made | {"size": height_and_width(size)}
    side, part = size["shortest_edge"], held.get("crop_pct", 1)
    if "crop_pct" in held and not crops:
        if side >= WARPED:
            return made | {"size": side}
        made["crop"] = side
    return made | {"shorter_side": int(side / part)}


def height_and_width(size: Any) -> tuple[int, int]:
    """A size of height and width, or of one number for both. Raises ValueError for any other."""
    found = {"height": size, "width": size} if fits(size, int) else dict(size)
    if set(found) != {"height", "width"}:
        raise ValueError(f"a size of {', '.join(map(str, found)) or 'nothing'}")
    return found["height"], found["width"]


def normalising(held: Mapping[str, Any], does: set[str]) -> dict[str, Any]:
    """Mean and deviation for p of 0 to 1, of bytes that are rescaled and normalised: ((scale·p − offset) − m) / s."""
    scale = 255 * float(held.get("rescale_factor", 1 / 255)) if "do_rescale" in does else 255.0
    offset = 1.0 if "do_rescale" in does and held.get("rescale_offset") else 0.0
    scale = 1.0 if abs(scale - 1) < 1e-6 else scale
    mean = numbers(held["image_mean"]) if "do_normalize" in does else [0.0]
    std = numbers(held["image_std"]) if "do_normalize" in does else [1.0]
    if held.get("include_top"):  # EfficientNet divides once more
        std = [s * top for s, top in zip(std, numbers(held["image_std"]), strict=True)]
    made: dict[str, Any] = {"channels": 3} if len(mean) == 3 or "do_convert_rgb" in does else {}
    if (mean, std, scale, offset) == ([0.0], [1.0], 1.0, 0.0):
        return made
    return made | {"mean": tuple((offset + m) / scale for m in mean), "std": tuple(s / scale for s in std)}


def numbers(value: Any) -> list[float]:
    """A number a channel, or one for all."""
    return [float(v) for v in (value if isinstance(value, (list, tuple)) else (value,))]
