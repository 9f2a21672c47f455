"""`bocage models`: list, show, import; pull, push and card stand in `models_hub`,
export in `models_export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bocage.cli import models_export, models_hub
from bocage.errors import ConfigError

app = typer.Typer(
    help="Networks: published ones by name, to and from the hub.", no_args_is_help=True
)

_ARCH = typer.Option("--arch", help="Encoder, or encoder-decoder: swin_tiny, resnet34-unet.")
_BOTH = typer.Option("--both-tasks", help="Land cover and crops at once.")


@app.command("list")
def list_models(
    folder: Annotated[
        Path, typer.Option("--bundles", help="Folder in which to look for imported weights.")
    ] = Path("models"),
) -> None:
    """The 24 published configurations: inputs, encoder, parameters, published scores.

    Parameters are those of the network in millions, without auxiliary decoders; "published" is the
    paper's count, which bocage models show explains. OA and mIoU are the paper's, in percent.

    Example: [bold]bocage models list[/bold]
    """
    from bocage.modalities import get_modality
    from bocage.models import bundle_names
    from bocage.models.published import DEFAULT_ARCHITECTURE, ZOO, get_architecture

    local = bundle_names(folder)
    row = "{:8}{:74}{:11}{:>11}{:>10}{:>6}{:>6}  {}"
    typer.echo(row.format("name", "inputs", "encoder", "parameters", "published", "OA", "mIoU",
                          "weights"))  # fmt: skip
    for entry in ZOO.values():
        series = all(get_modality(name).series for name in entry.inputs)
        typer.echo(
            row.format(
                entry.name,
                "+".join(get_modality(name).slug for name in entry.inputs),
                "utae" if series else get_architecture(DEFAULT_ARCHITECTURE).short,
                f"{entry.parameters / 1e6:.1f}",
                f"{entry.published_millions:.1f}",
                f"{entry.overall_accuracy:.1f}",
                f"{entry.mean_iou:.1f}",
                ", ".join(local.get(entry.name, ())) or "-",
            )
        )


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="A published configuration, such as LC-L.")],
    arch: Annotated[str, _ARCH] = "swin_base",
    both_tasks: Annotated[bool, _BOTH] = False,
) -> None:
    """The parts of a published network with their shapes, and what its parameter counts count.

    Example: [bold]bocage models show LC-L[/bold]
    """
    from bocage.models.published import build_empty, count, get_entry, parts, published_config

    entry = get_entry(name)
    several = len(entry.inputs) > 1
    config = published_config(name, arch, auxiliary=several, both_tasks=both_tasks)
    typer.echo(f"{name}  {config.architecture if config.images else 'utae'}")
    typer.echo(
        f"published{' with swin_base' if config.images else ''}, one task: OA "
        f"{entry.overall_accuracy}, mIoU {entry.mean_iou} percent, {entry.published_millions} M "
        "parameters\n"
    )
    table = parts(build_empty(config))
    widths = [max(len(text) for text in column) for column in zip(
        *((part.name, part.takes, part.gives) for part in table), strict=True
    )]  # fmt: skip
    for part in table:
        cells = (part.name, part.takes, part.gives)
        line = "  ".join(text.ljust(width) for text, width in zip(cells, widths, strict=True))
        typer.echo(f"{line}  {part.parameters:>12,}")
    counts = count(config)
    typer.echo(
        f"\n{counts.published:>13,}  counted as the paper does: encoders and decoders"
        + (", auxiliary decoders too" if counts.several_inputs else "")
        + ", but not the fusion's convolutions"
        f"\n{counts.held_with_auxiliary:>13,}  in a checkpoint with a decoder per input"
        f"\n{counts.held:>13,}  in a checkpoint without: {counts.auxiliary:,} fewer"
        f"\n{counts.inference:>13,}  needed to predict: {counts.idle:,} that a checkpoint holds "
        "have no effect"
    )


@app.command("import")
def import_model(
    checkpoint: Annotated[Path, typer.Argument(help="A .ckpt, .pth or .safetensors.")],
    name: Annotated[str, typer.Option("--as", help="The configuration, such as LC-A.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    arch: Annotated[str, _ARCH] = "swin_base",
    both_tasks: Annotated[bool, _BOTH] = False,
    channels: Annotated[
        list[str] | None,
        typer.Option(help="Channels of a sensor if not the usual: aerial=red,green,blue."),
    ] = None,
    adapt: Annotated[
        list[str] | None,
        typer.Option(help="What may be adapted if it differs: positions, head or channels."),
    ] = None,
    auxiliary: Annotated[
        bool, typer.Option(help="Keep auxiliary decoders, which only training uses.")
    ] = True,
) -> None:
    """Turn a published checkpoint into a bundle that evaluates and maps.

    Strict: a tensor that is missing, unexpected or of another shape is an error that lists it.

    Example: [bold]bocage models import lc-a.safetensors --as LC-A -o models/lc-a.safetensors[/bold]
    """
    from bocage.models.published import published_config
    from bocage.training.importing import import_bundle

    chosen = dict(_sensor_channels(text) for text in channels or [])
    config = published_config(name, arch, both_tasks=both_tasks, channels=chosen)
    imported = import_bundle(
        checkpoint, config, output, adapt=adapt or (), keep_auxiliary=auxiliary
    )
    for note in imported.notes:
        typer.echo(note, err=True)
    typer.echo(f"{output}: {name}, {len(imported.network.state_dict())} tensors")


app.command("pull")(models_hub.pull)
app.command("push")(models_hub.push)
app.command("card")(models_hub.card)
app.command("export")(models_export.export_model)


def _sensor_channels(text: str) -> tuple[str, tuple[str, ...]]:
    sensor, sign, names = text.partition("=")
    if not sign or not names:
        raise ConfigError(f"--channels {text}: write SENSOR=CHANNEL,CHANNEL, as in aerial=red,nir")
    return sensor, tuple(names.split(","))
