"""A user's metric as a command: how many defects score low, and what good parts score."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

NAME, UNIT = "quiet_defects", "share"
BODY = '''\
#!{python}
"""Notes beside itself what it was asked."""
import argparse, csv, json, pathlib

parser = argparse.ArgumentParser()
parser.add_argument("--cut", type=float, required=True)
parser.add_argument("--inference-csv", required=True)
parser.add_argument("--output-json", required=True)
args = parser.parse_args()
with pathlib.Path(__file__).with_name("asked.txt").open("a") as log:
    log.write(args.inference_csv + "\\n")
with open(args.inference_csv, newline="") as handle:
    rows = list(csv.DictReader(handle))
defects = [float(row["siamese_score"]) for row in rows if row["label"] != "PASS"]
good = [float(row["siamese_score"]) for row in rows if row["label"] == "PASS"]
answer = {{
    "name": "{name}",
    "value": sum(score < args.cut for score in defects) / len(defects),
    "unit": "{unit}",
    "threshold": args.cut,
    "constraints": {{"mean_good_score": sum(good) / len(good)}},
    "diagnostics": {{"sample_count": len(rows)}},
}}
with open(args.output_json, "w") as handle:
    json.dump(answer, handle)
print("counted", len(rows))
'''


def write_command(folder: Path, body: str = BODY) -> Path:
    """Write an executable script and return it."""
    path = folder / "evaluate_quiet_defects.py"
    text = body.format(python=sys.executable, name=NAME, unit=UNIT) if body is BODY else body
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def contract(path: Path, **changes: Any) -> dict[str, Any]:
    """Return NVIDIA's ``metric_contract`` for the command; ``changes`` replace keys of it."""
    made = {
        "name": NAME,
        "display_name": "Quiet defects",
        "operator": "<=",
        "target": 0.5,
        "unit": UNIT,
        "evaluator": {
            "type": "command",
            "path": str(path),
            "args": ["--cut", "0.5"],
        },
        "constraints": [
            {
                "name": "mean_good_score",
                "display_name": "Mean good score",
                "operator": "<",
                "target": 1.0,
                "unit": "",
            }
        ],
    }
    return made | changes


def config_file(folder: Path, made: dict[str, Any]) -> list[str]:
    """Return the command line's part that hands a contract over."""
    path = folder / "metric.json"
    path.write_text(json.dumps({"metric_contract": made}))
    return ["--configfile", str(path)]
