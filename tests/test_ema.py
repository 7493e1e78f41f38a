from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hypir_cli.train.ema import Ema

GOLDEN = load_file(Path(__file__).parent / "data" / "train" / "ema.safetensors")


@pytest.mark.parametrize(("decay", "suffix"), [(0.9, "ema"), (0.999, "ema999")])
def test_the_average_agrees_with_the_release(decay: float, suffix: str) -> None:
    weight = nn.Parameter(GOLDEN["step0_param"].clone())
    ema = Ema([weight], decay=decay, warmup=False)
    torch.testing.assert_close(ema.shadow[0], GOLDEN["step0_ema"])
    for step in range(1, 6):
        weight.data.copy_(GOLDEN[f"step{step}_param"])
        ema.update()
        torch.testing.assert_close(ema.shadow[0], GOLDEN[f"step{step}_{suffix}"])


def test_warm_up_forgets_the_start_sooner() -> None:
    weight = nn.Parameter(torch.zeros(1))
    slow, fast = Ema([weight], decay=0.999, warmup=False), Ema([weight], decay=0.999, warmup=True)
    weight.data.fill_(1.0)
    for _ in range(50):
        slow.update()
        fast.update()
    assert float(slow.shadow[0]) < 0.1
    assert float(fast.shadow[0]) > 0.99


def test_the_live_weights_come_back_untouched() -> None:
    weight = nn.Parameter(torch.randn(3))
    before = weight.detach().clone()
    ema = Ema([weight], decay=0.5, warmup=False)
    ema.shadow[0].fill_(7.0)
    with ema.applied():
        assert torch.equal(weight.detach(), torch.full((3,), 7.0))
    assert torch.equal(weight.detach(), before)


def test_a_saved_average_of_other_shapes_is_refused() -> None:
    ema = Ema([nn.Parameter(torch.zeros(3))], decay=0.5, warmup=False)
    with pytest.raises(ValueError, match="does not fit"):
        ema.load([torch.zeros(4)], num_updates=1)


def test_a_decay_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="decay"):
        Ema([], decay=1.0, warmup=False)
