"""Lines of papers and READMEs with their pointers: thirty that are right, thirty that are wrong.

Their shapes are those that papers' sources and benchmark tables have; the numbers are ours.
"""

from __future__ import annotations

RESULTS = {
    "far_pct": 12.3999,
    "far_sd": 0.3142,
    "recall_pct": 99.96,
    "caught_pct": 100.0,
    "none_pct": 0.0,
    "rows": 12345,
    "big": 1234567.5,
    "params": 23_212_000,
    "delta": -0.5,
    "rate": 0.0501,
    "auc": 0.9712,
    "p": 0.000123,
    "tie": 12.345,
    "ms": 0.714,
    "ms_sd": 0.0304,
    "gain": 1.63,
    "a.labels.cold solder.n": 7,
    "x_y": 93.24,
}
P = "analysis.json:results."
L = "runs/analysis.json#results."
IGNORE = "<!-- quotes: ignore"

GOOD: list[tuple[str, str]] = [
    # Markdown
    ("md", f"FAR is 12.40 % (`{P}far_pct`), and seven more."),
    ("md", f"[12 %]({L}far_pct), [**12.4**&nbsp;%]({L}far_pct)"),
    ("md", f"FAR [12.4 %][far], again [12.40][far].\n\n[far]: {L}far_pct 'the run'"),
    ("md", f"12,345 ({P}rows) 12'345 ({P}rows) 12\u00a0345 ({P}rows) 12\u202f345 ({P}rows)"),
    ("md", f"Im Mittel 12,40\u00a0% ({P}far_pct); 1.234.567,5 ({P}big)"),
    (
        "md",
        f"| Model | FAR (%) | ms |\n|---|--:|--:|\n| v2-B | [12.40]({L}far_pct) | 0.714 {P}ms |",
    ),
    ("md", f"| FAR | 12.4 ± 0.31 | `{P}far_pct`, `{P}far_sd` |\n|---|---|---|"),
    ("md", f"**12.40** ± 0.314 % ({P}far_pct ± {P}far_sd)"),
    (
        "md",
        f"p = $1.23\\times10^{{-4}}$ ({P}p), 1.23 × 10⁻⁴ ({P}p), 1.2e-4 ({P}p), p < 0.001 ({P}p)",
    ),
    ("md", f"−0.5 ({P}delta); -0.50 ({P}delta); a rate of .05 ({P}rate)"),
    ("md", f"wrapped 12345 rows\nonto a line ({P}rows).\n\n1. first\n2. second"),
    ("md", f"23.2M parameters ({P}params), 0.71ms ({P}ms), 1.63x faster ({P}gain)"),
    ("md", f"about 100 % ({P}recall_pct); 100 % ({P}caught_pct); 0 % ({P}none_pct)"),
    ("md", f"[7]({L}a.labels.cold%20solder.n) [93.2]({L}x_y)"),
    ("md", f"An example: `99 % ({P}rows)`\n\n```\n1 {P}none\n```\n\n    2 {P}none\n"),
    ("md", "ResNet-50, F1, iter1, mAP@0.5, 3D, 2nd, #12, <https://a.org/2024>, https://b.org/1.2"),
    ("md", f"Since 2023 {IGNORE} -->\n{IGNORE} 3.1 -->\nSection 3.1 has 93.24 ({P}x_y)"),
    (
        "md",
        f"<!-- quotes: off -->\nv1.2 of 2024-01-31\n\n## 4 Method\n\n<!-- quotes: on -->\n7 {P}"
        "a.labels.cold%20solder.n",
    ),
    ("md", f"12.35 ({P}tie), half to even 12.34 ({P}tie); see analysis.json: it has them."),
    # TeX
    ("tex", f"It rejects 12.40\\,\\% % {P}far_pct\nof 12{{,}}345 parts (\\texttt{{{P}rows}})."),
    (
        "tex",
        f"$-0.5$ \\footnote{{{P}delta}}, $-$0.50~\\verb|{P}delta|, {{\\bf 93.24}} % {P}x\\_y\n",
    ),
    (
        "tex",
        "\\begin{tabular}{l p{3cm} S[table-format=2.1]}\n\\toprule\n\\multicolumn{2}{c}{FAR} \\\\"
        "\\cmidrule(lr){2-3}\n"
        f"ours & 12.40 {{\\scriptsize$\\pm$.31}} & .971 \\\\[2pt] % {P}far_pct, {P}far_sd, {P}auc\n"
        "\\end{tabular}",
    ),
    (
        "tex",
        f"\\newcommand{{\\far}}{{12.40\\,\\%}} % {P}far_pct\nWe reach \\far{{}} \\cite{{he2016}}.",
    ),
    ("tex", f"\\newcommand\\far{{12.40}}\nWe reach \\far\\,\\% % {P}far_pct\nin \\cref{{sec:3}}."),
    ("tex", f"\\num{{1.23e-4}} ({P}p), \\SI{{0.71 \\pm 0.03}}{{\\ms}} ({P}ms, {P}ms_sd)"),
    ("tex", f"$\\approx$~100\\,\\% % {P}recall_pct\nof all, $x_2$, $c^{{3}}$."),
    ("tex", f"\\href{{{L.replace('#', chr(92) + '#')}x_y}}{{\\textbf{{93.2}}\\,\\%}}"),
    (
        "tex",
        "\\documentclass[11pt]{article}\n\\setlength{\\tabcolsep}{3pt}\n\\title{FAR at last}\n"
        f"\\newcommand{{\\far}}{{12.40\\xspace}} % {P}far_pct\n\\title{{Of 7}} % quotes: ignore 7\n"
        "\\begin{document}\nWe reach \\far\\,\\%.\n"
        "\\includegraphics[width=0.5\\textwidth]{fig2}\\vspace{-2mm}\n"
        f"\\begin{{equation}}\nx = \\frac{{1}}{{2}}\n\\end{{equation}}\n% was 13.1 {P}far_pct\n"
        f"12.4 ({P}far_pct) since 2023 % quotes: ignore 2023\n\\end{{document}}",
    ),
    (
        "tex",  # numbers of the layout
        "\\documentclass{article}\\renewcommand{\\topfraction}{0.9}\\setlength\\tabcolsep{3pt}\n"
        "\\begin{document}\\renewcommand\\arraystretch{1.1}\\linespread{0.98}\n"
        "\\begin{subtable}{0.5\\linewidth}\\makebox[3cm][c]{a} \\colorbox{gray!20}{k}\n"
        "\\end{subtable}\n"
        "\\begin{multicols}{2}\\hskip 3pt plus 1fil b\\penalty10000 \\looseness=-1\n"
        "\\end{multicols}\n"
        f"c\\footnotemark[3] \\lstinline|x = 5| \\mbox{{12.4}} % {P}far_pct\n\\end{{document}}",
    ),
    (
        "tex",
        "\\multirow{2}{*}{Ours} & \\multirow{2}{*}{93.24} & \\cellcolor{gray!15}\\textbf{23.2M}"
        f" \\\\ \\cline{{3-5}} % {P}x\\_y {P}params\n",
    ),
    ("md", f"误报率为12.40%（{P}far_pct），见{P}rows。"[:-23] + "。"),
    # HTML
    ("html", '<b data-key="far_pct">12.40&nbsp;%</b> of <i data-key="rows">12,345</i>'),
    ("html", f'<a href="{L}x_y">93.2 %</a><b data-key="p">1.23×10<sup>−4</sup></b>'),
    ("html", '<i data-key="rows">12&#8239;345</i>\n<p>Since 2023 <!-- quotes: ignore --></p>'),
    (
        "html",
        "<p>n</p>\n<!-- quotes: off --><p>3.1</p><!-- quotes: on --><b data-key='tie'>12,34</b>",
    ),
]

BAD: list[tuple[str, str, str]] = [
    # Markdown
    ("md", f"12.41 % ({P}far_pct)", "1: far_pct: shows 12.41"),
    ("md", f"a\n\n12.3 % ({P}far_pct)", "3: far_pct: shows 12.3"),
    ("md", "It rejects\n12.40 % of all.", "2: a number without a key: 12.40"),
    ("md", f"At 99 % recall it is 12.40 % ({P}far_pct)", "without a key: 99"),
    ("md", f"| a | b |\n|---|---|\n| 3.1 | 12.40 {P}far_pct |", "3: a number without a key: 3.1"),
    ("md", "- one\n- two of 43 boards", "2: a number without a key: 43"),
    ("md", "12.40 % (analysis.json:result.far_pct)", "analysis.json:result.far_pct is no pointer"),
    ("md", "12.40 % (Analysis.json:results.far_pct)", "is no pointer"),
    ("md", "12.40 % (`analysis.json:results[far_pct]`)", "is no pointer"),
    ("md", "[12.40 %](runs/analysis.json#/results/far_pct)", "is no pointer"),
    ("md", "[12.40 %](runs/analysis.json)", "without a key: 12.40"),
    (
        "md",
        "[12.41 %][far]\n\n[far]: runs/analysis.json#results.far_pct",
        "1: far_pct: shows 12.41",
    ),
    ("md", f"100 % ({P}recall_pct)", "which says all, the value is 99.96"),
    ("md", f"12.40 ± 0.31 % ({P}far_pct)", "without a key: 0.31"),
    ("md", f"12.40 ± 0.34 % ({P}far_pct, {P}far_sd)", "far_sd: shows 0.34"),
    ("md", f"$1.24\\times10^{{-4}}$ ({P}p)", "p: shows 1.24"),
    ("md", f"1.23×10⁻³ ({P}p)", "p: shows 1.23×10⁻³"),
    ("md", f"12 345 ({P}rows)", "rows: shows 345"),
    ("md", f"+0.5 ({P}delta)", "delta: shows +0.5"),
    ("md", f"12.3 ({P}tie) 12.36 ({P}tie)", "tie: shows 12.36"),
    ("md", f"12.40 %\n\n({P}far_pct)", "3: far_pct: no number stands before"),
    ("md", f"12.40 % ({P}far_pct), see {P}rows", "rows: no number stands before"),
    ("md", f"12.40 % (nowhere/{P}far_pct)", "is not there"),
    ("md", f"12.40 % ({P}far_pct_2)", "far_pct_2 is no key of"),
    ("md", "since 2023 <!-- quotes: ignroe -->", "'quotes: ignroe' is no mark"),
    ("md", "<!-- quotes: off -->\nsince 2023", "2: a number without a key: 2023"),
    (
        "tex",
        "\\def\\a{7}\\def\\b{\\a}\\def\\c{\\b}\\def\\d{\\c}\\def\\e{\\d}\n\\e",
        "\\a is not read: macros are followed 4 deep",
    ),
    ("tex", "% quotes: off\nsince 2023\n", "1: 'quotes: off' without a 'quotes: on'"),
    ("md", "a <!-- quotes: on -->", "1: 'quotes: on' after no 'quotes: off'"),
    (
        "md",
        "a <!-- quotes: off -->\nb <!-- quotes: off -->\nc <!-- quotes: on -->\nd 4",
        "2: 'quotes: off' after another 'quotes: off'",
    ),
    ("md", "since 2024 <!-- quotes: ignore 2023 -->", "1: a mark names 2023"),
    ("md", f"23.9M ({P}params)", "params: shows 23.9"),
    ("md", f"p > 0.001 ({P}p)", "p: shows > 0.001"),
    ("md", "误报率为12.40%。", "without a key: 12.40"),
    # TeX
    ("tex", "\\newcommand{\\BestAcc}{92.3\\%}\n", "1: a number without a key: 92.3"),
    ("tex", f"It rejects\n12.39\\,\\% % {P}far_pct\n", "2: far_pct: shows 12.39"),
    ("tex", "ours & 12.40 & 3.1 \\\\\n", "1: numbers without a key: 12.40, 3.1"),
    ("tex", f"a & 12.40 & 0.98 \\\\ % {P}far_pct {P}auc\n", "auc: shows 0.98"),
    (
        "tex",
        "\\newcommand{\\far}{12.40}\n\nWe reach \\far\\,\\%.",
        "3: a number without a key: 12.40",
    ),
    ("tex", f"\\newcommand{{\\far}}{{12.41}} % {P}far_pct\n", "1: far_pct: shows 12.41"),
    ("tex", "12.40\\,\\% % analysis.json:results/far_pct\n", "is no pointer"),
    ("tex", f"\\SI{{100}}{{\\percent}} ({P}recall_pct)", "which says all"),
    ("tex", f"12{{,}}346 parts ({P}rows), $k=5$", "without a key: 5"),
    # HTML
    ("html", "<p>\n12.40 %</p>", "2: a number without a key"),
    ("html", '<b data-key="far_pct">12.41</b>', "far_pct: shows 12.41"),
    ("html", '<b data-key="recall_pct">100 %</b>', "which says all"),
    ("html", f'<a href="{L}x_y">93.3 %</a>', "x_y: shows 93.3"),
    ("html", '<a href="runs/analysis.json#result.x_y">93.2 %</a>', "is no pointer"),
    ("html", '<b data-key="p">1.23×10<sup>−3</sup></b>', "p: shows"),
]
