"""Opening the explored model, whatever its format, behind one small interface.

A model has ``inputs`` and ``outputs`` (entries of the I/O contract, as far as the file tells),
``facts``, ``unknowns``, ``device``, and ``run(feed) -> {name: array}``.
"""

from __future__ import annotations

import os
import time
from types import ModuleType
from typing import Any

from .folder import Folder, Refusal, first_line

ONNX, SERVED = "onnx", "served"


def open_model(folder: Folder, parameters: dict[str, Any] | None = None) -> Any:
    """Return the model of ``outputs/parameters.json``, loaded.

    ``model.seconds`` says how long importing the runtime and loading took. Raises
    :class:`Refusal` for a file that cannot be opened, a device or a provider that is not there.
    """
    parameters = parameters or folder.parameters
    what, runtime = parameters["model"], parameters["runtime"]
    if what["format"] != SERVED and not folder.path(what["file"]).is_file():
        raise Refusal(f"the model file {what['file']} is not there; put it back or link it again")
    threads = int(runtime.get("threads") or 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    began = time.perf_counter()
    room: ModuleType
    try:
        if what["format"] == ONNX:
            from . import onnx_runtime as room
        elif what["format"] == SERVED:
            from . import served as room
        else:
            from . import torch_runtime as room
        imported = time.perf_counter()
        model: Any = room.load(folder, what, runtime, threads)
    except ImportError as error:
        raise Refusal(f"a package is missing: {first_line(error)}") from error
    loaded = time.perf_counter()
    model.seconds = {"import_s": imported - began, "load_s": loaded - imported}
    return model
