"""Compiles a typed ONNX graph with TensorRT: one path for both of its flavours."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.tensorrt.library import TensorRtLibrary
from engine.tensorrt.manifest import Profile, Tensor

DEFAULT_ARCHITECTURES = ("8.6", "8.9", "12.0")
"""GeForce and RTX cards of the 30, 40 and 50 series: built for where no GPU says otherwise."""


@dataclass(frozen=True)
class Compiled:
    """An engine's bytes and what goes in and out."""

    data: bytes
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def architectures(flavour: TensorRtLibrary) -> tuple[str, ...]:
    """Return the compute capabilities that a flavour can build for without being there, such as "8.9"."""
    members = getattr(flavour.module, "ComputeCapability", None)
    names = [] if members is None else [name for name in members.__members__ if name.startswith("SM")]
    return tuple(f"{name[2:-1]}.{name[-1]}" for name in sorted(names, key=lambda name: int(name[2:])))


def compile_graph(
    flavour: TensorRtLibrary,
    graph: bytes,
    file: Path,
    profile: Profile,
    capabilities: Sequence[str],
    workspace_mib: int,
    timing: Path | None,
) -> Compiled:
    """Compile an ONNX graph with its weights inside; the types in it are the types it runs in.

    file: where the graph comes from, for messages. timing: file of measured kernels, kept from build to build.
    Raises EngineError in the compiler's own words.
    """
    trt, log = flavour.module, flavour.log
    flavour.forget()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        said = [parser.get_error(n) for n in range(parser.num_errors)]
        words = "; ".join(f"{error.desc()} (node {error.node_name()}, {error.node_operator()})" for error in said)
        raise EngineError(f"{flavour.name} cannot take {file}: {words or flavour.why()}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 in the graph means float32
    if flavour.portable:
        _aim(trt, config, capabilities)
    inputs = [network.get_input(n) for n in range(network.num_inputs)]
    outputs = [network.get_output(n) for n in range(network.num_outputs)]
    shapes = builder.create_optimization_profile()
    for tensor in inputs:
        rest = tuple(tensor.shape)[1:]
        shapes.set_shape(tensor.name, *((size, *rest) for size in (profile.least, profile.tuned, profile.most)))
    config.add_optimization_profile(shapes)
    cache = _remember(config, timing) if timing is not None and not flavour.portable else None
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise EngineError(f"{flavour.name} cannot compile {file}: {flavour.why()}")
    if cache is not None and timing is not None:
        timing.write_bytes(bytes(cache.serialize()))
    described = [{t.name: Tensor(tuple(t.shape), _dtype(trt, t.dtype)) for t in each} for each in (inputs, outputs)]
    return Compiled(bytes(built), *described)


def _aim(trt: Any, config: Any, capabilities: Sequence[str]) -> None:
    config.num_compute_capabilities = len(capabilities)
    for place, capability in enumerate(capabilities):
        config.set_compute_capability(getattr(trt.ComputeCapability, "SM" + capability.replace(".", "")), place)


def _remember(config: Any, file: Path) -> Any:
    """Let the builder use what it measured before. Returns the cache, which grows as it builds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        cache = config.create_timing_cache(file.read_bytes() if file.is_file() else b"")
        config.set_timing_cache(cache, ignore_mismatch=True)
    return cache


def _dtype(trt: Any, dtype: Any) -> str:
    return str(np.dtype(trt.nptype(dtype)).name)
