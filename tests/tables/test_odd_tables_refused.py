"""Tables that say nothing for certain are refused in one line, with the row and what to do."""

from __future__ import annotations

import codecs

import pytest
from odd_tables import (
    DATES,
    HEADER,
    KOREAN,
    OK_NG,
    ROWS,
    TABLE,
    UMLAUT,
    arrow,
    book,
    parquet,
    save,
    sheet_xml,
    text_of,
    zipped,
)

from deft.core.errors import HardStop
from deft.core.layout import TABLES
from deft.tables.foreign import workbook_parts
from deft.tables.foreign.convert import read_foreign
from deft.tables.foreign.grid import Reading, reading_of

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
        lambda p: parquet(p, arrow(object_name=[1, 2, 3])),
        {},
        "hold a number",
        [1, 2, 3],
        "numbers: text",
    ),
    (
        "Parquet of lists",
        lambda p: parquet(p, arrow(more=[["a"], ["b"], []])),
        {},
        "holds list<",
        [],
        "leave the column out",
    ),
    (
        "Parquet of bytes",
        lambda p: parquet(p, arrow(label=[b"PASS"] * 3)),
        {},
        "holds binary",
        [],
        "as text",
    ),
    (
        "a cut Parquet file",
        lambda p: save(p, parquet(p, arrow()).read_bytes()[:-40]),
        {},
        "not a whole parquet file",
        [],
        "export",
    ),
    ("an empty table", lambda p: save(p, text_of([HEADER])), {}, "no row", [], "export"),
    ("an empty file", lambda p: save(p, b""), {}, "names the mandatory columns", [], "columns"),
]


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
