"""Small Sentinel-2 files: GeoTIFFs, items of a catalogue, NetCDF and Zarr cubes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import rasterio
import zarr
from rasterio.crs import CRS
from rasterio.transform import from_origin

from bocage.modalities import SENTINEL2_TS

LEFT, TOP, PIXEL = 700_000.0, 6_600_000.0, 10.0
BANDS = SENTINEL2_TS.bands


def reflectance(dates: int, seed: int = 0, side: int = 12) -> np.ndarray:
    """(T, 10, H, W) uint16 of woods and fields: dark in the visible, bright beyond."""
    rng = np.random.default_rng(seed)
    level = np.array([300, 500, 400, 900, 2000, 2500, 2700, 2800, 1600, 900])
    noise = rng.integers(-200, 200, (dates, 10, side, side))
    return (level[None, :, None, None] + noise).astype(np.uint16)


def write(path: Path, array: np.ndarray, **options: Any) -> Path:
    """(C, H, W) as a GeoTIFF; `scales` and `offsets` are those of all bands."""
    scale, offset = options.pop("scale", None), options.pop("offset", None)
    profile = {
        "driver": "GTiff", "count": len(array), "height": array.shape[1], "width": array.shape[2],
        "dtype": array.dtype, "crs": "EPSG:2154",
        "transform": from_origin(LEFT, TOP, PIXEL, PIXEL), **options,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        target.write(array)
        if scale is not None:
            target.scales = (scale,) * len(array)
        if offset is not None:
            target.offsets = (offset,) * len(array)
    return path


def write_series(folder: Path, series: np.ndarray, lines: Sequence[str], **options: Any) -> Path:
    """`s2.tif` and `dates.txt`; the path of the first."""
    (folder / "dates.txt").write_text("\n".join(lines))
    return write(folder / "s2.tif", series.reshape(-1, *series.shape[2:]), **options)


def write_items(
    folder: Path,
    days: Sequence[str],
    frames: np.ndarray,
    properties: Sequence[dict[str, Any]],
    bands: Sequence[dict[str, Any]],
) -> Path:
    """A collection of one item per frame, each with one asset of ten bands."""
    features = []
    for number, (day, frame) in enumerate(zip(days, frames, strict=True)):
        file = write(folder / f"{number}.tif", frame)
        stated = [{"name": name, **bands[number]} for name in BANDS]
        features.append(
            {
                "type": "Feature", "stac_version": "1.0.0", "id": f"scene{number}",
                "geometry": None,
                "properties": {"datetime": f"{day}T10:00:00Z", **properties[number]},
                "assets": {"image": {"href": file.name, "eo:bands": stated,
                                     "raster:bands": [bands[number]] * 10}},
            }
        )  # fmt: skip
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def write_cube(
    path: Path,
    frames: np.ndarray,
    days: Sequence[int],
    *,
    units: str = "days since 2021-04-01",
    order: str = "variables",
    names: Sequence[str] = BANDS,
    **attributes: Any,
) -> Path:
    """A CF cube of `frames` (T, 10, H, W): `order` is variables, time-band or band-time."""
    count, _, height, width = frames.shape
    with h5py.File(path, "w") as file:

        def axis(name: str, values: np.ndarray, **words: str) -> Any:
            made = file.create_dataset(name, data=values)
            made.make_scale(name)
            for key, text in words.items():
                made.attrs[key] = np.bytes_(text)
            return made

        file.attrs["Conventions"] = np.bytes_("CF-1.8")
        time = axis("time", np.asarray(days, np.int32), units=units, standard_name="time")
        y = axis("y", TOP - PIXEL * (np.arange(height) + 0.5), units="m",
                 standard_name="projection_y_coordinate")  # fmt: skip
        x = axis("x", LEFT + PIXEL * (np.arange(width) + 0.5), units="m",
                 standard_name="projection_x_coordinate")  # fmt: skip
        crs = file.create_dataset("crs", data=np.int32(0))
        crs.attrs["crs_wkt"] = np.bytes_(CRS.from_epsg(2154).to_wkt())
        crs.attrs["grid_mapping_name"] = np.bytes_("lambert_conformal_conic")

        def variable(name: str, values: np.ndarray, *dimensions: Any) -> None:
            made = file.create_dataset(name, data=values)
            for place, dimension in enumerate(dimensions):
                made.dims[place].attach_scale(dimension)
            made.attrs["grid_mapping"] = np.bytes_("crs")
            for key, value in attributes.items():
                made.attrs[key] = value

        if order == "variables":
            for place, name in enumerate(names):
                variable(name, frames[:, place], time, y, x)
        else:
            band = axis("band", np.arange(10, dtype=np.int32))
            if order == "time-band":
                variable("reflectance", frames, time, band, y, x)
            else:
                variable("reflectance", frames.swapaxes(0, 1), band, time, y, x)
        assert count == len(days)
    return path


def write_store(
    path: Path,
    frames: np.ndarray,
    days: Sequence[float],
    *,
    version: int = 3,
    consolidated: bool = False,
    order: str = "variables",
    units: str = "days since 2021-04-01",
    chunks: tuple[int, int] = (6, 5),
    north_up: bool = True,
    group: str = "",
    **options: Any,
) -> Path:
    """The same as `write_cube` as a Zarr store, as xarray and rioxarray lay it out.

    `options` are attributes of the imagery, and what `create_array` takes (compressors, shards).
    """
    count, _, height, width = frames.shape
    known = {"compressors", "shards", "fill_value"}
    made = {key: options.pop(key) for key in known & set(options)}
    root = zarr.open_group(path, mode="w", zarr_format=version)
    place = root.require_group(group) if group else root

    def array(name: str, values: np.ndarray, dims: Sequence[str], **words: Any) -> None:
        attributes = words.pop("attributes", {})
        if version == 2:
            attributes["_ARRAY_DIMENSIONS"] = list(dims)
        else:
            words["dimension_names"] = dims
        words.setdefault("chunks", values.shape)
        place.create_array(name, data=values, attributes=attributes, **words)

    array("time", np.asarray(days), ["time"], attributes={"units": units})
    array("time_bounds", np.zeros((count, 2)), ["time", "nv"])
    y = TOP - PIXEL * (np.arange(height) + 0.5)
    array("y", y if north_up else y[::-1].copy(), ["y"])
    array("x", LEFT + PIXEL * (np.arange(width) + 0.5), ["x"])
    mapping = {"crs_wkt": CRS.from_epsg(2154).to_wkt()}
    array("spatial_ref", np.array(0), [], attributes=mapping)
    frames = frames if north_up else frames[..., ::-1, :]
    words = {"attributes": {"grid_mapping": "spatial_ref", **options}, **made}
    if order == "variables":
        for place_, name in enumerate(BANDS):
            one = {**words, "attributes": dict(words["attributes"])}
            array(name, frames[:, place_], ["time", "y", "x"], chunks=(2, *chunks), **one)
    else:
        dims = order.split("-")
        values = frames if dims[0] == "time" else frames.swapaxes(0, 1)
        array("reflectance", values, [*dims, "y", "x"], chunks=(1, 4, *chunks), **words)
    if consolidated:
        with warnings.catch_warnings():
            # Version 3 has no consolidated metadata in its text; everybody writes them.
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(path)
    return path
