"""One process or many, CPU or GPUs: the only file that knows accelerate.

Every rank computes its own samples; gradients are averaged over ranks once per update, after accumulation, so modules need
no wrapper and attribute access on them stays what it is. Frozen weights can be sharded (FSDP2): they are gathered layer by layer
when they are needed, while the few trained ones stay whole on every rank.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from hypir_cli.errors import DeviceError, HypirError, first_line
from hypir_cli.models.device import DTYPES
from hypir_cli.train.sharding import shard_frozen
from hypir_cli.train.watch import Watch

T = TypeVar("T")
Precision = Literal["fp32", "bf16", "fp16"]
_BUCKET = 32 * 2**20
"""Numbers per all-reduce call: large enough to be fast, small enough to cost little memory."""
_STORE_TIMEOUT = timedelta(seconds=20)


class Runtime:
    """This process among the others.

    Attributes:
        rank: Number of this process, 0..world_size - 1.
        world_size: Number of processes.
        device: Where this process computes.
    """

    def __init__(self, accelerator: Any, *, precision: Precision, shard: bool = False) -> None:
        self._accelerator = accelerator
        self.precision = precision
        self.rank: int = accelerator.process_index
        self.world_size: int = accelerator.num_processes
        self.device: torch.device = accelerator.device
        self._shard = shard or "FSDP" in str(accelerator.distributed_type)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    @property
    def dtype(self) -> torch.dtype:
        """What frozen networks are loaded in."""
        return DTYPES[self.precision]

    def autocast(self) -> AbstractContextManager[Any]:
        """Arithmetic in the run's precision inside the block."""
        if self.precision == "fp32":
            return torch.autocast(self.device.type, enabled=False)
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision])

    def shard_frozen(self, module: nn.Module) -> None:
        """Deal the frozen weights of a network out to the ranks, where that was asked for and there are several."""
        if self._shard and self.world_size > 1:
            shard_frozen(module)

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replace every gradient by its mean over the ranks."""
        if self.world_size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            flat = self._reduced(flat, "mean")
            parts = torch.split(flat, [gradient.numel() for gradient in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def sum(self, value: Tensor) -> Tensor:
        """Sum of a tensor over the ranks."""
        if self.world_size == 1:
            return value
        return self._reduced(value.to(self.device), "sum").to(value.device)

    def mean_scalars(self, scalars: Mapping[str, float]) -> dict[str, float]:
        """Mean of each number over the ranks; every rank gives the same names."""
        if self.world_size == 1:
            return dict(scalars)
        values = torch.tensor(list(scalars.values()), dtype=torch.float32, device=self.device)
        means = (self.sum(values) / self.world_size).tolist()
        return dict(zip(scalars, means, strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.world_size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=self.device)) > 0)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What fails on one rank inside the block fails on all, with its reason; every rank enters it.

        Raises:
            HypirError: That of the block, or that of another rank.
        """
        failure: HypirError | None = None
        try:
            yield
        except HypirError as error:
            failure = error
        if not self.any(failure is not None):
            return
        told = None if failure is None else (failure.message, failure.hint)
        first = next(each for each in self._gathered(told) if each is not None)
        raise failure or HypirError(first[0], hint=first[1])

    def open_wandb(self, project: str, *, name: str, settings: Mapping[str, Any]) -> WandbTracker:
        """Begin a run at Weights & Biases, through accelerate's tracker; the main process calls this."""
        self._accelerator.log_with = ["wandb"]
        self._accelerator.init_trackers(
            project, config=dict(settings), init_kwargs={"wandb": {"name": name}}
        )
        return WandbTracker(self._accelerator)

    def from_main(self, value: T) -> T:
        """The main process's value, on all ranks."""
        return self._gathered(value)[0]

    def _gathered(self, value: T) -> list[T]:
        """One (small) value of every rank, in the order of the ranks."""
        if self.world_size == 1:
            return [value]
        from accelerate.utils import gather_object

        with _lost_others():
            gathered: list[T] = gather_object([value])
        return gathered

    def _reduced(self, value: Tensor, reduction: Literal["mean", "sum"]) -> Tensor:
        with _lost_others():
            reduced: Tensor = self._accelerator.reduce(value, reduction=reduction)
        return reduced


class WandbTracker:
    """Numbers and sample grids of one run, sent by accelerate's tracker."""

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Numbers of update number `step`."""
        self._accelerator.log(dict(scalars), step=step)

    def grid(self, step: int, levels: Any) -> None:
        """A picture, (H, W, 3) uint8."""
        self._accelerator.get_tracker("wandb").log_images({"samples": [levels]}, step=step)

    def close(self) -> None:
        """Send what is left."""
        self._accelerator.end_training()


@contextmanager
def _lost_others() -> Iterator[None]:
    """Messages between processes fail when one of them is gone; its own reason is told by the watch."""
    try:
        yield
    except RuntimeError as error:
        raise HypirError(
            f"another process of the run cannot be reached any more: {first_line(error)}",
            hint="its own output says why; go on from the last checkpoint with --resume auto",
        ) from error


@contextmanager
def open_runtime(*, device: str, precision: Precision, shard: bool = False) -> Iterator[Runtime]:
    """Join the processes that `accelerate launch` or torchrun started, if any, and leave them at the end.

    Raises:
        DeviceError: The device is absent, or cannot compute in that precision.
    """
    _check_device(device, precision=precision)
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    mixed = {"fp32": "no"}.get(precision, precision)
    # Gradients are handled here, so accelerate needs to know nothing of accumulation or clipping.
    # Without being told so, accelerate takes each process of a CPU launch for a run of its own.
    on_cpu = device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=mixed)
    if accelerator.num_processes != int(os.environ.get("WORLD_SIZE", "1")):
        raise DeviceError(
            f"{os.environ['WORLD_SIZE']} processes were started, but this one found no others.",
            hint="set device: cpu, or start one process",
        )
    runtime = Runtime(accelerator, precision=precision, shard=shard)
    try:
        with _watched(runtime):
            yield runtime
        # Not after a failure: leaving in order waits for the others.
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


@contextmanager
def _watched(runtime: Runtime) -> Iterator[None]:
    """Whatever ends this process inside the block ends the others, with its reason.

    Raises:
        HypirError: The reason of another process, where that failed first and this one for want of it.
    """
    if runtime.world_size == 1:
        yield
        return
    watch = Watch(_store(runtime), rank=runtime.rank, world_size=runtime.world_size)
    watch.start()
    try:
        yield
    except BaseException as error:
        told = (
            error.message if isinstance(error, HypirError) else f"{type(error).__name__}: {error}"
        )
        first = watch.fail(told)
        watch.leave()
        if isinstance(error, HypirError) and told not in first:
            raise HypirError(first, hint=error.hint) from error
        raise
    else:
        watch.leave()


def _store(runtime: Runtime) -> Any:
    """A store of their own for the watches, held by the first process on a free port."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    held = None
    if runtime.is_main:
        held = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=_STORE_TIMEOUT)
    port = runtime.from_main(None if held is None else held.port)
    assert port is not None
    return held or TCPStore(host, port, is_master=False, timeout=_STORE_TIMEOUT)


def _check_device(device: str, *, precision: Precision) -> None:
    absent = (device == "cuda" and not torch.cuda.is_available()) or (
        device == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise DeviceError(f"there is no {device} device here.", hint="set device: auto or cpu")
    if precision == "fp16" and not torch.cuda.is_available():
        raise DeviceError(
            "training in fp16 needs a CUDA device.", hint="set optim.precision: bf16 or fp32"
        )
    if device == "mps" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise DeviceError("mps trains in one process only.", hint="start hypir without a launcher")


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and size + gradient.numel() > _BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.numel()
    if bucket:
        yield bucket
