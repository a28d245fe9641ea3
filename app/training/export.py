"""From a trained network to an ONNX file that ONNX Runtime answers as torch does."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from app.errors import MissingExtraError
from app.files import written_whole

OPSET = 17


def export(
    network: nn.Module,
    examples: Mapping[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    *,
    dynamic: Mapping[str, Mapping[int, str]],
    metadata: Mapping[str, str],
    half: bool = True,
) -> float:
    """Write `network` to `path`, and compare.

    Args:
        network: takes the examples in their order; put into evaluation mode.
        examples: inputs by name.
        outputs: names of what it returns.
        path: the ``.onnx`` file.
        dynamic: axes that may have another size, by input or output: ``{"image": {0: "batch"}}``.
        metadata: properties of the file.
        half: keep the weights as float16 (the file is half as large); they are float32 when the network runs.

    Returns:
        The largest absolute difference between ONNX Runtime and torch on the examples, torch with the weights that
        the file holds.

    Raises:
        MissingExtraError: the package `onnx` is not installed.
        OutputError: the file cannot be written.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError('Exporting a network needs onnx: pip install -e ".[train]"') from error
    network.eval()
    if half:
        with torch.no_grad():
            for tensor in (*network.parameters(), *network.buffers()):
                if tensor.is_floating_point():
                    tensor.copy_(tensor.half())
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        raw = Path(folder) / "raw.onnx"
        torch.onnx.export(
            network,
            tuple(examples.values()),
            str(raw),
            input_names=list(examples),
            output_names=list(outputs),
            dynamic_axes={name: dict(axes) for name, axes in dynamic.items()},
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,  # else norms are folded into weights that are not yet rounded
            dynamo=False,
        )
        model = onnx.load(str(raw))
        expected = network(*examples.values())
    if half:
        _halve(model)
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    with written_whole(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return largest_difference(path, examples, expected)


def largest_difference(path: Path, examples: Mapping[str, Tensor], expected: Tensor | Sequence[Tensor]) -> float:
    """How far ONNX Runtime's answers of the file `path` are from `expected`, at most."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers = session.run(None, {name: tensor.numpy() for name, tensor in examples.items()})
    wanted = [expected] if isinstance(expected, Tensor) else list(expected)
    return max(float(np.abs(a - b.numpy()).max()) for a, b in zip(answers, wanted, strict=True))


def _halve(model) -> None:  # type: ignore[no-untyped-def]
    """Keep large float32 weights as float16 with a cast behind them, which ONNX Runtime does once, when it loads."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or int(np.prod(weight.dims)) < 64:
            continue
        name = weight.name
        small = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), f"{name}_half")
        weight.CopyFrom(small)
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    for node in reversed(casts):
        model.graph.node.insert(0, node)
