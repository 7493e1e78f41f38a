"""Peak memory of a computation, counted from the tensors it makes instead of measured on a device.

Under `FakeTensorMode` nothing is computed or allocated, so the peak of a 12-billion-parameter network is known in seconds on any
machine. Workspaces of convolution and attention kernels are not seen: a device takes some hundred megabytes more.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of storages made inside the block that are alive at once.

    Attributes:
        peak: Most bytes alive at once so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive = 0
        self._seen: set[weakref.ref[torch.UntypedStorage]] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and count what it made; what it was given from outside is not counted."""
        for value in tree_iter((args, kwargs)):
            if isinstance(value, torch.Tensor):
                self._count(value.untyped_storage(), size=0)
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                self._count(storage, size=storage.nbytes())
        return result

    def _count(self, storage: torch.UntypedStorage, *, size: int) -> None:

        def released(reference: weakref.ref[torch.UntypedStorage]) -> None:
            self._seen.discard(reference)
            self._alive -= size

        reference = weakref.ref(storage, released)
        if reference in self._seen:
            return
        self._seen.add(reference)
        self._alive += size
        self.peak = max(self.peak, self._alive)
