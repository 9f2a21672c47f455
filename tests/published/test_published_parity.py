"""tools/parity.py, on cases of our own making and, where they are given, on the public ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_cases import COVER, S2, parity_tool

from bocage.models.published import build_empty, fill, published_config

parity = parity_tool()


def _folder(variable: str) -> Path:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"public reference outputs are not here: set {variable} to their folder")
    return Path(folder)


@pytest.mark.real
def test_every_contract_holds(capsys: pytest.CaptureFixture[str]) -> None:
    folder = _folder("BOCAGE_CONTRACT")
    assert parity.main(["--contract", str(folder)]) == 0, capsys.readouterr().out


@pytest.mark.real
@pytest.mark.parametrize("case", ["LC-G", "LC-H", "MULTITASK__S2", "LPIS-I__swin_tiny"])
def test_golden_cases_agree(case: str) -> None:
    folder = _folder("BOCAGE_GOLDEN")
    about = json.loads((folder / f"{case}.json").read_text(encoding="utf-8"))
    with np.load(folder / f"{case}.npz") as golden:
        results = list(parity.case_results(about, golden))
    assert results
    for key, difference, spread in results:
        assert difference <= parity.TOLERANCE * spread, key


ABOUT = {
    "id": "LC-G",
    "arch": "swin_base_patch4_window12_384-upernet",
    "modalities": [S2],
    "labels": [COVER.name],
    "aux_loss": [],
    "img_input_sizes": {S2: 10},
    "in_channels": {S2: 10},
}


@pytest.fixture
def contract() -> dict[str, Any]:
    state = build_empty(published_config("LC-G")).state_dict()
    return {**ABOUT, "state_dict": [[k, list(v.shape), str(v.dtype)] for k, v in state.items()]}


@pytest.mark.unit
@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (lambda rows: rows, "OK"),
        (lambda rows: rows[1:], "unexpected encoders.SENTINEL2_TS.in_conv"),
        (lambda rows: [*rows, ["ghost", [1], "torch.float32"]], "missing ghost"),
        (lambda rows: [rows[1], rows[0], *rows[2:]], "first difference in order"),
        (lambda rows: [[rows[0][0], [1], rows[0][2]], *rows[1:]], "first difference in order"),
    ],
)
def test_contracts_are_compared_in_names_order_and_shapes(
    tmp_path: Path,
    contract: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    spoil: Any,
    finding: str,
) -> None:
    contract["state_dict"] = spoil(contract["state_dict"])
    (tmp_path / "LC-G.json").write_text(json.dumps(contract), encoding="utf-8")
    code = parity.main(["--contract", str(tmp_path)])
    assert code == (0 if finding == "OK" else 1)
    assert finding in capsys.readouterr().out


@pytest.mark.unit
@pytest.mark.parametrize("shift", [0.0, 1.0])
@pytest.mark.parametrize("padded", [False, True])
def test_cases_are_compared_in_standard_deviations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shift: float, padded: bool
) -> None:
    about = {
        **ABOUT,
        "input_shapes": {S2: [2, 6, 10, 6, 6], COVER.name: [2, 19, 64, 64]},
        "img_input_sizes": {S2: 6},
        "padded_last_4_of_sample_1": padded,
        "stats": {},
    }
    network = build_empty(parity.configuration(about, {S2: 10}, {COVER.name: 19}, 64))
    fill(network, {k: parity.rule_tensor(k, v) for k, v in network.state_dict().items()})
    images, series = parity.case_inputs(about)
    with torch.inference_mode():
        logits, _ = network.eval().compute(images, series, (64, 64))
    values = logits[COVER.name][..., ::8, ::8].numpy()
    values[1 if padded else 0, 3] += shift * values.std()
    np.savez(tmp_path / "case.npz", **{f"main:{COVER.name}": values})
    (tmp_path / "case.json").write_text(json.dumps(about), encoding="utf-8")
    code = parity.main(["--golden", str(tmp_path)])
    text = capsys.readouterr().out
    # What is shifted in the padded sample is not compared.
    assert code == int(bool(shift) and not padded)
    assert ("OVER" in text) == bool(code)
    assert ("sample 1: not compared" in text) == padded


@pytest.mark.unit
def test_rule_of_the_reference_outputs() -> None:
    matrix = parity.rule_tensor("a.weight", torch.empty(40, 50))
    assert float(matrix.std()) == pytest.approx((2 / 50) ** 0.5, rel=0.05)
    scale = parity.rule_tensor("a.weight", torch.empty(1000))
    assert float(scale.mean()) == pytest.approx(1, abs=0.01)
    assert float(parity.rule_tensor("a.running_var", torch.empty(9)).min()) >= 1
    assert not parity.rule_tensor("a.count", torch.zeros((), dtype=torch.int64)).any()


@pytest.mark.unit
def test_a_folder_without_cases_is_an_error(tmp_path: Path) -> None:
    for arguments in ([], ["--golden", str(tmp_path)]):
        with pytest.raises(SystemExit) as caught:
            parity.main(arguments)
        assert caught.value.code == 2
    (tmp_path / "x.json").write_text(json.dumps({**ABOUT, "input_shapes": {}}), encoding="utf-8")
    assert parity.main(["--golden", str(tmp_path)]) == 1
