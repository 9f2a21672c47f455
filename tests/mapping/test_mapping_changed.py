"""A run that goes on sees that its imagery has changed; settings without effect are told."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from mapping_stubs import ORIGIN, ByValue, aerial, bundle, write_raster
from range_server import RangeServer

from bocage.errors import ConfigError
from bocage.mapping import MapConfig, Source, map_area, merge_shares
from bocage.mapping import request as request_module

pytestmark = pytest.mark.integration

CONFIG = MapConfig(overlap_px=0, check_values=False)


def begin(source: Source, out: Path) -> None:
    """Half of the work, so that the folder holds an unfinished run."""
    map_area(bundle(ByValue()), [source], out, CONFIG, share=(1, 2))


def go_on(source: Source, out: Path) -> None:
    map_area(bundle(ByValue()), [source], out, CONFIG, share=(2, 2))


def touch(path: Path) -> None:
    """The same size, another time."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


def tiles(folder: Path) -> list[Path]:
    folder.mkdir()
    return [
        write_raster(
            folder / f"t{i}.tif", aerial(64, 64, seed=i), origin=(ORIGIN[0] + 12.8 * i, ORIGIN[1])
        )
        for i in range(3)
    ]


def virtual(target: Path, photograph: Path) -> Path:
    """A VRT that is no plain mosaic: half of a file."""
    with rasterio.open(photograph) as dataset:
        wkt, place = dataset.crs.to_wkt(), ", ".join(map(repr, dataset.transform.to_gdal()))
    rect = 'xOff="0" yOff="0" xSize="100" ySize="100"'
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename>{photograph}'
        f"</SourceFilename><SourceBand>{band}</SourceBand><SrcRect {rect}/><DstRect {rect}/>"
        "</SimpleSource></VRTRasterBand>"
        for band in range(1, 5)
    )
    target.write_text(
        f'<VRTDataset rasterXSize="100" rasterYSize="100"><SRS>{wkt}</SRS>'
        f"<GeoTransform>{place}</GeoTransform>{bands}</VRTDataset>"
    )
    return target


@pytest.mark.parametrize("kind", ["file", "folder", "pattern", "list", "vrt"])
def test_a_source_that_changed_is_refused(tmp_path: Path, kind: str):
    photograph = write_raster(tmp_path / "a.tif", aerial(200, 200))
    parts = tiles(tmp_path / "tiles")
    (tmp_path / "tiles.txt").write_text("\n".join(map(str, parts)))
    path, changed, named = {
        "file": (photograph, photograph, "a.tif"),
        "folder": (tmp_path / "tiles", parts[1], "files of AERIAL_RGBI"),
        "pattern": (f"{tmp_path}/tiles/*.tif", parts[1], "files of AERIAL_RGBI"),
        "list": (tmp_path / "tiles.txt", parts[2], "files of AERIAL_RGBI"),
        "vrt": (virtual(tmp_path / "v.vrt", photograph), photograph, "files of AERIAL_RGBI"),
    }[kind]
    source, out = Source("aerial", path), tmp_path / "out"
    begin(source, out)
    before = changed.stat()
    touch(changed)
    match = rf"imagery has changed: \S*{named}\. Old and new.*overwrite=true"
    with pytest.raises(ConfigError, match=match):
        go_on(source, out)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    go_on(source, out)
    assert merge_shares(out).exit_code == 0


def test_another_file_is_another_request(tmp_path: Path):
    first, other = (write_raster(tmp_path / f"{x}.tif", aerial(90, 90)) for x in "ab")
    begin(Source("aerial", first), tmp_path / "out")
    with pytest.raises(ConfigError, match="differs in: files, tiles"):
        go_on(Source("aerial", other), tmp_path / "out")


def test_what_a_server_gives_is_known_by_size(tmp_path: Path):
    """A server that does not tell, or is asked about too many, is no reason to refuse."""
    site, out = tmp_path / "site", tmp_path / "out"
    site.mkdir()
    write_raster(site / "a.tif", aerial(200, 200))
    with RangeServer(site) as server:
        source = Source("aerial", f"{server.url}/a.tif")
        begin(source, out)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(request_module, "_version_online", lambda _: None)
            go_on(source, out)
        write_raster(site / "a.tif", aerial(200, 200, seed=1), compress="deflate")
        # GDAL keeps what it has read of an address; in another process it would look again.
        with pytest.raises(ConfigError, match=r"imagery has changed: http\S*/a\.tif\. Old"):
            go_on(source, out)


def test_a_server_that_does_not_answer_tells_nothing():
    assert request_module._version_online("http://127.0.0.1:9/a.tif") is None


def test_few_of_many_addresses_are_asked(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    names = [f"/vsicurl/https://x.org/{i}.tif" for i in range(10_000)]
    monkeypatch.setattr(request_module, "_paths", lambda _: names)
    monkeypatch.setattr(
        request_module, "_version_online", lambda name: asked.append(name) or [1, ""]
    )
    told = request_module._versions_online([None])  # type: ignore[list-item]  # only its paths
    assert len(asked) == len(told) == 64
    assert {"https://x.org/0.tif", "https://x.org/9999.tif"} <= told.keys()


def test_one_of_a_thousand_tiles_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = []
    for i in range(1000):
        names.append(str(tmp_path / f"{i}.tif"))
        Path(names[-1]).touch()
    monkeypatch.setattr(request_module, "_paths", lambda _: names)
    one = request_module._parts_identity(None)  # type: ignore[arg-type]  # only its paths
    touch(tmp_path / "500.tif")
    assert request_module._parts_identity(None) != one  # type: ignore[arg-type]


@pytest.mark.parametrize("setting", ["stop", "report"])
def test_missing_tiles_of_one_file_is_told_to_be_idle(tmp_path: Path, setting: str):
    photograph = write_raster(tmp_path / "a.tif", aerial(100, 100))
    config = MapConfig(overlap_px=0, check_values=False, missing_tiles=setting)

    def told(path: object, config: MapConfig) -> list[str]:
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        notes = map_area(bundle(ByValue()), [Source("aerial", path)], out, config).warnings
        return [note for note in notes if "missing_tiles" in note]

    (note,) = told(photograph, config)
    assert note.startswith(f"missing_tiles={setting} has no effect: every source is one file")
    assert told(photograph, CONFIG) == []
    tiles(tmp_path / "tiles")
    assert told(tmp_path / "tiles", config) == []


def test_a_truncated_file_costs_its_blocks_whatever_is_set(tmp_path: Path):
    """A hole of its own size has a tile; of one file it would be as large as a block."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 4, (4, 2048, 512), dtype=np.uint8)
    path = write_raster(
        tmp_path / "a.tif", image, tiled=True, blockxsize=512, blockysize=512, interleave="pixel"
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 4 // 5])
    config = CONFIG.model_copy(update={"block_px": 512, "missing_tiles": "report"})
    report = map_area(bundle(ByValue()), [Source("aerial", path)], tmp_path / "out", config)
    assert report.exit_code == 1
    assert [failure.index for failure in report.failed] == [3]
    assert "a.tif" in report.failed[0].reason


@pytest.mark.parametrize("name", ["a.tif.msk", "a.tif.aux.xml", "a.tfw", "a.prj"])
def test_what_stands_beside_imagery_is_part_of_it(tmp_path: Path, name: str) -> None:
    """A mask that comes between two shares would hide ground in half of the blocks."""
    source = Source("aerial", write_raster(tmp_path / "a.tif", aerial(1000, 600)))
    begin(source, tmp_path / "out")
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"imagery has changed: files of AERIAL_RGBI"):
        go_on(source, tmp_path / "out")
    (tmp_path / name).unlink()
    go_on(source, tmp_path / "out")
