"""What TeX's macros and environments take that no reader sees, and what the others show."""

from __future__ import annotations

import re

THIN, BREAK = "\u202f", "\u200b"
# Environments that are no prose: skipped as a whole.
SKIPPED = re.compile(
    r"(?:verbatim|lstlisting|minted|comment|filecontents|tikzpicture|axis|thebibliography|equation"
    r"|align|alignat|gather|multline|eqnarray|displaymath|math|CCSXML)\*?"
)
# Macros whose arguments no reader sees: how many groups of braces follow (options always go).
UNSEEN = {
    **dict.fromkeys(
        "ref eqref autoref cref Cref pageref nameref subref label includegraphics input include "
        "bibliography bibliographystyle usepackage documentclass vspace hspace setstretch url "
        "cmidrule cline scalebox rotatebox color textcolor cellcolor rowcolor pagestyle "
        "thispagestyle geometry hypersetup graphicspath captionsetup sisetup parbox raisebox "
        "newlength newcounter end stepcounter theoremstyle hyphenation pagenumbering "
        "colorbox enlargethispage linespread lstinline "
        "columncolor phantom hphantom vphantom pgfplotsset usetikzlibrary orcidlink email".split(),
        1,
    ),
    **dict.fromkeys(
        "setlength addtolength setcounter addtocounter multicolumn multirow rule resizebox "
        "fontsize fcolorbox mintinline newcolumntype counterwithin specialrule".split(),
        2,
    ),
    "definecolor": 3,
    "rowcolors": 3,
    "DeclareMathOperator": 2,
}
# Environments with arguments of their own.
COLUMNS = {"tabular": 1, "array": 1, "minipage": 1, "adjustbox": 1, "subfigure": 1, "tabularx": 2}
COLUMNS |= dict.fromkeys("subtable subcaptionblock multicols spacing tblr longtblr".split(), 1)
COLUMNS |= {"tabular*": 2, "wrapfigure": 2, "wraptable": 2, "longtable": 1, "tabulary": 2}
LENGTHS = re.compile(
    r"(?:vskip|hskip|kern|mkern|tabcolsep|arraystretch|parskip|parindent|baselineskip|hsize|vsize)"
)
LENGTH = re.compile(
    r"\s*=?\s*-?\d*\.?\d+\s*\\?[a-zA-Z]+(?:\s+(?:plus|minus)\s*-?\d*\.?\d+\s*[a-z]+)*"
)
COUNTS, COUNT = re.compile(r"\w*penalty|looseness|tolerance"), re.compile(r"\s*=?\s*-?\d+")
# Macros of the layout that a text redefines; no reader sees their numbers.
LAYOUT = re.compile(r"\w*(?:stretch|fraction|sep|skip|width|height|margin|penalty)|the\w+")
# Macros whose options no reader sees, but what stands in their braces.
OPTIONED = frozenset("makebox framebox footnotemark footnotetext pagebreak linebreak".split())
DEFINING = ("newcommand", "renewcommand", "providecommand", "def", "newrobustcmd")
DEFINED = re.compile(
    r"\s*\{?\s*\\(?P<name>[A-Za-z@]+)\s*\}?\s*(?:\[\d\]\s*)?(?:\[[^\]]*\]\s*)?(?:#\d)*\s*"
)
ENDS = frozenset(
    "par item section subsection subsubsection paragraph chapter caption hline midrule toprule "
    "bottomrule title newline".split()
)
PLAIN = {
    "pm": "±",
    "textpm": "±",
    "times": "×",
    "texttimes": "×",
    "cdot": "·",
    "approx": "≈",
    "sim": "≈",
    "simeq": "≈",
    "textasciitilde": "≈",
    "le": "≤",
    "leq": "≤",
    "leqslant": "≤",
    "ge": "≥",
    "geq": "≥",
    "geqslant": "≥",
    "lt": "<",
    "gt": ">",
    "textless": "<",
    "textgreater": ">",
    "textminus": "−",
    "percent": "%",
    "thinspace": THIN,
    "textendash": "–",
}
ESCAPED = {",": THIN, ";": THIN, ":": THIN, " ": "\u00a0", "!": "", "/": "", "(": "", ")": ""}
