"""Archives that nobody vouches for: what is wrong is refused, and nothing is left of it."""

import io
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bocage.data.download import unpack as unpacking
from bocage.data.download.unpack import unpack
from bocage.errors import DataError


def make_zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


@pytest.mark.unit
@pytest.mark.parametrize(
    "name", ["../a.tif", "/etc/a.tif", "x/../../a.tif", "C:/a.tif", "x\\..\\..\\a.tif"]
)
def test_members_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "work" / "t.zip"
    archive.parent.mkdir()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as out:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        out.writestr(info, b"evil")
    archive.write_bytes(content.getvalue())
    with pytest.raises(DataError, match="would lie outside"):
        unpack(archive, tmp_path / "t")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["work"]


@pytest.mark.unit
def test_links_doubles_bombs_and_junk_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "t.zip"
    link = zipfile.ZipInfo("t/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="is a link"):
        unpack(archive, tmp_path / "t")
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("t/a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            out.writestr("t/a", b"2")
    with pytest.raises(DataError, match="two members have the same name"):
        unpack(archive, tmp_path / "t")
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED", 1 << 20)
    archive.write_bytes(make_zip({"t/zeros.tif": bytes(2 << 20)}))
    with pytest.raises(DataError, match="bytes would become 2,097,152"):
        unpack(archive, tmp_path / "t")
    archive.write_bytes(make_zip({}))
    with pytest.raises(DataError, match="holds no file"):
        unpack(archive, tmp_path / "t")
    whole = make_zip({"t/a.tif": bytes(range(256)) * 99})
    archive.write_bytes(whole)
    monkeypatch.setattr(
        unpacking.shutil, "disk_usage", lambda _: unpacking.shutil._ntuple_diskusage(9, 9, 9)
    )
    with pytest.raises(DataError, match="what was fetched is kept"):
        unpack(archive, tmp_path / "t")
    assert archive.read_bytes() == whole
    assert not (tmp_path / "t").exists()


@pytest.mark.unit
def test_a_folder_at_the_top_is_left_out_only_where_it_should_be(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    for top, any_top, place in (
        ("t/", False, "x.tif"),
        ("", False, "x.tif"),
        ("AA-S1-1/", False, "AA-S1-1/x.tif"),
        ("AA-S1-1/", True, "x.tif"),
    ):
        archive.write_bytes(make_zip({f"{top}x.tif": b"x"}))
        unpack(archive, tmp_path / "t", any_top=any_top)
        assert [p for p in (tmp_path / "t").rglob("*") if p.is_file()] == [tmp_path / "t" / place]
        unpacking.shutil.rmtree(tmp_path / "t")


@pytest.mark.unit
def test_an_entry_that_damage_hides_is_missed(tmp_path: Path) -> None:
    whole = make_zip({"t/a.tif": b"a" * 500, "t/b.tif": b"b" * 500})
    second = whole.rindex(b"PK\x01\x02")
    at = whole.rindex(b"PK\x01\x02", 0, second) + 32  # length of the first entry's comment
    length = len(whole) - second - 22  # all of the second entry, up to the end record
    (tmp_path / "t.zip").write_bytes(whole[:at] + length.to_bytes(2, "little") + whole[at + 2 :])
    with zipfile.ZipFile(tmp_path / "t.zip") as misread:
        assert misread.namelist() == ["t/a.tif"]
    with pytest.raises(DataError, match="directory is not readable"):
        unpack(tmp_path / "t.zip", tmp_path / "t")


@pytest.mark.property
@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_archive_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    content = {"t/a.tif": bytes(range(256)) * 9, "t/b/c.tif": b"c" * 500}
    method = data.draw(st.sampled_from((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)))
    whole = make_zip(content, method)
    at = data.draw(st.integers(0, len(whole) - 1))
    value = data.draw(st.integers(1, 255))
    cut = data.draw(st.booleans())
    spoilt = whole[:at] if cut else whole[:at] + bytes([whole[at] ^ value]) + whole[at + 1 :]
    (folder / "t.zip").write_bytes(spoilt)
    try:
        unpack(folder / "t.zip", folder / "t")
    except DataError:
        assert not (folder / "t").exists()
    else:
        # A byte that carries no content, such as a date: all files must be right.
        found = {p.read_bytes() for p in (folder / "t").rglob("*") if p.is_file()}
        assert found == set(content.values())
    assert not (folder / "t.unpacking").exists()
