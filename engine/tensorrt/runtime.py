"""Runs a compiled TensorRT engine on the GPU, the states of the streams staying there from step to step.

Inputs go up and results come down through pinned memory. The states of the batch in hand lie in two sets: a step reads
one and writes the other, then they change roles, and the same people's next step copies nothing. When other people
come, the rows of the former ones are put away in their own places (`engine.tensorrt.state_pool`) and those of the
newcomers are fetched, all within the GPU. A step of one batch size is recorded once as a CUDA graph for each of the
two roles.
"""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import Arrays, Precision
from engine.errors import EngineError
from engine.spec import Part, TokenizerFiles
from engine.state import DeviceState, State, rows
from engine.tensorrt import cuda_graph
from engine.tensorrt.cuda import Gpu, gpu
from engine.tensorrt.library import FLAVOURS, TensorRtLibrary, installed, present
from engine.tensorrt.manifest import Here, Manifest, PartManifest, find_engine, load_part
from engine.tensorrt.state_pool import StatePool, StateSlot

_IN, _OUT = "state.", "new_state."


def open_engine(tokenizer: TokenizerFiles, part: Part, precision: Precision) -> "TensorRtGraph":
    """Open the engine of this tokenizer that fits this machine.

    Raises ModuleNotFoundError where no TensorRT is installed; EngineError where there is no driver, GPU, memory or
    fitting engine, saying what to do.
    """
    if not present():
        raise ModuleNotFoundError(f"No module named {FLAVOURS[0]!r}", name=FLAVOURS[0])
    device = gpu()  # before TensorRT's libraries are loaded, which takes a while
    flavours = {flavour.name: flavour for flavour in installed()}
    versions = {str(name): flavour.version for name, flavour in flavours.items()}
    folder, manifest = find_engine(tokenizer, precision, Here(versions, device.capability, device.name))
    data = load_part(folder, manifest, part)
    return TensorRtGraph(device, flavours[manifest.flavour], manifest, part, data)


class DeviceBatch(DeviceState):
    """The state of a batch of streams of one TensorRtGraph."""

    def __init__(self, graph: "TensorRtGraph", slots: tuple[StateSlot, ...]) -> None:
        self.graph, self.slots = graph, slots

    def __getitem__(self, path: str) -> NDArray[np.float32]:
        """Copy one state to the host: float32 [B, ...]."""
        return self.graph.read_state(self.slots, path)

    def __iter__(self) -> Iterator[str]:
        """Yield the paths."""
        return iter(self.graph.states)

    def __len__(self) -> int:
        """Return the number of paths."""
        return len(self.graph.states)

    def joined(self, others: Sequence[DeviceState]) -> "DeviceBatch":
        """See `DeviceState.joined`."""
        slots = [*self.slots]
        for other in others:
            if not isinstance(other, DeviceBatch) or other.graph is not self.graph:
                raise ValueError("states of different sessions cannot be joined")
            slots += other.slots
        return DeviceBatch(self.graph, tuple(slots))

    def split(self) -> list[DeviceState]:
        """See `DeviceState.split`."""
        return [DeviceBatch(self.graph, (slot,)) for slot in self.slots]


class TensorRtGraph:
    """See `engine.backends.base.DeviceGraph`. Raises EngineError where the engine does not load or memory is short."""

    def __init__(self, device: Gpu, flavour: TensorRtLibrary, manifest: Manifest, part: Part, data: bytes) -> None:
        self._gpu = device
        about: PartManifest = manifest.parts[part]
        self.inputs: dict[str, tuple[int | None, ...]] = {
            name: (None, *tensor.shape[1:]) for name, tensor in about.inputs.items()
        }
        self.outputs = tuple(about.outputs)
        self.states = {
            name.removeprefix(_IN): tensor.shape[1:] for name, tensor in about.inputs.items() if name.startswith(_IN)
        }
        self._most = manifest.profile.most
        self._buckets = (*(1 << n for n in range(self._most.bit_length()) if 1 << n < self._most), self._most)
        plain = {**about.inputs, **about.outputs}
        self._plain = {
            name: (tensor.shape[1:], np.dtype(tensor.dtype))
            for name, tensor in plain.items()
            if not name.startswith((_IN, _OUT))
        }
        self._fed = tuple(name for name in about.inputs if name in self._plain)
        self._given = tuple(name for name in about.outputs if name in self._plain)
        self._row = {path: 4 * int(np.prod(shape)) for path, shape in self.states.items()}
        self._steps: dict[tuple[int, int], _Step] = {}
        self._memory: list[Any] = []
        self._closed = False
        self._slots = StatePool(self._row, device.allocate)
        self._runtime: Any = None
        self._engine: Any = None
        self.on_host: Arrays = {}
        self._side = 0
        self._resident: list[weakref.ref[StateSlot]] = []
        device.own(self)
        try:
            with device.active():
                self._load(flavour, data)
                device.wait()
        except BaseException:
            self.close()
            raise

    def _load(self, flavour: TensorRtLibrary, data: bytes) -> None:
        self._flavour, device = flavour, self._gpu
        flavour.forget()
        self._runtime = flavour.module.Runtime(flavour.log)
        device.check_free(len(data))
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise EngineError(f"{flavour.name} does not load the engine: {flavour.why()}")
        scratch = int(self._engine.device_memory_size_v2)
        sizes = {name: self._size(name) for name in self._plain}
        device.check_free(scratch + self._most * (sum(sizes.values()) + 2 * sum(self._row.values())))
        self.scratch = (self._allocate(scratch), scratch)
        self.on_gpu = {name: self._allocate(size * self._most) for name, size in sizes.items()}
        self.on_host = {
            name: device.pinned((self._most, *shape), dtype) for name, (shape, dtype) in self._plain.items()
        }
        self.sets = [{path: self._allocate(size * self._most) for path, size in self._row.items()} for _ in range(2)]

    def _allocate(self, size: int) -> int:
        memory = self._gpu.allocate(size)
        self._memory.append(memory)
        return int(memory)

    def _size(self, name: str) -> int:
        shape, dtype = self._plain[name]
        return int(np.prod(shape)) * dtype.itemsize

    def init_state(self, batch: int) -> DeviceBatch:
        """See `engine.backends.base.DeviceGraph.init_state`."""
        with self._open():
            return DeviceBatch(self, tuple(self._slots.take() for _ in range(batch)))

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """See `engine.backends.base.Graph.run`. The states go up and come back down."""
        state = {path: feeds[_IN + path] for path in self.states}
        out, new = self.step({name: feeds[name] for name in self._fed}, state)
        return {name: new[name.removeprefix(_OUT)] if name.startswith(_OUT) else out[name] for name in self.outputs}

    def step(self, feeds: Mapping[str, NDArray[Any]], state: State) -> tuple[Arrays, DeviceBatch]:
        """See `engine.backends.base.DeviceGraph.step`."""
        batch = len(feeds["reset"])
        with self._open():
            moving = state if isinstance(state, DeviceBatch) and state.graph is self else self._adopt(state, batch)
            if len(moving.slots) != batch:
                raise ValueError(f"the state is of {len(moving.slots)} streams, the batch of {batch}")
            if len(set(map(id, moving.slots))) != batch:
                raise ValueError("a stream cannot be in a batch twice")
            parts = [self._run(feeds, part, moving.slots[part]) for part in rows(batch, self._most)]
        if len(parts) == 1:
            return parts[0], moving
        return {name: np.concatenate([part[name] for part in parts]) for name in self._given}, moving

    @contextmanager
    def _open(self) -> Iterator[None]:
        """Have the GPU's context for a while. Raises EngineError where the graph was released."""
        with self._gpu.active():
            if self._closed:
                raise EngineError("the engine was released: open the tokenizer again")
            yield

    def _run(self, feeds: Mapping[str, NDArray[Any]], part: slice, slots: tuple[StateSlot, ...]) -> Arrays:
        count = len(slots)
        self._bring(slots)
        bucket = next(size for size in self._buckets if size >= count)
        for name in self._fed:
            self.on_host[name][:count] = feeds[name][part]
        self.on_host["reset"][count:bucket] = 1  # rows that nobody fills stay at zero
        if (bucket, self._side) not in self._steps:
            self._steps[bucket, self._side] = _Step(self, self._context(), bucket, self._side)
        self._steps[bucket, self._side].launch(self)
        self._gpu.wait()
        self._side = 1 - self._side
        for slot in slots:
            slot.fresh = False
        return {name: self.on_host[name][:count].copy() for name in self._given}

    def _bring(self, slots: tuple[StateSlot, ...]) -> None:
        """Have these streams' states in the working set, in order, and those that were there in their own places."""
        resident = [ref() for ref in self._resident]
        if len(resident) == len(slots) and all(old is new for old, new in zip(resident, slots, strict=True)):
            return
        here = self.sets[self._side]
        for row, old in enumerate(resident):
            if old is not None:
                for path, size in self._row.items():
                    self._gpu.move(self._slots.address(old, path), here[path] + row * size, size)
                old.row = None
        for row, slot in enumerate(slots):
            for path, size in self._row.items():
                if slot.fresh:
                    self._gpu.clear(here[path] + row * size, size)
                else:
                    self._gpu.move(here[path] + row * size, self._slots.address(slot, path), size)
            slot.row = row
        self._resident = [weakref.ref(slot) for slot in slots]

    def _adopt(self, state: State, batch: int) -> DeviceBatch:
        """Take in a state of the host, or of another session."""
        slots = tuple(self._slots.take() for _ in range(batch))
        for path, shape in self.states.items():
            array = np.ascontiguousarray(state[path], np.float32)
            if array.shape != (batch, *shape):
                raise ValueError(f"state {path} must be {[batch, *shape]}, got {list(array.shape)}")
            for row, slot in enumerate(slots):
                self._gpu.upload(self._slots.address(slot, path), array[row])
            self._gpu.wait()
        for slot in slots:
            slot.fresh = False
        return DeviceBatch(self, slots)

    def read_state(self, slots: tuple[StateSlot, ...], path: str) -> NDArray[np.float32]:
        """Copy one state of these streams to the host: float32 [B, ...]."""
        out = np.zeros((len(slots), *self.states[path]), np.float32)
        with self._open():
            for row, slot in enumerate(slots):
                if slot.row is not None:
                    self._gpu.download(out[row], self.sets[self._side][path] + slot.row * self._row[path])
                elif not slot.fresh:
                    self._gpu.download(out[row], self._slots.address(slot, path))
            self._gpu.wait()
        return out

    def _context(self) -> Any:
        """Return an execution context without memory of its own: all share the scratch, as none runs beside another."""
        trt = self._flavour.module
        alone = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._flavour.forget()
        if not hasattr(self._engine, "create_runtime_config"):
            context = self._engine.create_execution_context(alone)
        else:
            config = self._engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(alone)
            if hasattr(config, "dynamic_shapes_kernel_specialization_strategy"):
                # A recorded step keeps the kernels of the moment: those made for this batch size must be there by then.
                eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
                config.dynamic_shapes_kernel_specialization_strategy = eager
            context = self._engine.create_execution_context(config)
        if context is None:
            raise EngineError(f"TensorRT gives no execution context: {self._flavour.why()}")
        context.set_device_memory(*self.scratch)
        return context

    def enqueue(self, context: Any, bucket: int) -> None:
        """Queue one step: inputs up, execution, results down."""
        for name in self._fed:
            self._gpu.upload(self.on_gpu[name], self.on_host[name][:bucket])
        self._flavour.forget()
        if not context.execute_async_v3(self._gpu.stream.handle):
            raise EngineError(f"TensorRT fails: {self._flavour.why()}")
        for name in self._given:
            self._gpu.download(self.on_host[name][:bucket], self.on_gpu[name])

    def record(self, context: Any, bucket: int) -> cuda_graph.CudaGraph:
        """Record what `enqueue` queues. Raises EngineError where that cannot be done."""
        with self._gpu.active():
            return cuda_graph.record(self.stream, lambda: self.enqueue(context, bucket))

    def wait(self) -> None:
        """Return when the queued work is done."""
        self._gpu.wait()

    @property
    def stream(self) -> int:
        """Handle of the stream that all is queued on."""
        return int(self._gpu.stream.handle)

    def close(self) -> None:
        """Release recorded steps, contexts, the engine and memory, in this order."""
        if self._closed:
            return
        self._closed = True
        with self._gpu.active():
            self._gpu.wait()
            for step in self._steps.values():
                step.close()
            self._steps.clear()
            self._engine = self._runtime = None
            self._slots.close()
            for memory in self._memory:
                memory.free()
            self._memory.clear()
            self.on_host.clear()

    def __del__(self) -> None:
        """Release it when nobody holds it any more."""
        self.close()


class _Step:
    """A step of one batch size and one role of the two sets of states: bound once, recorded once.

    It does not hold the graph, which holds it: the GPU's memory is free again as soon as nobody holds the graph.
    """

    def __init__(self, graph: TensorRtGraph, context: Any, bucket: int, side: int) -> None:
        self._context, self._bucket = context, bucket
        self._recorded: cuda_graph.CudaGraph | None = None
        self._plain = False  # cannot be recorded
        for name, shape in graph.inputs.items():
            context.set_input_shape(name, (bucket, *(size or 1 for size in shape[1:])))
        for path in graph.states:
            context.set_tensor_address(_IN + path, graph.sets[side][path])
            context.set_tensor_address(_OUT + path, graph.sets[1 - side][path])
        for name, address in graph.on_gpu.items():
            context.set_tensor_address(name, address)

    def launch(self, graph: TensorRtGraph) -> None:
        """Queue the step. The first time it runs as it is, as recording asks for; then it is recorded."""
        if self._recorded is not None:
            self._recorded.launch(graph.stream)
        else:
            graph.enqueue(self._context, self._bucket)
            graph.wait()
            if not self._plain:
                self._record(graph)

    def _record(self, graph: TensorRtGraph) -> None:
        """Record the step for next time; one that cannot be recorded goes on running as it is."""
        able = getattr(self._context, "is_stream_capturable", None)
        try:
            if able is None or able(graph.stream):
                self._recorded = graph.record(self._context, self._bucket)
        except EngineError:
            self._recorded = None
        self._plain = self._recorded is None

    def close(self) -> None:
        """Release the recording, then the context."""
        if self._recorded is not None:
            self._recorded.close()
        self._recorded = self._context = None
