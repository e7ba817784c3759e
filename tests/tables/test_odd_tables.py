"""Tables as people have them: each is read to the very same rows, or refused in one line."""

from __future__ import annotations

import codecs
import datetime
import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from odd_tables import HEADER, ROWS, sheet_xml, text_of, workbook

from deft.core.errors import HardStop
from deft.tables.foreign import workbook_parts
from deft.tables.foreign.convert import read_foreign
from deft.tables.foreign.grid import Reading, reading_of
from deft.tables.foreign.record import TABLES

TABLE = [HEADER, *ROWS]
OK_NG = [HEADER, ["b", "g", "OK", "R1"], ["b", "g", "NG", "R2"], ["b", "g", "OK", "R3"]]
UMLAUT = text_of([HEADER, ["b", "g", "PASS", "R1"], ["b", "g", "Lötbrücke", "C1"]], ";")
KOREAN = text_of([HEADER, ["b", "g", "PASS", "R1"], ["b", "g", "납땜불량", "C1"]])
DATES = (
    '<styleSheet><numFmts count="2"><numFmt numFmtId="164" formatCode="0000"/>'
    '<numFmt numFmtId="165" formatCode="dd\\.mm\\.yyyy"/></numFmts><cellXfs><xf numFmtId="0"/>'
    '<xf numFmtId="164"/><xf numFmtId="165"/></cellXfs></styleSheet>'
)


def save(tmp_path: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def book(tmp_path: Path, rows=None, **more) -> Path:
    sheets = more.pop("sheets", None) or {"Tabelle1": rows}
    return workbook(tmp_path / "t.xlsx", sheets, **more)


def parquet(tmp_path: Path, table: pa.Table) -> Path:
    pq.write_table(table, tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def columns(rows=ROWS, **other) -> pa.Table:
    made = {name: [row[i] for row in rows] for i, name in enumerate(HEADER)}
    return pa.table({**made, **other})


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
        lambda p: parquet(p, columns(__index_level_0__=[0, 1, 2])),
        {},
        "pandas' index",
    ),
    (
        "Parquet of categories",
        lambda p: parquet(
            p, columns(label=pa.array(["PASS", "bridge", "PASS"]).dictionary_encode())
        ),
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


# Each is refused: (what, how it is made, settings, the message, rows of that file, what to do).
REFUSED = [
    (
        "Windows-1252",
        lambda p: save(p, UMLAUT.encode("cp1252")),
        {},
        "byte 0xF6 in line 3",
        [3],
        "import_table.encoding: cp1252 ('Lötbrücke')",
    ),
    (
        "Korean",
        lambda p: save(p, KOREAN.encode("cp949")),
        {},
        "is not UTF-8",
        [3],
        "cp949 ('납땜불량')",
    ),
    (
        "named wrongly",
        lambda p: save(p, UMLAUT),
        {"encoding": "cp1252"},
        "the file is UTF-8",
        [],
        "leave encoding out",
    ),
    (
        "a mark against a name",
        lambda p: save(p, codecs.BOM_UTF16_LE + UMLAUT.encode("utf-16-le")),
        {"encoding": "cp1252"},
        "says itself",
        [],
        "leave",
    ),
    (
        "UTF-16 without a mark",
        lambda p: save(p, UMLAUT.encode("utf-16-le")),
        {},
        "UTF-16 without a mark",
        [],
        "encoding: utf-16-le",
    ),
    (
        "OK and NG",
        lambda p: save(p, text_of(OK_NG)),
        {},
        "'OK' (2 rows)",
        [2, 4],
        "labels: {OK: PASS}",
    ),
    (
        "0 and 1",
        lambda p: save(p, text_of([HEADER, ["b", "g", "0", "R"], ["b", "g", "1", "S"]])),
        {},
        "may mean a good part",
        [2, 3],
        "labels: {'0': PASS, '1': PASS}",
    ),
    (
        "pass",
        lambda p: save(p, text_of([HEADER, ["b", "g", "pass", "R"]])),
        {},
        "'pass'",
        [2],
        "labels",
    ),
    (
        "a break in a cell",
        lambda p: save(p, text_of(TABLE[:2]) + 'b,g,"bri\ndge",C1\n'),
        {},
        "does not close in this line",
        [3],
        "take line breaks out",
    ),
    (
        "a break in a workbook's cell",
        lambda p: book(p, [HEADER, ["b", "g", "PASS", "R\n1"]]),
        {},
        "hold a line break",
        [2],
        "take line breaks out",
    ),
    (
        "numbers for names",
        lambda p: book(p, [HEADER, ["b", "g", "PASS", 12]]),
        {},
        "object_name hold a number",
        [2],
        "format the column as text",
    ),
    (
        "1E5 in a workbook",
        lambda p: book(p, [HEADER, ["b", "g", "PASS", 100000]]),
        {},
        "100000",
        [2],
        "text",
    ),
    (
        "1E5 from a workbook",
        lambda p: save(p, text_of([HEADER, ["b", "g", "PASS", "1,00E+05"]], ";")),
        {},
        "such as 1E5",
        [2],
        "export again",
    ),
    (
        "floats of pandas",
        lambda p: save(
            p, text_of([HEADER, ["b", "g", "PASS", "12.0"], ["b", "g", "PASS", "13.0"]])
        ),
        {},
        "ends in .0",
        [],
        "numbers: text",
    ),
    (
        "a date",
        lambda p: book(
            p, [HEADER, [('<c s="2"><v>46000</v></c>',), "g", "PASS", "R"]], styles=DATES
        ),
        {},
        "input_path hold a date, not text (first: 2025-12-09)",
        [2],
        "as text",
    ),
    (
        "a formula",
        lambda p: book(
            p, [HEADER, ["b", "g", "PASS", ('<c t="str"><f>A2&amp;"_1"</f><v>b_1</v></c>',)]]
        ),
        {},
        "hold a formula",
        [2],
        "as values",
    ),
    (
        "an error value",
        lambda p: book(p, [HEADER, ["b", "g", "PASS", ('<c t="e"><v>#N/A</v></c>',)]]),
        {},
        "an error value",
        [2],
        "as text",
    ),
    (
        "#NV in text",
        lambda p: save(p, text_of([HEADER, ["b", "g", "PASS", "#NV"]], ";")),
        {},
        "stands for a value that is not there",
        [2],
        "fill",
    ),
    (
        "NULL of SQL Server",
        lambda p: save(p, text_of([HEADER, ["b", "NULL", "PASS", "R"]])),
        {},
        "golden_path are 'NULL'",
        [2],
        "fill",
    ),
    (
        "merged cells",
        lambda p: book(
            p,
            sheets={
                "s": sheet_xml(
                    [HEADER, ["b", "g", "PASS", "R"], ["", "g", "PASS", "S"]],
                    after='<mergeCells><mergeCell ref="A2:A3"/></mergeCells>',
                )
            },
        ),
        {},
        "A2:A3 are merged",
        [2],
        "split",
    ),
    (
        "a filter",
        lambda p: book(p, sheets={"s": sheet_xml(TABLE, hidden=[3])}),
        {},
        "1 row(s) of sheet 's' are hidden",
        [3],
        "import_table.hidden",
    ),
    (
        "two sheets",
        lambda p: book(p, sheets={"a": TABLE, "b": TABLE}),
        {},
        "2 sheets have the columns",
        [],
        "import_table.sheet",
    ),
    ("no such sheet", lambda p: book(p, TABLE), {"sheet": "x"}, "no sheet 'x'", [], "Tabelle1"),
    (
        "no header",
        lambda p: save(p, text_of(ROWS, ";")),
        {},
        "missing input_path",
        [],
        "import_table.columns",
    ),
    (
        "a column that is not there",
        lambda p: save(p, text_of(TABLE)),
        {"columns": {"label": "Result"}},
        "label: Result",
        [],
        "as they stand",
    ),
    (
        "two columns of one name",
        lambda p: save(p, text_of([[*HEADER, "Label"], [*ROWS[0], "x"]])),
        {},
        "called 'Label'",
        [1],
        "rename",
    ),
    (
        "a column without a name",
        lambda p: save(p, text_of([[*HEADER, ""], [*ROWS[0], "x"]])),
        {},
        "column 5 has cells, and no name",
        [2],
        "give it a name",
    ),
    (
        "a comma too many",
        lambda p: save(p, text_of([HEADER, [*ROWS[0], "x"]])),
        {},
        "more cells",
        [2],
        "quotation marks",
    ),
    (
        "a cut row",
        lambda p: save(p, text_of([HEADER, ["b", "g", "PASS"]])),
        {},
        "end before a mandatory",
        [2],
        "mend",
    ),
    (
        "two tables in one",
        lambda p: save(p, text_of([*TABLE, *TABLE], ";")),
        {},
        "repeats the header",
        [5],
        "remove",
    ),
    (
        "an old workbook",
        lambda p: save(p, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600),
        {},
        "an .xls workbook, or a workbook with a password",
        [],
        "save it as .xlsx",
    ),
    ("OpenDocument", lambda p: zipped(p, {"content.xml": "<x/>"}), {}, "(.ods)", [], ".xlsx"),
    (
        "another archive",
        lambda p: zipped(p, {"a.csv": "x"}),
        {},
        "xl/workbook.xml is missing",
        [],
        "save it again",
    ),
    (
        "a cut workbook",
        lambda p: save(p, book(p, TABLE).read_bytes()[:700]),
        {},
        "archive is damaged",
        [],
        "save it again",
    ),
    (
        "a document type",
        lambda p: book(p, sheets={"s": '<!DOCTYPE x [<!ENTITY a "b">]>' + sheet_xml(TABLE)}),
        {},
        "declares a document type",
        [],
        "save it again",
    ),
    ("a web page", lambda p: save(p, "<html><table></table></html>"), {}, "a web page", [], "save"),
    (
        "Parquet of numbers",
        lambda p: parquet(p, columns(object_name=[1, 2, 3])),
        {},
        "hold a number",
        [1, 2, 3],
        "numbers: text",
    ),
    (
        "Parquet of lists",
        lambda p: parquet(p, columns(more=[["a"], ["b"], []])),
        {},
        "holds list<",
        [],
        "leave the column out",
    ),
    (
        "Parquet of bytes",
        lambda p: parquet(p, columns(label=[b"PASS"] * 3)),
        {},
        "holds binary",
        [],
        "as text",
    ),
    (
        "a cut Parquet file",
        lambda p: save(p, parquet(p, columns()).read_bytes()[:-40]),
        {},
        "not a whole parquet file",
        [],
        "export",
    ),
    ("an empty table", lambda p: save(p, text_of([HEADER])), {}, "no row", [], "export"),
    ("an empty file", lambda p: save(p, b""), {}, "names the mandatory columns", [], "columns"),
]


def zipped(tmp_path: Path, parts: dict[str, str]) -> Path:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as out:
        for name, text in parts.items():
            out.writestr(name, text)
    return save(tmp_path, data.getvalue(), "t.zip")


@pytest.mark.parametrize(
    ("make", "settings", "message", "rows", "fix"),
    [r[1:] for r in REFUSED],
    ids=[r[0] for r in REFUSED],
)
def test_a_table_is_refused_in_one_line(tmp_path, make, settings, message, rows, fix):
    path = make(tmp_path)
    with pytest.raises(HardStop) as caught:
        read_foreign(path, reading_of(settings, TABLES))
    stop = caught.value
    assert stop.code == "csv_invalid" and stop.file == str(path)
    assert message in stop.message and "\n" not in stop.message
    assert stop.rows == rows
    assert stop.fix and fix in stop.fix


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    padding = "<!--" + " " * (5 << 20) + "-->"
    path = book(tmp_path, sheets={"s": sheet_xml(TABLE, before=padding)})
    assert len(read_foreign(path, Reading()).table) == 3
    monkeypatch.setattr(workbook_parts, "RATIO_FROM", 1 << 20)
    with pytest.raises(HardStop, match=r"sheet1.xml unpacks to more than [12] MB"):
        read_foreign(path, Reading())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"files": {"test": "x"}}, "files names"),
        ({"columns": {"name": "x"}}, "columns names"),
        ({"columns": {"label": "x", "object_name": "x"}}, "two meanings"),
        ({"labels": {"OK": "pass"}}, "labels.OK: label 'pass' is PASS only"),
        ({"labels": {"ok": "PASS", "OK ": "bridge"}}, "in different spellings"),
        ({"labels": {"PASS": "bridge"}}, "labels.PASS"),
        ({"encoding": "latin"}, "encoding is 'latin'"),
    ],
)
def test_settings_that_no_table_can_be_read_by_are_refused(settings, message):
    with pytest.raises(HardStop, match=message) as caught:
        reading_of(settings, TABLES)
    assert caught.value.code == "config_invalid"


def test_further_columns_are_kept_as_text(tmp_path):
    day = datetime.date(2026, 3, 4)
    table = columns(number_of_pins=[8.0, None, 14.0], seen=[day] * 3, ok=[True, False, None])
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
