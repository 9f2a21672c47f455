"""What runs an ONNX file on a CPU: ONNX Runtime and OpenVINO, each behind one function of arrays.

Both are extras and are imported when they are opened. What goes wrong inside them is a
`RuntimeError`, as in torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

Arrays = Mapping[str, Any]
"""numpy arrays by the names of an `Interface`."""

Runtime = Callable[[Arrays], Arrays]
"""Outputs from inputs."""


def open_onnxruntime(path: Path, outputs: Sequence[str], threads: int) -> Runtime:
    """ONNX Runtime with `threads` threads, in float32, the only numbers that it has on CPUs."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as kinds

    # Its exceptions have no base of their own.
    failures = tuple(
        kind
        for kind in vars(kinds).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised, and need not be printed too
    # Threads that spin between two windows take the processor from reading and blending.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    names = list(outputs)
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except failures as error:
        raise RuntimeError(f"ONNX Runtime cannot open {path}: {error}") from error

    def run(arrays: Arrays) -> Arrays:
        try:
            return dict(zip(names, session.run(names, dict(arrays)), strict=True))
        except failures as error:
            raise RuntimeError(f"ONNX Runtime: {error}") from error

    return run


def open_openvino(
    path: Path, outputs: Sequence[str], threads: int, precision: Literal["float32", "bf16"]
) -> Runtime:
    """OpenVINO's CPU device with `threads` threads; logits are float32 in both precisions."""
    import openvino

    options = {
        "PERFORMANCE_HINT": "LATENCY",  # one window after the other, each with all threads
        "INFERENCE_NUM_THREADS": threads,
        # Said in both cases: where a processor has bf16, OpenVINO would take it by itself.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    request = openvino.Core().compile_model(path, "CPU", options).create_infer_request()
    names = list(outputs)

    def run(arrays: Arrays) -> Arrays:
        found = request.infer(dict(arrays))
        return {name: found[name] for name in names}

    return run
