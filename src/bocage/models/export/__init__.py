"""Any bundle as a file for other programs: ONNX, or a program of `torch.export`."""

from bocage.models.export.check import TOLERANCE, Check
from bocage.models.export.exporter import (
    EXPORT_KEY,
    FORMATS,
    ExportMeta,
    ExportReport,
    TensorMeta,
    export_bundle,
    require_packages,
)
from bocage.models.export.interface import Axis, Interface, Port, describe

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
    "TensorMeta",
    "describe",
    "export_bundle",
    "require_packages",
]
