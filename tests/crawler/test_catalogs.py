"""Catalogues: both formats with the quirks of the real files, and any other bytes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crawler.catalogs import CatalogError, RejectedRow, read_catalog
from crawler.titles import Title

KAGGLE = b"imdbId,Imdb Link,Title,IMDB Score,Genre,Poster\n"
ONE_HOT = b"Id,Genre,Action,Drama\n"


def _read(folder: Path, data: bytes) -> list[Title | RejectedRow]:
    path = folder / "catalog.csv"
    path.write_bytes(data)
    return list(read_catalog(path))


def test_a_kaggle_row_becomes_a_title_with_its_year_and_poster(tmp_path: Path) -> None:
    row = b"114709,http://www.imdb.com/title/tt114709,Toy Story (1995),8.3,Animation|Adventure,https://h/p.jpg\n"
    assert _read(tmp_path, KAGGLE + row) == [
        Title("tt0114709", "Toy Story", 1995, ("Animation", "Adventure"), 8.3, "https://h/p.jpg")
    ]


def test_a_one_hot_row_becomes_a_title_with_its_genres(tmp_path: Path) -> None:
    assert _read(tmp_path, ONE_HOT + b"tt0085549,\"['Drama', 'N/A', 'Action']\",1,1\n") == [
        Title("tt0085549", genres=("Drama", "Action"))
    ]


def test_what_a_kaggle_row_leaves_empty_is_unknown(tmp_path: Path) -> None:
    (title,) = _read(tmp_path, KAGGLE + b"9,,,,, \n")
    assert title == Title("tt0000009")


@pytest.mark.parametrize("score", [b"nan", b"inf", b"good", b""])
def test_a_score_that_is_no_number_is_unknown(tmp_path: Path, score: bytes) -> None:
    (title,) = _read(tmp_path, KAGGLE + b"9,,A," + score + b",Drama,\n")
    assert isinstance(title, Title)
    assert title.rating is None


@pytest.mark.parametrize(
    ("text", "title", "year"),
    [
        ("It (1990)", "It", 1990),
        ("It (3990)", "It (3990)", None),
        ("(2009)", "(2009)", None),
        ("It (TV)", "It (TV)", None),
    ],
)
def test_only_a_plausible_year_behind_the_title_is_the_year(
    tmp_path: Path, text: str, title: str, year: int | None
) -> None:
    (row,) = _read(tmp_path, KAGGLE + f"9,,{text},,Drama,\n".encode())
    assert isinstance(row, Title)
    assert (row.title, row.year) == (title, year)


def test_lines_of_iso_8859_1_among_utf8_are_read_as_meant(tmp_path: Path) -> None:
    rows = "1,,Amélie (2001),8,Drama,\n".encode() + "2,,Amélie (2001),8,Drama,\n".encode("iso-8859-1")
    titles = _read(tmp_path, KAGGLE + rows)
    assert [title.title for title in titles if isinstance(title, Title)] == ["Amélie", "Amélie"]


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    plain = KAGGLE + b"1,,One (1961),7,Drama,\n"
    marked = b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n")
    assert _read(tmp_path, marked) == _read(tmp_path, plain) != []


def test_duplicates_are_kept_and_blank_lines_are_not_rows(tmp_path: Path) -> None:
    row = b"1,,One (1961),7,Drama,\n"
    assert len(_read(tmp_path, KAGGLE + row + b"\n , \n" + row)) == 2


def test_a_rejected_row_is_named_by_its_line_behind_a_quoted_newline(tmp_path: Path) -> None:
    rows = b'1,,"One\n(1961)",7,Drama,\n2,,Two\nx9,,Three,7,Drama,\n4,,Four,7,Drama,\n'
    first, narrow, bad_id, last = _read(tmp_path, KAGGLE + rows)
    assert isinstance(first, Title)
    assert narrow == RejectedRow(4, "3 cells where the header has 6")
    assert bad_id == RejectedRow(5, "'x9' is not an IMDb id (expected tt and 7 or more digits)")
    assert isinstance(last, Title)


@pytest.mark.parametrize(
    "genre",
    [
        "Drama",
        "{[]: 1}",
        "['a'",
        "[1]",
        "{'Drama'}",
        "-" * 5000 + "1",
        "[" * 300,
        "['\\ud800']",
        "[0x" + "f" * 5000 + "]",
    ],
)
def test_a_genre_cell_that_is_no_list_of_names_rejects_only_its_row(tmp_path: Path, genre: str) -> None:
    rows = f'tt0000001,"{genre}",0,1\ntt0000002,"[\'Drama\']",0,1\n'.encode()
    bad, good = _read(tmp_path, ONE_HOT + rows)
    assert isinstance(bad, RejectedRow)
    assert (bad.line, len(bad.detail) < 150) == (2, True)
    assert good == Title("tt0000002", genres=("Drama",))


def test_a_cell_beyond_any_sense_rejects_its_row_and_the_reading_goes_on(tmp_path: Path) -> None:
    rows = b"1,," + b"x" * 200_000 + b",7,Drama,\n2,,Two,7,Drama,\n"
    bad, good = _read(tmp_path, KAGGLE + rows)
    assert bad == RejectedRow(2, "field larger than field limit (131072)")
    assert isinstance(good, Title)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty or not a CSV file"),
        (b"name,genre\na,b\n", "unknown columns 'name, genre'; expected MovieGenre.csv's imdbId, Genre, Poster"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00", "catalog.csv"),
        (b"\x00" * 1000, "unknown columns"),
    ],
)
def test_a_file_that_is_no_catalogue_is_told_in_one_sentence(tmp_path: Path, data: bytes, sentence: str) -> None:
    with pytest.raises(CatalogError, match=re.escape(sentence)) as caught:
        _read(tmp_path, data)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.csv: No such file or directory; give a CSV"):
        next(read_catalog(tmp_path / "none.csv"))
    with pytest.raises(CatalogError, match="Is a directory"):
        next(read_catalog(tmp_path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(header=st.sampled_from([b"", KAGGLE, ONE_HOT]), rows=st.lists(st.binary(max_size=60), max_size=5))
@example(header=b"", rows=[b"a\rb"])
@example(header=b"", rows=[b"x" * 200_000])
@example(header=KAGGLE, rows=[b'"', b"x" * 200_000])
def test_any_bytes_are_read_or_refused_with_a_catalog_error(tmp_path: Path, header: bytes, rows: list[bytes]) -> None:
    try:
        found = _read(tmp_path, header + b"\n".join(rows))
    except CatalogError:
        return
    assert all(isinstance(row, Title | RejectedRow) for row in found)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(genre=st.text(alphabet="[](){}'\"\\,-1ux*. ", max_size=40))
def test_any_genre_cell_gives_one_row(tmp_path: Path, genre: str) -> None:
    quoted = genre.replace('"', '""')
    assert len(_read(tmp_path, ONE_HOT + f'tt0000001,"{quoted}",0,1\n'.encode())) == 1


def test_the_real_one_hot_catalogue_has_5280_distinct_titles_in_5288_rows(real_data: Path) -> None:
    rows = list(read_catalog(real_data / "posters" / "train.csv"))
    titles = [row for row in rows if isinstance(row, Title)]
    assert (len(rows), len(titles), len({title.imdb_id for title in titles})) == (5288, 5288, 5280)
    assert "N/A" not in {genre for title in titles for genre in title.genres}


def test_the_real_kaggle_catalogue_has_700_titles_with_years_and_posters(real_data: Path) -> None:
    titles = [row for row in read_catalog(real_data / "catalogs" / "MovieGenre-700.csv") if isinstance(row, Title)]
    assert len(titles) == 700
    assert all(re.fullmatch(r"tt\d{7,}", title.imdb_id) for title in titles)
    assert sum(title.year is not None for title in titles) > 690
    assert sum(title.poster_url is not None for title in titles) > 650
