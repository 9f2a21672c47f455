from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from published_cases import AERIAL, COVER, S2, batch_for, built, series_config, small
from safetensors.torch import save_file
from torch import Tensor

from bocage.errors import ConfigError, DataError
from bocage.models import TaskHead
from bocage.models.published import (
    PublishedConfig,
    import_checkpoint,
    published_config,
    published_input,
    read_checkpoint,
)

pytestmark = pytest.mark.unit

LC_G = series_config("LC-G")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return dict(built(LC_G).state_dict())


def write(path: Path, state: dict[str, Tensor]) -> Path:
    """The state in the form that the suffix stands for."""
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    elif path.suffix == ".ckpt":
        torch.save({"state_dict": state, "epoch": 3, "hyper_parameters": {"lr": 1e-3}}, path)
    else:
        torch.save(state, path)
    return path


def logits_of(network: torch.nn.Module, config: PublishedConfig) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = network.eval()(**batch_for(config)).logits[config.tasks[0].name]
    return logits


@pytest.mark.parametrize("suffix", [".ckpt", ".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_every_form_gives_the_same_network(
    tmp_path: Path, weights: dict[str, Tensor], suffix: str, prefix: str
) -> None:
    state = {f"{prefix}{name}": tensor for name, tensor in weights.items()}
    state["criterion.weight"] = torch.ones(19)
    imported = import_checkpoint(write(tmp_path / f"w{suffix}", state), LC_G)
    assert imported.notes == ("left out, the loss's: criterion.weight",)
    assert torch.equal(logits_of(imported.network, LC_G), logits_of(built(LC_G), LC_G))
    assert not imported.network.training


def test_a_network_with_windows_has_its_tables_after_loading(tmp_path: Path) -> None:
    config = small(AERIAL, S2, architecture="swin_tiny")
    original = built(config)
    path = write(tmp_path / "w.safetensors", dict(original.state_dict()))
    imported = import_checkpoint(path, config).network
    torch.testing.assert_close(logits_of(imported, config), logits_of(original, config))


def test_auxiliary_decoders_are_those_of_the_file(tmp_path: Path) -> None:
    config = small(AERIAL, S2)
    full = small(AERIAL, S2, auxiliary=(AERIAL, S2))
    path = write(tmp_path / "w.pth", dict(built(full).state_dict()))
    assert import_checkpoint(path, config).network.config.auxiliary == (AERIAL, S2)
    lean = import_checkpoint(path, config, keep_auxiliary=False)
    assert lean.network.config.auxiliary == ()
    assert lean.notes[0].startswith("left out on request:")
    plain = write(tmp_path / "plain.pth", dict(built(config).state_dict()))
    assert import_checkpoint(plain, full).network.config.auxiliary == ()


def test_misfits_are_listed_by_kind(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    state = dict(weights)
    del state["encoders.SENTINEL2_TS.temporal_encoder.attention_heads.Q"]
    state["encoders.SENTINEL2_TS.extra"] = torch.ones(2)
    state["encoders.SENTINEL2_TS.up_blocks.0.up.0.bias"] = torch.ones(3)
    with pytest.raises(DataError) as caught:
        import_checkpoint(write(tmp_path / "w.pth", state), LC_G)
    text = str(caught.value)
    assert "1 missing: encoders.SENTINEL2_TS.temporal_encoder.attention_heads.Q" in text
    assert "1 unexpected: encoders.SENTINEL2_TS.extra" in text
    assert "1 of another shape: encoders.SENTINEL2_TS.up_blocks.0.up.0.bias (3,), expected" in text
    assert "160 of this network's 162 tensors fit" in text
    assert "Nothing was loaded" in text


def test_another_architecture_is_named(tmp_path: Path) -> None:
    unet = small(AERIAL, architecture="resnet34-unet")
    path = write(tmp_path / "unet.pth", dict(built(unet).state_dict()))
    with pytest.raises(DataError) as caught:
        import_checkpoint(path, published_config("LC-A", "swin_tiny"))
    text = str(caught.value)
    assert "a checkpoint of another network, AERIAL_RGBI; ResNet; U-Net" in text
    assert "AERIAL_LABEL-COSIA in 19 classes: only" in text
    assert "of this network's 239 tensors fit" in text


def test_another_family_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "other.pth", {"stem.weight": torch.ones(3), "stem.bias": torch.ones(3)})
    with pytest.raises(DataError, match="not of the FLAIR-HUB family"):
        import_checkpoint(path, LC_G)


def test_another_task_is_refused(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = write(tmp_path / "w.pth", weights)
    with pytest.raises(DataError, match=r"missing: .*main_decoders\.ALL_LABEL-LPIS\.weight"):
        import_checkpoint(path, series_config("LPIS-F"))


class _Code:
    """What a malicious file would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("surprise",)


@pytest.mark.parametrize("protocol", [None, 2, 4])
def test_code_in_a_checkpoint_is_refused_and_not_run(
    tmp_path: Path, protocol: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.ckpt"
    if protocol is None:
        torch.save({"state_dict": _Code()}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": _Code()}, protocol))
    with pytest.raises(DataError, match=r"refused, it holds Python objects .* would run code"):
        read_checkpoint(path)
    assert not (tmp_path / "surprise").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_refused(
    tmp_path: Path, weights: dict[str, Tensor], suffix: str, share: float
) -> None:
    path = write(tmp_path / f"w{suffix}", weights)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match="not a readable"):
        read_checkpoint(path)


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_checkpoint(tmp_path / "nowhere.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(DataError, match="holds a list"):
        read_checkpoint(tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "epoch.pth")
    with pytest.raises(DataError, match="'epoch' is a int, not a tensor"):
        read_checkpoint(tmp_path / "epoch.pth")
    torch.save({"state_dict": {}}, tmp_path / "empty.pth")
    with pytest.raises(DataError, match="holds no weights"):
        read_checkpoint(tmp_path / "empty.pth")
    twice = {"a": torch.ones(1), "model.a": torch.ones(1)}
    with pytest.raises(DataError, match="there twice"):
        read_checkpoint(write(tmp_path / "twice.pth", twice))


def test_a_file_is_known_by_its_content(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = write(tmp_path / "w.safetensors", weights)
    renamed = path.rename(tmp_path / "w.pth")
    assert set(read_checkpoint(renamed).tensors) == set(weights)


def test_half_precision_becomes_float32(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    halved = {n: t.half() if t.is_floating_point() else t for n, t in weights.items()}
    tensors = read_checkpoint(write(tmp_path / "w.pth", halved)).tensors
    assert {t.dtype for t in tensors.values()} == {torch.float32, torch.int64}


def test_positions_are_resized_only_when_asked(tmp_path: Path) -> None:
    large = small(AERIAL, architecture="swin_tiny", tile_px=224)
    little = small(AERIAL, architecture="swin_tiny", tile_px=64)
    path = write(tmp_path / "w.pth", dict(built(large).state_dict()))
    with pytest.raises(DataError, match=r"relative_position_bias_table \(169, 12\), expected \(49"):
        import_checkpoint(path, little)
    imported = import_checkpoint(path, little, adapt=["positions"])
    tables = [note for note in imported.notes if "relative_position_bias_table: resized" in note]
    assert len(imported.notes) == len(tables) > 0
    name = (
        "encoders.AERIAL_RGBI.seg_model.model.layers_2.blocks.0.attn.relative_position_bias_table"
    )
    table = imported.network.state_dict()[name]
    middle = read_checkpoint(path).tensors[name][84]
    torch.testing.assert_close(table[24], middle)  # the window's own place stays its own
    assert torch.isfinite(logits_of(imported.network, little)).all()


def test_a_head_starts_anew_only_when_asked(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    other = PublishedConfig(inputs=LC_G.inputs, tasks=(TaskHead(name=COVER.name, num_classes=5),))
    path = write(tmp_path / "w.pth", weights)
    with pytest.raises(DataError, match="missing"):
        import_checkpoint(path, other)
    imported = import_checkpoint(path, other, adapt=["head"])
    assert all("starts anew" in note for note in imported.notes)
    kept = "encoders.SENTINEL2_TS.out_conv.conv.conv.3.weight"
    assert torch.equal(imported.network.state_dict()[kept], weights[kept])
    assert logits_of(imported.network, other).shape[1] == 5


def test_channels_are_repeated_only_when_asked(tmp_path: Path) -> None:
    three = small(AERIAL)
    every = published_input(AERIAL, ("red", "green", "blue", "nir"))
    four = three.model_copy(update={"inputs": (every,)})
    original = built(three).state_dict()
    path = write(tmp_path / "w.pth", dict(original))
    with pytest.raises(DataError, match="of another shape"):
        import_checkpoint(path, four)
    imported = import_checkpoint(path, four, adapt=["channels"])
    name = "encoders.AERIAL_RGBI.seg_model.conv1.weight"
    adapted = imported.network.state_dict()[name]
    torch.testing.assert_close(adapted[:, 3], original[name][:, 0] * 0.75)
    assert any(name in note for note in imported.notes)
    with pytest.raises(ConfigError, match="did you mean 'channels'"):
        import_checkpoint(path, four, adapt=["channel"])
