"""Catalogues from wherever they come: opening, gzip, filters, digests, and what is no catalogue."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crawler.catalogs import Catalog, CatalogError, Form, Reading, RejectedRow, kinds_in, open_catalog
from crawler.titles import Kind, Title
from tests.conftest import ROOT
from tests.crawler.test_catalog_formats import BASICS, KAGGLE, ONE_HOT, basics_row

KAGGLE_ROWS = KAGGLE + b"".join(b"%d,,Film %d (1961),7,Drama,http://h/%d.jpg\n" % (n, n, n) for n in range(1, 3001))


def read(source: str | Path, **options) -> list[Title | RejectedRow]:
    with open_catalog(str(source), **options) as catalog:
        return list(catalog.rows())


def written(folder: Path, data: bytes, name: str = "catalog.csv") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_a_catalogue_can_be_read_more_than_once_and_at_the_same_time(tmp_path: Path):
    with open_catalog(str(written(tmp_path, KAGGLE_ROWS))) as catalog:
        pairs = list(zip(catalog.rows(), catalog.rows(), strict=True))
        assert len(pairs) == 3000
        assert all(one == other for one, other in pairs)
        assert len(list(catalog.rows())) == 3000


def test_gzip_is_told_by_its_first_bytes_and_not_by_its_name(tmp_path: Path):
    zipped = written(tmp_path, gzip.compress(KAGGLE_ROWS), "zipped.csv")
    plain = written(tmp_path, KAGGLE_ROWS, "plain.csv.gz")
    joined = written(tmp_path, gzip.compress(KAGGLE_ROWS[:5000]) + gzip.compress(KAGGLE_ROWS[5000:]) + bytes(512))
    assert read(zipped) == read(plain) == read(joined)
    assert len(read(zipped)) == 3000


def test_a_gzip_file_that_breaks_off_keeps_what_is_before_and_says_where(tmp_path: Path):
    packed = gzip.compress(KAGGLE_ROWS)
    whole = read(written(tmp_path, packed))
    *titles, last = read(written(tmp_path, packed[: len(packed) // 2]))
    assert 0 < len(titles) < 3000
    assert titles == whole[: len(titles)]
    assert last == RejectedRow(len(titles) + 2, "the gzip file breaks off here; what follows is lost")


def test_half_an_id_at_the_end_of_a_broken_gzip_file_is_no_id(tmp_path: Path):
    ids = b"tt0000001\ntt00000020000"  # cut, the second line would be another title's id
    packed = gzip.compress(ids, compresslevel=0)
    *titles, last = read(written(tmp_path, packed[:-12]))
    assert titles == [Title("tt0000001")]
    assert isinstance(last, RejectedRow)
    assert last.line == 2


def test_a_gzip_file_that_is_damaged_is_read_up_to_there(tmp_path: Path):
    packed = bytearray(gzip.compress(KAGGLE_ROWS, compresslevel=0))
    at = packed.index(b"\n40,,")
    # The stream of stored blocks has the header of its second block here.
    second_block = 10 + 5 + int.from_bytes(packed[11:13], "little")
    packed[second_block] = 0xFF
    *titles, last = read(written(tmp_path, bytes(packed)))
    assert at < second_block
    assert all(isinstance(row, Title) for row in titles)
    assert len(titles) > 40
    assert isinstance(last, RejectedRow)
    assert "is damaged here" in last.detail


def test_a_wrong_checksum_and_trailing_bytes_are_said_behind_all_rows(tmp_path: Path):
    packed = bytearray(gzip.compress(KAGGLE_ROWS))
    packed[-5] ^= 0xFF
    packed[-8] ^= 0xFF
    reading = Reading()
    with open_catalog(str(written(tmp_path, bytes(packed)))) as catalog:
        *titles, last = catalog.rows(reading)
    assert len(titles) == 3000
    assert isinstance(last, RejectedRow)
    assert last.detail == reading.damage == "the checksum of the gzip file is wrong; rows above may be wrong, too"
    *titles, last = read(written(tmp_path, gzip.compress(KAGGLE_ROWS) + b"more"))
    assert len(titles) == 3000
    assert isinstance(last, RejectedRow)
    assert "that are no gzip" in last.detail


def test_only_the_wanted_kinds_of_title_basics_are_read_and_the_others_counted(tmp_path: Path):
    kinds = ("movie", "tvSeries", "tvEpisode", "tvEpisode", "videoGame", "short")
    rows = b"".join(basics_row(number, kind) for number, kind in enumerate(kinds, 1)) + basics_row(7, "movie", adult=1)
    path = written(tmp_path, BASICS + rows)
    reading = Reading()
    with open_catalog(str(path)) as catalog:
        found = [row.kind for row in catalog.rows(reading) if isinstance(row, Title)]
    assert found == [Kind.FILM, Kind.SERIES, Kind.FILM]
    assert reading.left_out == {"episode": 2, "game": 1, "adult": 1}
    assert len(read(path, kinds=frozenset(Kind), adult=True)) == 7
    assert len(read(path, kinds=frozenset({Kind.GAME}))) == 1


def test_kinds_are_read_from_text():
    assert kinds_in("film, Series") == {Kind.FILM, Kind.SERIES}
    with pytest.raises(CatalogError, match="'movie' is no kind; use one or more of film,series,episode,game"):
        kinds_in("film,movie")


def test_the_digest_is_of_the_content_and_of_the_options_that_change_its_titles(tmp_path: Path):
    def digest(data: bytes, name: str = "a", **options) -> str:
        with open_catalog(str(written(tmp_path, data, name)), **options) as catalog:
            return catalog.digest

    basics, kaggle = BASICS + basics_row(1, "movie"), KAGGLE_ROWS
    assert re.fullmatch("[0-9a-f]{64}", digest(basics))
    assert digest(basics) == digest(basics, "b") == digest(basics, kinds=frozenset({Kind.FILM, Kind.SERIES}))
    others = {digest(basics, adult=True), digest(basics, kinds=frozenset({Kind.FILM})), digest(BASICS + basics_row(2))}
    assert len(others | {digest(basics)}) == 4
    # MovieGenre.csv tells neither kinds nor adult titles: the same titles whatever is asked for.
    assert digest(kaggle) == digest(kaggle, kinds=frozenset({Kind.FILM}), adult=True, form=Form.MOVIE_GENRE)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("MovieGenre.csv", "moviegenre"),
        ("title.basics.tsv.gz", "title-basics"),
        ("My films (2).CSV", "my-films-2"),
        ("….csv", "catalog"),
        ("x" * 200, "x" * 60),
    ],
)
def test_a_catalogue_has_a_slug_for_names_in_the_store(tmp_path: Path, name: str, slug: str):
    with open_catalog(str(written(tmp_path, KAGGLE_ROWS, name))) as catalog:
        assert (catalog.name, catalog.slug) == (name, slug)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
def test_standard_input_is_a_catalogue(packed: bool):
    data = gzip.compress(KAGGLE_ROWS) if packed else KAGGLE_ROWS
    program = (
        "from pathlib import Path\n"
        "from crawler.catalogs import open_catalog\n"
        "with open_catalog('-') as catalog:\n"
        "    print(catalog.name, catalog.slug, catalog.form, len(list(catalog.rows())), len(list(catalog.rows())))\n"
        "    path = catalog._path\n"
        "assert not path.exists()\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], input=data, capture_output=True, timeout=60, check=False, cwd=ROOT
    )
    assert answer.stdout.decode().split("\n")[0] == "standard input stdin movie-genre 3000 3000", answer.stderr


def test_a_named_pipe_is_a_catalogue(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(KAGGLE_ROWS,))
    writer.start()
    with open_catalog(str(pipe)) as catalog:
        assert len(list(catalog.rows())) == len(list(catalog.rows())) == 3000
    writer.join()


def test_an_object_in_s3_is_a_catalogue_and_its_copy_is_removed(s3_url: str, monkeypatch, tmp_path: Path):
    from cluster.s3_store import s3_client

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bucket = s3_url.removeprefix("s3://").split("/")[0]
    s3_client().put_object(Bucket=bucket, Key="lists/a b?.csv.gz", Body=gzip.compress(KAGGLE_ROWS))
    with open_catalog(f"s3://{bucket}/lists/a b?.csv.gz") as catalog:
        assert (catalog.slug, len(list(catalog.rows()))) == ("a-b", 3000)
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CatalogError, match=f"no object 'none.csv' in bucket '{bucket}'; correct the key"):
        read(f"s3://{bucket}/none.csv")
    with pytest.raises(CatalogError, match="no bucket 'no-such-bucket-here'; correct the bucket"):
        read("s3://no-such-bucket-here/none.csv")


def test_s3_without_credentials_or_server_is_said_in_one_sentence(monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    with pytest.raises(CatalogError, match=r"no credentials; set AWS_ACCESS_KEY_ID"):
        read("s3://bucket/key.csv")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    with pytest.raises(CatalogError, match=r"127\.0\.0\.1:9 cannot be downloaded: .*; check AWS_ENDPOINT_URL_S3"):
        read("s3://bucket/key.csv")
    with pytest.raises(CatalogError, match="names no object; use s3://bucket/key"):
        read("s3://bucket")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty; give a file with titles"),
        (b" \n\n", "is empty; give a file with titles"),
        (KAGGLE, "has columns but no row"),
        (BASICS, "has columns but no row"),
        (b"# nothing yet\n", "has no id in it"),
        (b"name,genre\na,b\n", "unknown columns 'name, genre'; expected MovieGenre.csv's imdbId, Genre, Poster"),
        (b"imdbId;Title;Genre;Poster\n1;a;Drama;\n", "columns separated by semicolons; save it with commas"),
        (b'"imdbId"\t"Genre"\n1\tDrama\n', "columns separated by tabs; save it with commas"),
        (BASICS.replace(b"\t", b",") + b"a\n", "columns separated by commas; save it with tabs"),
        (b"imdbId,Genre\r1,Drama\r", "carriage returns alone"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00", "is binary and no catalogue"),
        (b"\x00" * 1000, "is binary and no catalogue"),
        (b"\x7fELF\x02\x01\x01\x00", "is binary and no catalogue"),
        ("imdbId,Genre\n1,Drama\n".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        ("imdbId,Genre\n1,Drama\n".encode("utf-16-le"), "is UTF-16 text; save it as UTF-8"),
        ("imdbId,Genre\n1,Drama\n".encode("utf-16-be"), "is UTF-16 text; save it as UTF-8"),
        (b"PK\x03\x04....", "is a zip archive; unpack it"),
        (b"<!DOCTYPE html>\n<html>\n", "is a web page and no catalogue"),
        (b"PAR1 and no more", "is damaged Parquet"),
        (gzip.compress(KAGGLE_ROWS)[:12], "is a damaged gzip file, of which what can be read is empty"),
        (gzip.compress(b""), "is empty"),
    ],
)
def test_a_file_that_is_no_catalogue_is_told_in_one_sentence(tmp_path: Path, data: bytes, sentence: str):
    with pytest.raises(CatalogError, match=re.escape(sentence)) as caught:
        read(written(tmp_path, data))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"catalogue {tmp_path}/catalog.csv")


@pytest.mark.parametrize("form", list(Form))
def test_another_form_than_the_files_is_told_in_one_sentence(tmp_path: Path, form: Form):
    if form is Form.IDS:
        assert {type(row) for row in read(written(tmp_path, b"name,a\nx,b\n"), form=form)} == {RejectedRow}
        return
    with pytest.raises(CatalogError, match=f"is no {form} catalogue: that is "):
        read(written(tmp_path, b"name,a\nx,b\n"), form=form)


def test_a_missing_file_a_folder_and_a_device_are_told_in_one_sentence(tmp_path: Path):
    with pytest.raises(CatalogError, match=r"none\.csv: No such file or directory; give a file"):
        read(tmp_path / "none.csv")
    with pytest.raises(CatalogError, match="Is a directory; give one file"):
        read(tmp_path)
    with pytest.raises(CatalogError, match="/dev/null is a device"):
        read("/dev/null")
    with pytest.raises(CatalogError, match="give a file"):
        read("a\0b")


def test_a_file_that_goes_away_is_told_in_one_sentence(tmp_path: Path):
    path = written(tmp_path, KAGGLE_ROWS)
    with open_catalog(str(path)) as catalog:
        path.unlink()
        with pytest.raises(CatalogError, match=r"catalog\.csv cannot be read any more: No such file"):
            next(catalog.rows())
        with pytest.raises(CatalogError, match="cannot be read any more"):
            assert catalog.digest


def _any_file(packed: bool, header: bytes, rows: list[bytes]) -> bytes:
    data = header + b"\n".join(rows)
    return gzip.compress(data) if packed else data


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400, deadline=None)
@given(
    header=st.sampled_from([b"", KAGGLE, ONE_HOT, BASICS, b"tt0000001\n", b"PAR1", b"\x1f\x8b\x08", b"Id,A\n"]),
    rows=st.lists(
        st.binary(max_size=60) | st.text(alphabet="\"\n,;\t\r#tt019é[]'", max_size=40).map(str.encode), max_size=6
    ),
    packed=st.booleans(),
    cut=st.integers(0, 20) | st.just(None),
    form=st.none() | st.sampled_from(Form),
)
@example(header=b"", rows=[b"a\rb"], packed=False, cut=None, form=None)
@example(header=b"", rows=[b"x" * 200_000], packed=False, cut=None, form=None)
@example(header=KAGGLE, rows=[b'"', b"x" * 200_000], packed=True, cut=3, form=None)
def test_any_bytes_are_read_or_refused_with_a_catalog_error(
    tmp_path: Path, header: bytes, rows: list[bytes], packed: bool, cut: int | None, form: Form | None
):
    data = _any_file(packed, header, rows)
    try:
        found = read(written(tmp_path, data[: len(data) - cut] if cut else data), form=form, kinds=frozenset(Kind))
    except CatalogError:
        return
    assert all(isinstance(row, Title | RejectedRow) for row in found)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(0, 2**20), byte=st.integers(0, 255), level=st.sampled_from([0, 6]))
def test_any_damaged_byte_of_a_gzip_file_is_survived_or_refused_with_a_catalog_error(
    tmp_path: Path, at: int, byte: int, level: int
):
    packed = bytearray(gzip.compress(KAGGLE_ROWS[:20_000], compresslevel=level))
    at %= len(packed)
    if packed[at] == byte or 3 <= at < 10:  # flags and time: not all of them matter
        return
    packed[at] = byte
    try:
        found = read(written(tmp_path, bytes(packed)))
    except CatalogError:
        return
    assert isinstance(found[-1], RejectedRow), "a damaged file looks whole"


def test_a_catalog_tells_its_size_for_a_progress_bar(tmp_path: Path):
    reading = Reading()
    with open_catalog(str(written(tmp_path, gzip.compress(KAGGLE_ROWS)))) as catalog:
        assert isinstance(catalog, Catalog)
        assert len(list(catalog.rows(reading))) == 3000
        assert reading.bytes_read == catalog.size_bytes == len(gzip.compress(KAGGLE_ROWS))
