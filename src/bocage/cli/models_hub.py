"""`bocage models`: pull, push and card, which is what goes to and comes from a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_LICENCE = typer.Option(
    "--licence", help="The hub's identifier, such as etalab-2.0 (default: known for FLAIR-HUB's)."
)
_SCORES = typer.Option("--scores", help="A scores.json of bocage evaluate, for the tables.")


def pull(
    name: Annotated[str, typer.Argument(help="LC-A, or OWNER/NAME on the hub.")],
    arch: Annotated[
        str | None, typer.Option(help="Encoder, or encoder-decoder (default: swin_base).")
    ] = None,
    rgb: Annotated[bool, typer.Option("--rgb", help="The network of red, green and blue.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The bundle (default: models/NAME).")
    ] = None,
    adapt: Annotated[
        list[str] | None,
        typer.Option(help="What may be adapted if it differs: positions, head or channels."),
    ] = None,
    auxiliary: Annotated[
        bool, typer.Option(help="Keep auxiliary decoders, which only training uses.")
    ] = True,
    keep_checkpoint: Annotated[
        bool, typer.Option("--keep-checkpoint", help="Keep the fetched file beside the bundle.")
    ] = False,
) -> None:
    """Fetch a network from the Hugging Face hub and leave a bundle that evaluates and maps.

    An interrupted fetch goes on where it stopped. HF_ENDPOINT names another hub.

    Example: [bold]bocage models pull LC-A[/bold]
    """
    from bocage.cli.console import progress, start_log
    from bocage.training.exchange import pull as pull_network

    start_log()
    with progress(name, in_bytes=True) as advance:
        pulled = pull_network(
            name,
            output,
            architecture=arch,
            rgb=rgb,
            adapt=adapt or (),
            keep_auxiliary=auxiliary,
            keep_checkpoint=keep_checkpoint,
            advance=advance,
        )
    for note in pulled.notes:
        typer.echo(note, err=True)
    typer.echo(f"{pulled.path}: from {pulled.repository}")


def push(
    bundle: Annotated[Path, typer.Argument(help="The bundle: a run's model.safetensors.")],
    repository: Annotated[str, typer.Argument(help="OWNER/NAME; created where needed.")],
    licence: Annotated[str | None, _LICENCE] = None,
    scores: Annotated[Path | None, _SCORES] = None,
    private: Annotated[bool, typer.Option("--private", help="A repository for you alone.")] = False,
) -> None:
    """Upload a bundle with its model card. Log in first: hf auth login, or HF_TOKEN.

    Example: [bold]bocage models push runs/demo/model.safetensors me/demo --licence
    etalab-2.0[/bold]
    """
    from bocage.training.exchange import push as push_bundle

    typer.echo(push_bundle(bundle, repository, licence=licence, scores=scores, private=private))


def card(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    licence: Annotated[str | None, _LICENCE] = None,
    scores: Annotated[Path | None, _SCORES] = None,
    repository: Annotated[str, typer.Option(help="OWNER/NAME that the card's commands name.")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="(default: the terminal)")
    ] = None,
) -> None:
    """Write the model card that push uploads: inputs, classes, scores, how to use, limits.

    Example: [bold]bocage models card models/lc-a.safetensors[/bold]
    """
    from bocage.files import write_text
    from bocage.training.exchange import write_card

    text = write_card(bundle, repository, licence=licence, scores=scores)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)
        typer.echo(str(output))
