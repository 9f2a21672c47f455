"""STAC items of a map and of its model, read by pystac and by stac-model."""

import datetime
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from mapping_stubs import ORIGIN, write_raster

from bocage.errors import DataError
from bocage.mapping.report import MapReport
from bocage.mapping.stac import MODEL_FILE, describe_models, footprint, write_item
from bocage.mapping.stac_mlm import MLM
from bocage.models import (
    Bundle,
    BundleClass,
    BundleMeta,
    BundleTask,
    DecoderConfig,
    FusionConfig,
    InputConfig,
    Network,
    NetworkConfig,
    TaskHead,
    TemporalConfig,
)
from bocage.rasters import Grid

pytestmark = pytest.mark.unit

pystac = pytest.importorskip("pystac", reason="the extra 'stac' is not installed")
stac_model = pytest.importorskip("stac_model", reason="the extra 'stac' is not installed")

COLORS = ("#aa0000", "#00bb00", "#0000cc")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """A small network of a photograph, elevation and a radar series."""
    config = NetworkConfig(
        inputs=tuple(InputConfig(modality=m) for m in ("aerial", "elevation", "sentinel1-asc")),
        tasks=(TaskHead(name="LC", num_classes=3),),
        temporal=TemporalConfig(width=4, heads=1, output_width=4, frame_blocks=0),
        fusion=FusionConfig(width=4, name="concat"),
        decoder=DecoderConfig(width=4, pool_scales=(1,)),
    )
    classes = tuple(
        BundleClass(id=i, name=f"c {i}", name_fr=f"classe {i}", color=color, scored=i < 2)
        for i, color in enumerate(COLORS)
    )
    tasks = (BundleTask(name="LC", slug="cover", classes=classes),)
    return Bundle(Network(config), BundleMeta(network=config, tasks=tasks, tile_px=512))


def layers(out: Path, crs: str = "EPSG:2154", origin: tuple[float, float] = ORIGIN) -> MapReport:
    """A map of one task with its confidence, and the report on it."""
    out.mkdir(exist_ok=True)
    pixels = np.zeros((1, 40, 60), np.uint8)
    for stem in ("cover", "cover_confidence"):
        write_raster(out / f"{stem}.tif", pixels, 0.2, nodata=255, crs=crs, origin=origin)
    with rasterio.open(out / "cover.tif", "r+") as dataset:
        dataset.update_tags(1, **{f"class_{i}": f"c {i}" for i in range(3)})
        dataset.write_colormap(1, {i: (0, i, 255, 255) for i in range(3)})
    with rasterio.open(out / "cover_confidence.tif", "r+") as dataset:
        dataset.scales, dataset.offsets = (1 / 254,), (0.0,)
        dataset.set_band_description(1, "confidence")
    known = {
        "maps": {stem: str(out / f"{stem}.tif") for stem in ("cover", "cover_confidence")},
        "resolution_m": 0.2, "year": 2021, "versions": {"bocage": "0.1.0"},
    }  # fmt: skip
    others = {name: None for name in MapReport.__dataclass_fields__ if name not in known}
    return MapReport(**known, **others)


def written(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a test reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def core_errors(item: dict) -> list[str]:
    """Findings of STAC's own schema of items, which pystac carries with it."""
    from jsonschema import Draft7Validator
    from pystac.validation.local_validator import get_local_schema_cache
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT7

    schemas = get_local_schema_cache()
    registry = Registry().with_resources(
        (uri, Resource.from_contents(schema, default_specification=DRAFT7))
        for uri, schema in schemas.items()
    )
    uri = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"
    validator = Draft7Validator(schemas[uri], registry=registry)
    return [error.message for error in validator.iter_errors(item)]


def test_the_item_of_a_map_describes_its_layers(
    tmp_path: Path, bundle: Bundle, no_network: None
) -> None:
    out = tmp_path / "metz"
    report = layers(out)
    (out / "hectares.csv").write_text("zone\n")
    dates = [datetime.date(2021, 8, 2), datetime.date(2021, 3, 10)]
    models = describe_models([bundle], [tmp_path / "model.safetensors"], out)
    path = write_item(out, report, models, dates, {"hectares": out / "hectares.csv"})
    item = written(path)
    assert core_errors(item) == []
    assert core_errors({**item, "id": 3}) != []
    read = pystac.Item.from_dict(item)
    assert read.id == "metz"
    assert (read.common_metadata.start_datetime, read.common_metadata.end_datetime) == (
        datetime.datetime(2021, 3, 10, tzinfo=datetime.UTC),
        datetime.datetime(2021, 8, 2, 23, 59, 59, tzinfo=datetime.UTC),
    )
    assert read.ext.proj.code == "EPSG:2154"
    assert read.ext.proj.shape == [40, 60]
    assert read.ext.proj.transform == [0.2, 0.0, ORIGIN[0], 0.0, -0.2, ORIGIN[1]]
    cover, sure = (read.assets[name] for name in ("cover", "cover_confidence"))
    assert (cover.href, cover.media_type) == ("./cover.tif", pystac.MediaType.COG)
    (band,) = cover.extra_fields["bands"]
    assert (band["data_type"], band["nodata"]) == ("uint8", 255)
    assert [(c["value"], c["name"], c["color_hint"]) for c in band["classification:classes"]] == [
        (i, f"c-{i}", f"00{i:02X}FF") for i in range(3)
    ]
    assert sure.extra_fields["bands"][0]["raster:scale"] == pytest.approx(1 / 254)
    assert sure.extra_fields["bands"][0]["name"] == "confidence"
    assert read.assets["hectares"].media_type == "text/csv"
    links = [(link["rel"], link["href"]) for link in item["links"]]
    assert links == [("derived_from", f"./{MODEL_FILE}")]


def test_the_item_of_a_model_is_one_of_the_extension(
    tmp_path: Path, bundle: Bundle, no_network: None
) -> None:
    from stac_model.schema import SCHEMA_URI, MLModelProperties

    out = tmp_path / "out"
    models = describe_models([bundle], [tmp_path / "runs" / "model.safetensors"], out)
    write_item(out, layers(out), models)
    item = written(out / MODEL_FILE)
    assert core_errors(item) == []
    assert MLM == SCHEMA_URI
    assert MLM in item["stac_extensions"]
    properties = item["properties"]
    parsed = MLModelProperties(**properties)
    assert parsed.total_parameters == sum(p.numel() for p in bundle.network.parameters())
    assert parsed.framework == "PyTorch"
    assert (parsed.pretrained, parsed.pretrained_source) == (False, None)
    shapes = {given.name: (given.input.shape, given.input.dim_order) for given in parsed.input}
    assert shapes["AERIAL_RGBI"][0] == [-1, 4, 512, 512]
    assert shapes["SENTINEL1-ASC_TS"] == (
        [-1, -1, 2, 10, 10], ["batch", "time", "bands", "height", "width"],
    )  # fmt: skip
    scaling = parsed.input[0].value_scaling
    assert [(s.mean, s.stddev) for s in scaling] == list(
        zip(*bundle.meta.network.inputs[0].statistics, strict=True)
    )
    assert parsed.input[0].pre_processing_function is None
    assert "terrain altitude" in parsed.input[1].pre_processing_function.description
    (output,) = parsed.output
    assert output.result.shape == [-1, 3, 512, 512]
    classes = properties["mlm:output"][0]["classification:classes"]
    assert [c["color_hint"] for c in classes] == ["AA0000", "00BB00", "0000CC"]
    asset = item["assets"]["model"]
    assert asset["href"] == "../runs/model.safetensors"
    assert "mlm:model" in asset["roles"]
    described = {band["name"] for band in asset["bands"]}
    assert all(set(given["bands"]) <= described for given in properties["mlm:input"])


def test_what_is_not_known_is_left_out(tmp_path: Path, bundle: Bundle) -> None:
    out = tmp_path / "out"
    item = written(write_item(out, layers(out), describe_models([bundle], [], out)))
    assert item["links"] == []
    assert not (out / MODEL_FILE).exists()
    assert item["properties"]["start_datetime"] == "2021-01-01T00:00:00Z"
    report = layers(out)
    (out / "cover.tif").unlink()
    with pytest.raises(DataError, match="no such file"):
        write_item(out, report)


def test_published_networks_are_described_too(tmp_path: Path, bundle: Bundle) -> None:
    from stac_model.schema import MLModelProperties

    from bocage.mapping.stac_mlm import mlm_properties
    from bocage.models.published import PublishedConfig

    config = PublishedConfig(
        inputs=(InputConfig(modality="aerial"),), tasks=(TaskHead(name="LC", num_classes=3),)
    )
    meta = BundleMeta(network=config, tasks=bundle.meta.tasks, tile_px=512)
    parsed = MLModelProperties(**mlm_properties(meta, torch.nn.Linear(2, 3)))
    assert parsed.total_parameters == 9
    assert parsed.architecture == config.architecture


def _grid(epsg: int, x: float, y: float, size_m: float = 50_000) -> Grid:
    transform = rasterio.Affine(10, 0, x, 0, -10, y)
    return Grid(rasterio.CRS.from_epsg(epsg), transform, int(size_m / 10), int(size_m / 10))


def test_footprints_bend_and_cross_the_dateline() -> None:
    geometry, box = footprint(_grid(2154, 100_000, 6_800_000))
    ring = np.array(geometry["coordinates"][0])
    assert geometry["type"] == "Polygon"
    assert (ring[0] == ring[-1]).all()
    doubled = (ring[:-1, 0] * ring[1:, 1] - ring[1:, 0] * ring[:-1, 1]).sum()
    assert doubled > 0  # anticlockwise
    assert box == [ring[:, 0].min(), ring[:, 1].min(), ring[:, 0].max(), ring[:, 1].max()]
    # UTM zone 60 south, at its eastern end over the 180th meridian: Fiji.
    geometry, box = footprint(_grid(32760, 800_000, 8_100_000))
    assert geometry["type"] == "MultiPolygon"
    assert box[0] > 179
    assert -180 < box[2] < -179
    west, east = (np.array(part[0])[:, 0] for part in geometry["coordinates"])
    assert west.max() == 180
    assert east.min() == -180
