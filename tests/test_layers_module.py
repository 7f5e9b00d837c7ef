"""Laws of tapping: a tap is what the layer put out, leaves nothing behind, and every kind of output becomes a map."""

import warnings

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from ka_explore import InputError, LabelSpace, Preprocess, Problem, Run, Student, Teacher
from ka_explore.problem.layers import find_layers, forward, layers_of, layout_of, logits_of, read_logits, tap, to_map


def hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) for part in module.modules())


class Pieces(nn.Module):
    """A stem that is followed by a ReLU in place, a layer that runs twice, and one that never runs."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.act = nn.ReLU(inplace=True)
        self.twice = nn.Conv2d(4, 4, 1)
        self.idle = nn.Linear(2, 2)

    def forward(self, images):
        return self.twice(self.twice(self.act(self.stem(images)))).mean(dim=(2, 3))


class Returns(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.inner = nn.Identity()
        self.output = output

    def forward(self, images):
        self.inner(images)
        return self.output


# Maps


def test_a_map_stays_as_it_is():
    maps = torch.rand(2, 3, 4, 5)
    for layout in ("auto", "NCHW"):
        assert to_map(maps, layout) is maps


def test_channels_last_is_permuted_only_when_told():
    maps = torch.rand(2, 4, 5, 3)
    made = to_map(maps, "NHWC")
    assert made.shape == (2, 3, 4, 5)
    for n in range(2):
        for c in range(3):
            for y in range(4):
                for x in range(5):
                    assert made[n, c, y, x] == maps[n, y, x, c]


@pytest.mark.parametrize(
    ("tokens", "size", "left_out"),
    [
        (16, (4, 4), 0),
        (17, (4, 4), 1),
        (9, (3, 3), 0),
        (10, (3, 3), 1),
        (5, (2, 2), 1),
        (4, (2, 2), 0),
        (1, (1, 1), 0),
        (2, (2, 1), 0),
        (3, (3, 1), 0),
        (18, (18, 1), 0),
        (12, (12, 1), 0),
    ],
)
def test_tokens_become_a_square_without_the_class_token_or_else_a_column(tokens, size, left_out):
    rows = torch.rand(2, tokens, 3)
    made = to_map(rows)
    assert made.shape == (2, 3, *size)
    for token in range(size[0] * size[1]):
        y, x = divmod(token, size[1])
        assert torch.equal(made[:, :, y, x], rows[:, token + left_out])


def test_vectors_become_maps_of_one_place():
    rows = torch.rand(4, 7)
    assert torch.equal(to_map(rows)[:, :, 0, 0], rows)
    assert to_map(rows).shape == (4, 7, 1, 1)


def test_the_tensor_is_taken_out_of_a_tuple_and_of_a_model_output():
    class Output:
        last_hidden_state = torch.rand(2, 5, 3)

    maps = torch.rand(2, 3, 4, 4)
    assert to_map((maps, "else")) is maps
    assert to_map([maps]) is maps
    assert to_map(Output()).shape == (2, 3, 2, 2)


@pytest.mark.parametrize(
    ("output", "named"),
    [
        (torch.zeros(2), "shape"),
        (torch.zeros(2, 1, 1, 1, 1), "shape"),
        (torch.zeros(2, 3, dtype=torch.int64), "int64"),
        ("text", "str"),
        (None, "NoneType"),
        ((), "tuple"),
        (("text",), "str"),
    ],
)
def test_what_is_no_feature_is_refused_by_its_kind(output, named):
    with pytest.raises(InputError, match=named):
        to_map(output)


def test_an_unknown_layout_is_refused():
    with pytest.raises(InputError, match="NHWC"):
        layout_of({"a": "channels_last"})
    assert layout_of(["a", "b"]) == {"a": "auto", "b": "auto"}


def test_shapes_are_checked_in_these_tests():
    teacher = Teacher("one", nn.Sequential(nn.Linear(3, 2)), layers=["0"], labels="ab")
    with pytest.raises(TypeCheckError):
        teacher(torch.zeros(2, 3))


# Taps


def test_a_tap_is_what_the_layer_put_out_before_a_relu_in_place():
    net = Pieces()
    images = torch.randn(2, 1, 6, 6)
    expected = net.stem(images)
    assert (expected < 0).any()
    _, features = forward("net", net, images, {"stem": "auto"})
    assert torch.equal(features["stem"], expected)


def test_hooks_live_for_one_call():
    net = Pieces()
    with tap("net", net, {"stem": "auto", "act": "auto"}):
        assert hooks(net) == 2
        net(torch.rand(2, 1, 6, 6))
    assert hooks(net) == 0


def test_hooks_are_gone_after_an_error_of_any_kind():
    net = Pieces()
    with pytest.raises(RuntimeError):
        forward("net", net, torch.rand(2, 7, 6, 6), {"stem": "auto"})
    assert hooks(net) == 0
    with pytest.raises(InputError), tap("net", net, {"stem": "auto", "nowhere": "auto"}):
        pass
    assert hooks(net) == 0
    with pytest.raises(InputError, match="more than once"):
        forward("net", net, torch.rand(2, 1, 6, 6), {"stem": "auto", "twice": "auto"})
    assert hooks(net) == 0


def test_a_module_that_runs_twice_has_no_one_feature():
    with pytest.raises(InputError, match="'twice' of net runs more than once"):
        forward("net", Pieces(), torch.rand(2, 1, 6, 6), {"twice": "auto"})


def test_a_layer_that_does_not_run_is_named():
    with pytest.raises(InputError, match=r"did not run in its forward: idle\."):
        forward("net", Pieces(), torch.rand(2, 1, 6, 6), {"stem": "auto", "idle": "auto"})


def test_features_come_in_the_order_asked_for():
    _, features = forward("net", Pieces(), torch.rand(2, 1, 6, 6), {"act": "auto", "stem": "auto"})
    assert list(features) == ["act", "stem"]


def test_tapping_leaves_gradients_alone():
    net = Pieces()
    images = torch.randn(2, 1, 6, 6)
    _, features = forward("student", net, images, {"stem": "auto"})
    features["stem"].square().sum().backward()
    grad = net.stem.weight.grad.clone()
    net.zero_grad()
    net.stem(images).square().sum().backward()
    assert torch.allclose(grad, net.stem.weight.grad)


def test_an_unknown_layer_lists_what_the_module_has():
    with pytest.raises(InputError, match=r"layers of 'one' not found: layer5\. The module has: stem, act, twice, idle"):
        Teacher("one", Pieces(), layers=["stem", "layer5"], labels="abcd")
    with pytest.raises(InputError, match="not found"):
        find_layers("net", Pieces(), [""])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module_is_refused():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(InputError, match="eager module"):
        Teacher("one", scripted, layers=["0"], labels="ab")
    with pytest.raises(InputError, match="eager module"):
        layers_of(scripted, torch.rand(1, 2))
    with pytest.raises(InputError, match="eager module"):
        Teacher("one", nn.Sequential(scripted), layers=["0"], labels="ab")


# The list of layers


def test_layers_are_listed_in_the_order_in_which_they_run(net):
    found = layers_of(net("tokens"), torch.rand(2, 3, 16, 16))
    names = [layer.name for layer in found]
    assert names.index("patches") < names.index("block1") < names.index("block2") < names.index("head")
    by_name = {layer.name: layer for layer in found}
    assert by_name["block1"].shape == (2, 17, 8)
    assert by_name["patches"].kind == "Conv2d"
    assert by_name["patches"].parameters == 8 * 3 * 16 + 8
    assert "block1" in repr(found)
    assert "2×17×8" in repr(found)


def test_every_listed_layer_can_be_named(net):
    images = torch.rand(2, 3, 16, 16)
    for kind in ("conv", "vector"):
        module = net(kind)
        for layer in layers_of(module, images):
            teacher = Teacher("one", module, layers=[layer.name], labels="abc")
            assert teacher(images).features[layer.name].ndim == 4


def test_listing_restores_modes_and_removes_its_hooks(net):
    module = net("tokens").train()
    module.block1.eval()
    modes = [part.training for part in module.modules()]
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    layers_of(module, torch.rand(2, 3, 16, 16))
    assert [part.training for part in module.modules()] == modes
    assert hooks(module) == 0
    with pytest.raises(InputError, match="7 channels"):
        layers_of(module, torch.rand(2, 7, 16, 16))
    assert [part.training for part in module.modules()] == modes
    assert hooks(module) == 0
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in weights.items())


def test_a_layer_without_a_tensor_is_listed_without_a_shape():
    class Dicts(nn.Module):
        def forward(self, images):
            return {"x": images}

    net = nn.Sequential(Dicts())
    assert layers_of(net, torch.rand(1, 2))[0].shape is None


# Logits


def test_logits_are_read_from_the_usual_outputs():
    logits = torch.rand(2, 3)

    class Output:
        pass

    output = Output()
    output.logits = logits
    for answer in (logits, output, {"logits": logits}, (logits, None), [logits]):
        assert logits_of(answer) is logits


@pytest.mark.parametrize("answer", ["text", None, {}, (), ("a",), {"logits": 3}])
def test_unreadable_answers_say_what_is_read(answer):
    with pytest.raises(InputError, match="read="):
        logits_of(answer)


def test_logits_must_be_one_row_an_image_and_one_column_a_label():
    assert read_logits("net", logits_of, torch.zeros(2, 3), 2, 3).shape == (2, 3)
    for answer in (torch.zeros(2), torch.zeros(3, 3), torch.zeros(2, 3, 1)):
        with pytest.raises(InputError, match=r"batch=2, label=3"):
            read_logits("net", logits_of, answer, 2, 3)
    with pytest.raises(InputError, match="4 logits for 3 labels"):
        read_logits("net", logits_of, torch.zeros(2, 4), 2, 3)
    with pytest.raises(InputError, match="gave str"):
        read_logits("net", lambda _output: "text", torch.zeros(2, 4), 2, 3)


# Nets of the libraries people bring


def amalgamate(teachers: list[Teacher], problem: Problem) -> None:
    """Two steps with these teachers."""
    mixed = Problem(teachers, problem.pool, problem.student)
    run = Run(mixed, "common_feature", steps=2, batch_size=8, width=4, blocks=1).advance(None)
    assert run.done
    assert all(np.isfinite(row["loss"]) for row in run.history())


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_nets_of_transformers_are_teachers(tiny_problem, vision_schemas):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    make = transformers.AutoModelForImageClassification.from_config
    vit = make(
        transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=16,
            patch_size=4, num_labels=2,
        )
    )  # fmt: skip
    resnet = make(
        transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
        )
    )
    teachers = [
        Teacher("vit", vit, layers=["vit.layers.0", "vit.layers.1"], labels="ab"),
        Teacher(
            "resnet", resnet, layers=["resnet.encoder.stages.0", "resnet.encoder"], labels="cde",
            preprocess=Preprocess(size=32, mean=(0.5,), std=(0.5,)),
        ),
    ]  # fmt: skip
    images = torch.rand(2, 3, 16, 16)
    outputs = teachers[0](images)
    assert outputs.logits.shape == (2, 2)
    assert outputs.features["vit.layers.1"].shape == (2, 16, 4, 4)
    with torch.no_grad():
        hidden = vit(pixel_values=images, output_hidden_states=True).hidden_states[1]
    assert torch.equal(outputs.features["vit.layers.0"].flatten(2).transpose(1, 2), hidden[:, 1:])
    assert teachers[1](images).features["resnet.encoder"].shape[:2] == (2, 16)
    amalgamate(teachers, tiny_problem(images=16, labels=False))


@pytest.mark.filterwarnings("default")
def test_nets_of_timm_are_teachers(tiny_problem, vision_schemas):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import timm
        except (ImportError, RuntimeError) as error:
            pytest.skip(f"timm cannot be imported: {error}")
    torch.manual_seed(0)
    vit = timm.create_model("test_vit", num_classes=2, img_size=32)
    resnet = timm.create_model("test_resnet", num_classes=3)
    size = Preprocess(size=32)
    teachers = [
        Teacher("vit", vit, layers=["blocks.0", "blocks"], labels="ab", preprocess=size),
        Teacher("resnet", resnet, layers=["layer1", "layer4"], labels="cde", preprocess=size),
    ]
    images = torch.rand(2, 3, 16, 16)
    outputs = teachers[0](images)
    assert outputs.logits.shape == (2, 2)
    assert outputs.features["blocks"].shape == (2, vit.embed_dim, 2, 2)
    assert teachers[1](images).features["layer4"].ndim == 4
    amalgamate(teachers, tiny_problem(images=16, labels=False))


def test_any_net_with_named_layers_is_a_student(net):
    labels = LabelSpace.of({"one": ("class", "ab"), "two": ("class", "c")})
    for kind, layers in (("conv", ["conv1", "conv2"]), ("tokens", ["block1"]), ("vector", ["hidden"])):
        student = Student.of(net(kind), layers=layers, labels=labels)
        outputs = student(torch.rand(2, 3, 16, 16))
        assert outputs.logits.shape == (2, 3)
        assert tuple(outputs.features) == student.layers == tuple(layers)
        assert student.feature_layer == layers[-1]
