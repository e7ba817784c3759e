"""The HTML report: whole, offline, honest, and never in the way."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import fake_run
import pytest
from fake_run import TS, FakeRun
from run_results import build_results

from deft.core.layout import Run
from deft.report import proof
from deft.report.check import check_html
from deft.report.render import render_pages, render_report

MAX_BYTES = 2_000_000
SECTIONS = (
    "problem", "kpi-set", "phases", "growth", "cards", "pool", "scores", "recall-far", "defects",
    "rca", "synthetic", "advice", "summary",
)  # fmt: skip


def html_of(run: FakeRun) -> str:
    return render_report(run.dir, run.workspace).read_text()


def visible(html: str) -> str:
    bare = re.sub(r"<(style|script).*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", bare).split())


@pytest.mark.parametrize("situation", fake_run.SITUATIONS)
def test_every_number_has_its_key(built: dict[str, FakeRun], situation: str) -> None:
    run = built[situation]
    page = render_report(run.dir, run.workspace)
    assert check_html(page, build_results(run.dir, run.workspace)) == []
    assert page.stat().st_size < MAX_BYTES


@pytest.mark.usefixtures("unsaved_charts")
def test_a_planted_error_is_found(finished: FakeRun) -> None:
    page = render_report(finished.dir, finished.workspace)
    results = build_results(finished.dir, finished.workspace)
    page.write_text(page.read_text().replace('data-key="best.fp">1<', 'data-key="best.fp">2<', 1))
    assert [text for text in check_html(page, results) if "best.fp" in text]


@pytest.mark.parametrize("situation", fake_run.SITUATIONS)
def test_opens_offline_and_says_nothing_forbidden(
    built: dict[str, FakeRun], situation: str
) -> None:
    html = html_of(built[situation])
    addresses = re.findall(r"""(?:src|href|xlink:href)=["']([^"']*)""", html)
    assert all(a.startswith(("#", "data:")) for a in addresses)
    assert "@import" not in html and "url(http" not in html
    assert "NOT MET" not in visible(html).upper()
    assert not re.search(r"\bred\b|#f00\b|#ff0000|crimson|tomato", html, flags=re.IGNORECASE)
    assert "hf_abcdef" not in html


@pytest.mark.usefixtures("unsaved_charts")
@pytest.mark.parametrize(
    ("situation", "status", "refreshes"),
    [
        ("untouched", "IN PROGRESS", True),
        ("running", "IN PROGRESS", True),
        ("finished", "pp from target", False),
        ("met", "MET", False),
        ("exhausted", "pp from target", False),
        ("failed", "pp from target", False),
    ],
)
def test_status_wording(
    built: dict[str, FakeRun], situation: str, status: str, refreshes: bool
) -> None:
    html = html_of(built[situation])
    big = re.search(r'<span class="badge \w+ big">(.*?)</span>\s*(?:<|pp)', html, re.DOTALL)
    assert big
    head = visible(html[big.start() : big.start() + 200])
    assert status in head
    assert ('http-equiv="refresh"' in html) is refreshes


@pytest.mark.usefixtures("unsaved_charts")
def test_the_gap_is_the_best_phase_against_the_target(finished: FakeRun) -> None:
    results = build_results(finished.dir, finished.workspace)
    fars = [results[f"{p}.far_pct"] for p in ("baseline", "iter1", "iter2")]
    assert results["best.gap_pp"] == pytest.approx(min(fars) - 0.1)
    assert f'data-key="best.gap_pp">{min(fars) - 0.1:.2f}</span>pp from target' in html_of(finished)


@pytest.mark.usefixtures("unsaved_charts")
@pytest.mark.parametrize(("recall", "others"), [(1.0, ["99", "95"]), (0.95, ["99"])])
def test_far_at_the_wanted_recall_has_one_column(
    finished: FakeRun, recall: float, others: list[str]
) -> None:
    checks = json.loads((finished.dir / "preflight/checks.json").read_text())
    checks["kpi_target"] |= {"min_recall": recall}
    finished.json("preflight/checks.json", checks)
    html = html_of(finished)
    table = html[html.index('id="phases"') :]
    table = table[: table.index("</table>")]
    assert re.findall(r"FAR at (\d+) %", visible(table).replace("\u00a0", " ")) == others
    assert f"FAR at recall {100 * recall:g} %" in visible(table).replace("\u00a0", " ")
    for row in table.split("<tr")[1:]:
        assert len(re.findall(r"<t[hd][ >]", row)) == 9 + len(others)


def test_all_sections(built: dict[str, FakeRun]) -> None:
    html = html_of(built["finished"])
    assert [s for s in SECTIONS if f'id="{s}"' not in html] == []
    text = visible(html)
    assert "too few to certify" in text
    assert "weight files" in text  # how often the KPI set was scored
    assert html.count("data:image/jpeg;base64,") >= 2 * len(fake_run.DEFECTS) + 2
    assert "1 = defective" in text


@pytest.mark.usefixtures("unsaved_charts")
def test_the_hard_stop_is_told(built: dict[str, FakeRun]) -> None:
    html = html_of(built["failed"])
    text = visible(html)
    assert "leakage" in text
    assert "remove the 3 rows from the pool" in text
    assert html.index("The loop stopped") < html.index('id="verdict"')


@pytest.mark.usefixtures("unsaved_charts")
def test_a_stop_that_was_overcome_is_not_told(finished: FakeRun) -> None:
    stop = {"code": "leakage", "message": "old", "phase": "iter1", "stage": "data_merge"}
    finished.state("in_progress", native={"hard_stop": stop})
    assert "leakage" not in visible(html_of(finished))


@pytest.mark.usefixtures("unsaved_charts")
def test_a_sweep_of_other_tools_after_the_loop_is_told(finished: FakeRun) -> None:
    assert "AutoML" not in visible(html_of(finished))
    swept = {"far_pct": 1.25, "threshold": 0.5, "best_ckpt_path": "/w/final_automl/best.pth"}
    finished.state("complete", iterations={"final_automl": swept})
    text = visible(html_of(finished))
    assert "AutoML after the loop" in text and "best.pth" in text and "1.25" in text


@pytest.mark.usefixtures("unsaved_charts")
def test_the_exhausted_pool_is_told(built: dict[str, FakeRun]) -> None:
    text = visible(html_of(built["exhausted"]))
    assert "Mining found no row" in text
    assert "mining found no new row" in text  # in the table line of the lap
    assert "IN PROGRESS" not in text


@pytest.mark.usefixtures("unsaved_charts")
@pytest.mark.parametrize("arm", ["random", "none"])
def test_control_arms_say_so(finished: FakeRun, arm: str) -> None:
    checks = json.loads((finished.dir / "preflight/checks.json").read_text())
    finished.json("preflight/checks.json", checks | {"arm": arm})
    html = html_of(finished)
    text = visible(html)
    assert html.index("Control arm.") < html.index('id="verdict"')
    assert f"mining: {arm}" in text


@pytest.mark.usefixtures("unsaved_charts")
@pytest.mark.parametrize("proven", ["baseline", "iter1"])
def test_a_baseline_is_not_called_proven(
    finished: FakeRun, monkeypatch: pytest.MonkeyPatch, proven: str
) -> None:
    monkeypatch.setattr(proof, "best_proven", lambda files: proven)
    text = visible(html_of(finished))
    assert ("No phase is proven better than the baseline" in text) is (proven == "baseline")
    assert ("Best proven phase: iter1" in text) is (proven == "iter1")


@pytest.mark.usefixtures("unsaved_charts")
def test_a_degenerate_threshold_is_that_of_the_required_recall(finished: FakeRun) -> None:
    for name in ("baseline", "iter1", "iter2"):
        metrics = json.loads((finished.dir / name / "metrics.json").read_text())
        metrics["kinds"]["best_val"]["degenerate"] = True
        finished.json(f"{name}/metrics.json", metrics)
    advice = visible(html_of(finished).partition('id="advice"')[2])
    assert "The threshold that reaches the required recall rejects every good part" in advice


def test_same_files_same_bytes(finished: FakeRun) -> None:
    first = html_of(finished)
    assert html_of(finished) == first
    assert str(finished.workspace) not in first


@pytest.mark.usefixtures("unsaved_charts")
def test_labels_are_escaped(built: dict[str, FakeRun]) -> None:
    html = html_of(built["finished"])
    assert "type_3 &lt;shift&gt;" in html
    assert "<shift>" not in html


def phase_page(run: FakeRun, phase: str) -> Path:
    """Render a phase's page, with the run's; return its path."""
    return render_pages(run.dir, run.workspace, phase)[0][1]


def test_phase_reports_do_not_change_with_later_phases(finished: FakeRun) -> None:
    page = phase_page(finished, "iter1")
    assert page == finished.dir / "iter1" / "report.html"
    assert check_html(page, build_results(finished.dir, finished.workspace)) == []
    before = page.read_bytes()
    shutil.rmtree(finished.dir / "iter2")
    assert phase_page(finished, "iter1").read_bytes() == before


def test_similarities_of_a_last_lap_without_analysis(finished: FakeRun) -> None:
    """RCA runs only where another lap follows; what the last lap mined is shown all the same."""
    last = sorted(p.parent.parent.name for p in finished.dir.glob("iter*/mining_filter/*.parquet"))[
        -1
    ]
    shutil.rmtree(finished.dir / last / "rca_results")
    results = build_results(finished.dir, finished.workspace)
    page = render_report(finished.dir, finished.workspace).read_text(encoding="utf-8")
    mined = page[page.index('id="mined"') :]
    mined = mined[: mined.index("</section>")]
    shown = re.findall(r'data-key="([^"]*similarity)">([^<]*)<', mined)
    assert len(shown) > 2 and "mined for which weak part, <span" in mined and last in mined
    assert [(key, text) for key, text in shown if key not in results or text == "–"] == []


def test_an_unknown_phase_is_refused(finished: FakeRun) -> None:
    with pytest.raises(ValueError, match="iter7"):
        phase_page(finished, "iter7")


PIECES = (
    "deft_state.json",
    "loop_log.jsonl",
    "preflight",
    "synth_pool",
    "baseline",
    "iter1/metrics.json",
    "iter1/train",
    "iter1/inference",
    "iter1/inference/best_val/threshold_metrics.csv",
    "iter1/mining_filter",
    "iter1/mining_filter/mining_pool.csv",
    "iter1/dataset",
    "iter1/decide",
    f"iter1/rca_results/{TS}/kpi_gaps.parquet",
)


@pytest.mark.usefixtures("unsaved_charts")
@pytest.mark.parametrize("piece", PIECES)
def test_a_missing_piece_is_left_out(finished: FakeRun, piece: str) -> None:
    path = finished.dir / piece
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = render_report(finished.dir, finished.workspace)
    assert check_html(page, build_results(finished.dir, finished.workspace)) == []


@pytest.mark.usefixtures("unsaved_charts")
@pytest.mark.parametrize("piece", [p for p in PIECES if "." in Path(p).name])
def test_a_broken_piece_is_left_out(finished: FakeRun, piece: str) -> None:
    path = finished.dir / piece
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    page = render_report(finished.dir, finished.workspace)
    assert check_html(page, build_results(finished.dir, finished.workspace)) == []


@pytest.mark.usefixtures("unsaved_charts")
def test_pictures_that_are_gone_leave_a_gap(finished: FakeRun) -> None:
    shutil.rmtree(finished.workspace / "kpi/images")
    assert "no picture" in visible(html_of(finished))


@pytest.mark.usefixtures("unsaved_charts")
def test_a_missed_defect_is_not_called_detectable(finished: FakeRun) -> None:
    metrics = json.loads((finished.dir / "iter1/metrics.json").read_text())
    metrics["labels"]["missing"] |= {"caught": 13, "recall_lower95_pct": 70.3}
    metrics["labels"]["bridge"] |= {"caught": 0, "recall_lower95_pct": 0.0}
    finished.json("iter1/metrics.json", metrics)
    row = {
        label: visible(re.search(rf"<tr>[^\n]*>{label}</span>.*?</tr>", defects, re.DOTALL)[0])
        for defects in [html_of(finished).partition('id="defects"')[2]]
        for label in ("missing", "bridge")
    }
    assert "in part" in row["missing"] and "13 / 14" in row["missing"]
    assert re.search(r"\bno\b", row["bridge"])


def test_results_are_the_files_numbers(built: dict[str, FakeRun]) -> None:
    run = built["finished"]
    results = build_results(run.dir, run.workspace)
    metrics = json.loads((run.dir / "iter2/metrics.json").read_text())
    point = metrics["kinds"]["best_val"]["recall_point"]
    for field in ("far_pct", "threshold", "fp", "recall_lower95_pct", "far_upper95_pct"):
        assert results[f"iter2.{field}"] == point[field]
    assert results["iter2.labels.bridge.count"] == 21
    assert results["certify.min_ng"] == 59
    assert results["certify.min_pass"] == 2995
    assert results["iter2.labels.bridge.more_to_certify"] == 38
    assert results["run.models_scored"] == 6
    assert results["iter1.models_scored_so_far"] == 4
    assert results["pool.labels.missing.sdg"] == 15
    assert results["iter1.dataset.sdg_share_pct"] == pytest.approx(100 * 12 / 270)
    assert all(isinstance(v, int | float) and not isinstance(v, bool) for v in results.values())
    assert list(results) == sorted(results)


def test_before_the_baseline_the_kpi_table_is_counted(built: dict[str, FakeRun]) -> None:
    run = built["untouched"]
    results = build_results(run.dir, run.workspace)
    assert results["kpi.ng"] == sum(fake_run.DEFECTS.values())
    assert results["kpi.pass"] == fake_run.GOOD
    assert "best.far_pct" not in results


@pytest.mark.usefixtures("unsaved_charts")
def test_between_equal_phases_the_earlier_is_best(finished: FakeRun) -> None:
    later = json.loads((finished.dir / "iter1/metrics.json").read_text()) | {"phase": "iter2"}
    finished.json("iter2/metrics.json", later)
    assert 'class="best"><th scope="row"><a href="#card-iter1"' in html_of(finished)


def test_command(finished: FakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    import report

    given = SimpleNamespace(workspace=finished.workspace, phase="iter1")
    assert report.body(given, Run(finished.workspace, finished.dir.name)) == 0
    assert "DEFT_Loop_Report.html" in capsys.readouterr().out
    assert (finished.dir / "iter1/report.html").is_file()


def test_a_page_that_cannot_be_made_ends_no_loop(finished: FakeRun, monkeypatch, capsys) -> None:
    import report

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a <bug>")

    monkeypatch.setattr(report, "render_pages", broken)
    given = SimpleNamespace(workspace=finished.workspace, phase="iter1")
    assert report.page_of_a_lap(given, Run(finished.workspace, finished.dir.name)) == 0
    assert "warning: the page of iter1 could not be made" in capsys.readouterr().out
    assert "a &lt;bug&gt;" in (finished.dir / "iter1/report.html").read_text()


@pytest.mark.usefixtures("unsaved_charts")
def test_the_target_stands_first_with_every_digit(finished: FakeRun) -> None:
    checks = json.loads((finished.dir / "preflight/checks.json").read_text())
    checks["kpi_target"] |= {"far_max_pct": 0.005, "min_recall": 0.99999995}
    finished.json("preflight/checks.json", checks)
    page = render_report(finished.dir, finished.workspace)
    assert check_html(page, build_results(finished.dir, finished.workspace)) == []
    text = unescape(visible(page.read_text()))
    first = text.index("Target: FAR < 0.005 % (50 ppm) while recall ≥ 99.999995 %")
    assert first < text.index("Problem")
    assert "(FAR) < 0.005 % while catching 99.999995 %" in text
