"""Load one component of a diffusers-layout folder, without its pipeline and without the network."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from hypir_cli.errors import BackboneError
from hypir_cli.models.execution import set_execution_device, use_channels_last
from hypir_cli.models.layout import component_weights

_READ_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    EOFError,
    SafetensorError,
    pickle.UnpicklingError,
    json.JSONDecodeError,
)


def load_component(kind: type[Any], root: Path, component: str, *, dtype: torch.dtype) -> Any:
    """A network of class `kind` from a subfolder; memory for one copy of its weights is enough.

    Raises:
        BackboneError: Weights that are missing, truncated or of another shape.
    """
    files = component_weights(root, component)
    # The two libraries disagree on the argument's name.
    wanted = {"dtype" if issubclass(kind, PreTrainedModel) else "torch_dtype": dtype}
    try:
        with _without_progress_bars():
            return kind.from_pretrained(
                root,
                subfolder=component,
                variant=files.variant,
                use_safetensors=files.safetensors,
                low_cpu_mem_usage=True,
                local_files_only=True,
                **wanted,
            )
    except _READ_ERRORS as error:
        raise _unreadable(root / component, error) from error


def empty_component(kind: type[Any], root: Path, component: str) -> Any:
    """A diffusers network as its configuration says, without numbers: for those who ask it for its shape only.

    Raises:
        BackboneError: A configuration that is missing or damaged.
    """
    try:
        config = kind.load_config(root, subfolder=component, local_files_only=True)
        with torch.device("meta"):
            return kind.from_config(config)
    except _READ_ERRORS as error:
        raise _unreadable(root / component, error) from error


def load_tokenizer(kind: type[Any], root: Path, component: str = "tokenizer") -> Any:
    """A tokenizer of class `kind` from a subfolder.

    Raises:
        BackboneError: Files that are missing or damaged.
    """
    try:
        return kind.from_pretrained(root, subfolder=component, local_files_only=True)
    except _READ_ERRORS as error:
        raise _unreadable(root / component, error) from error


def freeze_on_device(components: Mapping[str, nn.Module], *, device: torch.device) -> None:
    """Freeze loaded networks, move them to a device, and store the VAE's convolutions the way that is fastest."""
    for module in components.values():
        module.requires_grad_(False).eval()
        if next(module.parameters()).is_meta:
            set_execution_device(module, device)
        else:
            module.to(device)
    use_channels_last(components["vae"], device=device)


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing bars on the user's console."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _unreadable(folder: Path, error: Exception) -> BackboneError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return BackboneError(
        f"cannot load {folder}: {reason}",
        hint="the files may be truncated or of another model; copy or download them again",
    )
