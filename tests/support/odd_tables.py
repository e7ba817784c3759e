"""Tables as other programs write them, made by hand: text in any form, and .xlsx part by part."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
HEADER = ["input_path", "golden_path", "label", "object_name"]
ROWS = [
    ["board7", "golden7", "PASS", "R1"],
    ["board7", "golden7", "bridge", "C0012"],
    ["board8", "golden7", "PASS", "U3@1"],
]


def text_of(rows: list[list[str]], separator: str = ",", end: str = "\n") -> str:
    """Return rows as text with separators, without any quoting."""
    return "".join(separator.join(row) + end for row in rows)


def cell(value: object, place: str = "") -> str:
    """Return the XML of a cell: text inline, a number bare, or ready XML (in a tuple) as it is."""
    at = f' r="{place}"' if place else ""
    if isinstance(value, tuple):
        return value[0].replace("<c", f"<c{at}", 1)
    if isinstance(value, str):
        return f'<c{at} t="inlineStr"><is><t>{escape(value)}</t></is></c>' if value else ""
    return f"<c{at}><v>{value}</v></c>"


def sheet_xml(rows, hidden=(), after="", before="", first=1) -> str:
    """Return a worksheet; ``hidden``: numbers of rows; ``after``, ``before``: XML around it."""
    lines = []
    for number, row in enumerate(rows, start=first):
        cells = "".join(cell(value, f"{chr(65 + i)}{number}") for i, value in enumerate(row))
        gone = ' hidden="1"' if number in hidden else ""
        lines.append(f'<row r="{number}"{gone}>{cells}</row>')
    return f"<worksheet {MAIN}>{before}<sheetData>{''.join(lines)}</sheetData>{after}</worksheet>"


def workbook(path: Path, sheets: dict, *, shared=(), styles="", parts=(), states=None) -> Path:
    """Write an .xlsx file. ``sheets``: name -> rows, or ready XML; ``shared``: common texts."""
    names = list(sheets)
    listed = "".join(
        f'<sheet name="{escape(name)}" sheetId="{i}" r:id="rId{i}"'
        + (f' state="{(states or {})[name]}"' if name in (states or {}) else "")
        + "/>"
        for i, name in enumerate(names, start=1)
    )
    relations = "".join(
        f'<Relationship Id="rId{i}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{i}.xml"/>'
        for i in range(1, len(names) + 1)
    )
    extra = [("styles", styles)] if styles else []
    if shared:
        listed_texts = (t if t.startswith("<") else f"<t>{escape(t)}</t>" for t in shared)
        texts = "".join(f"<si>{text}</si>" for text in listed_texts)
        extra.append(("sharedStrings", f"<sst {MAIN}>{texts}</sst>"))
    for kind, _ in extra:
        relations += f'<Relationship Id="{kind}" Type="{OFFICE}/{kind}" Target="{kind}.xml"/>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        top = f'<Relationship Id="a" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
        out.writestr("_rels/.rels", f'<Relationships xmlns="{PACKAGE}">{top}</Relationships>')
        out.writestr(
            "xl/workbook.xml",
            f'<workbook {MAIN} xmlns:r="{OFFICE}"><sheets>{listed}</sheets></workbook>',
        )
        out.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{PACKAGE}">{relations}</Relationships>',
        )
        for kind, xml in extra:
            out.writestr(f"xl/{kind}.xml", xml)
        for i, rows in enumerate(sheets.values(), start=1):
            out.writestr(
                f"xl/worksheets/sheet{i}.xml",
                rows if isinstance(rows, str | bytes) else sheet_xml(rows),
            )
        for name, data in parts:
            out.writestr(name, data)
    return path


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
    """Write a file."""
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def book(tmp_path: Path, rows=None, **more) -> Path:
    """Write a workbook of one sheet, or of ``sheets``."""
    sheets = more.pop("sheets", None) or {"Tabelle1": rows}
    return workbook(tmp_path / "t.xlsx", sheets, **more)


def parquet(tmp_path: Path, table: Any) -> Path:
    """Write a Parquet file."""
    import pyarrow.parquet as pq

    pq.write_table(table, tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def arrow(rows=ROWS, **other) -> Any:
    """Return the rows as an Arrow table, with other or further columns."""
    import pyarrow as pa

    made = {name: [row[i] for row in rows] for i, name in enumerate(HEADER)}
    return pa.table({**made, **other})


def zipped(tmp_path: Path, parts: dict[str, str]) -> Path:
    """Write an archive of texts."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as out:
        for name, text in parts.items():
            out.writestr(name, text)
    return save(tmp_path, data.getvalue(), "t.zip")
