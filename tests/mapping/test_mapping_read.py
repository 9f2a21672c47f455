"""From files to windows: alignment, resampling, holes, mirrors, and series that never shrink."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from mapping_stubs import CRS, ORIGIN, Output, aerial, bundle, write_raster
from rasterio.transform import from_origin
from rasterio.warp import transform as transform_points

from bocage.mapping import MapConfig, Source, map_area
from bocage.mapping.job import prepare
from bocage.mapping.plan import Lattice
from bocage.mapping.predict import network_inputs, window_inputs
from bocage.mapping.read import read_block
from bocage.modalities import SENTINEL2_TS
from bocage.series import SeriesConfig

DEM = "DEM_ELEV"
RGBI = "AERIAL_RGBI"
S2 = "SENTINEL2_TS"
LATTICE = Lattice(512, 512, 0)


def whole(sources, inputs, output_m=0.2, **config):
    """Job and inputs of the only block."""
    job = prepare(
        [bundle(None, inputs, output_m=output_m)], sources, MapConfig(block_px=4096, **config)
    )
    return job, read_block(job.sensors, job.grids, job.plan, job.plan.blocks[0])


def inside(job, inputs, name):
    """The part of a sensor's arrays that lies in the reference."""
    grid = inputs.grids[name]
    top, left = grid.to_own(-inputs.origin[0]), grid.to_own(-inputs.origin[1])
    height = -(-job.plan.height // grid.ratio)
    width = -(-job.plan.width // grid.ratio)
    return slice(top, top + height), slice(left, left + width)


@pytest.mark.unit
@pytest.mark.parametrize("shape", [(70, 51), (5, 3), (1, 1)])
def test_beyond_the_border_the_image_is_mirrored(tmp_path: Path, shape):
    image = aerial(*shape, high=255)
    path = write_raster(tmp_path / "a.tif", image)
    _, inputs = whole([Source("aerial", path)], (RGBI,))
    top, left = -inputs.origin[0], -inputs.origin[1]
    height, width = inputs.images[RGBI].shape[1:]
    assert min(top, left) >= 8
    expected = np.pad(
        image,
        ((0, 0), (top, height - top - shape[0]), (left, width - left - shape[1])),
        mode="symmetric",
    )
    np.testing.assert_array_equal(inputs.images[RGBI], expected)
    assert inputs.data_HW is None


@pytest.mark.unit
def test_aligned_sensor_with_another_extent_is_read_without_resampling(tmp_path: Path):
    rng = np.random.default_rng(1)
    dem = rng.normal(200, 50, (2, 90, 90)).astype(np.float32)
    # Starts 10 pixels west and 4 south of the photograph: covers a part of it.
    origin = (ORIGIN[0] - 10 * 0.2, ORIGIN[1] - 4 * 0.2)
    photo = write_raster(tmp_path / "a.tif", aerial(64, 120))
    path = write_raster(tmp_path / "dem.tif", dem, origin=origin, nodata=-9999.0)
    job, inputs = whole([Source("aerial", photo), Source(DEM, path)], (RGBI, DEM))
    rows, cols = inside(job, inputs, DEM)
    image, valid = inputs.images[DEM][:, rows, cols], inputs.valid[DEM][rows, cols]
    np.testing.assert_array_equal(image[:, 4:, :80], dem[:, :60, 10:])
    assert valid[4:, :80].all()
    assert not valid[:4].any()
    assert not valid[:, 80:].any()
    assert not image[:, ~valid].any()
    assert [w for w in job.warnings if "does not cover all" in w and "dem.tif" in w]


@pytest.mark.unit
@pytest.mark.parametrize("crs", [CRS, "EPSG:32631", "EPSG:4326", "EPSG:3857"])
def test_misaligned_elevation_lands_in_the_right_place(tmp_path: Path, crs):
    """A plane in Lambert-93, stored elsewhere at another resolution, comes back within a tenth
    of a source pixel (the slope is 1 per metre, so heights are metres of displacement)."""
    photo = write_raster(tmp_path / "a.tif", aerial(100, 130))
    x0, y0 = ORIGIN
    if crs == CRS:
        left, top, size = x0 - 7.3, y0 + 6.1, 0.7
    else:
        xs, ys = transform_points(CRS, crs, [x0, x0 + 26], [y0, y0 - 20])
        size = 1e-5 if crs == "EPSG:4326" else 0.7
        left, top = min(xs) - 25.37 * size, max(ys) + 25.61 * size
    transform = from_origin(left, top, size, size)
    columns, lines = np.meshgrid(np.arange(140) + 0.5, np.arange(140) + 0.5)
    east, north = transform @ (columns, lines)
    mx, my = transform_points(crs, CRS, east.ravel().tolist(), north.ravel().tolist())
    plane = np.stack([np.array(mx) - x0, y0 - np.array(my)]).reshape(2, 140, 140)
    path = write_raster(
        tmp_path / "dem.tif", plane.astype(np.float32), crs=crs, transform=transform
    )
    job, inputs = whole([Source("aerial", photo), Source(DEM, path)], (RGBI, DEM))
    rows, cols = inside(job, inputs, DEM)
    found = inputs.images[DEM][:, rows, cols]
    assert DEM not in inputs.valid
    expected_x = (np.arange(130) + 0.5) * 0.2
    expected_y = (np.arange(100) + 0.5) * 0.2
    np.testing.assert_allclose(found[0], np.broadcast_to(expected_x, (100, 130)), atol=0.07)
    np.testing.assert_allclose(found[1].T, np.broadcast_to(expected_y, (130, 100)), atol=0.07)


@pytest.mark.unit
def test_holes_are_left_out_of_resampled_heights(tmp_path: Path):
    photo = write_raster(tmp_path / "a.tif", aerial(100, 100))
    dem = np.full((2, 60, 60), 250, np.float32)
    dem[0, 20:24, 20:24] = -9999
    dem[1, 40, 40] = np.nan
    origin = (ORIGIN[0] - 1.1, ORIGIN[1] + 1.3)
    path = write_raster(tmp_path / "dem.tif", dem, 0.5, origin=origin)
    job, inputs = whole([Source("aerial", photo), Source(DEM, path)], (RGBI, DEM))
    rows, cols = inside(job, inputs, DEM)
    image, valid = inputs.images[DEM][:, rows, cols], inputs.valid[DEM][rows, cols]
    np.testing.assert_allclose(image[:, valid], 250, atol=1e-3)
    # The hole's middle lies at (9.9, 9.7) m from the photograph's corner and is 2 m wide.
    assert not valid[48, 49]
    # 4 m² and a quarter of a square metre, in pixels of 0.04 m².
    assert (~valid).sum() == pytest.approx(4.25 / 0.04, rel=0.25)


@pytest.mark.unit
def test_finer_source_is_averaged_and_independent_of_the_block(tmp_path: Path):
    """Four source pixels to one: a checkerboard becomes grey; any cut gives the same numbers."""
    rng = np.random.default_rng(5)
    photo = write_raster(tmp_path / "a.tif", aerial(600, 600))
    spot = rng.integers(100, 3000, (4, 640, 640), dtype=np.uint16)
    board = np.indices((640, 640)).sum(axis=0) % 2
    spot[0] = np.where(board == 0, 1000, 2000)
    path = write_raster(
        tmp_path / "s.tif", spot, 0.4, origin=(ORIGIN[0] - 2.13, ORIGIN[1] + 2.2), crs=CRS
    )
    sources = [Source("aerial", photo), Source("spot", path)]
    job, inputs = whole(sources, (RGBI, "SPOT_RGBI"), window_px=64, overlap_px=16)
    rows, cols = inside(job, inputs, "SPOT_RGBI")
    one = inputs.images["SPOT_RGBI"][:, rows, cols]
    assert np.abs(one[0].astype(int) - 1500).max() < 150
    small = prepare(
        [bundle(None, (RGBI, "SPOT_RGBI"))],
        sources,
        MapConfig(block_px=512, window_px=64, overlap_px=16),
    )
    for block in small.plan.blocks:
        part = read_block(small.sensors, small.grids, small.plan, block)
        window = part.cut("SPOT_RGBI", block.row0, block.col0, 64)
        r, c = block.row0 // 8, block.col0 // 8
        np.testing.assert_array_equal(
            part.images["SPOT_RGBI"][(slice(None), *window)], one[:, r : r + 8, c : c + 8]
        )


def make_series(tmp_path: Path, cloud: np.ndarray, *, shuffle=None, nodata=None):
    """Sentinel-2, 102.4 m x 204.8 m; `cloud` (T, 10, 20) percent; blue of date t: 1000 t + 1."""
    count = len(cloud)
    values = np.ones((count, 10, 10, 20), np.uint16)
    values[:, 0] += 1000 * np.arange(count, dtype=np.uint16)[:, None, None]
    mask = np.zeros((count, 2, 10, 20), np.uint16)
    mask[:, 1] = cloud
    dates = [f"2021{1 + t:02d}15" for t in range(count)]
    if nodata is not None:
        values[nodata] = 65535
    order = np.arange(count) if shuffle is None else np.array(shuffle)
    (tmp_path / "dates.txt").write_text(
        "\n".join(
            dates[i] if i % 2 else f"{dates[i][:4]}-{dates[i][4:6]}-{dates[i][6:]}" for i in order
        )
        + "\n\n"
    )
    write_raster(tmp_path / "s2.tif", values[order].reshape(-1, 10, 20), 10.24)
    write_raster(tmp_path / "mask.tif", mask[order].reshape(-1, 10, 20), 10.24)
    return Source(S2, tmp_path / "s2.tif", tmp_path / "dates.txt", tmp_path / "mask.tif")


@pytest.mark.unit
@pytest.mark.parametrize("shuffle", [None, [2, 0, 3, 1]])
def test_every_window_chooses_from_all_dates(tmp_path: Path, shuffle):
    """The left half is cloudy on date 1, the right half on dates 0 and 2, nothing remembers."""
    cloud = np.zeros((4, 10, 20))
    cloud[1, :, :10] = 80
    cloud[[0, 2], :, 10:] = 80
    photo = write_raster(tmp_path / "a.tif", aerial(512, 1024))
    source = make_series(tmp_path, cloud, shuffle=shuffle)
    job, inputs = whole([Source("aerial", photo), source], (RGBI, S2))
    before = inputs.series[S2].values.copy(), inputs.series[S2].dates.copy()
    lattice = job.plan.lattice
    assert lattice.window_px == 512

    def months(col):
        window = window_inputs(inputs, 0, col, LATTICE, SeriesConfig())
        return [int(d.astype(object).month) for d in window.series[S2].dates]

    assert months(0) == [1, 3, 4]
    assert months(512) == [2, 4]
    assert months(0) == [1, 3, 4]
    right = window_inputs(inputs, 0, 512, LATTICE, SeriesConfig())
    assert right.series[S2].values[:, 0, 0, 0].tolist() == [1001, 3001]
    np.testing.assert_array_equal(inputs.series[S2].values, before[0])
    np.testing.assert_array_equal(inputs.series[S2].dates, before[1])

    left = window_inputs(inputs, 0, 0, LATTICE, SeriesConfig())
    batch = network_inputs([left, right], job.inputs, job.year, 512)
    assert job.year == 2021
    assert batch["dates_present"][S2].tolist() == [[True, True, True], [True, True, False]]
    assert batch["days"][S2].tolist() == [[-120, -61, -30], [-89, -30, 0]]
    assert batch["series"][S2].shape == (2, 3, 10, 10, 10)
    assert not batch["series"][S2][1, 2].any()
    assert not batch["series_valid"][S2][1, 2].any()
    assert batch["series_valid"][S2][0].all()
    assert batch["images"][RGBI].shape == (2, 4, 512, 512)


@pytest.mark.unit
def test_window_without_a_clear_date_has_no_series(tmp_path: Path):
    cloud = np.zeros((2, 10, 20))
    cloud[:, :, :10] = 100
    photo = write_raster(tmp_path / "a.tif", aerial(512, 1024))
    job, inputs = whole([Source("aerial", photo), make_series(tmp_path, cloud)], (RGBI, S2))
    windows = [window_inputs(inputs, 0, col, LATTICE, SeriesConfig()) for col in (0, 512)]
    batch = network_inputs(windows, job.inputs, job.year, 512)
    assert batch["present"][S2].tolist() == [False, True]
    assert batch["dates_present"][S2].tolist() == [[False, False], [True, True]]
    only_cloudy = network_inputs(windows[:1], job.inputs, job.year, 512)
    assert S2 not in only_cloudy["series"]
    assert only_cloudy["present"][S2].tolist() == [False]


@pytest.mark.unit
def test_nodata_date_is_marked_and_unknown_cloud_counts_as_cloud(tmp_path: Path):
    photo = write_raster(tmp_path / "a.tif", aerial(512, 1024))
    source = make_series(tmp_path, np.zeros((3, 10, 20)), nodata=1)
    # The mask only covers the left half.
    with rasterio.open(source.mask) as dataset:
        half = dataset.read()[:, :, :10]
    write_raster(tmp_path / "half.tif", half, 10.24)
    source = Source(S2, source.path, source.dates, tmp_path / "half.tif")
    _, inputs = whole([Source("aerial", photo), source], (RGBI, S2))
    left = window_inputs(inputs, 0, 0, LATTICE, SeriesConfig())
    assert [str(d)[5:7] for d in left.series[S2].dates] == ["01", "03"]
    assert S2 not in window_inputs(inputs, 0, 512, LATTICE, SeriesConfig()).series


@pytest.mark.unit
def test_zero_is_a_hole_only_where_all_bands_are_zero(tmp_path: Path):
    image = aerial(40, 40) + 1
    image[0, 3, 3] = 0
    image[:, 5, 5] = 0
    path = write_raster(tmp_path / "a.tif", image, nodata=0)
    job, inputs = whole([Source("aerial", path)], (RGBI,))
    rows, cols = inside(job, inputs, RGBI)
    assert np.argwhere(~inputs.valid[RGBI][rows, cols]).tolist() == [[5, 5]]
    assert inputs.data_HW is not None
    assert np.argwhere(~inputs.data_HW).tolist() == [[5, 5]]


@pytest.mark.unit
def test_fifth_band_is_opacity_and_the_fourth_is_not(tmp_path: Path):
    """GDAL flags the infrared of every 4-band byte file as alpha: it must stay infrared."""
    image = aerial(40, 40, high=200)
    four = write_raster(tmp_path / "four.tif", image)
    _, inputs = whole([Source("aerial", four)], (RGBI,))
    assert RGBI not in inputs.valid
    opacity = np.full((1, 40, 40), 255, np.uint8)
    opacity[0, :, :9] = 0
    five = write_raster(tmp_path / "five.tif", np.concatenate([image, opacity]))
    with rasterio.open(five, "r+") as dataset:
        interp = [rasterio.enums.ColorInterp.undefined] * 4
        dataset.colorinterp = [*interp, rasterio.enums.ColorInterp.alpha]
    job, inputs = whole([Source("aerial", five)], (RGBI,))
    rows, cols = inside(job, inputs, RGBI)
    valid = inputs.valid[RGBI][rows, cols]
    assert not valid[:, :9].any()
    assert valid[:, 9:].all()


@pytest.mark.unit
def test_chosen_bands_of_a_larger_file(tmp_path: Path):
    """FLAIR #2 keeps red, green, blue, infrared and height in one file."""
    image = np.concatenate([aerial(40, 40), np.full((1, 40, 40), 77, np.uint8)])
    path = write_raster(tmp_path / "a.tif", image)
    sources = [
        Source("aerial", path, bands=(1, 2, 3, 4)),
        Source("AERIAL_HEIGHT", path, bands=(5,)),
    ]
    job, inputs = whole(sources, (RGBI, "AERIAL_HEIGHT"))
    assert (inputs.images["AERIAL_HEIGHT"] == 77).all()
    rows, cols = inside(job, inputs, RGBI)
    np.testing.assert_array_equal(inputs.images[RGBI][:, rows, cols], image[:4])


@pytest.mark.unit
def test_sentinel_grid_hangs_on_the_photograph(tmp_path: Path):
    """10.24 m pixels that start at the photograph's corner are read as they are, and the window
    at (256, 512) holds pixels 5 and 10 onwards."""
    photo = write_raster(tmp_path / "a.tif", aerial(512, 1024))
    values = np.arange(10 * 20, dtype=np.uint16).reshape(1, 10, 20)
    stack = np.repeat(values, len(SENTINEL2_TS.bands), axis=0)
    (tmp_path / "d.txt").write_text("20210601")
    path = write_raster(tmp_path / "s2.tif", stack, 10.24)
    _, inputs = whole([Source("aerial", photo), Source(S2, path, tmp_path / "d.txt")], (RGBI, S2))
    window = window_inputs(inputs, 256, 512, LATTICE, SeriesConfig())
    expected = np.pad(values[0], ((0, 10), (0, 10)), mode="symmetric")[5:15, 10:20]
    np.testing.assert_array_equal(window.series[S2].values[0, 0], expected)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("composite", "west", "east"),
    [
        ("none", [(2, 1), (12, 1001), (35, 3001)], [(2, 1), (12, 1001), (20, 2001), (35, 3001)]),
        ("monthly", [(7, 501), (35, 3001)], [(11, 1001), (35, 3001)]),
        ("semi-monthly", [(7, 501), (35, 3001)], [(7, 501), (20, 2001), (35, 3001)]),
    ],
)
def test_composites_are_made_window_by_window(tmp_path: Path, composite, west, east):
    """Of the dates that are clear there: in the west 20 March is cloudy. Days count in March."""
    cloud = np.zeros((4, 10, 20))
    cloud[2, :, :10] = 80
    photo = write_raster(tmp_path / "a.tif", aerial(512, 1024))
    source = make_series(tmp_path, cloud)
    assert source.dates is not None
    source.dates.write_text("20210302\n20210312\n20210320\n20210404")
    seen: dict[int, list[tuple[int, int]]] = {}

    class Recording(torch.nn.Module):
        def forward(self, **inputs):
            days, blue = inputs["days"][S2][0], inputs["series"][S2][0, :, 0].flatten(1)
            assert (blue == blue[:, :1]).all()
            march = days + 76  # its first is 75 days before 15 May
            seen[len(seen)] = list(zip(march.tolist(), blue[:, 0].tolist(), strict=True))
            return Output({"LC": torch.zeros(1, 4, *inputs["output_hw"])}, {})

    made = bundle(Recording(), (RGBI, S2))
    series = SeriesConfig(composite=composite)
    made = made._replace(meta=made.meta.model_copy(update={"series": series}))
    map_area(made, [Source("aerial", photo), source], tmp_path / "out", MapConfig(overlap_px=0))
    assert seen == {0: west, 1: east}


@pytest.mark.unit
def test_clouds_on_another_grid_are_those_of_the_nearest_pixel(tmp_path: Path):
    """20 m and shifted, as Sen2Cor writes them: probabilities are never mixed."""
    size, shift = 20.0, (-47.0, 33.0)
    photo = write_raster(tmp_path / "a.tif", aerial(512, 1024))
    source = make_series(tmp_path, np.zeros((3, 10, 20)))
    mask = np.random.default_rng(0).choice([0, 3, 40, 100], (3, 2, 14, 18)).astype(np.uint16)
    origin = (ORIGIN[0] + shift[0], ORIGIN[1] + shift[1])
    write_raster(tmp_path / "mask.tif", mask.reshape(-1, 14, 18), size, origin=origin)
    job, inputs = whole([Source("aerial", photo), source], (RGBI, S2))
    rows, cols = inside(job, inputs, S2)
    found = inputs.series[S2].snow_cloud[..., rows, cols]
    assert found.shape == (3, 2, 10, 20)
    own_rows = ((np.arange(10) + 0.5) * 10.24 + shift[1]) // size
    own_cols = ((np.arange(20) + 0.5) * 10.24 - shift[0]) // size
    expected = mask[:, :, own_rows.astype(int)][..., own_cols.astype(int)]
    np.testing.assert_array_equal(found, expected)
    assert set(np.unique(found)) == {0, 3, 40, 100}
