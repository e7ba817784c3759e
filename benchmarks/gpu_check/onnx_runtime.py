"""The exported network in ONNX Runtime: the provider that was asked for, and torch's scores."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import torch

from deft.changenet.onnx.export import export_network
from deft.changenet.onnx.scorer import CPU, CUDA, Scorer, wanted_provider
from deft.core.errors import HardStop
from gpu_check.bench import SMALL, Bench, relative
from gpu_check.networks import network, pictures, spec_of
from gpu_check.result import Result, failed, judged, not_checked

LIMIT = 1e-4
NAMES = ("ONNX export", "ONNX CUDA provider")


def provider(bench: Bench) -> Iterator[Result]:
    """Export, score on the CPU, and on the card where this build of ONNX Runtime knows CUDA."""
    lacking = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if lacking:
        for name in NAMES:
            yield not_checked(name, f"{' and '.join(lacking)}: not there")
        return
    import onnxruntime

    spec = spec_of(SMALL, 64)
    model = network(spec).eval()
    path = bench.own / "model.onnx"
    facts = export_network(model, spec, path)
    pair = pictures(6, 64, torch.device("cpu"))
    with torch.inference_mode():
        want = model(*pair)

    def scored(device: str) -> tuple[str, float]:
        scorer = Scorer(path, device=device, threads=bench.threads)
        return scorer.provider, relative(scorer.run(*(side.numpy() for side in pair)), want)

    used, error = scored("cpu")
    figures = {
        "relative_error": error,
        "export_difference": facts["largest_output_difference"],
        "onnxruntime": onnxruntime.__version__,
    }
    wrong = "" if used == CPU else f"the session says {used}"
    yield judged(NAMES[0], figures, {"relative_error": LIMIT}, broken=wrong)
    yield _on_cuda(bench, onnxruntime.get_available_providers(), scored)


def _on_cuda(bench: Bench, available: list[str], scored) -> Result:
    name, build = NAMES[1], ", ".join(available)
    if CUDA in available and bench.cuda:
        used, error = scored("cuda")  # stops where ONNX Runtime falls back
        wrong = "" if used == CUDA else f"the session ran on {used}"
        return judged(name, {"relative_error": error}, {"relative_error": LIMIT}, broken=wrong)
    # Nothing to prove but that nobody is told a CPU's scores are the card's.
    try:
        wanted_provider("cuda")
    except HardStop:
        here = f"this ONNX Runtime has {build}" if bench.cuda else "no CUDA device is checked"
        return not_checked(name, f"{here}; device: cuda is refused as it should be")
    if not bench.cuda:
        return not_checked(name, "no CUDA device is checked")
    return failed(name, f"device: cuda was not refused by an ONNX Runtime with {build}")
