"""`bocage models export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export_model(
    bundle: Annotated[Path, typer.Argument(help="A run's folder, or a model.safetensors.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="FILE.onnx or FILE.pt2.")],
    file_format: Annotated[
        str, typer.Option("--format", help="onnx, or torch (a program of torch.export).")
    ] = "onnx",
    size_px: Annotated[
        int | None,
        typer.Option(
            "--size", min=1, help="Fix height and width, label pixels (default: free if possible)."
        ),
    ] = None,
) -> None:
    """Write a network as a file that other programs run, checked against the network itself.

    Example: [bold]bocage models export runs/demo -o demo.onnx[/bold]
    """
    from bocage.models import load_bundle
    from bocage.models.export import TOLERANCE, export_bundle
    from bocage.training import RunFolder

    path = RunFolder(bundle).bundle if bundle.is_dir() else bundle
    report = export_bundle(load_bundle(path), output, file_format, size_px)
    meta = report.meta
    row = "{:8}{:40}{:9}{}"
    for kind, ports in (("input", meta.inputs), ("output", meta.outputs)):
        for name, port in ports.items():
            shape = " x ".join(str(side) for side in port.shape)
            typer.echo(row.format(kind, name, port.dtype, shape))
    free = ", ".join(f"{name} from {least} on" for name, least in meta.free.items())
    typer.echo(f"free: {free}")
    if meta.fixed_size:
        typer.echo(f"height and width are fixed: {meta.fixed_size}")
    for check in report.checks:
        typer.echo(
            f"largest difference {check.largest:.2g} at {check.what} "
            f"({TOLERANCE * check.spread:.2g} is tolerated)"
        )
    typer.echo(f"{report.path}")
