"""Networks to and from the hub: bundles pulled, published checkpoints imported, bundles pushed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bocage.errors import ConfigError, DataError
from bocage.evaluation.card import (
    CardClass,
    CardInput,
    CardMetric,
    CardTask,
    ModelCard,
    render_card,
)
from bocage.hub import Listing, fetch_file, list_files, upload
from bocage.models import Bundle, load_bundle
from bocage.models.inputs import InputConfig
from bocage.models.kinds import OWN, kind_of
from bocage.models.published import PublishedConfig
from bocage.models.published.repositories import get_release
from bocage.training.importing import import_bundle
from bocage.transfer import Advance, check_space

BUNDLE_FILE = "model.safetensors"
"""Name of a bundle in a repository."""
PUBLISHED_LICENCE = "etalab-2.0"
"""Licence of FLAIR-HUB's networks."""

_WEIGHTS = (".safetensors", ".ckpt", ".pth")


@dataclass(frozen=True)
class Pulled:
    """A bundle that is here now."""

    path: Path
    repository: str
    notes: tuple[str, ...]
    """What importing left out or changed."""


def pull(
    name: str,
    output: Path | None = None,
    *,
    folder: Path = Path("models"),
    architecture: str | None = None,
    rgb: bool = False,
    adapt: Collection[str] = (),
    keep_auxiliary: bool = True,
    keep_checkpoint: bool = False,
    advance: Advance | None = None,
) -> Pulled:
    """Fetch a network from the hub and leave it as a bundle, at `output` or in `folder`.

    `name` is a published configuration, the repository of a published checkpoint, or a repository
    with a bundle. A checkpoint is imported strictly and kept, beside the bundle, only on request; a
    bundle is loaded once, so that what gets its final name is known to work.

    Raises `ConfigError` for what is not released, not there or not for us, and for options without
    effect; `DataError` when it cannot be fetched, or is not what it should be.
    """
    release = get_release(name, architecture, rgb=rgb)
    repository = name if release is None else release.repository
    if release is None and (adapt or keep_checkpoint or not keep_auxiliary):
        raise ConfigError(f"{name}: no published checkpoint, so there is nothing to import.")
    own = f"{name.split('/')[1]}.safetensors" if release is None else release.bundle_name
    target = output or folder / own
    if target.exists():
        raise ConfigError(f"{target}: exists. Remove it, or name another file with --output.")
    listing = list_files(repository)
    file = _weights_file(listing, BUNDLE_FILE if release is None else release.file)
    copies = 1 if release is None else 2
    check_space(target.parent, copies * listing.files[file].size)
    keep = target.parent / Path(file).name if keep_checkpoint else None
    if keep is not None and keep.resolve() == target.resolve():
        raise ConfigError(f"{target}: the checkpoint's own name. Name another with --output.")
    # Hidden, but with its suffix: readers tell formats by it.
    fetched = keep or target.with_name(f".fetched-{Path(file).name}")
    try:
        fetch_file(listing, file, fetched, advance=advance)
        if release is None:
            _check_bundle(fetched, f"{repository}: {file}")
            fetched.replace(target)
            return Pulled(target, repository, ())
        imported = import_bundle(
            fetched,
            release.config(),
            target,
            adapt=adapt,
            keep_auxiliary=keep_auxiliary,
            origin=f"{repository} at {listing.commit[:12]}",
        )
        return Pulled(target, repository, imported.notes)
    finally:
        if keep is None:
            fetched.unlink(missing_ok=True)


def push(
    bundle: Path,
    repository: str,
    *,
    licence: str | None = None,
    scores: Path | None = None,
    private: bool = False,
) -> str:
    """Upload a bundle with its card in one commit; returns the repository's address.

    See `write_card` for `licence` and `scores`, `bocage.hub.upload` for what can fail.
    """
    card = write_card(bundle, repository, licence=licence, scores=scores)
    files: Mapping[str, Path | bytes] = {BUNDLE_FILE: bundle, "README.md": card.encode()}
    return upload(repository, files, message="Upload with bocage models push", private=private)


def write_card(
    bundle: Path, repository: str = "", *, licence: str | None = None, scores: Path | None = None
) -> str:
    """The model card of a bundle.

    `licence` is the hub's identifier of one; only FLAIR-HUB's own networks have one that is known.
    `scores` is a `scores.json` of `bocage evaluate` on the same network.
    """
    loaded = load_bundle(bundle)
    published = kind_of(loaded.meta.network) == "published"
    if licence is None and not (published and loaded.meta.data.startswith("FLAIR-HUB; imported")):
        raise ConfigError(
            f"{bundle}: nobody can know its licence. Give one with --licence, such as etalab-2.0, "
            "apache-2.0 or other."
        )
    card = _describe(loaded, bundle, repository, licence or PUBLISHED_LICENCE, scores)
    return render_card(card)


def _describe(
    bundle: Bundle, path: Path, repository: str, licence: str, scores: Path | None
) -> ModelCard:
    meta, network = bundle.meta, bundle.meta.network
    title = repository.split("/")[-1] or path.stem
    if isinstance(network, PublishedConfig) and network.name:
        title = f"{title}: FLAIR-HUB {network.name}" if repository else f"FLAIR-HUB {network.name}"
    return ModelCard(
        title=title,
        repository=repository,
        file=str(path),
        licence=licence,
        inputs=tuple(_card_input(given, meta.nodata) for given in network.inputs),
        tasks=tuple(
            CardTask(t.name, t.slug, tuple(CardClass(**c.model_dump()) for c in t.classes))
            for t in meta.tasks
        ),
        tile_px=meta.tile_px,
        output_resolution_m=network.output_resolution_m,
        parameters=sum(p.numel() for p in bundle.network.parameters()),
        data=meta.data,
        needs_all_inputs=kind_of(network) != OWN,
        metrics=tuple(_metrics(meta.metrics)),
        scores=None if scores is None else _read_scores(scores, {t.name for t in meta.tasks}),
        configuration=network.model_dump(mode="json", exclude_defaults=True),
        series=meta.series.model_dump(mode="json")
        if any(given.spec.series for given in network.inputs)
        else None,
        bocage_version=meta.bocage_version,
    )


def _card_input(given: InputConfig, nodata: Mapping[str, float | None]) -> CardInput:
    mean, std = given.statistics
    return CardInput(
        name=given.modality,
        slug=given.spec.slug,
        bands=given.spec.bands,
        channels=given.channel_names,
        mean=mean,
        std=std,
        resolution_m=given.pixel_m,
        dtype=given.spec.dtype,
        nodata=nodata.get(given.modality),
        series=given.spec.series,
        mappable=given.spec.covers_patch,
    )


def _metrics(metrics: Mapping[str, Any], where: str = "") -> list[CardMetric]:
    """Scores as a bundle holds them: `{"valid/miou": 0.3}`, or by the split they are of."""
    found = []
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            found += _metrics(value, key)
        elif isinstance(value, int | float):
            split, _, name = key.rpartition("/")
            found.append(CardMetric(name, float(value), where or split or "training run"))
    return found


def _read_scores(path: Path, tasks: Collection[str]) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = set(document["tasks"])
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: not a scores.json of `bocage evaluate` ({error!r}).") from error
    if not found or not found <= set(tasks):
        raise DataError(
            f"{path}: holds scores of {', '.join(sorted(found)) or 'nothing'}; the bundle predicts "
            f"{', '.join(sorted(tasks))}. Give the scores of this network."
        )
    return dict(document)


def _weights_file(listing: Listing, usual: str) -> str:
    """The one file with weights; `ConfigError` when there is none, or no telling which."""
    if usual in listing.files:
        return usual
    found = [path for path in listing.files if path.endswith(_WEIGHTS)]
    if len(found) == 1:
        return found[0]
    what = f"several: {', '.join(sorted(found))}" if found else "none"
    raise ConfigError(
        f"{listing.repo}: expected {usual}, or one other file of weights ({', '.join(_WEIGHTS)}), "
        f"found {what}. Fetch the file yourself and use `bocage models import`."
    )


def _check_bundle(fetched: Path, what: str) -> None:
    try:
        load_bundle(fetched)
    except DataError as error:
        finding = str(error).removeprefix(f"{fetched}: ")
        raise DataError(
            f"{what}: holds no bundle that can be used: {finding} A published checkpoint is "
            "imported with `bocage models import FILE --as NAME`."
        ) from error
