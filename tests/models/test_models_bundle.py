from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from model_batches import AERIAL, DEM, S2, describe, gap, make_batch, small_network
from safetensors import safe_open
from safetensors.torch import save_file

import bocage
from bocage.errors import DataError
from bocage.models import EncoderConfig, Network, load_bundle, save_bundle
from bocage.models.bundle import META_KEY

pytestmark = pytest.mark.unit


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Network]:
    network = small_network((AERIAL, DEM, S2)).eval()
    path = tmp_path / "model.safetensors"
    save_bundle(path, network, describe(network, data="five patches", metrics={"miou": 0.5}))
    return path, network


def rewrite(path: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: Any) -> None:
    with safe_open(path, framework="pt") as handle:
        meta = json.loads(handle.metadata()[META_KEY]) | changes
        kept = {name: handle.get_tensor(name).clone() for name in handle.keys()}  # noqa: SIM118
    save_file(kept if tensors is None else tensors, path, {META_KEY: json.dumps(meta)})


def test_a_bundle_gives_back_the_same_network(saved: tuple[Path, Network]) -> None:
    path, network = saved
    bundle = load_bundle(path)
    batch = make_batch((AERIAL, DEM, S2))
    assert gap(network(**batch).logits, bundle.network(**batch).logits) == 0
    assert not bundle.network.training
    assert bundle.network.config == network.config
    assert bundle.meta.metrics == {"miou": 0.5}
    assert bundle.meta.bands[DEM] == ("dsm", "dtm")
    assert bundle.meta.nodata == {AERIAL: None, DEM: -9999.0, S2: 65535.0}
    assert bundle.meta.bocage_version == bocage.__version__
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    # It can go on learning.
    sum(v.sum() for v in bundle.network.train()(**batch).logits.values()).backward()
    assert all(p.grad is not None for p in bundle.network.parameters())


def test_weights_that_were_pretrained_are_not_fetched_again(tmp_path: Path) -> None:
    network = small_network((AERIAL,), encoder=EncoderConfig(name="test_resnet")).eval()
    pretrained = network.config.model_copy(
        update={"encoder": EncoderConfig(name="test_resnet", weights="pretrained")}
    )
    network.config = pretrained
    path = tmp_path / "model.safetensors"
    save_bundle(path, network, describe(network))
    assert load_bundle(path).network.config == pretrained


def test_files_that_are_no_bundle(saved: tuple[Path, Network], tmp_path: Path) -> None:
    path, _ = saved
    whole = path.read_bytes()
    broken = tmp_path / "broken.safetensors"
    for content in (
        whole[: len(whole) // 2],
        whole[:6],
        b"",
        b"PK\x03\x04 a zip file of another kind",
    ):
        broken.write_bytes(content)
        with pytest.raises(DataError, match=r"broken.safetensors: not a readable safetensors"):
            load_bundle(broken)
    header = struct.pack("<Q", 1 << 60) + whole[8:]
    broken.write_bytes(header)
    with pytest.raises(DataError, match="not a readable"):
        load_bundle(broken)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(2)}, foreign)
    with pytest.raises(DataError, match=r"foreign.safetensors: .* no Bocage bundle"):
        load_bundle(foreign)
    with pytest.raises(DataError, match="no such file"):
        load_bundle(tmp_path / "none.safetensors")
    with pytest.raises(DataError, match="no such file"):
        load_bundle(tmp_path)


def test_bundles_from_the_future_or_damaged(saved: tuple[Path, Network]) -> None:
    path, _ = saved
    rewrite(path, format_version=2, bocage_version="9.1", novelty=True)
    with pytest.raises(DataError, match=r"format 2, written by Bocage 9.1.*newer Bocage"):
        load_bundle(path)
    rewrite(path, format_version=1, novelty=True)
    with pytest.raises(DataError, match="novelty"):
        load_bundle(path)
    save_file({"x": torch.zeros(2)}, path, {META_KEY: "{"})
    with pytest.raises(DataError, match="damaged"):
        load_bundle(path)


def test_bundles_whose_bands_or_classes_do_not_match(saved: tuple[Path, Network]) -> None:
    path, network = saved
    meta = json.loads(describe(network).model_dump_json())
    rewrite(path, bands=meta["bands"] | {AERIAL: ["nir", "red", "green", "blue"]})
    with pytest.raises(DataError, match=r"bands of AERIAL_RGBI as \('nir'"):
        load_bundle(path)
    rewrite(path, bands=meta["bands"], tasks=meta["tasks"][:1])
    with pytest.raises(DataError, match="do not match the network's outputs"):
        load_bundle(path)


def test_loading_is_strict_and_lists_what_does_not_fit(saved: tuple[Path, Network]) -> None:
    path, network = saved
    tensors = {name: t.contiguous() for name, t in network.state_dict().items()}
    lost = tensors.pop("decoders.cover.classes.bias")
    tensors["decoders.cover.extra"] = lost
    tensors["decoders.crops.classes.bias"] = torch.zeros(3)
    rewrite(path, tensors)
    with pytest.raises(DataError) as caught:
        load_bundle(path)
    assert "1 missing: decoders.cover.classes.bias" in str(caught.value)
    assert "1 unexpected: decoders.cover.extra" in str(caught.value)
    assert "decoders.crops.classes.bias (3,), expected (7,)" in str(caught.value)


def test_description_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another network"):
        save_bundle(
            tmp_path / "m.safetensors", small_network((S2,)), describe(small_network((DEM,)))
        )
