from __future__ import annotations

import pytest
import timm
import torch
from published_cases import AERIAL, COVER, CROPS, S2, small
from pydantic import ValidationError

from bocage.errors import ConfigError
from bocage.models.published import (
    ARCHITECTURES,
    ZOO,
    PublishedConfig,
    PublishedNetwork,
    build_empty,
    count,
    get_architecture,
    parts,
    published_config,
    published_input,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", ZOO)
def test_counts_are_those_that_the_paper_prints(name: str) -> None:
    entry = ZOO[name]
    counts = count(published_config(name))
    assert counts.held == entry.parameters
    # The paper rounds to one decimal, LPIS-J down.
    assert counts.published / 1e6 == pytest.approx(entry.published_millions, abs=0.06)
    assert counts.inference < counts.held < counts.held_with_auxiliary


def test_there_are_24_of_them() -> None:
    assert len(ZOO) == 24
    assert [len(ZOO[name].inputs) for name in ("LC-A", "LC-L", "LC-ALL", "LPIS-J")] == [1, 6, 7, 5]


@pytest.mark.parametrize(
    ("architecture", "encoder", "fusion", "decoder"),
    [
        ("swin_tiny", 27_517_818, 784_800, 1_898_067),
        ("convnextv2_tiny-unet", 27_864_960, 784_800, 4_112_771),
        ("resnet34-unet", 21_284_672, 353_292, 3_154_307),
        ("swin_base", 86_876_536, 1_394_560, 2_545_747),
    ],
)
def test_counts_of_other_architectures(
    architecture: str, encoder: int, fusion: int, decoder: int
) -> None:
    counts = count(published_config("LC-A", architecture))
    assert (counts.encoders, counts.fusion, counts.decoders) == (encoder, fusion, decoder)


def test_every_architecture_can_be_built() -> None:
    for name in ARCHITECTURES:
        network = build_empty(published_config("LC-A", name))
        assert next(iter(network.state_dict())).startswith("encoders.AERIAL_RGBI.seg_model.")


def test_both_tasks_and_auxiliary_decoders() -> None:
    network = build_empty(published_config("LC-D", "swin_tiny", auxiliary=True, both_tasks=True))
    assert list(network.main_decoders) == [COVER.name, CROPS.name]
    assert list(network.aux_decoders) == [
        f"{AERIAL}__{COVER.name}",
        f"{S2}__{COVER.name}",
        f"{AERIAL}__{CROPS.name}",
        f"{S2}__{CROPS.name}",
    ]
    total = sum(p.numel() for p in network.parameters())
    assert total == 37_928_321


def test_temporal_widths_follow_the_number_of_levels() -> None:
    assert published_config("LC-G").series_widths == ((64, 64, 64, 128), (32, 32, 64, 128))
    assert published_config("LC-D").series_widths == ((64, 64, 128, 128),) * 2
    assert small(AERIAL, S2).series_widths == ((64, 64, 64, 128, 128, 128),) * 2
    assert published_config("LC-G").series_head == (32, 19)
    assert published_config("LPIS-F").series_head == (32, 19, 23)
    assert published_config("LPIS-F", both_tasks=True).series_head == (32, 19, 42)


def test_windows_shrink_with_the_image() -> None:
    state = build_empty(published_config("LC-I")).state_dict()
    sides = [
        state[
            f"encoders.SPOT_RGBI.seg_model.model.layers_{i}.blocks.0.attn."
            "relative_position_bias_table"
        ].shape[0]
        for i in range(4)
    ]
    assert sides == [(2 * window - 1) ** 2 for window in (12, 8, 4, 2)]


def test_parts_describe_every_stage() -> None:
    found = {p.name: p for p in parts(build_empty(published_config("LC-L", auxiliary=True)))}
    aerial = found["encoders.AERIAL_RGBI"]
    assert (aerial.takes, aerial.gives) == (
        "3x512x512",
        "128x128x128, 256x64x64, 512x32x32, 1024x16x16",
    )
    assert found["encoders.SENTINEL2_TS"].gives == "128x10x10, 128x10x10, 64x10x10, 64x10x10"
    assert found["fusion_handler.conv_f"].takes == "768, 1152, 1728, 3264"
    assert sum(p.parameters for p in found.values()) == 280_987_923
    one = {p.name: p for p in parts(build_empty(published_config("LC-G")))}
    assert one["fusion_handler.conv_f"].gives == "not used"


def test_nothing_is_fetched_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    create = timm.create_model

    def spy(name: str, **options: object) -> object:
        asked.append(options.pop("pretrained"))
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", spy)
    config = small(AERIAL)
    with torch.device("meta"):
        PublishedNetwork(config)
        PublishedNetwork(config.model_copy(update={"weights": "pretrained"}), load_pretrained=False)
        PublishedNetwork(config.model_copy(update={"weights": "pretrained"}))
    assert asked == [False, False, True]


@pytest.mark.parametrize(
    "short", ["swin_base", "swin_base-upernet", "swin_base_patch4_window12_384"]
)
def test_architectures_by_short_name(short: str) -> None:
    assert get_architecture(short).name == "swin_base_patch4_window12_384-upernet"


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean 'LC-L'"):
        published_config("LC-l")
    with pytest.raises(ConfigError, match="did you mean 'swin_tiny-upernet'"):
        published_config("LC-A", "swin_tinny-upernet")
    with pytest.raises(ConfigError, match="unknown input of LC-A 'SPOT_RGBI'"):
        published_config("LC-A", channels={"spot": ("red",)})
    with pytest.raises(ConfigError, match="did you mean 'red'"):
        published_config("LC-A", channels={"aerial": ("redd",)})


def test_inputs_are_kept_in_the_published_order() -> None:
    config = PublishedConfig(
        inputs=(published_input("sentinel2"), published_input("aerial")), tasks=(COVER,)
    )
    assert [given.modality for given in config.inputs] == [AERIAL, S2]
    with pytest.raises(ValidationError, match="unknown input"):
        PublishedConfig(inputs=(published_input("height"),), tasks=(COVER,))
    with pytest.raises(ValidationError, match="may be named once"):
        PublishedConfig(inputs=config.inputs[:1] * 2, tasks=(COVER,))
    with pytest.raises(ValidationError, match="input in auxiliary"):
        PublishedConfig(inputs=config.inputs, tasks=(COVER,), auxiliary=("SPOT_RGBI",))
