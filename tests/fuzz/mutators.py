"""Spoiling inputs: bytes as disks and editors do it, structures as people and programs do it.

Everything is drawn from the generator that is handed in: the same one gives the same input.
"""

from __future__ import annotations

import csv
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import yaml

BYTES = (
    *(b"", b"\x00", b"\x00" * 64, b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc3\x28"),
    *(b"\xed\xa0\x80",),
    *(b"\r", b"\n", b"\r\n", b"\n\n", b"\t", b" ", b"\x0b\x0c\x1c\x1d\x1e", "\u2028".encode()),
    *("\u0085".encode(), "\u200b".encode(), "\u00a0".encode(), "РАЅЅ".encode(), "\u202e".encode()),
    *(b'"', b"'", b"`", b"\\", b",", b";", b":", b"{", b"}", b"[", b"]", b"#", b"%", b"&a ", b"*a"),
    *(b"${x}", b"${", b"<<: *a", b"!!python/object:os.system x", b"../", b"/", b"~", b"$(id)"),
    *(b";x", b"`id`"),
    *(b"0", b"-1", b"1e400", b"-0", b"NaN", b"Infinity", b"-inf", b".5", b"1,5", b"9" * 5000),
    *(b"1" * 30, b"0x10", b"1_000", b"true", b"null", b"None", b"PASS", b"pass ", b"[" * 3000),
    *(b"{" * 3000, b'{"a":' * 2000, b"- " * 3000, b"A" * 200_000, b"a," * 5000, b"%s%n"),
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**40, 10**400, 0.5, -0.0),
    *(1e308, float("inf"), float("-inf"), float("nan"), "", " ", "a", "\x00", "a\x00b", "\ud800"),
    *("../../etc/passwd", "/", "~", "1", "1e3", "true", "x" * 10_000, "\u2028", "iter1"),
    *("baseline",),
    *([], {}, [[]], [{}], {"": {}}, {"a": {"b": {"c": []}}}, [1, "a", None], [None] * 50),
)  # fmt: skip


def flip(rng: random.Random, data: bytes) -> bytes:
    """Change bits of a few bytes."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(rng: random.Random, data: bytes) -> bytes:
    """Keep the beginning, as a crash does."""
    return data[: rng.randint(0, len(data))]


def hole(rng: random.Random, data: bytes) -> bytes:
    """Put NUL bytes over a part, as a lost block of a disk does."""
    if not data:
        return data
    start = rng.randrange(len(data))
    length = min(len(data) - start, rng.choice((1, 16, 512, 4096)))
    return data[:start] + b"\0" * length + data[start + length :]


def drop(rng: random.Random, data: bytes) -> bytes:
    """Take a part out."""
    start = rng.randint(0, len(data))
    return data[:start] + data[start + rng.randint(1, max(1, len(data) // 4)) :]


def repeat(rng: random.Random, data: bytes) -> bytes:
    """Write a part twice or more often."""
    start = rng.randint(0, len(data))
    part = data[start : start + rng.randint(1, 400)]
    return data[:start] + part * rng.choice((2, 3, 50)) + data[start:]


def insert(rng: random.Random, data: bytes) -> bytes:
    """Put something awkward somewhere."""
    start = rng.randint(0, len(data))
    return data[:start] + rng.choice(BYTES) + data[start:]


def overwrite(rng: random.Random, data: bytes) -> bytes:
    """Put something awkward in place of as many bytes."""
    start, piece = rng.randint(0, len(data)), rng.choice(BYTES)[:64]
    return data[:start] + piece + data[start + len(piece) :]


def swap_lines(rng: random.Random, data: bytes) -> bytes:
    """Exchange, double or lose lines."""
    lines = data.split(b"\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    if rng.random() < 0.5:
        lines.insert(a, lines[b])
    if rng.random() < 0.3:
        del lines[rng.randrange(len(lines))]
    return b"\n".join(lines)


def recode(rng: random.Random, data: bytes) -> bytes:
    """Save as another program's encoding and line ends."""
    text = data.decode("utf-8", "replace")
    code = rng.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "cp1252", "utf-7"))
    ends = rng.choice(("\n", "\r\n", "\r", "\u2028"))
    return text.replace("\n", ends).encode(code, "replace")


def noise(rng: random.Random, data: bytes) -> bytes:
    """Something else altogether."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(rng.choice((0, 1, 7, 100, 5000)))
    if kind == 1:
        return rng.choice(BYTES) * rng.choice((1, 2, 40))
    if kind == 2:
        return json.dumps(rng.choice(VALUES)).encode("utf-8", "surrogatepass")
    if kind == 3:
        return b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    return b"<!DOCTYPE html><html><body>404: not found</body></html>"


RAW = (flip, cut, hole, drop, repeat, insert, insert, overwrite, swap_lines, recode, noise)


def raw(rng: random.Random, data: bytes) -> bytes:
    """Apply a few of :data:`RAW`."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        data = rng.choice(RAW)(rng, data)[:2_000_000]
    return data


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside, its own included."""
    found = [path]
    if isinstance(value, dict):
        for name, inner in value.items():
            found += places(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:20]):
            found += places(inner, (*path, index))
    return found


def spoil(rng: random.Random, value: Any) -> Any:
    """Return plain data with one to four values of other kinds, gone, renamed or moved."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = _spoiled(rng, value, rng.choice(places(value)))
    return value


def _spoiled(rng: random.Random, value: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return rng.choice(VALUES) if rng.random() < 0.1 else value
    name, rest = path[0], path[1:]
    copied: Any = dict(value) if isinstance(value, dict) else list(value)
    if rest:
        copied[name] = _spoiled(rng, value[name], rest)
        return copied
    kind = rng.randrange(8)
    if kind == 0:
        del copied[name]
    elif kind == 1 and isinstance(copied, dict):
        copied[rng.choice(("", "x", f"{name} ", str(name).upper(), "\u200b", "a.b"))] = copied.pop(
            name
        )
    elif kind == 2:
        copied[name] = [copied[name]]
    elif kind == 3:
        copied[name] = {"x": copied[name]}
    elif kind == 4:
        copied[name] = str(copied[name])
    elif kind == 5 and isinstance(copied[name], int | float) and not isinstance(copied[name], bool):
        number = copied[name]
        more = number + 0.5 if abs(number) < 1e300 else number // 3  # no float is as large
        copied[name] = rng.choice((-number, number * 10**9, more, -1, 0))
    else:
        copied[name] = rng.choice(VALUES)
    return copied


def as_json(rng: random.Random, data: bytes) -> bytes:
    """Spoil a JSON document as a structure; also doubled names and deep nesting."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return raw(rng, data)
    text = json.dumps(spoil(rng, value), ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.1 and text.startswith("{") and len(text) > 2:
        text = '{"schema_version": [], ' + text[1:]
    if rng.random() < 0.05:
        text = "[" * 2000 + text + "]" * 2000
    return text.encode("utf-8", "surrogatepass")


def as_json_lines(rng: random.Random, data: bytes) -> bytes:
    """Spoil one line of a file of JSON lines."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = as_json(rng, lines[at]) if lines[at] else raw(rng, lines[at])
    return b"\n".join(lines)


ALIASES = """a: &a [x, x, x, x, x, x, x, x, x]
b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]
c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]
d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]
e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d]
f: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e]
g: [*f, *f, *f, *f, *f, *f, *f, *f, *f]
"""
MERGES = "m0: &m0 {k: 1}\n" + "".join(
    f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}\n" for i in range(1, 40)
)


def as_yaml(rng: random.Random, data: bytes) -> bytes:
    """Spoil a YAML document as a structure; also anchors, merges, tags, references."""
    try:
        value = yaml.safe_load(data)
    except Exception:  # whatever it is by now
        return raw(rng, data)
    kind = rng.randrange(12)
    if kind < 6:
        try:
            return yaml.safe_dump(spoil(rng, value), allow_unicode=True).encode("utf-8", "replace")
        except Exception:
            return raw(rng, data)
    text = data.decode("utf-8", "replace")
    if kind == 6:
        text += rng.choice((ALIASES, MERGES, "self: &s [*s]\n", "z: &z {y: *z}\n"))
    elif kind == 7:
        text = (
            "r0: x\n"
            + "".join(f"r{i}: '${{r{i - 1}}}${{r{i - 1}}}'\n" for i in range(1, 40))
            + text
        )
    elif kind == 8:
        text = text.replace(
            ": ", rng.choice((": !!binary ", ": !!int ", ": !!set ", ": !x ", ": &a ")), 3
        )
    elif kind == 9:
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        lines.insert(at, lines[at])
        text = "\n".join(lines)
    elif kind == 10:
        text = text.replace(": ", ": " + "[" * rng.choice((3, 40, 3000)), 1)
    else:
        text = text.replace("\n", "\n---\n", 1)
    return text.encode("utf-8", "replace")


def as_csv(rng: random.Random, data: bytes) -> bytes:
    """Spoil cells, rows and columns of a table."""
    text = data.decode("utf-8", "replace")
    try:
        rows = [list(row) for row in csv.reader(io.StringIO(text))]
    except csv.Error:
        return raw(rng, data)
    if not rows or not rows[0]:
        return raw(rng, data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        row = rng.choice(rows)
        kind = rng.randrange(9)
        if kind < 4 and row:
            row[rng.randrange(len(row))] = str(rng.choice(VALUES))
        elif kind == 4 and row:
            del row[rng.randrange(len(row))]
        elif kind == 5:
            row.insert(rng.randint(0, len(row)), rng.choice(("x", "", '"', "a\nb")))
        elif kind == 6:
            rows.append(list(row))
        elif kind == 7:
            rows.remove(row)
            if not rows:
                return b""
        else:
            row[:] = []
    out = io.StringIO()
    delimiter = rng.choice(",,,,;\t|")
    csv.writer(out, delimiter=delimiter, lineterminator=rng.choice(("\n", "\r\n", "\r"))).writerows(
        rows
    )
    return out.getvalue().encode("utf-8", "surrogatepass")


def as_text(rng: random.Random, data: bytes) -> bytes:
    """Change numbers and words of a line of text."""
    words = data.decode("utf-8", "replace").split(" ")
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(words))
        words[at] = rng.choice(
            (
                rng.choice(BYTES)[:400].decode("latin-1"), words[at] * 2, "", words[at].upper(),
                "1e400", "0,5%", "50ppm", "９９", "½", "%", "and FAR < 1%", "−1", "1/0", "1e-999",
            )
        )  # fmt: skip
    return " ".join(words).encode("utf-8", "surrogatepass")


def as_zip(rng: random.Random, data: bytes) -> bytes:
    """Spoil one member of a zip and write the checksums anew; or lose, double, rename members."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:
        return raw(rng, data)
    at = rng.randrange(len(members))
    name, content = members[at]
    kind = rng.randrange(6)
    if kind < 3:
        members[at] = (name, raw(rng, content))
    elif kind == 3:
        del members[at]
    elif kind == 4:
        members[at] = (rng.choice((f"../{name}", f"/{name}", name + "x", name.upper())), content)
    else:
        members.append((name, b""))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name.replace("\0", "") or "x")
            archive.writestr(info, content)
    return out.getvalue()


def as_safetensors(rng: random.Random, data: bytes) -> bytes:
    """Spoil the header of a safetensors file, its length kept right."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        header = as_json(rng, data[8 : 8 + length])
    except struct.error:
        return raw(rng, data)
    return (
        struct.pack("<Q", rng.choice((len(header),) * 5 + (2**63, 0))) + header + data[8 + length :]
    )


def as_png(rng: random.Random, data: bytes) -> bytes:
    """Spoil a chunk of a PNG, its checksum made right."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return raw(rng, data)
    index = rng.randrange(len(chunks))
    kind, content = chunks[index]
    chunks[index] = (kind, raw(rng, content)[:100_000])
    out = data[:8]
    for kind, content in chunks:
        crc = zlib.crc32(kind + content)
        out += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)
    return out


def as_parquet(rng: random.Random, data: bytes) -> bytes:
    """Write the table again with another schema, or spoil the footer, or the pages."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = rng.randrange(8)
    if kind < 2:  # the footer: its last bytes say how long it is
        size = min(len(data), rng.choice((8, 200, 2000)))
        return data[:-size] + raw(rng, data[-size:]) + rng.choice((b"", data[-8:]))
    if kind < 4:
        return raw(rng, data)
    try:
        table = pq.read_table(io.BytesIO(data))
    except Exception:
        return raw(rng, data)
    name = rng.choice(table.schema.names) if table.schema.names else ""
    at = table.schema.names.index(name) if name else 0
    if kind == 4 and name:
        table = table.drop_columns([name])
    elif kind == 5 and name:
        count = table.num_rows
        others = [
            pa.nulls(count),
            pa.array([rng.choice((0, -1, 10**12))] * count),
            pa.array([[1.0, float("nan")]] * count),
            pa.array(["\x00/x"] * count),
            pa.array([b"\xff"] * count),
            pa.array([None, "a"] * count)[:count],
        ]
        table = table.set_column(at, name, rng.choice(others))
    elif kind == 6 and name:
        table = table.append_column(name, table.column(at))
    else:
        meta = {k: as_json(rng, v) for k, v in (table.schema.metadata or {}).items()}
        table = table.replace_schema_metadata(meta or {b"x": b"\xff"}).slice(
            0, rng.choice((0, 1, 3))
        )
    out = io.BytesIO()
    try:
        pq.write_table(table, out)
    except Exception:
        return raw(rng, data)
    return out.getvalue()


STRUCTURED: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "json": as_json,
    "jsonl": as_json_lines,
    "yaml": as_yaml,
    "csv": as_csv,
    "text": as_text,
    "zip": as_zip,
    "safetensors": as_safetensors,
    "png": as_png,
    "parquet": as_parquet,
}


def mutate(rng: random.Random, data: bytes, kind: str, others: list[bytes]) -> bytes:
    """Return a spoiled ``data``; ``others`` are further seeds, whose parts may be spliced in."""
    chance = rng.random()
    if chance < 0.02:
        return data
    if chance < 0.08 and others:
        other = rng.choice(others)
        data = data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]
    if kind in STRUCTURED and rng.random() < 0.65:
        data = STRUCTURED[kind](rng, data)
        if rng.random() < 0.85:
            return data
    return raw(rng, data)
