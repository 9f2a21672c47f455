"""Any bundle as a file for other programs: ONNX, or a program of `torch.export`."""

from bocage.models.export.check import TOLERANCE, Check
from bocage.models.export.exporter import (
    EXPORT_KEY,
    ExportMeta,
    ExportReport,
    TensorMeta,
    export_bundle,
)
from bocage.models.export.formats import FORMATS, require_packages
from bocage.models.export.interface import Axis, Interface, Port, describe
from bocage.models.export.runtimes import Runtime, open_onnxruntime, open_openvino

__all__ = [
    "EXPORT_KEY",
    "FORMATS",
    "TOLERANCE",
    "Axis",
    "Check",
    "ExportMeta",
    "ExportReport",
    "Interface",
    "Port",
    "Runtime",
    "TensorMeta",
    "describe",
    "export_bundle",
    "open_onnxruntime",
    "open_openvino",
    "require_packages",
]
