"""Writing a trained network as an ONNX file, and comparing ONNX Runtime with torch."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.errors import CheckpointError, needing, reason_of
from app.files import written_whole
from app.types import Floats

OPSET = 17

Storage: TypeAlias = Literal["float32", "float16", "int8"]


class Answering(nn.Module):
    """A network that is exported with another answer than its own: ``answer(network, *inputs)``."""

    def __init__(self, network: nn.Module, answer: Callable[..., Any]) -> None:
        super().__init__()
        self.network, self._answer = network, answer

    def forward(self, *inputs: Tensor) -> Any:
        return self._answer(self.network, *inputs)


def export(
    network: nn.Module,
    examples: Mapping[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    *,
    dynamic: Mapping[str, Mapping[int, str]],
    metadata: Mapping[str, str],
    storage: Storage = "float16",
) -> float:
    """Write `network` to `path`, and compare the outputs of ONNX Runtime and torch.

    Args:
        network: takes the examples in their order. It is put into evaluation mode.
        examples: inputs by name.
        dynamic: axes of inputs and outputs whose size is free: ``{"image": {0: "batch"}}``.
        storage: how the file stores the weights, which are float32 when the network runs. With ``int8``, kernels of
            convolutions are stored as int8 with a scale each, and all other weights as float16.

    Returns:
        The largest absolute difference between ONNX Runtime and torch on the examples. Torch uses the weights as they
        are stored in the file.

    Raises:
        MissingExtraError: the package `onnx` is not installed.
        OutputError: the file cannot be written.
    """
    with needing('Exporting a network needs onnx: pip install -e ".[train]"'):
        import onnx
    network.eval()
    if storage != "float32":
        with torch.no_grad():
            for tensor in (*network.parameters(), *network.buffers()):
                if tensor.is_floating_point():
                    tensor.copy_(torch.from_numpy(_rounded(tensor.float().numpy(), storage)))
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the age of this exporter, and about folding norms (see below)
        raw = Path(folder) / "raw.onnx"
        torch.onnx.export(
            network,
            tuple(examples.values()),
            str(raw),
            input_names=list(examples),
            output_names=list(outputs),
            dynamic_axes={name: dict(axes) for name, axes in dynamic.items()},
            opset_version=OPSET,
            # Otherwise norms would be folded into weights that are not rounded yet.
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamo=False,
        )
        model = onnx.load(str(raw))
        expected = network(*examples.values())
    if storage != "float32":
        _shrink(model, storage)
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    with written_whole(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return largest_difference(path, examples, expected)


def stored_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights of a file that `export` has written, float32, by the names they have in its network.

    Most networks that are exported wrap the trained one as ``network``; that part of the names is left out. Weights
    that only the file has are among them.

    Raises:
        CheckpointError: `path` cannot be read as ONNX.
        MissingExtraError: the package `onnx` is not installed.
    """
    with needing('Reading the first weights needs onnx: pip install -e ".[train]"'):
        import onnx
        from onnx import numpy_helper
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}, from which the first weights should come.")
    try:
        graph = onnx.load(str(path)).graph
        values: dict[str, Any] = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    except Exception as error:  # the library has no common class for the errors of damaged files
        raise CheckpointError(f"{path} cannot be read as an ONNX file ({reason_of(error)}).") from error
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in values:  # equal weights are stored once
            values[node.output[0]] = values[node.input[0]]
        elif node.op_type in ("Cast", "Mul") and all(name in values for name in node.input):
            # `_shrink` has added these, in the order in which they are needed.
            first, *scales = (values.pop(name).astype(np.float32) for name in node.input)
            values[node.output[0]] = first * scales[0] if scales else first
    wrapped = any(name.startswith("network.") for name in values)
    return {
        name.removeprefix("network."): torch.from_numpy(np.array(value))
        for name, value in values.items()
        if name.startswith("network.") is wrapped and value.dtype == np.float32
    }


def mix(network: nn.Module, start: Mapping[str, Tensor], share: float) -> None:
    """Replace the weights of a trained network by the mean of them and of those it started from (Wortsman et al. 2022).

    The mean, in which `start` (see `stored_weights`) has the given share, 0 to 1, often holds on other data where the
    trained weights alone do not. Weights that `start` lacks stay.
    """
    own = network.state_dict()
    mixed = {key: torch.lerp(own[key], value, share) for key, value in fitting(network, start).items()}
    network.load_state_dict({**own, **mixed})


def fitting(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return those of `weights` that `network` has too, in the same shape."""
    own = network.state_dict()
    return {key: value for key, value in weights.items() if key in own and own[key].shape == value.shape}


def largest_difference(path: Path, examples: Mapping[str, Tensor], expected: Tensor | Sequence[Tensor]) -> float:
    """Return the largest absolute difference between the outputs of the ONNX file `path` and `expected`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {name: tensor.numpy() for name, tensor in examples.items()})
    wanted = [expected] if isinstance(expected, Tensor) else list(expected)
    return max(float(np.abs(a - b.numpy()).max()) for a, b in zip(outputs, wanted, strict=True))


def _levels(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Return the kernels (N, ...) of a convolution as int8, and the N scales by which they are multiplied."""
    scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / np.float32(127)
    scale = np.maximum(scale.astype(np.float32), np.float32(1e-12))
    return np.round(weight / scale).astype(np.int8), scale


def _rounded(weight: Floats, storage: Storage) -> Floats:
    """Return a weight with the precision that it has in the file."""
    if storage == "int8" and weight.ndim == 4:
        levels, scale = _levels(weight)
        return levels * scale
    return weight.astype(np.float16).astype(np.float32)


def _shrink(model, storage: Storage) -> None:  # type: ignore[no-untyped-def]
    """Store large float32 weights in fewer bits, with nodes that convert them back when ONNX Runtime loads the file."""
    from onnx import TensorProto, helper, numpy_helper

    casts, scales = [], []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or int(np.prod(weight.dims)) < 64:
            continue
        name, values = weight.name, numpy_helper.to_array(weight)
        if storage == "int8" and values.ndim == 4:
            levels, scale = _levels(values)
            weight.CopyFrom(numpy_helper.from_array(levels, f"{name}_small"))
            scales.append(numpy_helper.from_array(scale, f"{name}_scale"))
            casts.append(helper.make_node("Cast", [f"{name}_small"], [f"{name}_levels"], to=TensorProto.FLOAT))
            casts.append(helper.make_node("Mul", [f"{name}_levels", f"{name}_scale"], [name]))
        else:
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_small"))
            casts.append(helper.make_node("Cast", [f"{name}_small"], [name], to=TensorProto.FLOAT))
    model.graph.initializer.extend(scales)
    for node in reversed(casts):
        model.graph.node.insert(0, node)
