"""Laws of preprocessing: resizing and cropping are PIL's, a processor of transformers is read for what it does."""

import dataclasses
import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ka_explore import InputError, Preprocess, Teacher
from ka_explore.problem.fingerprint import described
from ka_explore.run.export import build_student, describe_student

SIZES = [(16, 16), (17, 23), (30, 12), (9, 40)]
PIXELS = np.random.default_rng(0)


def bytes_of(height, width):
    """Two coloured images of bytes that change slowly and have edges."""
    images = PIXELS.integers(0, 256, (2, -(-height // 3), -(-width // 3), 3), dtype=np.uint8)
    return images.repeat(3, axis=1).repeat(3, axis=2)[:, :height, :width]


def as_images(pixels):
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255


def by_pil(pixels, size, interpolation):
    """The images resized by PIL, as it does it to floats: (image, channel, height, width)."""
    image = pytest.importorskip("PIL.Image")
    kind = image.Resampling[interpolation.upper()]
    floats = [[image.fromarray(one[..., c].astype(np.float32) / 255) for c in range(3)] for one in pixels]
    return torch.from_numpy(np.array([[np.array(c.resize(size[::-1], kind)) for c in one] for one in floats]))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("size", [8, 5, 24, (7, 31), (40, 6)])
@pytest.mark.parametrize("old", SIZES)
def test_resizing_is_that_of_pil(old, size, interpolation):
    pixels = bytes_of(*old)
    new = (size, size) if isinstance(size, int) else size
    expected = by_pil(pixels, new, interpolation).clamp(0, 1)
    made = Preprocess(size=size, interpolation=interpolation)(as_images(pixels))
    if interpolation == "nearest":  # without places that lie between two pixels, which rounding decides
        free = [[i for i in range(n) if (2 * i + 1) * o % (2 * n)] for o, n in zip(old, new, strict=True)]
        made, expected = (images[:, :, free[0]][..., free[1]] for images in (made, expected))
    assert torch.allclose(made, expected, atol=1e-5)


@pytest.mark.parametrize(("old", "side"), [((16, 16), 8), ((17, 23), 9), ((30, 12), 7), ((9, 40), 13), ((33, 50), 32)])
def test_the_shorter_side_is_resized_and_the_longer_in_proportion(old, side):
    pixels = bytes_of(*old)
    made = Preprocess(shorter_side=side)(as_images(pixels))
    expected = (side, int(side * old[1] / old[0])) if old[0] <= old[1] else (int(side * old[0] / old[1]), side)
    assert tuple(made.shape[2:]) == expected
    assert torch.allclose(made, by_pil(pixels, expected, "bilinear"), atol=1e-5)


@pytest.mark.parametrize(
    ("old", "crop"), [((8, 8), 4), ((9, 7), (4, 5)), ((10, 13), (3, 6)), ((5, 5), 8), ((4, 9), (7, 2))]
)
def test_the_middle_is_kept_and_a_smaller_image_gets_a_rim(old, crop):
    images = torch.rand(2, 3, *old)
    made = Preprocess(crop=crop)(images)
    for axis, want in enumerate((crop, crop) if isinstance(crop, int) else crop, start=2):
        have, spare = old[axis - 2], old[axis - 2] - want
        first = abs(spare) // 2
        places = [first + i if spare > 0 else i - first for i in range(want)]
        empty = torch.zeros_like(images.select(axis, 0))
        rows = [images.select(axis, p) if 0 <= p < have else empty for p in places]
        images = torch.stack(rows, dim=axis)
    assert torch.equal(made, images)


def test_without_antialias_pixels_are_taken_at_their_places():
    images = torch.rand(1, 1, 9, 9)
    assert torch.allclose(Preprocess(size=3, antialias=False)(images), images[:, :, 1::3, 1::3])
    assert not torch.allclose(Preprocess(size=3)(images), images[:, :, 1::3, 1::3])


def test_an_image_is_resized_alike_in_any_company():
    images = torch.rand(4, 3, 20, 20) * torch.tensor([0.2, 1.0, 3.0, -2.0]).view(4, 1, 1, 1)
    for interpolation in ("bilinear", "bicubic", "nearest"):
        step = Preprocess(size=11, interpolation=interpolation)
        assert torch.equal(step(images), torch.cat([step(images[i : i + 1]) for i in range(4)]))


def test_order_is_resize_crop_normalise():
    images = torch.rand(2, 3, 20, 30)
    step = Preprocess(shorter_side=12, crop=8, mean=0.5, std=(0.1, 0.2, 0.4))
    middle = Preprocess(crop=8)(Preprocess(shorter_side=12)(images))
    assert torch.allclose(step(images), (middle - 0.5) / torch.tensor([0.1, 0.2, 0.4]).view(1, 3, 1, 1))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"mean": 0.5}, {"mean": (0.5,)}),
        ({"mean": [0.5, 1, 0], "std": np.array([0.5, 1, 2])}, {"mean": (0.5, 1.0, 0.0), "std": (0.5, 1.0, 2.0)}),
        ({"mean": torch.full((1, 3, 1, 1), 0.5)}, {"mean": (0.5,) * 3}),
        ({"mean": np.float32(0.5), "std": torch.tensor(0.25)}, {"mean": (0.5,), "std": (0.25,)}),
        ({"mean": None, "std": None}, {}),
        ({"size": [28, 28]}, {"size": (28, 28)}),
        ({"size": np.array([28, 14])}, {"size": (28, 14)}),
        ({"size": torch.Size([28, 14])}, {"size": (28, 14)}),
        ({"size": np.int64(28), "channels": np.int32(3)}, {"size": 28, "channels": 3}),
        ({"crop": [7, 8], "shorter_side": np.int16(9)}, {"crop": (7, 8), "shorter_side": 9}),
    ],
)
def test_numbers_are_taken_as_people_write_them(written, meant):
    assert Preprocess(**written) == Preprocess(**meant)
    assert described(Preprocess(**written)) == described(Preprocess(**meant))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": "0.5"}, "mean"),
        ({"mean": [0.5, "a"]}, "mean"),
        ({"mean": float("nan")}, "finite"),
        ({"mean": 10**400}, "mean"),
        ({"std": [1.0, float("inf")]}, "finite"),
        ({"std": True}, "std"),
        ({"size": 28.0}, "whole number"),
        ({"size": (28,)}, "size"),
        ({"size": (1, 2, 3)}, "size"),
        ({"size": True}, "size"),
        ({"size": {"height": 3}}, "size"),
        ({"size": 2**70}, "16384"),
        ({"crop": (3, 0)}, "crop"),
        ({"shorter_side": -1}, "shorter_side"),
        ({"shorter_side": (3, 4)}, "shorter_side"),
        ({"size": 8, "shorter_side": 8}, "not to both"),
        ({"channels": True}, "channels"),
        ({"interpolation": "lanczos"}, "'bilinear' or 'bicubic' or 'nearest'"),
        ({"antialias": 1}, "True or False"),
        ({"mean": torch.zeros(3).to_sparse()}, "mean"),
        ({"mean": torch.zeros(3, device="meta")}, "mean"),
    ],
)
def test_what_is_no_preprocessing_is_refused_by_name(options, message):
    with pytest.raises(InputError, match=message):
        Preprocess(**options)


def test_choices_left_alone_change_no_fingerprint_and_all_go_to_files_and_back():
    plain = {"size": 8, "channels": None, "mean": (0.5,), "std": ()}
    assert vars(Preprocess(size=8, mean=(0.5,))) == plain
    assert vars(Preprocess(**plain, interpolation="bilinear", antialias=True, crop=None)) == plain
    prints = {described(Preprocess(size=8, **more)) for more in ({}, {"crop": 8}, {"interpolation": "bicubic"})}
    assert len(prints) == 3
    for step in (Preprocess(size=(8, 9), mean=0.5), Preprocess(shorter_side=9, crop=(8, 7), interpolation="nearest")):
        assert Preprocess(**json.loads(json.dumps(dataclasses.asdict(step)))) == step
        assert dataclasses.replace(step, std=2.0).std == (2.0,)


def test_a_student_keeps_its_preprocessing_in_a_description():
    from ka_explore import Student

    step = Preprocess(shorter_side=9, crop=(8, 7), interpolation="bicubic", antialias=False)
    student = Student.chain({"a": nn.Conv2d(3, 2, 3)}, {"class": nn.Flatten()}, preprocess=step)
    described = json.loads(json.dumps(describe_student(student)))
    assert build_student(described, most=100).preprocess == step


# Image processors of transformers


def processors(transformers):
    """Those of the usual classifiers, with their settings and others."""
    yield transformers.ViTImageProcessorPil(size={"height": 12, "width": 10})
    yield transformers.ViTImageProcessorPil(do_resize=False)
    yield transformers.ViTImageProcessorPil(size={"height": 8, "width": 8}, resample=0, do_normalize=False)
    yield transformers.ViTImageProcessorPil(size={"height": 8, "width": 8}, do_rescale=False, do_normalize=False)
    yield transformers.DeiTImageProcessorPil(size={"height": 20, "width": 20}, crop_size={"height": 14, "width": 12})
    crop = {"height": 12, "width": 12}
    yield transformers.CLIPImageProcessorPil(size={"shortest_edge": 14}, crop_size=crop)
    yield transformers.BitImageProcessorPil(size={"shortest_edge": 10}, crop_size=crop, image_std=[0.5, 0.6, 0.7])
    yield transformers.ConvNextImageProcessorPil(size={"shortest_edge": 14})
    yield transformers.PoolFormerImageProcessorPil(size={"shortest_edge": 14}, crop_size=crop)
    yield transformers.EfficientNetImageProcessorPil(size={"height": 11, "width": 13})
    yield transformers.EfficientNetImageProcessorPil(
        size={"height": 11, "width": 13}, rescale_factor=1 / 127.5, rescale_offset=True, include_top=False
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_processor_is_read_for_what_it_does_to_images(vision_schemas):
    """A processor clips and rounds to bytes in each axis it resizes; apart from that the numbers are the same."""
    transformers = pytest.importorskip("transformers")
    for processor in processors(transformers):
        step = Preprocess.from_processor(processor)
        for size in SIZES:
            pixels = bytes_of(*size)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = processor(list(pixels), return_tensors="pt")["pixel_values"]
            made = step(as_images(pixels))
            assert made.shape == expected.shape, (processor, size)
            spread = float(expected.max() - expected.min())
            far = (made - expected).abs() / spread
            assert float(far.max()) < 0.05, (processor, size)
            assert float(far.mean()) < 0.004, (processor, size)
    convnext = Preprocess.from_processor(transformers.ConvNextImageProcessorPil(size={"shortest_edge": 384}))
    assert (convnext.size, convnext.crop, convnext.interpolation) == (384, None, "bicubic")
    with pytest.raises(InputError, match=r"LevitImageProcessorPil.*resize of its own"):
        Preprocess.from_processor(transformers.LevitImageProcessorPil())
    with pytest.raises(InputError, match="do_flip_channel_order"):
        Preprocess.from_processor(transformers.MobileViTImageProcessorPil())
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    teacher = Teacher("one", net, layers=["0"], labels="abc", preprocess=next(processors(transformers)))
    assert isinstance(teacher.preprocess, Preprocess)
    assert teacher(torch.rand(2, 1, 16, 16)).features["0"].shape == (2, 3, 12, 10)


SETTINGS = {
    "do_resize": True, "size": {"shortest_edge": 20}, "resample": 3, "do_center_crop": True, "crop_size": 16,
    "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.5, 0.6, 0.7],
}  # fmt: skip
READ = Preprocess(
    channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), shorter_side=20, crop=16, interpolation="bicubic"
)


def test_settings_are_read_from_a_mapping_an_object_and_from_what_holds_one():
    for form in (SETTINGS, SimpleNamespace(**SETTINGS), SimpleNamespace(image_processor=SimpleNamespace(**SETTINGS))):
        made = Preprocess.from_processor(form)
        assert dataclasses.replace(made, crop=16) == READ
        assert made.crop == (16, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"do_pad": True}, "do_pad"),
        ({"do_flip_channel_order": True, "do_thumbnail": True}, "do_flip_channel_order, do_thumbnail"),
        ({"resample": 1}, "resample=1"),
        ({"resample": []}, "cannot be read"),
        ({"size": {"longest_edge": 9}}, "size of longest_edge"),
        ({"size": {"shortest_edge": 9, "longest_edge": 12}}, "size of shortest_edge, longest_edge"),
        ({"size": {"shortest_edge": "a"}}, "cannot be read"),
        ({"size": None}, "'size'"),
        ({"size": 5}, "cannot be read"),
        ({"crop_size": {"height": 3}}, "size of height"),
        ({"image_mean": None}, "'image_mean'"),
        ({"image_mean": [None]}, "cannot be read"),
        ({"rescale_factor": 0.0}, "ZeroDivisionError"),
        ({"image_std": [0.0, 1.0, 1.0]}, "std must be positive"),
    ],
)
def test_what_a_preprocess_cannot_do_is_told_by_name(changes, message):
    with pytest.raises(InputError, match=message):
        Preprocess.from_processor(SETTINGS | changes)


@pytest.mark.parametrize(
    "thing",
    [None, 3, "vit", {}, nn.Identity(), lambda images: images, Preprocess()],
    ids=lambda thing: type(thing).__name__,
)
def test_what_is_no_processor_is_refused(thing):
    with pytest.raises(InputError, match="expected an image processor"):
        Preprocess.from_processor(thing)
