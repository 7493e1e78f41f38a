"""Low-rank adapters: read them in every common format, merge or attach them, train them, save them.

In memory and in our files an adapter tensor is called `<module path inside the denoiser>.lora_A.weight` or
`.lora_B.weight`, and the controls that were trained with it `control_embedding.*`. The update of a layer is
`alpha / rank * B @ A`. Only this package knows peft.
"""

from __future__ import annotations

from hypir_cli.models.lora.adapters import (
    add_fresh_lora,
    attach_lora,
    load_lora_state_dict,
    lora_state_dict,
    trainable_parameters,
)
from hypir_cli.models.lora.bind import target_modules
from hypir_cli.models.lora.files import read_lora, save_lora
from hypir_cli.models.lora.merge import merge_lora
from hypir_cli.models.lora.state import CONTROL_PREFIX, PREDICTOR_PREFIX, LoraState

__all__ = [
    "CONTROL_PREFIX",
    "PREDICTOR_PREFIX",
    "LoraState",
    "add_fresh_lora",
    "attach_lora",
    "load_lora_state_dict",
    "lora_state_dict",
    "merge_lora",
    "read_lora",
    "save_lora",
    "target_modules",
    "trainable_parameters",
]
