"""The verdict on a phase: four judgements, each with its reason and what would change it.

The same sentences stand first on the page, in the summaries, on the terminal and in
``analysis.json``; every number in them is a value of ``analysis.json:results``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft.record.judged import FEW_PARTS, Judged, judge
from deft.record.metric import met_of
from deft.record.phase_files import PhaseFiles
from deft.record.phrases import (
    EXACT,
    PERCENT,
    PLAIN_PERCENT,
    POINTS,
    SCORE,
    Literal,
    Number,
    Part,
    Sentence,
    plain,
)
from deft.record.results import collect_results
from deft.record.run_files import RunFiles, load_run
from deft.record.strict import Strict

MARGIN = "%.2g"
GOOD, OPEN, UNKNOWN = "good", "open", "unknown"


@dataclass(frozen=True)
class Judgement:
    """One of the four. ``kind``: good, open (to be looked at) or unknown."""

    name: str
    kind: str
    state: Sentence
    reason: Sentence
    change: Sentence


@dataclass(frozen=True)
class Verdict:
    """The judgements on a phase and the threshold to set."""

    phase: str
    judgements: Sequence[Judgement]
    threshold: Sentence  # "set this threshold: 0.39"
    why_two: Sentence  # why the KPI's own is another number
    judged: Judged

    def lines(self, results: Mapping[str, Any]) -> list[str]:
        """Return the verdict as lines of plain text."""
        out = []
        for j in self.judgements:
            parts = [plain(s, results) for s in (j.reason, j.change) if s]
            out.append(f"{plain(j.state, results)}: {' '.join(parts)}")
        if self.threshold:
            out.append(f"{plain(self.threshold, results)}. {plain(self.why_two, results)}")
        return [line.replace("\u00a0", " ") for line in out]

    def brief(self, results: Mapping[str, Any]) -> list[str]:
        """Return the states and the threshold alone, for texts with few words."""
        states = "; ".join(plain(j.state, results) for j in self.judgements)
        return [states] + ([plain(self.threshold, results)] if self.threshold else [])

    def record(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Return the form of ``analysis.json`` and ``summary.json``."""

        def told(sentence: Sentence) -> str:
            return plain(sentence, results).replace("\u00a0", " ")

        return {
            "phase": self.phase,
            "set_threshold": results.get(f"{self.phase}.set_threshold"),
            "kpi_threshold": results.get(f"{self.phase}.threshold"),
            **{
                j.name: {
                    "kind": j.kind,
                    "state": told(j.state),
                    "reason": told(j.reason),
                    "change": told(j.change),
                }
                for j in self.judgements
            },
        }


def verdict_of(files: RunFiles, phase: PhaseFiles, results: Mapping[str, Any]) -> Verdict | None:
    """Return the verdict on a phase, or None before it was evaluated."""
    if f"{phase.name}.far_pct" not in results or met_of(files, phase.far_pct) is None:
        return None
    judged, _ = judge(files, phase)
    said = _Said(files, phase, results, judged)
    return Verdict(
        phase.name,
        [said.met(), said.proven(), said.fragile(), said.leak()],
        said.threshold(),
        said.why_two(),
        judged,
    )


def verdict_lines(run_dir: str | Path, workspace: str | Path) -> list[str]:
    """Return the verdict on a run's best phase for the terminal; reads strictly."""
    files = load_run(run_dir, workspace, Strict())
    results = collect_results(files)
    verdict = verdict_of(files, files.best, results) if files.best else None
    return verdict.lines(results) if verdict else []


class _Said:
    """The sentences on one phase."""

    def __init__(
        self, files: RunFiles, phase: PhaseFiles, results: Mapping[str, Any], judged: Judged
    ) -> None:
        self.files, self.phase, self.results, self.judged = files, phase, results, judged
        self.is_met = bool(met_of(files, phase.far_pct))

    def n(self, key: str, form: str = "%d") -> Number:
        return Number(f"{self.phase.name}.{key}", form)

    def counted(self, key: str, one: str, many: str) -> list[Part]:
        """Return a count with its noun, such as "1 defect" and "2 defects"."""
        return [self.n(key), f" {one if self.value(key) == 1 else many}"]

    def value(self, key: str) -> Any:
        return self.results.get(f"{self.phase.name}.{key}")

    def met(self) -> Judgement:
        state: Sentence = ["MET on this set"]
        if not self.is_met:
            state = [self.n("gap_pp", POINTS), "pp from target on this set"]
        reason: Sentence = [
            "FAR ", self.n("far_pct", PERCENT), " (", self.n("fp"), " of ", self.n("pass"),
            " good parts), recall ", self.n("recall_pct", PERCENT), " (", self.n("tp"), " of ",
            self.n("ng"), " defects).",
        ]  # fmt: skip
        change: Sentence = []
        allowed = self.value("verdict.met.allowed_fp")
        if allowed is not None and allowed < 0:
            change = ["No number of false alarms meets this target."]
        elif not self.is_met and allowed is not None:
            change = ["The target allows ", *self._allowed(), " here: "]
            change = [*change, self.n("verdict.met.fewer_fp"), " fewer would meet it."]
        elif allowed is not None:
            change = ["The target allows ", *self._allowed(), " here."]
        return Judgement("met", GOOD if self.is_met else OPEN, state, reason, change)

    def _allowed(self) -> list[Part]:
        return self.counted("verdict.met.allowed_fp", "false alarm", "false alarms")

    def proven(self) -> Judgement:
        far, recall = self.value("verdict.proven.far"), self.value("verdict.proven.recall")
        bounds: list[Part] = [
            "At ", Number("confidence.one_sided_pct", PLAIN_PERCENT), " confidence each, FAR is at "
            "most ", self.n("far_upper95_pct", PERCENT), " and recall at least ",
            self.n("recall_lower95_pct", PERCENT), ".",
        ]  # fmt: skip
        fresh = "Threshold and weights were chosen on this set: confirm on parts no phase has seen."
        if far and recall:
            return Judgement("proven", GOOD, ["proven"], bounds, [fresh])
        reason: list[Part] = [
            "Cannot be certified with ", self.n("pass"), " good parts and ", self.n("ng"),
            " defects. ", *bounds,
        ]  # fmt: skip
        change: list[Part] = []
        if not far and self.value("verdict.proven.more_pass") is not None:
            more = self.counted("verdict.proven.more_pass", "more good part", "more good parts")
            change += ["FAR needs ", *more, ", all passed. "]
        elif not far:
            change += ["No number of good parts proves this FAR. "]
        if not recall and self.value("verdict.proven.more_ng") is not None:
            more = self.counted("verdict.proven.more_ng", "more defect", "more defects")
            change += ["Recall needs ", *more, ", all caught. "]
        elif not recall:
            change += ["A recall of ", Number("target.min_recall_pct", PLAIN_PERCENT)]
            change += [" is proven by no number of defects"]
            if self.value("verdict.proven.instead_more_ng") is not None:
                change += ["; ", self.n("verdict.proven.instead_more_ng"), " more, all caught, "]
                change += ["prove ", self.n("verdict.proven.instead_recall_pct", PLAIN_PERCENT)]
            change += [". "]
        return Judgement("proven", OPEN, ["not proven"], reason, [*change, fresh])

    def fragile(self) -> Judgement:
        if self.value("verdict.fragile.thin") is None:
            reason: Sentence = ["The scores are not on disk."]
            return Judgement("fragile", UNKNOWN, ["margins not known"], reason, [])
        thin = bool(self.value("verdict.fragile.thin"))
        far_off, other = self._other_kind()
        parts = self.value("verdict.fragile.parts") or 0
        few = 0 < parts <= FEW_PARTS
        if parts and not few and not self.judged.hangs_on_good:
            # Thin margins turn a part here and there, but not this judgement.
            reason = ["The target does not hang on few parts: ", self.n("verdict.fragile.parts")]
            reason += [" of ", self.n("ng"), " defects would have to score higher. ", *other]
            change: list[Part] = ["The model itself falls short, not a few labels: it needs more "]
            change += ["training pictures like its weak parts, or a longer training."]
            return Judgement("fragile", OPEN, ["clearly short of the target"], reason, change)
        hangs, change = self._hangs(parts, few=few)
        fragile = thin or far_off or few
        if fragile:
            change += ["More KPI parts, or a run with another seed, tell chance from skill."]
        return Judgement(
            "fragile",
            OPEN if fragile else GOOD,
            ["fragile" if fragile else "steady"],
            [*self._margins(thin), *other, *hangs],
            change,
        )

    def _hangs(self, parts: int, *, few: bool) -> tuple[list[Part], list[Part]]:
        """Return the words on the parts that the target hangs on, and what they mean."""
        judged = self.judged
        if not judged.hangs_on:
            return [], []
        if not few:  # so many only where it is met
            more = self.counted("verdict.fragile.parts", "more good part", "more good parts")
            return ["It takes ", *more, " above the threshold to break the target."], []
        kind = ("good part", "good parts") if judged.hangs_on_good else ("defect", "defects")
        hangs = ["The target hangs on ", *self.counted("verdict.fragile.parts", *kind), ": "]
        hangs += [Literal(", ".join(judged.hangs_on)), "."]
        if judged.hangs_on_good:
            return hangs, ["So many more good parts above the threshold break it. "]
        return hangs, ["Without them, or scored higher, it is met: look at their labels first. "]

    def _margins(self, thin: bool) -> list[Part]:
        out: list[Part] = []
        for side, part in (("below", self.judged.below), ("above", self.judged.above)):
            if part:
                out += [f"Next score {side} the threshold: ", Literal(part), ", "]
                out += [self.n(f"verdict.fragile.margin_{side}", MARGIN), " away. "]
        return [*out, "That is thin for the span of the scores. "] if thin else out

    def _other_kind(self) -> tuple[bool, list[Part]]:
        """Return whether the lap's other weight file is far off, and the words."""
        kind = self.judged.other_kind
        far = self.value(f"kinds.{kind}.far_pct")
        if far is None:
            return False, []
        far_off = far > (self.value("far_upper95_pct") or 0)
        said: list[Part] = ["The lap's other weight file, ", Literal(str(kind)), ", has FAR "]
        said += [self.n(f"kinds.{kind}.far_pct", PERCENT)]
        return far_off, [*said, ": far off. " if far_off else " (alike). "]

    def leak(self) -> Judgement:
        mined, base = self.value("verdict.leak.mined"), self.value("verdict.leak.base")
        if mined is None:
            return Judgement(
                "leak", UNKNOWN, ["leakage not known"],
                ["The pre-flight of this run kept no pairs of near-copies."],
                ["The pre-flight looks again when it is run."],
            )  # fmt: skip
        if not mined and not base:
            return Judgement(
                "leak", GOOD, ["no near-copies"],
                ["No training picture nearly is one of the KPI or validation set."], [],
            )  # fmt: skip
        reason: Sentence = [
            self.n("verdict.leak.mined"), " mined and ", self.n("verdict.leak.base"),
            " base training pictures look nearly like one of the KPI or validation set.",
        ]  # fmt: skip
        change: Sentence = [
            "Look at the pairs: equal parts look alike by nature. Take true copies out of pool and "
            "training table, and start another run."
        ]
        return Judgement("leak", OPEN, ["leak-suspect"], reason, change)

    def threshold(self) -> Sentence:
        if self.value("set_threshold") is None:
            return []
        return ["set this threshold: ", self.n("set_threshold", EXACT)]

    def why_two(self) -> Sentence:
        return [
            "The KPI's own, ", self.n("threshold", SCORE), ", is the score of a part: both decide "
            "every KPI part alike, but this one lies between two scores, so that typing it, or "
            "another machine's last digit, turns none."
        ]  # fmt: skip
