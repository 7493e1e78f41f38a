"""A GPU that computes no numbers but knows where every tensor is, for a machine that has none.

torch's own fake tensors: shapes, dtypes and devices are those of a real run, and mixing devices is the error that it is on a
real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorConverter, FakeTensorMode

from hypir_cli.models.backbones.base import Backbone

GPU = torch.device("cuda", 0)


@contextmanager
def fake_gpu(backbone: Backbone) -> Iterator[None]:
    """Inside the block the backbone's weights are fake ones on the CPU, and `GPU` can be moved to."""
    modules: list[nn.Module] = list(backbone.components().values())
    if backbone.control_embedding is not None:
        modules.append(backbone.control_embedding)
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        mock.patch.object(nn.Module, "_apply", _replace_tensors),
        # Otherwise constants are also computed for real, on the GPU that is not there.
        mock.patch.object(FakeTensorConverter, "from_real_tensor", _without_constants),
    ):
        for module in modules:
            apply: Callable[..., object] = module._apply
            apply(torch.empty_like)
        yield


_from_real_tensor: Callable[..., object] = FakeTensorConverter.from_real_tensor


def _without_constants(*args: object, make_constant: bool = False, **options: object) -> object:
    return _from_real_tensor(*args, make_constant=False, **options)


def _replace_tensors(
    self: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True
) -> nn.Module:
    """`nn.Module._apply` that makes new parameters: the data of fake ones cannot be exchanged."""
    for module in self.modules() if recurse else [self]:
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(fn(value.data), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = fn(buffer)
    return self
