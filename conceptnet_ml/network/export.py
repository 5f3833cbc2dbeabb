"""A network as one file that runs without this package: a program of torch's, or an ONNX model."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import torch

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.storage.files import write_atomic

INPUT, OUTPUT = "images", "logits"
"""What an ONNX model calls its input and its output."""


def export_network(network: StagedNetwork, path: Path) -> None:
    """Save a network as the file's ending says: ``.onnx``, else as :func:`export_program` does. Raises as they do."""
    (export_onnx if path.suffix.lower() == ".onnx" else export_program)(network, path)


def export_program(network: StagedNetwork, path: Path) -> None:
    """Save a network as a ``.pt2`` program that needs torch alone: ``torch.export.load(path).module()(images)``.

    It takes any number of float images in [0, 1] of the network's size, on the CPU, and answers as in evaluation mode.
    Raises SettingsError where torch.export cannot follow the network's code.
    """
    content = io.BytesIO()
    torch.export.save(_exported(network), content)
    write_atomic(path, content.getvalue())


def export_onnx(network: StagedNetwork, path: Path) -> None:
    """Save a network as an ONNX model with the input ``images`` and the output ``logits``.

    It takes what :func:`export_program`'s takes, and normalises it likewise. Its metadata hold, as JSON, ``classes``,
    the names of the logits in their order, and ``input``: ``layout``, ``shape``, ``type``, ``range``, ``channels``.
    What torch notes of the code that it was made from, and where that lies, is left out.

    Raises:
        SettingsError: ``onnx`` or ``onnxscript`` is not installed, or the network cannot be written so.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ImportError as error:
        raise SettingsError(
            f"an ONNX model needs the packages onnx and onnxscript, which cannot be imported: {error}",
            "pip install 'conceptnet_ml[onnx]', or pip install onnx onnxscript; a .pt2 file needs neither.",
        ) from error
    program = _exported(network)
    try:
        named = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamic_shapes": _any_number()}
        made = torch.onnx.export(program, dynamo=True, verbose=False, **named)  # type: ignore[arg-type]
        assert made is not None
        model = made.model_proto
        _clear(model)
        about = _description(network)
        onnx.helper.set_model_props(model, {key: json.dumps(one, ensure_ascii=False) for key, one in about.items()})
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString()
    except Exception as error:  # of an operator that ONNX lacks, or a model beyond two GiB
        raise SettingsError(
            f"the network cannot be written as an ONNX model: {_line(error)}", "Save it as a .pt2 program instead."
        ) from error
    write_atomic(path, content)


def _exported(network: StagedNetwork) -> torch.export.ExportedProgram:
    """The network, contiguous and in evaluation mode, for any number of images."""
    alone = copy.deepcopy(network).cpu().eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    alone.narrow = True  # contiguous, since nobody knows where it will run
    example = torch.rand(2, network.channels, *network.image_size)
    try:
        with torch.no_grad():
            return torch.export.export(alone, (example,), dynamic_shapes=_any_number())
    except Exception as error:  # of a user's own code, in as many ways as there are
        raise SettingsError(
            f"the network cannot be written as one program: {_line(error)}",
            "torch.export must follow its code for any number of images: x.shape[0] in place of len(x), for instance.",
        ) from error


def _any_number() -> tuple[dict[int, Any]]:
    """Of images, as torch's exporters say it."""
    return ({0: torch.export.Dim("batch", min=1)},)


def _description(network: StagedNetwork) -> dict[str, Any]:
    channels = "RGB" if network.channels == 3 else network.channels
    shape = ["batch", network.channels, *network.image_size]
    return {
        "classes": list(network.classes),
        "input": {"layout": "NCHW", "shape": shape, "type": "float32", "range": [0, 1], "channels": channels},
    }


def _clear(model: Any) -> None:
    """Take out what torch notes of each value and step: names of modules, and lines of code with their paths."""
    for graph in (model.graph, *model.functions):
        for part in (graph, *graph.node, *graph.value_info):
            del part.metadata_props[:]
            part.doc_string = ""
    for part in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
