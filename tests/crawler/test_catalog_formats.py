"""The five forms with the quirks of the real files: what each row says, and what is wrong with it."""

# ruff: noqa: RUF001  names of films look ambiguous

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.generated_catalog import write
from crawler.catalogs import CatalogError, Form, Reading, RejectedRow, open_catalog
from crawler.names import repaired_kaggle_name, repaired_name
from crawler.titles import Kind, Title

KAGGLE = b"imdbId,Imdb Link,Title,IMDB Score,Genre,Poster\n"
ONE_HOT = b"Id,Genre,Action,Drama\n"
BASICS = b"tconst\ttitleType\tprimaryTitle\toriginalTitle\tisAdult\tstartYear\tendYear\truntimeMinutes\tgenres\n"


def basics_row(number: int, kind: str = "movie", *, adult: int = 0, name: str = "A", year: str = "1961") -> bytes:
    return f"tt{number:07}\t{kind}\t{name}\t{name}\t{adult}\t{year}\t\\N\t90\tDrama,War\n".encode()


def _read(folder: Path, data: bytes, reading: Reading | None = None, **options: Any) -> list[Title | RejectedRow]:
    path = folder / "catalog"
    path.write_bytes(data)
    with open_catalog(str(path), **options) as catalog:
        return list(catalog.rows(reading))


def test_a_kaggle_row_becomes_a_title_with_its_year_and_poster(tmp_path: Path) -> None:
    row = b"114709,http://www.imdb.com/title/tt114709,Toy Story (1995),8.3,Animation|Adventure,https://h/p.jpg\n"
    assert _read(tmp_path, KAGGLE + row) == [
        Title("tt0114709", "Toy Story", 1995, ("Animation", "Adventure"), 8.3, "https://h/p.jpg")
    ]


def test_a_one_hot_row_becomes_a_title_with_its_genres(tmp_path: Path) -> None:
    assert _read(tmp_path, ONE_HOT + b"tt0085549,\"['Drama', 'N/A', 'Action']\",1,1\n") == [
        Title("tt0085549", genres=("Drama", "Action"))
    ]


@pytest.mark.parametrize("header", [b"imdbId,Action,Sci-Fi,Drama\n", b",Id,Action,Sci-Fi,Drama\n"])
def test_one_hot_columns_without_a_list_of_genres_are_genres(tmp_path: Path, header: bytes) -> None:
    index = b"0," if header.startswith(b",") else b""
    good, bad = _read(tmp_path, header + index + b"85549,1,0.0,True\n" + index + b"85550,1,2,0\n")
    assert good == Title("tt0085549", genres=("Action", "Drama"))
    assert bad == RejectedRow(3, "the column 'Sci-Fi' is '2' (expected 0 or 1)")


def test_where_the_list_of_genres_is_empty_the_columns_count(tmp_path: Path) -> None:
    assert _read(tmp_path, ONE_HOT + b"tt0085549,,0,1\n") == [Title("tt0085549", genres=("Drama",))]


@pytest.mark.parametrize("null", [b"", b"N/A", b"null", b"NaN"])
def test_what_a_kaggle_row_leaves_empty_is_unknown(tmp_path: Path, null: bytes) -> None:
    (title,) = _read(tmp_path, KAGGLE + b"9,,," + null + b"," + null + b", " + null + b"\n")
    assert title == Title("tt0000009")


def test_a_kaggle_row_without_an_id_has_it_from_its_link(tmp_path: Path) -> None:
    rows = b",http://www.imdb.com/title/tt114709,A,,,\n,,B,,,\n"
    good, bad = _read(tmp_path, KAGGLE + rows)
    assert good == Title("tt0114709", "A")
    assert bad == RejectedRow(3, "'' is not an IMDb id (expected tt and 7 or more digits)")


def test_an_id_that_pandas_made_a_float_is_an_id(tmp_path: Path) -> None:
    assert _read(tmp_path, KAGGLE + b"114709.0,,,,,\n") == [Title("tt0114709")]


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
    reading = Reading()
    titles = _read(tmp_path, KAGGLE + rows, reading)
    assert [title.title for title in titles if isinstance(title, Title)] == ["Amélie", "Amélie"]
    assert (reading.latin_lines, reading.repaired_names) == (1, 0)


@pytest.mark.parametrize(
    ("mangled", "name"),
    [
        ("CafÃ©", "Café"),
        ("â€œHiâ€\x9d", "“Hi”"),
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("L\x92Avventura", "L’Avventura"),
        # Kept: nothing is wrong with these, or nobody can tell what they were.
        ("Amélie", "Amélie"),
        ("七人の侍", "七人の侍"),
        ("L’Avventura", "L’Avventura"),
        ("O Suíço", "O Suíço"),
        ("M&A; or not", "M&A; or not"),
        ("ＡＢＣ", "ＡＢＣ"),
        ("zÌ©ro", "zÌ©ro"),
    ],
)
def test_a_mangled_name_is_repaired_where_it_can_be(mangled: str, name: str) -> None:
    assert repaired_name(mangled) == name


@pytest.mark.parametrize(
    ("mangled", "name"),
    [
        ("Double zÌ©ro", "Double zéro"),
        ("Double z\u0329ro", "Double zéro"),  # the same bytes, CC A9, read as UTF-8
        ("ÌÛ coup sÌÈr", "À coup sûr"),
        ("O Amor das TrÌ»s RomÌ£s", "O Amor das Três Romãs"),
        ("Kongen av BastÌüy", "Kongen av Bastøy"),
        ("åÁVivan las antÌ_podas!", "¡Vivan las antÌ_podas!"),
        ("Jisatsu sí¢kuru", "Jisatsu sâkuru"),
        ("Direktí\x9fren for det hele", "Direktøren for det hele"),
        ("CafÃ©", "Café"),
        ("PÌ_tkÌ_", "PÌ_tkÌ_"),
        ("O Suíço", "O Suíço"),
        ("Blåøyd", "Blåøyd"),
    ],
)
def test_names_of_kaggles_file_are_repaired_from_mac_roman(mangled: str, name: str) -> None:
    assert repaired_kaggle_name(mangled) == name


@given(st.text())
def test_repairing_a_name_never_raises_and_never_empties_it(name: str) -> None:
    assert bool(repaired_name(name)) == bool(name)
    assert bool(repaired_kaggle_name(name)) == bool(name)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    for plain in (KAGGLE + b"1,,One (1961),7,Drama,\n", BASICS + basics_row(1), b"tt0000001\n"):
        marked = b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n")
        assert _read(tmp_path, marked) == _read(tmp_path, plain) != []


def test_duplicates_are_kept_and_blank_lines_are_not_rows(tmp_path: Path) -> None:
    row = b"1,,One (1961),7,Drama,\n"
    assert len(_read(tmp_path, b"\n" + KAGGLE + row + b"\n , \n,,,,,\n" + row)) == 2


def test_a_rejected_row_is_named_by_its_line_behind_a_quoted_newline(tmp_path: Path) -> None:
    rows = b'1,,"One\n(1961)",7,Drama,\n2,,Two\nx9,,Three,7,Drama,\n4,,Four,7,Drama,\n'
    first, narrow, bad_id, last = _read(tmp_path, KAGGLE + rows)
    assert isinstance(first, Title)
    assert narrow == RejectedRow(4, "3 cells where the header has 6")
    assert bad_id == RejectedRow(5, "'x9' is not an IMDb id (expected tt and 7 or more digits)")
    assert isinstance(last, Title)


@pytest.mark.parametrize(
    "other", [b'8,,"Eight (1990),7,Drama,u\n', b'8,,Eight",7,Drama,u\n', b'"8,,Eight,7,Drama,u\n', b""]
)
@pytest.mark.parametrize("between", [0, 1, 40])
def test_a_stray_quote_costs_its_own_row_only(tmp_path: Path, other: bytes, between: int) -> None:
    good = [b"%d,,Film %d,7,Drama,u\n" % (number, number) for number in range(10, 10 + between)]
    rows = [b'1,,"One (1961),7,Drama,u\n', *good, other, b"9,,Nine,7,Drama,u\n"]
    found = _read(tmp_path, KAGGLE + b"".join(rows))
    assert found[0] == RejectedRow(2, "a quote is opened and not closed")
    titles = [row.imdb_id for row in found if isinstance(row, Title)]
    assert {f"tt{number:07}" for number in (*range(10, 10 + between), 9)} <= set(titles)
    assert len(found) == between + 2 + bool(other)


def test_quotes_inside_a_name_are_part_of_it(tmp_path: Path) -> None:
    rows = b'1,,5" Floppy,7,Drama,\n2,,"The ""Two""",7,Drama,\n3,,"Three, or: ""3""",7,Drama,\n'
    assert [row.title for row in _read(tmp_path, KAGGLE + rows) if isinstance(row, Title)] == [
        '5" Floppy',
        'The "Two"',
        'Three, or: "3"',
    ]


def test_a_nul_byte_or_a_carriage_return_rejects_its_row(tmp_path: Path) -> None:
    rows = b"1,,O\0ne,7,Drama,\n2,,T\rwo,7,Drama,\n3,,Three,7,Drama,\n"
    nul, carriage, good = _read(tmp_path, KAGGLE + rows)
    assert nul == RejectedRow(2, "the line holds a NUL byte")
    assert carriage == RejectedRow(3, "a carriage return inside the row")
    assert isinstance(good, Title)


def test_a_poster_url_is_kept_as_it_is(tmp_path: Path) -> None:
    (title,) = _read(tmp_path, KAGGLE + b"1,,One,7,Drama, ftp:/nowhere \n")
    assert isinstance(title, Title)
    assert title.poster_url == "ftp:/nowhere"  # the crawl says bad_url


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


@pytest.mark.parametrize(
    ("size", "why"),
    [(200_000, "field larger than field limit (131072)"), (3_000_000, "the line is longer than 1 MiB")],
)
def test_a_cell_beyond_any_sense_rejects_its_row_and_the_reading_goes_on(tmp_path: Path, size: int, why: str) -> None:
    rows = b"1,," + b"x" * size + b",7,Drama,\n2,,Two,7,Drama,\n"
    bad, good = _read(tmp_path, KAGGLE + rows)
    assert bad == RejectedRow(2, why)
    assert isinstance(good, Title)


def test_a_row_of_title_basics_becomes_a_title(tmp_path: Path) -> None:
    rows = (
        b'tt10676048\ttvSeries\tThe "A", B\tx\t0\t2023\t\\N\t105\tAction\n'
        b"tt0000002\tshort\t\\N\t\\N\t0\t\\N\t\\N\t\\N\t\\N\n"
    )
    assert _read(tmp_path, BASICS + rows) == [
        Title("tt10676048", 'The "A", B', 2023, ("Action",), kind=Kind.SERIES),
        Title("tt0000002", kind=Kind.FILM),
    ]


def test_lines_of_title_basics_need_no_header_and_any_order_of_columns_will_do(tmp_path: Path) -> None:
    title = Title("tt0000001", "Été", 1961, ("Drama", "War"), kind=Kind.FILM)
    assert _read(tmp_path, basics_row(1, name="Été")) == [title]
    turned = (
        "genres\tisAdult\ttitleType\tprimaryTitle\tstartYear\ttconst\nDrama,War\t0\tmovie\tÉté\t1961\ttt0000001\r\n"
    )
    assert _read(tmp_path, turned.encode()) == [title]


def test_a_malformed_row_of_title_basics_is_rejected_with_its_line(tmp_path: Path) -> None:
    rows = [
        basics_row(1).replace(b"\t90", b""),
        basics_row(2, "opera"),
        basics_row(3, name="A\0B"),
        basics_row(4).replace(b"tt0000004", b"nm0000004"),
        b"\n",
        basics_row(5),
    ]
    *bad, good = _read(tmp_path, BASICS + b"".join(rows))
    assert bad == [
        RejectedRow(2, "8 cells where the header has 9"),
        RejectedRow(3, "the titleType 'opera' is unknown"),
        RejectedRow(4, "the line holds a NUL byte"),
        RejectedRow(5, "'nm0000004' is not an IMDb id (expected tt and 7 or more digits)"),
    ]
    assert isinstance(good, Title)


@pytest.mark.parametrize(
    "line",
    [
        "tt0055850",
        "55850",
        "tt55850  # the first one",
        '"tt0055850",',
        "https://www.imdb.com/title/tt0055850/?ref_=fn_al_tt_1#cast",
        "http://imdb.com/title/tt0055850",
        "m.imdb.com/title/tt0055850/reviews",
        "https://www.imdb.com/de/title/tt0055850/",
        "HTTPS://WWW.IMDB.COM/title/tt0055850/",
    ],
)
def test_an_id_or_a_url_is_a_title(tmp_path: Path, line: str) -> None:
    assert _read(tmp_path, f"# ids\n\n{line}\n".encode()) == [Title("tt0055850")]
    assert _read(tmp_path, f"imdb_id\n{line}".encode()) == [Title("tt0055850")]


def test_what_is_no_title_in_a_list_of_ids_is_rejected_with_its_line(tmp_path: Path) -> None:
    lines = [
        *("tt0000001", "https://www.imdb.com/name/nm0000001/", "https://www.imdb.com/list/ls1/", "tt0", "x,y"),
        *("https://example.org/title/tt0000002/", "tt0000003", "4", "5", "6"),
    ]
    found = _read(tmp_path, "\n".join(lines).encode())
    assert [row.line for row in found if isinstance(row, RejectedRow)] == [2, 3, 4, 5, 6]
    assert isinstance(found[1], RejectedRow)
    assert "is a person's page, but no title's" in found[1].detail


def _parquet(folder: Path, **columns: Any) -> Path:
    path = folder / "titles.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def _read_file(path: Path, **options: Any) -> list[Title | RejectedRow]:
    with open_catalog(str(path), **options) as catalog:
        assert catalog.form is Form.PARQUET
        return list(catalog.rows())


def test_our_parquet_gives_back_its_titles(tmp_path: Path) -> None:
    path = _parquet(
        tmp_path,
        imdb_id=["tt0000001", "2", None],
        title=["CafÃ©", None, "C"],
        year=pa.array([1961, None, 1], pa.int16()),
        genres=[["Drama", "Drama"], [], None],
        rating=pa.array([7.5, None, None], pa.float32()),
        poster_url=["https://h/p.jpg", None, None],
        page_url=[None, "https://h/2", None],
        kind=["film", None, None],
        other=[1, 2, 3],
    )
    assert _read_file(path) == [
        Title("tt0000001", "Café", 1961, ("Drama",), 7.5, "https://h/p.jpg", kind=Kind.FILM),
        Title("tt0000002", page_url="https://h/2"),
        RejectedRow(3, "'' is not an IMDb id (expected tt and 7 or more digits)"),
    ]


def test_parquet_needs_no_column_but_imdb_id_and_takes_what_pandas_makes(tmp_path: Path) -> None:
    assert _read_file(_parquet(tmp_path, imdb_id=["tt0000001"])) == [Title("tt0000001")]
    path = _parquet(
        tmp_path,
        imdb_id=pa.array(["1", "2"], pa.large_string()),
        year=[1961.0, float("nan")],
        rating=[float("nan"), 7],
        kind=pa.array(["film", "game"]).dictionary_encode(),
    )
    assert _read_file(path, kinds=frozenset({Kind.FILM})) == [Title("tt0000001", year=1961, kind=Kind.FILM)]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"tconst": ["tt1"]}, "is Parquet without a column imdb_id (it has 'tconst')"),
        ({"imdb_id": [1]}, "has imdb_id as int64, but it must be text"),
        ({"imdb_id": ["1"], "year": ["1961"]}, "has year as string, but it must be a whole number"),
        ({"imdb_id": ["1"], "genres": ["Drama"]}, "has genres as string, but it must be a list of texts"),
        ({"imdb_id": ["1"], "genres": [[1]]}, "has genres as list<element: int64>, but it must be a list of texts"),
        ({"imdb_id": ["1"], "rating": ["good"]}, "has rating as string, but it must be a number"),
        ({"imdb_id": pa.array([], pa.string())}, "has columns but no row"),
    ],
)
def test_parquet_of_other_columns_or_types_is_told_in_one_sentence(
    tmp_path: Path, columns: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CatalogError, match=re.escape(sentence)):
        _read_file(_parquet(tmp_path, **columns))


def test_a_bad_row_of_parquet_is_rejected_with_its_number(tmp_path: Path) -> None:
    bad_text = pa.array([b"A", b"\xff", b"C"]).cast(pa.binary())
    no_utf8 = pa.Array.from_buffers(pa.string(), 3, bad_text.buffers())
    rows = _read_file(_parquet(tmp_path, imdb_id=["1", "2", "3"], title=no_utf8, kind=["film", "film", "opera"]))
    assert rows[0] == Title("tt0000001", "A", kind=Kind.FILM)
    assert isinstance(rows[1], RejectedRow)
    assert rows[1].detail.startswith("the row cannot be read")
    assert rows[2] == RejectedRow(3, "the kind 'opera' is unknown (expected film, series, episode, game)")


def test_parquet_that_is_damaged_inside_keeps_what_is_before(tmp_path: Path) -> None:
    path = tmp_path / "titles.parquet"
    ids = [f"tt{number:07}" for number in range(1, 20_001)]
    pq.write_table(pa.table({"imdb_id": ids}), path, row_group_size=10_000, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    at = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data[at : at + 400] = bytes(400)
    path.write_bytes(bytes(data))
    *titles, last = _read_file(path)
    assert [row.imdb_id for row in titles if isinstance(row, Title)] == ids[: len(titles)]
    assert isinstance(last, RejectedRow)
    assert last.line == len(titles) + 1
    assert f"{20_000 - len(titles)} rows are lost" in last.detail


def test_a_gzipped_parquet_file_is_read_too(tmp_path: Path) -> None:
    import gzip

    path = _parquet(tmp_path, imdb_id=["tt0000001"])
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert _read_file(path) == [Title("tt0000001")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(genre=st.text(alphabet="[](){}'\"\\,-1ux*. ", max_size=40))
def test_any_genre_cell_gives_one_row(tmp_path: Path, genre: str) -> None:
    quoted = genre.replace('"', '""')
    assert len(_read(tmp_path, ONE_HOT + f'tt0000001,"{quoted}",0,1\n'.encode())) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    form=st.sampled_from(["kaggle", "basics", "ids"]),
    lines=st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=8),
)
def test_every_line_is_a_title_a_rejected_row_or_left_out(tmp_path: Path, form: str, lines: list[bytes]) -> None:
    # No line ends inside lines, and no quotes: those may join lines.
    lines = [b"x" + re.sub(rb'[\n\r"#]', b"", line) for line in lines]
    head, good = {
        "kaggle": (KAGGLE, b"1,,One,7,Drama,"),
        "basics": (BASICS, basics_row(1, "tvEpisode").strip()),
        "ids": (b"imdb_id\n", b"tt0000001"),
    }[form]
    lines = [part for line in lines for part in (line, good)]
    reading = Reading()
    found = _read(tmp_path, head + b"\n".join(lines), reading)
    assert len(found) + sum(reading.left_out.values()) == len(lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    lines=st.lists(
        st.sampled_from(
            [b'1,,"One,7,Drama,u', b"2,,Two,7,Drama,u", b'3,,"Th""ree",7,Drama,u', b'tail",7,Drama,u', b'"']
        ),
        max_size=30,
    )
)
def test_no_good_row_is_lost_to_the_quotes_of_others(tmp_path: Path, lines: list[bytes]) -> None:
    found = _read(tmp_path, KAGGLE + b"\n".join([b"9,,Nine,7,Drama,u", *lines]) + b"\n")
    good = [row.imdb_id for row in found if isinstance(row, Title)]
    assert good.count("tt0000002") == lines.count(b"2,,Two,7,Drama,u")
    assert good.count("tt0000003") == lines.count(b'3,,"Th""ree",7,Drama,u')


@pytest.mark.parametrize("form", list(Form))
def test_a_generated_catalogue_of_each_form_is_recognised_and_whole(tmp_path: Path, form: Form) -> None:
    names = ("a", "b.gz") if form is not Form.PARQUET else ("a",)
    for name in names:
        write(tmp_path / name, form, 2500)
        reading = Reading()
        with open_catalog(str(tmp_path / name)) as catalog:
            rows = list(catalog.rows(reading))
        assert catalog.form is form
        assert all(isinstance(row, Title) for row in rows)
        assert len(rows) + sum(reading.left_out.values()) == 2500
    first = (tmp_path / names[-1]).read_bytes()
    write(tmp_path / names[-1], form, 2500)
    assert (tmp_path / names[-1]).read_bytes() == first


def test_the_real_one_hot_catalogue_has_5280_distinct_titles_in_5288_rows(real_data: Path) -> None:
    with open_catalog(str(real_data / "posters" / "train.csv")) as catalog:
        rows = list(catalog.rows())
    titles = [row for row in rows if isinstance(row, Title)]
    assert catalog.form is Form.ONE_HOT
    assert (len(rows), len(titles), len({title.imdb_id for title in titles})) == (5288, 5288, 5280)
    assert "N/A" not in {genre for title in titles for genre in title.genres}


def test_the_real_kaggle_catalogue_has_700_titles_with_years_and_posters(real_data: Path) -> None:
    reading = Reading()
    with open_catalog(str(real_data / "catalogs" / "MovieGenre-700.csv")) as catalog:
        titles = [row for row in catalog.rows(reading) if isinstance(row, Title)]
    assert len(titles) == 700
    assert all(re.fullmatch(r"tt\d{7,}", title.imdb_id) for title in titles)
    assert sum(title.year is not None for title in titles) > 690
    assert sum(title.poster_url is not None for title in titles) > 650
    assert "Double zéro" in {title.title for title in titles}
    assert reading.repaired_names >= 20
