"""The baselines: every variant, what a sample may lack, and whom it may not see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from flair_cases import (
    AERIAL,
    COVER,
    EVERYTHING,
    HEIGHT,
    METADATA,
    PHOTOGRAPHS,
    SERIES,
    VARIANTS,
    acquisition,
    built,
    config_of,
    make_batch,
    row_of,
    without,
)
from pydantic import TypeAdapter, ValidationError

from bocage.errors import DataError
from bocage.losses import CompositeLoss, LossConfig
from bocage.models import (
    AnyNetworkConfig,
    BundleMeta,
    InputConfig,
    NetworkConfig,
    TaskHead,
    load_bundle,
    save_bundle,
)
from bocage.models.flair import FlairConfig, FlairNetwork
from bocage.models.flair.fusion import Collapsed, Grid, above_patch
from bocage.models.flair.metadata import SIZE, AcquisitionEncoding
from bocage.nomenclatures import FLAIR_12
from bocage.training.bundling import bundle_tasks

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def complete() -> FlairNetwork:
    """The network with every branch, in eval mode, its normalisations past their first batch."""
    network = built(EVERYTHING)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network(**make_batch(samples=4, seed=9))
    return network.eval()


def _logits(network: FlairNetwork, batch: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        return network(**batch).logits[COVER]


@pytest.mark.parametrize("names", VARIANTS, ids=["unet", "metadata", "utt", "all"])
def test_forward_and_backward(names: Sequence[str]) -> None:
    network = built(names)
    batch = make_batch(names)
    output = network(**batch)
    assert output.logits[COVER].shape == (2, 13, 64, 64)
    assert output.logits[COVER].min() < 0
    assert list(output.auxiliary) == ([SERIES] if SERIES in names else [])
    target = {COVER: torch.randint(0, 12, (2, 64, 64), dtype=torch.uint8)}
    loss, parts = CompositeLoss([FLAIR_12], LossConfig(auxiliary_weight=1.0))(
        output.logits, target, output.auxiliary, output.auxiliary_present
    )
    loss.backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None]
    assert idle == []
    if SERIES in names:
        assert parts["total"] == pytest.approx(
            float(parts["land-cover-12"] + parts[f"auxiliary/{SERIES}/land-cover-12"]), rel=1e-5
        )


def test_the_auxiliary_branch_predicts_from_the_series_alone() -> None:
    network = built((*PHOTOGRAPHS, SERIES))
    batch = make_batch((*PHOTOGRAPHS, SERIES))
    own = network(**batch).auxiliary[SERIES][COVER]
    assert own.shape == (2, 13, 16, 16)
    own.square().mean().backward()
    touched = {
        name.split(".")[0]
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    assert touched == {"series"}
    assert network.eval()(**batch).auxiliary == {}
    assert built((*PHOTOGRAPHS, SERIES), auxiliary=False).train()(**batch).auxiliary == {}


@pytest.mark.parametrize("hw", [(50, 70), (64, 96), (33, 64)])
def test_odd_sizes_and_one_sample(complete: FlairNetwork, hw: tuple[int, int]) -> None:
    out = _logits(complete, make_batch(samples=1, hw=hw))
    assert out.shape == (1, 13, *hw)
    assert torch.isfinite(out).all()


def test_one_sample_trains() -> None:
    network = built(EVERYTHING)
    network(**make_batch(samples=1)).logits[COVER].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_a_sample_sees_neither_neighbours_nor_padding(complete: FlairNetwork) -> None:
    batch = make_batch(samples=3, dates=5)
    for part in ("series", "series_valid"):
        batch[part][SERIES][1, 2:] = 0
    batch["dates_present"][SERIES][1, 2:] = False
    together = _logits(complete, batch)
    alone = _logits(complete, row_of(batch, 1, dates=2))
    torch.testing.assert_close(together[1:2], alone, atol=2e-4, rtol=1e-4)
    # Whatever stands under a mask: numbers, and days that make no sense.
    batch["series"][SERIES][1, 2:] = 7
    batch["days"][SERIES][1, 2:] = 5000
    torch.testing.assert_close(_logits(complete, batch), together)
    # The original gives every sample the first one's context.
    other = make_batch(samples=3, dates=5, seed=3)
    for part in ("series", "series_valid", "days", "dates_present"):
        batch[part][SERIES][0] = other[part][SERIES][0]
    changed = _logits(complete, batch)
    torch.testing.assert_close(changed[1:], together[1:], atol=2e-4, rtol=1e-4)
    assert (changed[0] - together[0]).abs().max() > 1e-3


@pytest.mark.parametrize("name", [METADATA, SERIES])
def test_what_a_sample_lacks_adds_nothing_to_it(complete: FlairNetwork, name: str) -> None:
    batch = make_batch()
    full = _logits(complete, batch)
    partly = _logits(complete, without(batch, name, [1]))
    torch.testing.assert_close(partly[0], full[0], atol=2e-4, rtol=1e-4)
    assert (partly[1] - full[1]).abs().max() > 1e-4
    nowhere = _logits(complete, without(batch, name, [0, 1]))
    torch.testing.assert_close(nowhere[1], partly[1], atol=2e-4, rtol=1e-4)


def test_a_series_without_a_usable_date_is_absent(complete: FlairNetwork) -> None:
    batch = make_batch()
    blind = {**batch, "series_valid": {SERIES: batch["series_valid"][SERIES].clone()}}
    blind["series_valid"][SERIES][1] = False
    expected = _logits(complete, without(batch, SERIES, [1]))
    torch.testing.assert_close(_logits(complete, blind), expected)


@pytest.mark.parametrize("name", [METADATA, SERIES])
def test_every_parameter_has_a_gradient_when_a_branch_is_idle(name: str) -> None:
    network = built(EVERYTHING)
    output = network(**without(make_batch(), name, [0, 1]))
    assert SERIES in output.auxiliary or name == SERIES
    output.logits[COVER].sum().backward()
    # The loss of the series' own logits, where there are any, would reach their heads.
    own = [] if name == SERIES else [f"series.heads.{COVER}.{part}" for part in ("weight", "bias")]
    assert [n for n, p in network.named_parameters() if p.grad is None] == own


def test_sensor_dropout_hides_a_whole_branch() -> None:
    network = built((*PHOTOGRAPHS, SERIES), sensor_dropout={SERIES: 0.999})
    batch = make_batch((*PHOTOGRAPHS, SERIES), samples=2)
    assert network.train()(**batch).auxiliary == {}
    untouched = built((*PHOTOGRAPHS, SERIES), sensor_dropout={SERIES: 0.0})
    assert list(untouched.train()(**batch).auxiliary) == [SERIES]


def test_photographs_are_never_absent(complete: FlairNetwork) -> None:
    batch = make_batch()
    with pytest.raises(DataError, match="AERIAL_HEIGHT: absent from 1 of 2 samples"):
        complete(**without(batch, HEIGHT, [0]))
    with pytest.raises(DataError, match="AERIAL_RGBI: absent from 2 of 2 samples"):
        complete(**without(batch, AERIAL, [0, 1]))
    del batch["present"][SERIES]
    with pytest.raises(DataError, match=r"wanted by the network, 'SENTINEL2_SUPERPATCH'"):
        complete(**batch)


def test_sizes_that_do_not_match_are_refused(complete: FlairNetwork) -> None:
    batch = make_batch()
    batch["images"][HEIGHT] = batch["images"][HEIGHT][..., :32, :32]
    batch["valid"][HEIGHT] = batch["valid"][HEIGHT][..., :32, :32]
    with pytest.raises(DataError, match="AERIAL_HEIGHT: 32 x 32 px for labels of 64 x 64 px"):
        complete(**batch)
    batch = make_batch()
    for part in ("series", "series_valid"):
        batch[part][SERIES] = batch[part][SERIES][..., :20]
    with pytest.raises(DataError, match=r"SUPERPATCH: 40 x 20 px.*multiples of 8 px"):
        complete(**batch)
    batch = make_batch(hw=(64, 1024))
    for part in ("series", "series_valid"):
        batch[part][SERIES] = batch[part][SERIES][..., :16, :16]
    with pytest.raises(DataError, match=r"covers 160 x 160 m, less than the patch of 12.8 x 204.8"):
        complete(**batch)


def test_bfloat16(complete: FlairNetwork) -> None:
    batch = make_batch()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        half = complete(**batch).logits[COVER]
    full = _logits(complete, batch)
    assert half.dtype == torch.float32
    assert (half - full).abs().mean() < 0.05 * full.std()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_export(complete: FlairNetwork) -> None:
    batch = make_batch()
    program = torch.export.export(complete, (), batch)
    lacking = make_batch(seed=4)
    lacking["present"][METADATA][0] = False
    lacking["present"][SERIES][0] = False
    lacking["dates_present"][SERIES][1, 2:] = False
    for given in (batch, lacking):
        with torch.no_grad():
            theirs = program.module()(**given).logits[COVER]
        torch.testing.assert_close(theirs, _logits(complete, given), atol=1e-3, rtol=1e-3)


def test_a_bundle_gives_the_network_back(complete: FlairNetwork, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    meta = BundleMeta(network=complete.config, tasks=bundle_tasks([FLAIR_12]), tile_px=512)
    save_bundle(path, complete, meta)
    bundle = load_bundle(path)
    assert isinstance(bundle.network, FlairNetwork)
    assert bundle.meta.network == complete.config
    assert [c.scored for c in bundle.meta.tasks[0].classes] == [True] * 12 + [False]
    batch = make_batch()
    torch.testing.assert_close(_logits(bundle.network, batch), _logits(complete, batch))


# ---- Parts -------------------------------------------------------------------------------------


def test_cells_get_what_lies_above_them() -> None:
    # The map's value is the distance from its centre in metres: cells must find their own.
    line_m = (torch.arange(40) - 19.5) * 10
    x_BCHW = torch.stack([line_m.view(-1, 1).expand(40, 40), line_m.expand(40, 40)])[None]
    grid = Grid((64, 96), 1.6, (102.4, 153.6))
    rows_m, columns_m = above_patch(x_BCHW, 10.0, grid)[0]
    torch.testing.assert_close(rows_m[:, 0], (torch.arange(64) + 0.5) * 1.6 - 51.2)
    torch.testing.assert_close(columns_m[0], (torch.arange(96) + 0.5) * 1.6 - 76.8)


def test_context_turns_with_the_patch() -> None:
    x_BCHW = torch.rand(1, 3, 40, 40)
    grid = Grid((32, 32), 3.2, (102.4, 102.4))
    turned = above_patch(x_BCHW.rot90(1, (2, 3)), 10.0, grid)
    torch.testing.assert_close(turned, above_patch(x_BCHW, 10.0, grid).rot90(1, (2, 3)))


def test_context_leaves_out_what_was_never_seen() -> None:
    torch.manual_seed(0)
    collapsed = Collapsed(4, [6, 4]).eval()
    x_BCHW = torch.rand(2, 4, 8, 8)
    seen_BHW = torch.ones(2, 8, 8, dtype=torch.bool)
    seen_BHW[0, :3] = False
    first = collapsed(x_BCHW, seen_BHW)
    x_BCHW[0, :, :3] = 99.0
    for one, other in zip(first, collapsed(x_BCHW, seen_BHW), strict=True):
        torch.testing.assert_close(one, other)
        assert one.shape[2:] == (1, 1)


def test_acquisitions_that_differ_are_encoded_differently() -> None:
    encode = AcquisitionEncoding()
    usual = encode(acquisition().flatten()[None])
    assert usual.shape == (1, SIZE)
    changes: dict[str, Sequence[float]] = {
        "month": range(1, 13),  # in the original's encoding all twelve are one
        "day": range(1, 32),
        "minute": (0, 360, 720, 1080),
        "year": (2018, 2019, 2020, 2021),
        "camera": (0, 1),
        "x_m": (1.5e5, 9.0e5, 9.05e5, 1.2e6),
        "y_m": (6.1e6, 6.3e6, 6.305e6, 7.1e6),
        "altitude_m": (-1.0, 250.0, 3000.0),
    }
    for name, values in changes.items():
        rows = [acquisition(**{name: value}).flatten() for value in values]
        encoded = encode(torch.stack(rows))
        assert encoded.abs().max() <= 1.001
        distances = torch.cdist(encoded, encoded) + torch.eye(len(rows))
        assert distances.min() > 0.05, name
    assert torch.cdist(encode(acquisition(month=12, day=31).flatten()[None]),
                       encode(acquisition(month=1, day=1).flatten()[None])) < 0.8  # fmt: skip


# ---- Configuration -----------------------------------------------------------------------------


def test_statistics_are_the_challenges_own() -> None:
    aerial, height = config_of(PHOTOGRAPHS).images
    assert aerial.statistics[0] == (105.08, 110.87, 101.82, 106.38)
    assert height.statistics == (pytest.approx((10.652,)), pytest.approx((15.86,)))


@pytest.mark.parametrize(
    ("names", "options", "finding"),
    [
        ((METADATA, SERIES), {}, "need a photograph"),
        ((AERIAL, "SPOT_RGBI"), {}, "SPOT_RGBI has pixels of 1.6 m"),
        ((AERIAL, "SENTINEL2_TS"), {}, "take no series but SENTINEL2_SUPERPATCH"),
        ((AERIAL, AERIAL), {}, "each input may be named once"),
        ((AERIAL,), {"sensor_dropout": {AERIAL: 0.5}}, "AERIAL_RGBI is never hidden"),
        ((AERIAL, SERIES), {"sensor_dropout": {AERIAL: 0.5}}, "Valid: SENTINEL2_SUPERPATCH"),
        ((AERIAL, SERIES), {"sensor_dropout": {SERIES: 1.0}}, "up to but without 1"),
    ],
)
def test_impossible_networks_are_refused(
    names: Sequence[str], options: dict[str, Any], finding: str
) -> None:
    with pytest.raises(ValidationError, match=finding):
        config_of(names, **options)


def test_metadata_have_no_statistics() -> None:
    given = InputConfig(modality=METADATA, mean=(1.0,) * 8)
    tasks = (TaskHead(name=COVER, num_classes=13),)
    with pytest.raises(ValidationError, match="mean and std have no meaning"):
        FlairConfig(inputs=(InputConfig(modality=AERIAL), given), tasks=tasks)


def test_options_without_effect() -> None:
    assert set(config_of(PHOTOGRAPHS).ineffective()) == {"auxiliary", "sensor_dropout"}
    assert set(config_of((AERIAL, METADATA)).ineffective()) == {"auxiliary"}
    assert config_of(EVERYTHING).ineffective() == {}
    assert config_of(EVERYTHING).has_auxiliary
    assert not config_of(PHOTOGRAPHS).has_auxiliary


def test_the_kind_is_chosen_by_its_name() -> None:
    config = config_of(EVERYTHING)
    assert TypeAdapter(AnyNetworkConfig).validate_python(config.model_dump()) == config


@pytest.mark.parametrize("name", [METADATA, SERIES])
def test_our_own_network_takes_only_images_of_the_patch(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} is no image of the patch itself"):
        NetworkConfig(
            inputs=(InputConfig(modality=AERIAL), InputConfig(modality=name)),
            tasks=(TaskHead(name=COVER, num_classes=13),),
        )
