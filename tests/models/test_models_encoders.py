from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
import timm
import torch
from encoder_zoo import DINOV3_VIT, FAMILIES, SWIN, SWIN_V2, awake
from hub_server import LoopbackHub
from safetensors.torch import save, save_file
from torch import Tensor, nn

from bocage.errors import ConfigError, DataError
from bocage.models import EncoderConfig
from bocage.models.encoders import COLOURS, build_encoder
from bocage.models.encoders.weights import HUB_FILE, first_convolution

pytestmark = pytest.mark.unit


def names(count: int) -> list[str]:
    return ["nir", *COLOURS, *(f"band{i}" for i in range(count))][:count]


def whole_model(name: str, channels: int = 3, seed: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(name, in_chans=channels)


def file_of(model: nn.Module, path: Path) -> str:
    save_file(model.state_dict(), path)
    return str(path)


def first_layer(module: nn.Module) -> Tensor:
    return next(m.weight for m in module.modules() if isinstance(m, nn.Conv2d))


# -- shapes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 5, 10])
@pytest.mark.parametrize("family", FAMILIES)
def test_any_size_and_channel_count(family: str, channels: int) -> None:
    encoder = build_encoder(FAMILIES[family], names(channels)).eval()
    assert encoder.strides == (4, 8, 16, 32)
    for height, width in [(70, 33), (5, 64)]:
        with torch.no_grad():
            maps = encoder(torch.randn(1, channels, height, width))
        for values, count, stride in zip(maps, encoder.channels, encoder.strides, strict=True):
            assert values.shape == (1, count, -(-height // stride), -(-width // stride))


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_convnet_starts_as_fine_as_it_is_told(stem_stride: int) -> None:
    encoder = build_encoder(EncoderConfig(width=8, stem_stride=stem_stride), COLOURS)
    assert encoder.strides == tuple(stem_stride * 2**i for i in range(4))
    assert encoder(torch.randn(2, 3, 9, 9))[0].shape[-1] == -(-9 // stem_stride)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("swin_base_patch4_window12_384", 86.9),
        ("swinv2_tiny_window8_256", 27.6),
        ("swinv2_base_window16_256", 86.9),
        ("convnextv2_tiny", 27.9),
        ("convnextv2_base", 87.7),
        ("convnextv2_large", 196.4),
        ("maxvit_tiny_tf_512", 30.3),
        ("maxvit_base_tf_512", 118.5),
        ("maxvit_rmlp_small_rw_224", 64.1),
        ("maxxvitv2_rmlp_base_rw_384", 115.1),
        ("vit_small_patch16_dinov3", 22.6),
        ("vit_base_patch16_dinov3", 89.7),
        ("vit_large_patch16_dinov3.sat493m", 310.2),
        ("convnext_tiny.dinov3_lvd1689m", 27.8),
        ("convnext_large.dinov3_lvd1689m", 196.2),
        ("vit_base_patch14_dinov2", 90.6),
        ("resnet34", 21.3),
    ],
)
def test_the_encoders_that_the_page_names_exist(name: str, millions: float) -> None:
    with torch.device("meta"):
        encoder = build_encoder(EncoderConfig(name=name), ("red", "green", "blue", "nir"))
    assert len(encoder.strides) == 4
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


def test_what_has_no_pyramid_or_one_size_only_is_refused(tmp_path: Path) -> None:
    for name, message in [
        ("convmixer_768_32", "one scale only"),
        ("coatnet_nano_rw_224", "224 x 224 pixels and no other"),
        ("hiera_tiny_224", "224 x 224 pixels and no other"),
        ("beitv2_base_patch16_224", "224 x 224 pixels and no other"),
    ]:
        with torch.device("meta"), pytest.raises(ConfigError, match=message):
            build_encoder(EncoderConfig(name=name), COLOURS)
    with torch.device("meta"), pytest.raises(ConfigError, match=r"cannot be built.*drop_path"):
        build_encoder(EncoderConfig(name="vgg11", drop_path=0.1), COLOURS)
    path = file_of(whole_model("test_byobnet"), tmp_path / "w.safetensors")
    given = EncoderConfig(name="vgg11", drop_path=0.1, weights=path)
    with pytest.raises(ConfigError, match=r"cannot be built.*drop_path"):
        build_encoder(given, COLOURS)
    with pytest.raises(ConfigError, match="no attention windows"):
        build_encoder(EncoderConfig(name="test_resnet", window=8), COLOURS)


def test_windows_divide_what_they_cut() -> None:
    for window, multiple in [(2, 64), (5, 160)]:
        encoder = build_encoder(EncoderConfig(name="test_maxvit", window=window), COLOURS)
        assert encoder.multiple == multiple
    sizes = set()
    for module in build_encoder(EncoderConfig(name=SWIN, window=4), COLOURS).modules():
        if hasattr(module, "shift_size"):
            sizes.add((module.window_size, module.shift_size))
    assert sizes == {((4, 4), (0, 0)), ((4, 4), (2, 2))}


@pytest.mark.parametrize("name", [SWIN, SWIN_V2, "swinv2_cr_tiny_ns_224"])
def test_shifted_windows_do_not_reach_from_edge_to_edge(name: str) -> None:
    """Windows of 7 cells on a map of 16: the last ones hang over."""
    torch.manual_seed(0)
    options = {} if "cr" in name else {"window": 7}
    encoder = awake(build_encoder(EncoderConfig(name=name, **options), COLOURS)).eval()
    image = torch.randn(1, 3, 128, 128)
    changed = image.clone()
    changed[..., -8:, :] = 0
    with torch.no_grad():
        difference = (encoder(image)[1] - encoder(changed)[1]).abs().amax((0, 1, 3))
    assert difference[-1] > 1e-4
    assert difference[:2].max() == 0


def test_stochastic_depth_is_passed_on() -> None:
    encoder = build_encoder(EncoderConfig(name=SWIN, drop_path=0.2), COLOURS).train()
    image = torch.randn(4, 3, 32, 32)
    assert not torch.equal(encoder(image)[-1], encoder(image)[-1])


@pytest.mark.parametrize("name", [DINOV3_VIT, "test_vit"])
@pytest.mark.parametrize("hw", [(64, 64), (32, 96)])
def test_a_plain_transformer_knows_where_things_are(name: str, hw: tuple[int, int]) -> None:
    """Without positions, exchanging two halves of an image would exchange those of the map."""
    torch.manual_seed(0)
    encoder = awake(build_encoder(EncoderConfig(name=name), COLOURS)).eval()
    for part, parameter in encoder.named_parameters():
        if "qkv" in part:
            nn.init.normal_(parameter)  # at first everything is attended to alike
    image = torch.randn(1, 3, *hw)
    with torch.no_grad():
        seen, swapped = (encoder(x)[2] for x in (image, image.roll(hw[1] // 2, dims=3)))
    width = seen.shape[-1] // 2
    assert (swapped.roll(width, dims=3) - seen).abs().max() > 1e-3


# -- the first layer -------------------------------------------------------------------------------


def gray_response(weight_OCHW: Tensor) -> Tensor:
    return weight_OCHW.sum((1, 2, 3))


@pytest.mark.parametrize(
    "channels",
    [
        ("panchromatic",),
        ("dtm", "height"),
        ("red", "green", "blue", "nir"),
        ("nir", "blue", "red", "green"),
        ("coastal", "blue", "green", "red", "nir"),
        ("blue", "green", "red", *(f"b{i}" for i in range(7))),
    ],
    ids=len,
)
def test_known_colours_keep_their_filters_and_grey_its_response(channels: Sequence[str]) -> None:
    pretrained = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    made = first_convolution(pretrained, channels, "mean")
    assert made.shape == (8, len(channels), 4, 4)
    scale = 3 / len(channels)
    for place, name in enumerate(channels):
        expected = pretrained.mean(1)
        if name in COLOURS:
            expected = pretrained[:, COLOURS.index(name)]
        torch.testing.assert_close(made[:, place], expected * scale)
    torch.testing.assert_close(gray_response(made), gray_response(pretrained))


def test_zero_leaves_the_colours_as_they_were() -> None:
    pretrained = torch.randn(8, 3, 4, 4)
    made = first_convolution(pretrained, ("nir", "red", "green", "blue"), "zero")
    assert torch.equal(made[:, 1:], pretrained)
    assert not made[:, 0].any()
    swapped = first_convolution(pretrained, ("blue", "green", "red"), "mean")
    assert torch.equal(swapped, pretrained.flip(1))


def test_with_zero_the_network_starts_as_the_pretrained_one(tmp_path: Path) -> None:
    path = file_of(whole_model("test_resnet"), tmp_path / "w.safetensors")
    plain = EncoderConfig(name="test_resnet", weights=path)
    known = build_encoder(plain, COLOURS).eval()
    four = plain.model_copy(update={"new_channels": "zero"})
    wider = build_encoder(four, ("nir", "blue", "green", "red")).eval()
    image = torch.randn(1, 3, 40, 40)
    other = torch.cat([torch.randn(1, 1, 40, 40), image.flip(1)], dim=1)
    with torch.no_grad():
        for one, same in zip(known(image), wider(other), strict=True):
            torch.testing.assert_close(one, same)
    with pytest.raises(ConfigError, match=r"none of the channels \(dtm, height\)"):
        build_encoder(four, ("dtm", "height"))


# -- weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "convnet"])
def test_weights_from_a_file(family: str, tmp_path: Path) -> None:
    """All of it arrives, and the first layer by the names of the channels."""
    config = FAMILIES[family]
    source = whole_model(config.name)
    path = file_of(source, tmp_path / "w.safetensors")
    given = config.model_copy(update={"weights": path})
    loaded = build_encoder(given, ("nir", "red", "green", "blue"))
    first = first_layer(source)
    torch.testing.assert_close(first_layer(loaded)[:, 1:], first * 3 / 4)
    torch.testing.assert_close(first_layer(loaded)[:, 0], first.mean(1) * 3 / 4)
    torch.manual_seed(11)
    fresh = dict(build_encoder(config, ("nir", "red", "green", "blue")).named_parameters())
    unloaded = [
        name
        for name, parameter in loaded.named_parameters()
        if len(parameter.unique()) > 1 and torch.equal(parameter, fresh[name])
    ]
    assert unloaded == []
    # Nothing of the source is kept beside the network.
    kept = [m for m in loaded.modules() if "state_dict" in (getattr(m, "pretrained_cfg", 0) or {})]
    assert kept == []


def test_tables_are_resized_for_another_window(tmp_path: Path) -> None:
    source = whole_model(SWIN)
    path = file_of(source, tmp_path / "w.safetensors")
    made = build_encoder(EncoderConfig(name=SWIN, weights=path, window=4), COLOURS)
    table = "layers_0.blocks.0.attn.relative_position_bias_table"
    assert made.backbone.state_dict()[table].shape == (7 * 7, 1)
    own = source.state_dict()["layers.0.blocks.0.attn.relative_position_bias_table"]
    centre = own.view(13, 13)[6, 6]
    torch.testing.assert_close(made.backbone.state_dict()[table].view(7, 7)[3, 3], centre)


def test_a_file_of_the_same_channels_is_taken_as_it_is(tmp_path: Path) -> None:
    source = whole_model("test_resnet", channels=5)
    path = file_of(source, tmp_path / "w.safetensors")
    config = EncoderConfig(name="test_resnet", weights=path)
    assert torch.equal(first_layer(build_encoder(config, names(5))), first_layer(source))
    with pytest.raises(DataError, match="made for 5 channels, and the image has 4"):
        build_encoder(config, names(4))


def test_convnet_from_an_earlier_one(tmp_path: Path) -> None:
    source = build_encoder(EncoderConfig(width=8), names(4))
    path = file_of(source.backbone, tmp_path / "w.safetensors")
    loaded = build_encoder(EncoderConfig(width=8, weights=path), names(4))
    for one, other in zip(source.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(DataError, match="cannot be used for encoder 'convnet'"):
        build_encoder(EncoderConfig(width=8, weights=path), names(3))


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    resnet = whole_model("test_resnet").state_dict()
    convnet = build_encoder(EncoderConfig(width=8), COLOURS).backbone.state_dict()
    files = {
        "another family": whole_model("test_convnext").state_dict(),
        "our own": convnet,
        "one tensor short": {k: v for k, v in resnet.items() if "layer3.0.conv1" not in k},
        "one tensor more": resnet | {"layer9.weight": torch.zeros(2)},
        "another width": resnet | {"layer1.0.conv1.weight": torch.zeros(2, 2, 3, 3)},
    }
    for what, tensors in files.items():
        path = tmp_path / f"{what}.safetensors"
        save_file(tensors, path)
        config = EncoderConfig(name="test_resnet", weights=str(path))
        with pytest.raises(DataError, match=f"{what}.*cannot be used for encoder 'test_resnet'"):
            build_encoder(config, COLOURS)
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"not weights")
    for path in (garbage, tmp_path / "none.safetensors"):
        for name in ("test_resnet", "convnet"):
            with pytest.raises(DataError, match=f"cannot be used for encoder '{name}'"):
                build_encoder(EncoderConfig(name=name, weights=str(path)), COLOURS)


# -- hubs ------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with LoopbackHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_pretrained_weights_come_from_the_hub(hub: LoopbackHub) -> None:
    source = whole_model("test_resnet")
    content = save(source.state_dict())
    for repository in ("timm/test_resnet.r160_in1k", "someone/mine"):
        hub.add_repo(repository, {HUB_FILE: content, "config.json": b"{}"})
    for weights in ("pretrained", "hub:someone/mine", "hub:someone/mine@main"):
        config = EncoderConfig(name="test_resnet", weights=weights)
        loaded = build_encoder(config, ("blue", "green", "red"))
        assert torch.equal(first_layer(loaded), first_layer(source).flip(1)), weights
    assert len(hub.sent(HUB_FILE)) == 2
    # What is in the cache serves without a hub.
    hub.go_away()
    build_encoder(EncoderConfig(name="test_resnet", weights="pretrained"), COLOURS)


def test_hubs_that_do_not_deliver(hub: LoopbackHub) -> None:
    def refused(weights: str, kind: type[Exception], message: str) -> None:
        config = EncoderConfig(name="test_resnet", weights=weights)
        with pytest.raises(kind, match=message) as caught:
            build_encoder(config, COLOURS)
        assert f"encoder 'test_resnet', weights={weights}" in str(caught.value)
        assert "weights=none" in str(caught.value)

    hub.add_repo("someone/empty", {"README.md": b"nothing"})
    refused("hub:someone/nobody", ConfigError, "not found on http")
    refused("hub:someone/empty@v9", ConfigError, "no such revision")
    refused("hub:someone/empty", DataError, f"holds no {HUB_FILE}")
    hub.add_repo("someone/other", {HUB_FILE: save(whole_model("test_convnext").state_dict())})
    with pytest.raises(DataError, match="weights=hub:someone/other: cannot be used for encoder"):
        build_encoder(EncoderConfig(name="test_resnet", weights="hub:someone/other"), COLOURS)
    hub.go_away()
    refused("pretrained", DataError, "127.0.0.1")


def test_no_hub_is_asked_unless_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for config in FAMILIES.values():
        build_encoder(config, names(4))
    asked = EncoderConfig(name="test_resnet", weights="pretrained")
    build_encoder(asked, names(4), load_pretrained=False)
