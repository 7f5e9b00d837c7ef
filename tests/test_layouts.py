"""Laws of layouts: what a layer puts out becomes its map, or is refused with the choices; no false map in silence."""

import warnings

import pytest
import torch
from torch import nn

from ka_explore import InputError, LabelSpace, Student, Teacher
from ka_explore.problem.layouts import Clues, layout_of, to_map

WIDTH = 6


class Tokens(nn.Module):
    """Patches by a convolution (or by cutting and a linear map), with extra tokens in front from the first block on."""

    def __init__(self, extra: int = 0, name: str = "more", *, patch: int = 4, conv: bool = True, width: int = WIDTH):
        super().__init__()
        self.conv, self.patch = conv, patch
        self.cut = nn.Conv2d(3, width, patch, stride=patch) if conv else nn.Linear(3 * patch**2, width)
        self.register_parameter(name, nn.Parameter(torch.randn(1, extra, width)) if extra else None)
        self.name = name
        self.embed, self.block, self.head = nn.Identity(), nn.Linear(width, width), nn.Linear(width, 3)

    def patches(self, images):
        if self.conv:
            return self.cut(images).flatten(2).transpose(1, 2)
        return self.cut(nn.functional.unfold(images, self.patch, stride=self.patch).transpose(1, 2))

    def forward(self, images):
        tokens = self.embed(self.patches(images))
        extra = getattr(self, self.name)
        if extra is not None:
            tokens = torch.cat([extra.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.head(self.block(tokens).mean(dim=1))

    def expected(self, images, height, width):
        """What the block puts out for the patches, as a map."""
        with torch.no_grad():
            return self.block(self.patches(images)).transpose(1, 2).unflatten(2, (height, width))


def images(height=16, width=16, count=3):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def teacher(module, layers=("block",), **options):
    return Teacher("one", module, layers=layers, labels="abc", **options)


def features(module, given, layers=("block",), **options):
    return teacher(module, layers, **options)(given).features


# Tokens: how many stand before the patches


@pytest.mark.parametrize("conv", [True, False])
@pytest.mark.parametrize("extra", [0, 1, 2, 4, 5, 9, 12])
def test_the_option_says_how_many_tokens_stand_before_the_patches(extra, conv):
    net = Tokens(extra, conv=conv)
    made = features(net, images(), ["embed", "block"] if conv else ["block"], prefix_tokens=extra)
    assert torch.allclose(made["block"], net.expected(images(), 4, 4), atol=1e-6)
    if conv:
        assert made["embed"].shape == (3, WIDTH, 4, 4)  # before they are put in front there are none


@pytest.mark.parametrize("name", ["cls_token", "class_token", "dist_token", "reg_token", "storage_tokens"])
@pytest.mark.parametrize("extra", [1, 5, 9])
def test_a_net_says_it_by_the_tokens_it_has_learned(extra, name):
    net = Tokens(extra, name)
    assert torch.allclose(features(net, images())["block"], net.expected(images(), 4, 4), atol=1e-6)


@pytest.mark.parametrize("extra", [1, 5, 9])
def test_a_net_says_it_by_its_attribute(extra):
    net = Tokens(extra, conv=False)
    net.num_prefix_tokens = extra
    assert torch.allclose(features(net, images())["block"], net.expected(images(), 4, 4), atol=1e-6)
    around = nn.Sequential(net)  # inside of another net too
    assert torch.allclose(features(around, images(), ["0.block"])["0.block"], net.expected(images(), 4, 4), atol=1e-6)


@pytest.mark.parametrize(("extra", "told"), [(2, "2 leaves 4×4"), (5, "5 leaves 4×4"), (9, "9 leaves 4×4")])
@pytest.mark.parametrize("conv", [True, False])
def test_tokens_of_which_nothing_tells_are_refused_with_the_choices(extra, told, conv):
    with pytest.raises(InputError, match=rf"layer 'block' of teacher 'one'.*prefix_tokens=.*{told}"):
        teacher(Tokens(extra, conv=conv))(images())


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("conv", [True, False])
@pytest.mark.parametrize(("side", "patch"), [(16, 4), (28, 7), (20, 4), (24, 4), (8, 4)])
def test_usual_tokens_need_no_word(extra, conv, side, patch):
    net = Tokens(extra, patch=patch, conv=conv)
    made = features(net, images(side, side))
    assert torch.allclose(made["block"], net.expected(images(side, side), side // patch, side // patch), atol=1e-6)


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("conv", [True, False])
@pytest.mark.parametrize(("height", "width"), [(16, 32), (8, 32), (32, 8), (12, 16)])
def test_tokens_of_oblong_images_become_oblong_maps(extra, conv, height, width):
    net = Tokens(extra, conv=conv)
    made = features(net, images(height, width), prefix_tokens=extra)
    assert torch.allclose(made["block"], net.expected(images(height, width), height // 4, width // 4), atol=1e-6)


def test_a_false_number_is_refused():
    for number in (3, 25, 10**6):
        with pytest.raises(InputError, match=f"{number} of them said to be no patches"):
            teacher(Tokens(5), prefix_tokens=number)(images())
    with pytest.raises(InputError, match="0 or more"):
        teacher(Tokens(5), prefix_tokens=-1)


def test_a_layout_says_it_of_one_layer_and_for_students_too():
    net = Tokens(5)
    one = features(net, images(), {"embed": "auto", "block": "5+NLC"})
    assert one["embed"].shape == one["block"].shape
    assert torch.allclose(one["block"], net.expected(images(), 4, 4), atol=1e-6)
    labels = LabelSpace.of({"one": ("class", "abc")})
    student = Student.of(Tokens(5), layers={"block": "5+auto"}, labels=labels)
    assert student(images()).features["block"].shape == (3, WIDTH, 4, 4)
    with pytest.raises(InputError, match="of the student: 21 tokens"):
        Student.of(Tokens(5), layers=["block"], labels=labels)(images())


@pytest.mark.parametrize("extra", [2, 6, 7, 13])
def test_a_net_has_a_column_only_when_asked_for(extra):
    with pytest.raises(InputError, match=f"{16 + extra} tokens"):
        teacher(Tokens(extra))(images())
    assert features(Tokens(extra), images(), {"block": "NLC"})["block"].shape == (3, WIDTH, 16 + extra, 1)
    rows = torch.rand(2, 12, 3)
    assert torch.equal(to_map(rows, "NLC")[..., 0], rows.transpose(1, 2))
    assert to_map(rows, "2+NLC").shape == (2, 3, 10, 1)
    assert to_map(torch.rand(2, 16, 3), "NLC").shape == (2, 3, 4, 4)


class OverPatches(nn.Module):
    """A linear map over the patches of each channel: (batch, channel, patch)."""

    def __init__(self, channels: int):
        super().__init__()
        self.cut, self.mix, self.head = nn.Conv2d(3, channels, 4, 4), nn.Linear(16, 16), nn.Linear(channels, 3)

    def forward(self, images):
        return self.head(self.mix(self.cut(images).flatten(2)).mean(dim=2))


@pytest.mark.parametrize("channels", [4, 5, 9, 17, 25, 64, 65])
def test_rows_of_a_convolutions_channels_are_not_read_as_tokens(channels):
    net = OverPatches(channels)
    with pytest.raises(InputError, match="'NCL' is for channels before tokens"):
        features(net, images(), ["mix"])
    made = features(net, images(), {"mix": "NCL"})["mix"]
    with torch.no_grad():
        assert torch.allclose(made.flatten(2), net.mix(net.cut(images()).flatten(2)))
    assert made.shape == (3, channels, 4, 4)


def test_orders_of_axes():
    rows = torch.rand(2, 17, 3)
    expected = to_map(rows)
    assert torch.equal(to_map(rows.transpose(1, 2), "NCL"), expected)
    assert torch.equal(to_map(rows.transpose(0, 1), "LNC"), expected)


@pytest.mark.parametrize("layout", ["channels_last", "x+NLC", "-1+NLC", "+NLC", "5+", "5+NLCX", "²+NLC", "", "1+2+NLC"])
def test_unknown_layouts_are_refused(layout):
    with pytest.raises(InputError, match="unknown layout"):
        layout_of({"a": layout})


class Turned(nn.Module):
    """A convolution whose output is handed on with its axes in another order."""

    def __init__(self, turn, channels: int):
        super().__init__()
        self.conv, self.turn, self.last = nn.Conv2d(3, channels, 2, stride=2), turn, nn.Identity()
        self.head = nn.Linear(channels, 3)

    def forward(self, given):
        made = self.conv(given)
        self.last(self.turn(made))
        return self.head(made.mean(dim=(2, 3)))


def test_tokens_first_or_channels_before_tokens_are_not_read_as_usual():
    first = Turned(lambda made: made.flatten(2).permute(2, 0, 1), 5)
    with pytest.raises(InputError, match=r"first axis.*3 images.*LNC"):
        teacher(first, ["last"])(images(8, 8))
    assert features(first, images(8, 8), {"last": "LNC"})["last"].shape == (3, 5, 4, 4)
    before = Turned(lambda made: made.flatten(2), 9)
    with pytest.raises(InputError, match="NCL"):
        teacher(before, ["last"])(images(8, 8))
    made = features(before, images(8, 8), {"last": "NCL"})["last"]
    assert torch.equal(made, before.conv(images(8, 8)))


# Maps: channels first or last


@pytest.mark.parametrize("channels", [1, 3, 5, 6, 16, 20])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 16), (8, 12)])
def test_maps_with_channels_last_are_told_from_their_shape(channels, height, width):
    net = Turned(lambda made: made.permute(0, 2, 3, 1), channels)
    given = images(height, width)
    assert torch.equal(features(net, given, ["last"])["last"], net.conv(given))


class Stages(nn.Module):
    """Convolutions with pooling, concatenation and squeezing; also as many channels as pixels a side."""

    def __init__(self, channels: int):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.act, self.grow = nn.ReLU(inplace=True), nn.Conv2d(channels, 8, 3, padding=1)
        self.joined, self.strip, self.pool = nn.Identity(), nn.AdaptiveAvgPool2d((8, 1)), nn.AdaptiveAvgPool2d(1)
        self.gate, self.scaled = nn.Linear(channels + 8, channels + 8), nn.Identity()
        self.head = nn.Linear(channels + 8, 3)

    def forward(self, given):
        made = self.act(self.norm(self.stem(given)))
        made = self.joined(torch.cat([made, self.grow(made)], dim=1))
        self.strip(made)
        pooled = self.pool(made)
        made = self.scaled(made * self.gate(pooled.flatten(1)).sigmoid()[..., None, None])
        return self.head(made.mean(dim=(2, 3)))


@pytest.mark.parametrize("channels", [1, 4, 8, 12, 16, 24])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 16), (12, 24), (9, 7)])
def test_maps_of_usual_nets_stay_as_they_are(channels, height, width):
    net = Stages(channels).eval()
    layers = ["stem", "norm", "act", "grow", "joined", "strip", "pool", "scaled"]
    seen, hooks = {}, []
    for name in layers:
        keep = lambda _part, _given, output, name=name: seen.update({name: output.clone()})  # noqa: E731
        hooks.append(getattr(net, name).register_forward_hook(keep))
    made = features(net, images(height, width), layers)
    for name in layers:
        assert torch.equal(made[name], seen[name]), name


class Mixer(nn.Module):
    """A block of linear maps over the last axis; ``back`` hands it on with channels first again."""

    def __init__(self, channels: int, *, back: bool, depthwise: bool = False):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 1) if depthwise else nn.Identity()
        self.norm, self.mix, self.back = nn.LayerNorm(channels), nn.Linear(channels, channels), back

    def forward(self, maps):
        made = self.mix(self.norm(self.depthwise(maps).permute(0, 2, 3, 1)))
        return made.permute(0, 3, 1, 2) if self.back else made


class Mixed(nn.Module):
    def __init__(self, channels: int, **options):
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, channels, 2, stride=2), Mixer(channels, **options)
        self.head = nn.Linear(channels, 3)

    def forward(self, given):
        made = self.block(self.stem(given))
        return self.head(made.mean(dim=(2, 3) if self.block.back else (1, 2)))


@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize(("channels", "height", "width"), [(6, 16, 16), (12, 16, 16), (4, 8, 16), (8, 16, 32)])
def test_blocks_of_linear_maps_are_read_as_they_are_put_out(back, channels, height, width):
    net = Mixed(channels, back=back)
    with torch.no_grad():
        expected = net.block(net.stem(images(height, width)))
    expected = expected if back else expected.permute(0, 3, 1, 2)
    assert torch.equal(features(net, images(height, width))["block"], expected)


def test_a_tie_is_refused_with_the_choices_and_settled_by_the_user_or_the_net():
    net = Mixed(8, back=False)
    with pytest.raises(InputError, match=r"channels first or last.*'NCHW'.*'NHWC'"):
        teacher(net)(images())
    first = features(net, images(), {"block": "NCHW"})["block"]
    last = features(net, images(), {"block": "NHWC"})["block"]
    assert torch.equal(last, first.permute(0, 3, 1, 2))
    net.output_fmt = "NHWC"
    assert torch.equal(features(net, images())["block"], last)
    kept = Mixed(8, back=True, depthwise=True)  # as ConvNeXt: its own convolution says channels first
    with torch.no_grad():
        assert torch.equal(features(kept, images())["block"], kept.block(kept.stem(images())))


def test_without_clues_maps_are_channels_first():
    maps = torch.rand(2, 4, 4, 7)
    assert to_map(maps) is maps
    assert to_map(maps, clues=Clues()) is maps


def test_features_of_other_batches_and_kinds_are_refused():
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, given):
            self.inner(given.repeat(4, 1, 1, 1))
            return given.mean(dim=(2, 3))

    with pytest.raises(InputError, match=r"layer 'inner' of teacher 'one': the first axis of \(12, 3, 16, 16\)"):
        teacher(Folded(), ["inner"])(images())
    for strange in (torch.zeros(2, 3, 4, 4).to_sparse(), torch.zeros(2, 3, 4, 4, dtype=torch.complex64)):
        with pytest.raises(InputError, match="floating-point"):
            to_map(strange)


# Nets of the libraries people bring


SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
STAGES = {"img_size": 64, "embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 2}
OF_TIMM = [
    ("vit_tiny_patch16_224", SMALL | {"reg_tokens": 4}, "blocks.{}"),
    ("deit_tiny_distilled_patch16_224", SMALL, "blocks.{}"),
    ("vit_small_patch14_reg4_dinov2", SMALL | {"img_size": (32, 64)}, "blocks.{}"),
    ("eva02_tiny_patch14_224", SMALL, "blocks.{}"),
    ("cait_xxs24_224", SMALL, "blocks.{}"),
    ("swin_tiny_patch4_window7_224", STAGES, "layers.{}"),  # the first map is 16 channels of 16×16
    ("swinv2_tiny_window8_256", STAGES | {"img_size": (64, 128)}, "layers.{}"),
    ("test_convnext", {}, "stages.{}"),
    ("pvt_v2_b0", {}, "stages.{}"),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_layers_of_timm_are_the_maps_that_timm_itself_makes_of_them(vision_schemas):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import timm
        except (ImportError, RuntimeError) as error:
            pytest.skip(f"timm cannot be imported: {error}")
    for name, options, layer in OF_TIMM:
        net = timm.create_model(name, num_classes=3, **options).eval()
        size = options.get("img_size", 64)
        given = images(*(size if isinstance(size, tuple) else (size, size)))
        with torch.no_grad():
            expected = net.forward_intermediates(given, intermediates_only=True, output_fmt="NCHW", norm=False)
        layers = [layer.format(i) for i in range(len(expected))]
        made = features(net, given, layers)
        for one, right in zip(layers, expected, strict=True):
            assert made[one].shape == right.shape, (name, one)
            assert torch.allclose(made[one], right, atol=1e-5), (name, one)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_layers_of_transformers_are_their_hidden_states_without_the_extra_tokens(vision_schemas):
    transformers = pytest.importorskip("transformers")
    small = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32,
        "patch_size": 8, "num_labels": 3,
    }  # fmt: skip
    of = {
        "DeiT": (transformers.DeiTConfig(**small), 2),
        "Dinov2WithRegisters": (transformers.Dinov2WithRegistersConfig(**small, num_register_tokens=4), 5),
        "ViT": (transformers.ViTConfig(**small), 1),
        "Beit": (transformers.BeitConfig(**small), 1),
    }
    for name, (config, ahead) in of.items():
        net = getattr(transformers, f"{name}ForImageClassification")(config).eval()
        blocks = [
            n for n, part in net.named_modules() if n.rpartition(".")[2] == "1" and "Layer" in type(part).__name__
        ]
        made = features(net, images(32, 32), blocks)
        with torch.no_grad():
            hidden = net(pixel_values=images(32, 32), output_hidden_states=True).hidden_states[2]
        assert blocks, name
        assert hidden.shape[1] == 16 + ahead
        for block in blocks:
            assert torch.allclose(made[block].flatten(2).transpose(1, 2), hidden[:, ahead:], atol=1e-5), name
