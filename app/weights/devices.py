"""On which device networks run.

ONNX Runtime calls what runs a network on a device a provider. Which providers there are depends on the package: the
ordinary ``onnxruntime`` has the processor (on macOS also Core ML), and each other one comes in a package of its own,
which takes the place of the ordinary one. They cannot be installed side by side, so they are no extras of this project.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.errors import MissingExtraError
from app.settings import Device, Precision

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provider:
    """What runs ONNX networks on a device, which is named as ``--device`` takes it.

    `name` is ONNX Runtime's, and `package` has it. It should get `batch` pictures at once. It is told `options`, and
    `half` in addition to compute in half precision; None where it cannot, or not by an option.
    """

    device: Device
    name: str
    package: str
    batch: int = 16
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    half: Mapping[str, str] | None = field(default=None, hash=False)


CPU = Provider("cpu", "CPUExecutionProvider", "onnxruntime", batch=1)
PROVIDERS = (
    Provider("cuda", "CUDAExecutionProvider", "onnxruntime-gpu"),
    Provider("rocm", "MIGraphXExecutionProvider", "onnxruntime-migraphx", half={"migraphx_fp16_enable": "1"}),
    Provider("directml", "DmlExecutionProvider", "onnxruntime-directml"),
    Provider("coreml", "CoreMLExecutionProvider", "onnxruntime", options={"ModelFormat": "MLProgram"}),
    Provider(
        "openvino",
        "OpenVINOExecutionProvider",
        "onnxruntime-openvino",
        batch=1,
        options={"device_type": "CPU", "num_of_threads": "1"},
    ),
    CPU,
)
"""Every provider, in the order in which ``auto`` tries them."""
_LIKE: Mapping[Device, Device] = {"mps": "coreml"}
"""Devices that only torch knows, and what ONNX Runtime has for the same hardware."""


def available() -> list[str]:
    """ONNX Runtime's names of the providers that its installed package has."""
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def providers_for(device: Device, there: Sequence[str] | None = None) -> list[Provider]:
    """Return the providers that may run a network, the CPU last.

    Args:
        device: what the user wants. ``auto`` allows every provider that is there.
        there: the names of the providers that are there; None asks ONNX Runtime.

    Raises:
        MissingExtraError: the installed package does not have the wanted provider; the message has the command.
    """
    there = available() if there is None else there
    if device == "auto":
        return [provider for provider in PROVIDERS if provider.name in there]
    wanted = next(provider for provider in PROVIDERS if provider.device == _LIKE.get(device, device))
    if wanted.name not in there:
        known = ", ".join(provider.device for provider in PROVIDERS if provider.name in there)
        how = (
            f"Install it with: pip uninstall -y onnxruntime, then pip install {wanted.package}"
            if wanted.package != CPU.package
            else "Only the package for macOS has it"
        )
        raise MissingExtraError(
            f"--device {device}: the installed onnxruntime has no {wanted.name}. {how}. It has: {known}."
        )
    return [wanted] if wanted == CPU else [wanted, CPU]


def computes_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16; False where torch is too old to tell."""
    import torch

    abilities: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(abilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))


def torch_device(device: Device) -> torch.device:
    """Return the device on which torch networks run.

    ``auto`` takes a GPU if torch has one. A device that only ONNX Runtime knows leaves torch networks on the CPU, and a
    warning says so.

    Raises:
        MissingExtraError: the wanted device is not there, or the installed torch was built without it.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next((name for name, is_there in there.items() if is_there), "cpu"))
    if device in ("cuda", "rocm", "mps"):
        name = "mps" if device == "mps" else "cuda"  # torch gives AMD's GPUs the name of NVIDIA's
        if not there[name]:
            raise MissingExtraError(
                f"--device {device}: torch {torch.__version__} finds no such device. Install the torch that is built "
                "for it: https://pytorch.org/get-started/locally lists the command for each."
            )
        return torch.device(name)
    if device != "cpu":
        logger.warning("The device '%s' runs ONNX networks alone, so torch networks run on the CPU.", device)
    return torch.device("cpu")


def runtime_of(device: torch.device, kind: torch.dtype) -> str:
    """Return what runs a torch network, for model cards: ``torch float32``, or ``torch cuda float16``."""
    return " ".join(["torch", *([device.type] if device.type != "cpu" else []), str(kind).removeprefix("torch.")])


def torch_type(precision: Precision, device: torch.device, *, large: bool) -> torch.dtype:
    """Return the numbers that a torch network computes with.

    ``auto`` is float16 on a GPU. On a CPU that computes in bfloat16, it is that for a `large` network, which takes half
    the time. Anything else runs in float32.
    """
    import torch

    if precision == "auto":
        if device.type != "cpu":
            return torch.float16
        return torch.bfloat16 if large and computes_bfloat16() else torch.float32
    if precision == "int8":
        logger.warning("precision=int8 has no effect on torch networks, which run in float32.")
        return torch.float32
    kind: Any = getattr(torch, precision)
    assert isinstance(kind, torch.dtype)
    return kind
