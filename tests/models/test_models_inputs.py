from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bocage.modalities import AERIAL_HEIGHT, MODALITIES
from bocage.models import InputConfig, Preparation


def prepare(config: InputConfig, raw: torch.Tensor, valid: torch.Tensor | None = None):
    preparation = Preparation(config)
    values, known = preparation(raw, valid)
    return values * preparation.std * known.unsqueeze(-3) + preparation.mean, known


@pytest.mark.unit
def test_elevation_becomes_altitude_and_height_in_metres() -> None:
    raw = torch.tensor([[[120.0, 131.0]], [[100.0, 131.0]]])
    values, known = prepare(InputConfig(modality="DEM_ELEV"), raw)
    torch.testing.assert_close(values, torch.tensor([[[100.0, 131.0]], [[20.0, 0.0]]]))
    assert known.all()
    surface, _ = prepare(InputConfig(modality="DEM_ELEV", channels=("dsm", "height")), raw)
    torch.testing.assert_close(surface, torch.tensor([[[120.0, 131.0]], [[20.0, 0.0]]]))


@pytest.mark.unit
def test_ten_metres_of_height_are_well_visible() -> None:
    raw = torch.tensor([[[100.0, 110.0]], [[100.0, 100.0]]])
    values, _ = Preparation(InputConfig(modality="DEM_ELEV"))(raw)
    assert values[1, 0, 1] - values[1, 0, 0] > 1


@pytest.mark.unit
def test_a_hole_in_one_channel_leaves_the_other() -> None:
    raw = torch.tensor([[[float("nan"), 110.0]], [[100.0, -9999.0]]])
    values, known = Preparation(InputConfig(modality="DEM_ELEV"))(raw)
    assert values[0, 0, 0] != 0
    assert values[1, 0].tolist() == [0, 0]
    assert not known.any()


@pytest.mark.unit
def test_backscatter_becomes_decibel() -> None:
    raw = torch.tensor([0.1, 1.0, 0.0, -1.0, float("nan"), float("inf")])
    raw = raw.view(1, 6, 1, 1).expand(1, 6, 2, 1).transpose(1, 2)
    values, known = prepare(InputConfig(modality="SENTINEL1-ASC_TS"), raw)
    torch.testing.assert_close(values[0, 0, :4, 0], torch.tensor([-10.0, 0.0, -40.0, -40.0]))
    assert known[0, :, 0].tolist() == [True, True, True, True, False, False]


@pytest.mark.unit
def test_stored_heights_are_scaled_to_metres() -> None:
    raw = torch.tensor([[[0, 50, 255]]], dtype=torch.uint8)
    values, _ = prepare(InputConfig(modality=AERIAL_HEIGHT.name), raw)
    torch.testing.assert_close(values[0, 0], torch.tensor([0.0, 10.0, 51.0]))


@pytest.mark.unit
def test_channels_and_statistics_can_be_chosen() -> None:
    config = InputConfig(modality="AERIAL_RGBI", channels=("nir", "red"), mean=(10, 20), std=(2, 4))
    raw = torch.tensor([24, 0, 0, 14], dtype=torch.uint8).view(4, 1, 1)
    values, _ = Preparation(config)(raw)
    assert values.flatten().tolist() == [2, 1]


@pytest.mark.unit
def test_sixteen_bits_keep_their_value_and_nodata_is_unknown() -> None:
    raw = torch.tensor([[40000, 65535]], dtype=torch.uint16).expand(10, 1, 2)
    values, known = prepare(InputConfig(modality="SENTINEL2_TS"), raw.unsqueeze(0))
    torch.testing.assert_close(values[0, :, 0, 0], torch.full((10,), 40000.0))
    assert known[0, 0].tolist() == [True, False]


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(MODALITIES)))
def test_nothing_but_finite_numbers_come_out(data: st.DataObject, name: str) -> None:
    spec = MODALITIES[name]
    shape = (len(spec.bands), 3, 2)
    raw = data.draw(arrays.arrays(np.dtype(spec.dtype), shape))
    valid = data.draw(arrays.arrays(np.bool_, shape[1:]))
    with np.errstate(invalid="ignore"):
        values, known = Preparation(InputConfig(modality=name))(
            torch.from_numpy(raw), torch.from_numpy(valid)
        )
    assert values.dtype == torch.float32
    assert values.isfinite().all()
    # Numbers of an acquisition (a position, a year) are taken as they are, whatever they say.
    assert spec.quantity == "acquisition" or values.abs().max() < 1e5
    assert not (known & ~torch.from_numpy(valid)).any()
    assert (values[:, ~torch.from_numpy(valid)] == 0).all()
