"""Tables as people have them are read to the very same rows."""

from __future__ import annotations

import codecs
import datetime

import pyarrow as pa
import pytest
from odd_tables import DATES, HEADER, ROWS, TABLE, arrow, book, parquet, save, sheet_xml, text_of

from deft.core.errors import HardStop
from deft.core.layout import TABLES
from deft.tables.foreign.convert import read_foreign
from deft.tables.foreign.grid import Reading, reading_of

# Each gives ROWS: (what it is, how it is made, settings, what must be told of it).
READ = [
    ("Excel, Germany", lambda p: save(p, text_of(TABLE, ";", "\r\n")), {}, "';' separated"),
    (
        "Excel, Unicode text",
        lambda p: save(p, codecs.BOM_UTF16_LE + text_of(TABLE, "\t", "\r\n").encode("utf-16-le")),
        {},
        "a tab separated, UTF-16",
    ),
    (
        "UTF-16, big end first",
        lambda p: save(p, codecs.BOM_UTF16_BE + text_of(TABLE).encode("utf-16-be")),
        {},
        "UTF-16",
    ),
    (
        "UTF-16 without a mark, named",
        lambda p: save(p, text_of(TABLE).encode("utf-16-le")),
        {"encoding": "utf-16-le"},
        "UTF-16-LE",
    ),
    ("Excel, CSV UTF-8", lambda p: save(p, codecs.BOM_UTF8 + text_of(TABLE).encode()), {}, "UTF-8"),
    ("sep= of Excel", lambda p: save(p, "sep=;\r\n" + text_of(TABLE, ";", "\r\n")), {}, "hint"),
    ("classic Mac line ends", lambda p: save(p, text_of(TABLE, ",", "\r")), {}, "CR"),
    (
        "SQL Server, padded cells",
        lambda p: save(p, text_of([[c.ljust(12) for c in r] for r in TABLE])),
        {},
        "blanks around a cell taken off (12)",
    ),
    (
        "a title above",
        lambda p: save(p, "Report of line 7;;;\n;;;\n" + text_of(TABLE, ";")),
        {},
        "header in row 3",
    ),
    (
        "empty lines and columns",
        lambda p: save(p, text_of([r + ["", ""] for r in TABLE], ";") + ";;;;;\n\n;;;;;\n"),
        {},
        "';' separated",
    ),
    (
        "an empty line between",
        lambda p: save(p, text_of(TABLE[:2]) + "\n" + text_of(TABLE[2:])),
        {},
        "1 empty row(s) left out",
    ),
    (
        "every cell quoted",
        lambda p: save(p, text_of([[f'"{c}"' for c in r] for r in TABLE], ";")),
        {},
        "';'",
    ),
    (
        '="…" against Excel',
        lambda p: save(p, text_of([HEADER] + [r[:3] + [f'="{r[3]}"'] for r in ROWS])),
        {},
        '="…" unpacked (3)',
    ),
    (
        "a machine's own names",
        lambda p: save(p, text_of([["Image Dir", "Ref", "Result", "RefDes"], *ROWS])),
        {
            "columns": {
                "input_path": "Image Dir",
                "golden_path": "Ref",
                "label": "Result",
                "object_name": "RefDes",
            }
        },
        "','",
    ),
    (
        "names in other case",
        lambda p: save(p, text_of([["Input Path", "GOLDEN_PATH", "Label", "Object-Name"], *ROWS])),
        {},
        "','",
    ),
    (
        "labels of a machine",
        lambda p: save(
            p,
            text_of(
                [HEADER]
                + [r[:2] + [{"PASS": "OK"}.get(r[2], "Solder Bridge")] + r[3:] for r in ROWS]
            ),
        ),
        {"labels": {"ok": "PASS", "Solder bridge": "bridge"}},
        "OK→PASS 2",
    ),
    (
        "Windows' paths",
        lambda p: save(p, text_of([[*HEADER], ["board7\\", "golden7", "PASS", "R1"], *ROWS[1:]])),
        {},
        None,
    ),
    ("a workbook", lambda p: book(p, TABLE), {}, "sheet 'Tabelle1'"),
    (
        "a workbook of shared texts",
        lambda p: book(
            p,
            [HEADER, [('<c t="s"><v>0</v></c>',), *ROWS[0][1:]], *ROWS[1:]],
            shared=["<r><t>boa</t></r><r><t>rd7</t></r><rPh><t>ボ</t></rPh>"],
        ),
        {},
        "sheet",
    ),
    (
        "a workbook with a title, hidden sheet and chart list",
        lambda p: book(
            p,
            sheets={"Deckblatt": [["Report"]], "alt": TABLE, "Daten": [["Linie 7"], [], *TABLE]},
            states={"alt": "hidden"},
        ),
        {},
        "sheet 'Daten' of 3, header in row 3",
    ),
    (
        "two sheets, one named",
        lambda p: book(p, sheets={"a": [HEADER, ["x", "x", "PASS", "x"]], "b": TABLE}),
        {"sheet": "b"},
        "sheet 'b' of 2",
    ),
    (
        "a workbook without cell addresses",
        lambda p: book(
            p, sheets={"s": sheet_xml(TABLE).replace(' r="A', ' x="').replace(' r="1"', "")}
        ),
        {},
        "sheet",
    ),
    (
        "hidden rows left out",
        lambda p: book(p, sheets={"s": sheet_xml([*TABLE, ["x", "x", "PASS", "x"]], hidden=[5])}),
        {"hidden": "skip"},
        "1 hidden row(s) left",
    ),
    (
        "Parquet of pandas",
        lambda p: parquet(p, arrow(__index_level_0__=[0, 1, 2])),
        {},
        "pandas' index",
    ),
    (
        "Parquet of categories",
        lambda p: parquet(p, arrow(label=pa.array(["PASS", "bridge", "PASS"]).dictionary_encode())),
        {},
        "Parquet",
    ),
]


@pytest.mark.parametrize(
    ("make", "settings", "told"), [r[1:] for r in READ], ids=[r[0] for r in READ]
)
def test_a_table_is_read_as_it_was_meant(tmp_path, make, settings, told):
    found = read_foreign(make(tmp_path), reading_of(settings, TABLES))
    rows = found.table[HEADER].to_numpy().tolist()
    rows = [[cell.rstrip("/") for cell in row] for row in rows]
    assert rows == ROWS
    assert told is None or told in found.sentence()
    assert list(found.table.columns)[:4] == HEADER


def test_a_number_that_is_shown_with_zeros_is_read_so_once_numbers_are_allowed(tmp_path):
    shown = ('<c s="1"><v>12</v></c>',)
    path = book(tmp_path, [HEADER, ["b", "g", "PASS", shown], ["b", "g", "PASS", 7]], styles=DATES)
    with pytest.raises(HardStop, match=r"2 cell\(s\) of object_name hold a number.*first: 0012"):
        read_foreign(path, Reading())
    found = read_foreign(path, Reading(numbers="text"))
    assert found.table["object_name"].tolist() == ["0012", "7"]


def test_further_columns_are_kept_as_text(tmp_path):
    day = datetime.date(2026, 3, 4)
    table = arrow(number_of_pins=[8.0, None, 14.0], seen=[day] * 3, ok=[True, False, None])
    found = read_foreign(parquet(tmp_path, table), Reading()).table
    assert found["number_of_pins"].tolist() == ["8", "", "14"]
    assert found["seen"].tolist() == ["2026-03-04"] * 3
    assert found["ok"].tolist() == ["TRUE", "FALSE", ""]


def test_rows_keep_the_numbers_of_their_own_file(tmp_path):
    rows = [["Line 7"], [], HEADER, ROWS[0], [], ROWS[1], ROWS[2]]
    found = read_foreign(book(tmp_path, rows), Reading())
    assert found.numbers == [4, 6, 7]
    rows[6] = ["board8", "golden7", "", "U3"]
    with pytest.raises(HardStop) as caught:
        read_foreign(book(tmp_path, rows), Reading())
    assert caught.value.rows == [7] and "empty label" in caught.value.message


def test_what_a_workbook_escapes_is_read_as_it_was_typed(tmp_path):
    path = book(tmp_path, [HEADER, ["b", "g", "PASS", "R_x005F_1"]])
    assert read_foreign(path, Reading()).table["object_name"].tolist() == ["R_1"]
