"""Damage, full disks, several processes in one folder, and territories drawn piece by piece."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

from bocage.errors import ConfigError, DataError
from bocage.simulate import area, checksums, folder, simulate_area, simulate_dataset, territory
from bocage.simulate.checksums import CHECKSUMS, check_total, verify, write_checksums
from bocage.simulate.dataset import plan_patches
from bocage.simulate.domains import DOMAINS
from bocage.simulate.metadata import write_metadata
from bocage.simulate.noise import Window

DOMAIN = DOMAINS[0]
AGAIN = "simulate it"


def whole(out: Path) -> dict[str, str]:
    """SHA-256 of every file's bytes; nothing hidden may be left."""
    assert not [path for path in out.rglob(".*") if path.is_file()]
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def listed(tmp_path: Path) -> tuple[Path, str]:
    """A folder of two images with its checksums, and their total."""
    folder.claim(tmp_path, {"kind": "benchmark"})
    for k in range(2):
        image = np.full((1, 4, 4), k, dtype=np.uint8)
        folder.write_image(tmp_path / f"{k}.tif", image, Window(0, 0, 20, 4, 4), DOMAIN)
    return tmp_path, write_checksums(tmp_path, {}, 1, AGAIN)


def damage(path: Path) -> None:
    with rasterio.open(path, "r+") as target:
        target.write(target.read() + 1)


@pytest.mark.unit
def test_a_damaged_file_stays_named_however_often_the_list_is_asked_for(listed):
    out, total = listed
    before = (out / CHECKSUMS).read_text()
    damage(out / "1.tif")
    for attempt in (lambda: verify(out, 1, AGAIN), lambda: write_checksums(out, {}, 1, AGAIN)):
        for _ in range(2):
            with pytest.raises(DataError, match=r"1 changed: 1\.tif\. Delete .*run `simulate it`"):
                attempt()
    assert (out / CHECKSUMS).read_text() == before
    image = np.full((1, 4, 4), 1, dtype=np.uint8)
    folder.write_image(out / "1.tif", image, Window(0, 0, 20, 4, 4), DOMAIN)
    assert write_checksums(out, {}, 1, AGAIN) == total == verify(out, 1, AGAIN)


@pytest.mark.unit
@pytest.mark.parametrize("listed_before", [True, False])
def test_a_file_in_another_projection_is_refused(listed, listed_before):
    out, total = listed
    with rasterio.open(out / "1.tif", "r+") as target:
        target.crs = "EPSG:32631"
    if not listed_before:
        (out / CHECKSUMS).unlink()
    with pytest.raises(DataError, match=r"1\.tif \(lies in EPSG:32631, not in EPSG:2154"):
        write_checksums(out, {}, 1, AGAIN)
    assert (out / CHECKSUMS).is_file() is listed_before
    with rasterio.open(out / "1.tif", "r+") as target:
        target.crs = "EPSG:2154"
    assert write_checksums(out, {}, 1, AGAIN) == total


@pytest.mark.unit
def test_the_published_total_shows_that_the_list_was_damaged_and_not_the_files(listed):
    out, total = listed
    listing = out / CHECKSUMS
    listing.write_text(listing.read_text().replace("0.tif", "2.tif"))
    with pytest.raises(DataError, match=r"1 missing: 2\.tif; 1 not in .*: 0\.tif.*delete it too"):
        write_checksums(out, {}, 1, AGAIN)
    assert write_checksums(out, {}, 1, AGAIN, expected=total) == total == verify(out, 1, AGAIN)
    listing.write_text("nonsense")
    with pytest.raises(DataError, match=r"cannot be read .*Delete it and run `simulate it`"):
        write_checksums(out, {}, 1, AGAIN)
    listing.unlink()
    with pytest.raises(DataError, match=r"is missing\. Run `simulate it`"):
        verify(out, 1, AGAIN)
    assert write_checksums(out, {}, 1, AGAIN) == total
    with pytest.raises(DataError, match="report the machine"):
        check_total(out, total, "0" * 64)
    assert checksums.check_total(out, total, None) == total


@pytest.mark.unit
def test_leftovers_go_and_what_is_being_written_stays(tmp_path):
    folder.claim(tmp_path, {"kind": "area"})
    left, foreign = tmp_path / "a" / ".b-c_1.0123abcd.tif", tmp_path / ".notes.tif"
    left.parent.mkdir()
    for path in (left, foreign):
        path.write_bytes(b"II*")
    with folder.writing(tmp_path):
        folder.claim(tmp_path, {"kind": "area"})
        assert left.is_file()
    folder.claim(tmp_path, {"kind": "area"})
    assert not left.exists()
    assert foreign.is_file()


@pytest.mark.unit
def test_without_locks_nothing_is_removed_and_all_else_works(tmp_path, monkeypatch):
    def refuse(handle: int, how: int) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    folder.claim(tmp_path, {"kind": "area"})
    left = tmp_path / ".b.0123abcd.tif"
    left.write_bytes(b"II*")
    folder.finish(tmp_path, {"kind": "area"})
    assert left.is_file()
    assert folder.read_claim(tmp_path)[0]


WRITER = """
import sys
from pathlib import Path
import numpy as np
from bocage.simulate import folder
from bocage.simulate.domains import DOMAINS
from bocage.simulate.noise import Window
out, image = Path(sys.argv[1]), np.zeros((1, 600, 600), dtype=np.uint8)
print("ready", flush=True)
sys.stdin.readline()
for k in range(40):
    folder.claim(out, {"kind": "area"})
    with folder.writing(out):
        for name in ("a", "b"):
            target = out / f"{name}.tif"
            folder.write_image(target, image, Window(0, 0, 20, 600, 600), DOMAINS[0])
"""


@pytest.mark.integration
def test_two_processes_that_write_the_same_files_at_once_leave_each_others_temporaries(tmp_path):
    out = tmp_path / "out"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(out)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        _, told = child.communicate("go\n", timeout=120)
        assert child.returncode == 0, told
    assert set(whole(out)) == {"simulation.json", "a.tif", "b.tif"}


AREA = """
import sys
from pathlib import Path
from bocage.simulate import simulate_area
part, parts = int(sys.argv[2]), int(sys.argv[3])
print(simulate_area(Path(sys.argv[1]), size_m=153.6, seed=3, shard=(part, parts)))
"""


def start(out: Path, part: int, parts: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", AREA, str(out), str(part), str(parts)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("territory") / "reference"
    calls = []
    assert simulate_area(
        out, size_m=153.6, seed=3, progress=lambda done, total: calls.append((done, total))
    )
    # Nine blocks to draw, then ten rasters to join.
    assert calls == [(k, 19) for k in range(1, 20)]
    assert not (out / "blocks").exists()
    return whole(out)


@pytest.mark.integration
def test_a_territory_that_is_killed_goes_on_with_the_next_block_to_the_same_bytes(
    tmp_path, reference
):
    out = tmp_path / "killed"
    child = start(out, 1, 1)
    deadline = time.monotonic() + 120
    while len(list(out.glob("blocks/crops/[!.]*.tif"))) < 2:
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not list(out.glob("*.tif"))
    kept = {path: path.stat().st_mtime_ns for path in out.glob("blocks/*/[!.]*.tif")}
    (out / "blocks" / "crops" / ".0001-0001.0123abcd.tif").write_bytes(b"II*")
    calls: list[tuple[int, int]] = []

    def watch(done: int, total: int) -> None:
        calls.append((done, total))
        if done <= 9:  # then the blocks are joined and go
            assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())

    assert simulate_area(out, size_m=153.6, seed=3, progress=watch)
    assert calls[0][0] >= 3
    assert calls[-1] == (19, 19)
    assert whole(out) == reference


@pytest.mark.integration
def test_two_shards_of_a_territory_at_once_make_it_whole(tmp_path, reference):
    out = tmp_path / "shards"
    children = [start(out, part, 2) for part in (1, 2)]
    told = [child.communicate(timeout=120)[0].strip() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert "True" in told
    assert whole(out) == reference
    assert json.loads((out / "simulation.json").read_text())["complete"] is True


@pytest.mark.integration
def test_a_broken_piece_is_named_and_nothing_is_joined(tmp_path):
    layer = territory.Layer("aerial", 20, 1, "uint8")
    place = territory.Place(0, 0, Window(0, 0, 20, 16, 16))
    image = np.zeros((1, 16, 16), dtype=np.uint8)
    territory.write_piece(tmp_path, layer, place, image, DOMAIN)
    piece = layer.piece(tmp_path, 0, 0)
    piece.write_bytes(piece.read_bytes()[:40])
    with pytest.raises(DataError, match=r"0000-0000\.tif: cannot be read.*Delete it"):
        territory.join(tmp_path, layer, place.window, [place], 16, DOMAIN)
    assert [path.name for path in tmp_path.iterdir()] == ["blocks"]


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from bocage.errors import DataError
from bocage.simulate import folder, territory
from bocage.simulate.domains import DOMAINS
from bocage.simulate.noise import Window
out, way = Path(sys.argv[1]), sys.argv[2]
side = 256
whole = Window(0, 0, 20, 4 * side, 4 * side)
layer = territory.Layer("aerial", 20, 1, "uint8")
places = [
    territory.Place(row, col, Window(col * side * 20, row * side * 20, 20, side, side))
    for row in range(4) for col in range(4)
]
noise = np.random.default_rng(0).integers(0, 255, (1, side, side), dtype=np.uint8)
for place in places:
    territory.write_piece(out, layer, place, noise, DOMAINS[0])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
if way == "later":
    territory._make_room = lambda temporary, pieces: None
try:
    if way in ("join", "later"):
        territory.join(out, layer, whole, places, side, DOMAINS[0])
    else:
        folder.write_image(out / "aerial.tif", np.tile(noise, (1, 4, 4)), whole, DOMAINS[0])
except DataError as error:
    print(error)
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("way", "limit"), [("image", 200_000), ("join", 200_000), ("later", 200_000), ("later", 2_000)]
)
def test_a_full_disk_is_told_in_the_words_of_the_system(tmp_path, way, limit):
    """A limit on the size of files stands in for the disk: the system says "File too large".

    "later": the disk fills while GDAL writes, which then has a line of its own on the terminal.
    """
    ran = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), way, str(limit)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "aerial.tif: could not be written (File too large)" in ran.stdout
    assert "previous exception" not in ran.stdout
    if way != "later":
        assert ran.stderr == ""
    assert not list(tmp_path.glob("*.tif"))
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


@pytest.mark.unit
def test_tables_on_a_full_disk_are_told_in_the_words_of_the_system(tmp_path, monkeypatch):
    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"SPLIT\.gpkg: could not be written \(No space left"):
        write_metadata(tmp_path, plan_patches(DOMAIN, 5, 1, alone=True), (), only_missing=False)
    assert not list(tmp_path.rglob("*.gpkg"))


@pytest.mark.unit
def test_a_territory_of_which_a_raster_is_gone_is_not_complete_until_it_is_back(
    tmp_path, monkeypatch
):
    out = tmp_path / "land"
    simulate_area(out, size_m=51.2, seed=3)
    for name in ("spot.tif", "sentinel2_dates.txt"):
        (out / name).unlink()
        with monkeypatch.context() as patched:
            patched.setattr(area, "run_jobs", killed)
            with pytest.raises(KeyboardInterrupt):
                simulate_area(out, size_m=51.2, seed=3)
        assert not folder.read_claim(out)[0]
        assert simulate_area(out, size_m=51.2, seed=3)
        assert folder.read_claim(out)[0]


def killed(*given: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.unit
@pytest.mark.parametrize(
    ("classes", "domains", "message"),
    [
        (["rice"], ["D074-2020"], "'rice' occurs in none of D074-2020; it does in D0"),
        (["snow"], ["D080-2021", "D030-2021"], "'snow' occurs in none of D080-2021, D030-2021"),
        (["building", "lavandin"], ["D080-2021"], "'lavandin' occurs in none"),
    ],
)
def test_classes_that_no_chosen_domain_has_are_refused(tmp_path, classes, domains, message):
    with pytest.raises(ConfigError) as caught:
        simulate_dataset(tmp_path / "out", domains=domains, patches=1, classes=classes)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.unit
def test_one_domain_that_has_the_class_is_enough():
    from bocage.simulate.dataset import _check_grown

    _check_grown(["rice", "grasses, mixture", "snow"], DOMAINS)
