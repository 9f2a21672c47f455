"""The command line as users see it: what there is, how fast it answers, what help shows."""

import subprocess
import sys
import time

import pytest
from rich.text import Text
from typer.main import get_command

from bocage.cli.app import app

pytestmark = pytest.mark.integration

SURFACE = {
    "train": ["config", "overrides", "output", "resume"],
    "evaluate": ["run", "overrides", "config", "split", "output"],
    "map area": [
        "run", "output", "overrides", "aerial", "rgb", "historical", "elevation", "height", "spot",
        "sentinel2", "sentinel2_dates", "sentinel2_mask", "sentinel2_scale", "sentinel2_offset",
        "sentinel1_asc", "sentinel1_asc_dates", "sentinel1_desc", "sentinel1_desc_dates",
        "crs", "resolution", "bounds", "aoi",
        "missing_tiles", "backend", "members", "engine", "address", "shard", "plan_only",
    ],
    "map merge": ["output", "partial"],
    "map polygons": ["class_map", "output", "min_area", "simplify", "classes", "tile_km"],
    "map parcels": ["class_map", "parcel_layer", "output", "inner_buffer"],
    "map areas": [
        "source", "output", "zones", "zones_layer", "confusion", "samples", "confidence_level",
        "plane",
    ],
    "map diff": [
        "before", "after", "output", "zones", "zones_layer", "min_confidence", "min_area", "plane",
    ],
    "map style": ["source", "language"],
    "simulate": [
        "out", "domains", "patches", "seed", "sensors", "classes", "area", "benchmark", "size",
        "verify", "shard", "workers",
    ],
    "demo": ["out"],
    "data cut": [
        "output", "overrides", "labels", "task", "background", "aerial", "rgb", "historical",
        "elevation", "height", "spot", "sentinel2", "sentinel2_dates", "sentinel2_mask",
        "sentinel2_scale", "sentinel2_offset", "sentinel1_asc", "sentinel1_asc_dates",
        "sentinel1_desc", "sentinel1_desc_dates", "pack", "keep_unlabelled", "workers",
    ],
    "data download": [
        "dataset", "output", "domains", "modalities", "labels", "split", "split_column", "mirror",
        "connections", "plan_only",
    ],
    "data describe": ["where", "layout", "output"],
    "data export": ["patch", "root", "output", "layout", "index"],
    "data index": ["root", "layout", "output", "clear_dates"],
    "data pack": [
        "source", "target", "layout", "index", "codec", "workers", "shard", "engine", "address",
        "verify",
    ],
    "data show": ["root", "patch", "layout", "index", "output", "roi", "class_name", "count"],
    "data split": [
        "index", "by", "valid", "test", "seed", "name", "buffer_m", "keep_test", "replace",
    ],
    "data verify": ["root", "layout", "output", "workers", "time_limit", "again"],
    "models list": ["folder"],
    "models show": ["name", "arch", "both_tasks"],
    "models import": [
        "checkpoint", "name", "output", "arch", "both_tasks", "channels", "adapt", "auxiliary",
    ],
    "models pull": ["name", "arch", "rgb", "output", "adapt", "auxiliary", "keep_checkpoint"],
    "models push": ["bundle", "repository", "licence", "scores", "private"],
    "models export": ["bundle", "output", "file_format", "size_px"],
    "models card": ["bundle", "licence", "scores", "repository", "output"],
}  # fmt: skip
"""Scripts depend on these: changing one is a breaking change."""


def _command(path: str):
    command = get_command(app)
    for word in path.split():
        command = command.commands[word]
    return command


@pytest.mark.parametrize("path", SURFACE)
def test_the_surface_is_frozen(path: str) -> None:
    assert [parameter.name for parameter in _command(path).params] == SURFACE[path]


def test_no_command_is_missing_from_the_list() -> None:
    command = get_command(app)
    found = {name for name in command.commands if not hasattr(command.commands[name], "commands")}
    found |= {
        f"{group} {name}"
        for group, inner in command.commands.items()
        if hasattr(inner, "commands")
        for name in inner.commands
    }
    assert found == set(SURFACE)


@pytest.mark.parametrize("path", SURFACE)
def test_every_help_is_shown_whole(path: str) -> None:
    """Words in square brackets are rich's markup, which leaves them out."""
    for parameter in _command(path).params:
        help_text = getattr(parameter, "help", None) or ""
        assert Text.from_markup(help_text).plain == help_text, parameter.name


@pytest.mark.parametrize("path", SURFACE)
def test_every_help_shows_an_example(path: str, bocage) -> None:
    result = bocage(*path.split(), "--help")
    assert result.code == 0
    # The main job is written without its name.
    example = f"Example: bocage {path.removesuffix(' area')}"
    assert example in " ".join(result.out.replace("│", " ").split())


def test_help_answers_in_under_a_second_of_work() -> None:
    # CPU seconds: the wall clock of a shared machine says nothing.
    code = "import resource, runpy, sys; sys.argv = ['bocage', '--help']\ntry:\n"
    code += "    from bocage.cli import main; main()\nexcept SystemExit: pass\n"
    code += "use = resource.getrusage(resource.RUSAGE_SELF)\n"
    code += "print('torch' in sys.modules, use.ru_utime + use.ru_stime)"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, seconds = done.stdout.splitlines()[-1].split()
    assert heavy == "False"
    assert float(seconds) < 1.0
    assert time.monotonic() - started < 20


def test_version(bocage) -> None:
    result = bocage("--version")
    assert result.code == 0
    assert result.out.startswith("bocage 0.")


def test_unknown_command_is_a_usage_error(bocage) -> None:
    assert bocage("trian").code == 2
