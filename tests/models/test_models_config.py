from __future__ import annotations

import ast
import inspect
import itertools
from typing import Any

import pytest
from model_batches import AERIAL, DEM, PAN, S2, SPOT, small_config
from pydantic import BaseModel, ValidationError

from bocage.models import (
    AuxiliaryConfig,
    DecoderConfig,
    EncoderConfig,
    FusionConfig,
    InputConfig,
    NetworkConfig,
    TaskHead,
    TemporalConfig,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: EncoderConfig(name="swin_bse_patch4_window12_384"), "did you mean 'swin_base"),
        (lambda: EncoderConfig(name="convnett"), "Valid: convnet"),
        (lambda: EncoderConfig(name="resnet34.a1_in2k"), "did you mean 'a1_in1k'"),
        (lambda: EncoderConfig(weights="pretrained"), "'convnet' has no pretrained weights"),
        (lambda: EncoderConfig(weights="hub:a/b"), "'convnet' has no pretrained weights"),
        (lambda: EncoderConfig(name="vit_giant_patch16_gap_224", weights="pretrained"), "no hub"),
        (lambda: EncoderConfig(name="resnet34", weights="hub:resnet34"), "hub:OWNER/NAME"),
        (lambda: EncoderConfig(name="resnet34", weights="hub:a/b@"), "hub:OWNER/NAME"),
        (lambda: FusionConfig(name="gate"), "did you mean 'gated'"),
        (lambda: DecoderConfig(name="unet"), "unknown decoder 'unet'.*Valid: detail, upernet"),
        (lambda: DecoderConfig(pool_scales=(0, 2)), "must be 1 or more"),
        (lambda: TemporalConfig(width=7), "must be even"),
        (lambda: EncoderConfig(nmae="convnet"), "nmae"),
        (lambda: InputConfig(modality="SPOT_RGB"), "did you mean 'SPOT_RGBI'"),
        (
            lambda: InputConfig(modality=AERIAL, channels=("red", "ner")),
            "'ner'.*Valid: blue, green",
        ),
        (lambda: InputConfig(modality=AERIAL, channels=("red", "red")), "once each"),
        (lambda: InputConfig(modality=AERIAL, channels=()), "once each"),
        (lambda: InputConfig(modality=DEM, mean=(1.0,)), "1 values for 2 channels"),
        (lambda: InputConfig(modality=DEM, std=(1.0, 0.0)), "must be positive"),
        (lambda: InputConfig(modality=AERIAL, resolution_m=0), "resolution_m"),
        (lambda: small_config(()), "at least one input"),
        (lambda: small_config((AERIAL, "aerial")), "each input may be named once"),
        (lambda: small_config((AERIAL,), tasks=()), "at least one task"),
        (
            lambda: small_config((S2,), decoder=DecoderConfig(name="detail")),
            "every input is a series",
        ),
        (
            lambda: small_config((AERIAL,), tasks=[TaskHead(name="a", num_classes=2)] * 2),
            "task may",
        ),
        (lambda: small_config((AERIAL,), encoders={"elevation": EncoderConfig()}), "DEM_ELEV"),
        (lambda: small_config((AERIAL,), sensor_dropout={"DEM_ELEVE": 0.1}), "did you mean"),
        (lambda: small_config((AERIAL, DEM), sensor_dropout={DEM: 1.0}), "without 1"),
        (
            lambda: small_config((AERIAL, DEM), sensor_dropout={DEM: 0.6, AERIAL: 0.7}),
            "must always",
        ),
        (lambda: TaskHead(name="a.b", num_classes=3), "pattern"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(build: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()


def test_short_names_become_official_ones() -> None:
    config = small_config(
        ("aerial", "sentinel2"),
        encoders={"aerial": EncoderConfig(width=12)},
        sensor_dropout={"sentinel2": 0.2},
    )
    assert [i.modality for i in config.inputs] == [AERIAL, S2]
    assert config.encoder_of(AERIAL).width == 12
    assert config.sensor_dropout == {S2: 0.2}


CONVNET_LACKS = {"drop_path", "window", "new_channels"}
UPERNET_LACKS = {"decoder.detail_stride", "decoder.detail_width"}


def test_options_without_effect_are_named() -> None:
    one = small_config((AERIAL,)).ineffective()
    assert set(one) == {
        "temporal",
        "auxiliary.width",
        "sensor_dropout",
        *(f"encoder.{option}" for option in CONVNET_LACKS),
        *UPERNET_LACKS,
    }
    series = small_config((S2, "sentinel1-asc"), encoders={S2: EncoderConfig()}).ineffective()
    assert set(series) == {"encoder", f"encoders.{S2}", "auxiliary.width", *UPERNET_LACKS}
    own = small_config(
        (AERIAL, S2),
        encoders={AERIAL: EncoderConfig(name="resnet10t")},
        decoder=DecoderConfig(name="detail"),
        auxiliary=AuxiliaryConfig(enabled=True),
    ).ineffective()
    timm_lacks = ("width", "depth", "stem_stride", "window", "new_channels")
    assert set(own) == {"encoder", *(f"encoders.{AERIAL}.{option}" for option in timm_lacks)}


def test_what_an_encoder_is_given_decides_what_has_an_effect() -> None:
    def without_effect(channels: tuple[str, ...], **encoder: Any) -> set[str]:
        config = small_config(
            [InputConfig(modality=AERIAL, channels=channels), DEM],
            encoder=EncoderConfig(name="resnet10t"),
            encoders={AERIAL: EncoderConfig(**encoder)},
        )
        prefix = f"encoders.{AERIAL}."
        found = (path.removeprefix(prefix) for path in config.ineffective() if prefix in path)
        return set(found) - {"width", "depth", "stem_stride"}

    colours, infrared = ("blue", "red"), ("nir", "red")
    assert without_effect(colours, name="resnet10t") == {"window", "new_channels"}
    assert without_effect(infrared, name="resnet10t", weights="w") == {"window"}
    assert without_effect(colours, name="resnet10t", weights="w") == {"window", "new_channels"}
    assert without_effect(infrared, name="test_maxvit", weights="w") == set()
    assert without_effect(infrared, name="swinv2_tiny_window8_256") == {"new_channels"}
    assert without_effect(infrared, name="vit_tiny_patch16_224", weights="w") == {"window"}


def test_detail_is_no_finer_than_the_finest_image() -> None:
    detail = DecoderConfig(name="detail")
    assert small_config((AERIAL, SPOT), decoder=detail).detail_m == 0.4
    spot = small_config((SPOT, S2), decoder=detail)
    assert spot.detail_m == 1.6
    assert "1.6 m" in spot.ineffective()["decoder.detail_stride"]
    both = small_config((AERIAL, DEM, SPOT, PAN), decoder=detail)
    assert [given.modality for given in both.detail_inputs] == [AERIAL, DEM]


def _has_path(model: type[BaseModel], path: list[str]) -> bool:
    if not path:
        return True
    field = model.model_fields.get(path[0])
    if field is None:
        return False
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
        return _has_path(field.annotation, path[1:])
    return path[0] == "encoders" or len(path) == 1


@pytest.mark.parametrize("inputs", [(AERIAL,), (S2,), (AERIAL, S2)])
def test_ineffective_paths_exist(inputs: tuple[str, ...]) -> None:
    for path in small_config(inputs).ineffective():
        assert _has_path(NetworkConfig, path.split(".")), path


def test_every_option_is_explained() -> None:

    import bocage.models as models

    for config in (EncoderConfig, TemporalConfig, FusionConfig, DecoderConfig, AuxiliaryConfig,
                   InputConfig, NetworkConfig, TaskHead, models.BundleMeta):  # fmt: skip
        body = ast.parse(inspect.getsource(config)).body[0].body  # type: ignore[attr-defined]
        for statement, following in itertools.pairwise(body):
            if isinstance(statement, ast.AnnAssign):
                assert isinstance(following, ast.Expr), f"{config.__name__}: {statement.lineno}"
