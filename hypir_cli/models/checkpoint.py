"""Weights on disk: safetensors with the facts a later run needs in the header.

Writing is atomic (a temporary name, then a rename), reading never unpickles code, and a file that cannot be used is a
`CheckpointError` that names it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pickle
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hypir_cli import __version__
from hypir_cli.errors import CheckpointError, first_line

FORMAT_VERSION = 1
SUFFIX = ".safetensors"
"""Ending of weights files, in whatever case."""
HEADER_KEY = "hypir"
"""Header entry that holds the JSON of `CheckpointInfo`."""

FOLDER_INFO = "hypir.json"
"""File with the same JSON in a base folder that has a LoRA in its weights."""

CheckpointKind = Literal["lora", "encoder", "backbone", "discriminator"]


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """What a checkpoint is and what it needs."""

    kind: CheckpointKind = "lora"
    """What the tensors are."""
    backbone: str = ""
    """Registry name of the backbone it belongs to."""
    base: str = ""
    """Hub id or path of the base weights it was trained on."""
    base_revision: str = ""
    """Revision of the base weights; empty when unknown."""
    vae: str = ""
    """VAE it was trained with, a hub id or path; empty for the base's own."""
    timestep: int | None = None
    """Timestep that goes into the denoiser."""
    coeff_timestep: int | None = None
    """Timestep of the clean-latent formula."""
    lora_rank: int | None = None
    """Adapter rank; None when it differs between layers or does not apply."""
    lora_alpha: float | None = None
    """Adapter alpha; the update is scaled by alpha / rank."""
    lora_targets: tuple[str, ...] = ()
    """Module name endings that carry adapters."""
    texture: bool = False
    """Whether texture conditioning was trained."""
    generativity: bool = False
    """Whether generativity conditioning was trained."""
    training_step: int | None = None
    """Generator updates behind these weights."""
    ema: bool = False
    """Whether these are averaged weights."""
    key_format: str = "hypir"
    """Whose names the tensors go by: hypir (ours), peft, diffusers or kohya."""
    hypir_version: str = __version__
    """Version of hypir that wrote the file."""
    format_version: int = FORMAT_VERSION
    """Version of this header."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], *, info: CheckpointInfo) -> None:
    """Write tensors and header atomically.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written; what was there before stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(plain, temporary, metadata={HEADER_KEY: info_to_json(info), "format": "pt"})
        grant_usual_mode(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot write {path}: {error}.", hint="free some space or choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def grant_usual_mode(path: Path) -> None:
    """Give a file the permissions of any new file in its folder; safetensors lets only the owner read what it writes."""
    trial = path.with_name(f".{path.name}.{os.getpid()}.mode")
    try:
        trial.touch()
        path.chmod(stat.S_IMODE(trial.stat().st_mode))
    finally:
        trial.unlink(missing_ok=True)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], CheckpointInfo | None]:
    """Tensors on the CPU and the header, None where the file has none of ours.

    Reads `.safetensors`, and `.pth`, `.pt`, `.ckpt`, `.bin` with `weights_only=True`; a nested `state_dict` is unwrapped.

    Raises:
        CheckpointError: Missing, truncated, not a weights file, or a pickle with more than tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no weights file at {path}.", hint="check the path")
    if path.suffix.lower() == SUFFIX:
        return _load_safetensors(path)
    return _load_pickle(path), None


def read_info(path: Path) -> CheckpointInfo | None:
    """The header alone, without reading tensors; None for files without ours."""
    header = read_header(path)
    return _info_from_header(header, path=path) if header else None


def read_folder_info(folder: Path) -> CheckpointInfo | None:
    """What a base folder with a LoRA in its weights says of itself; None for other folders.

    Raises:
        CheckpointError: The text is damaged.
    """
    path = folder / FOLDER_INFO
    if not path.is_file():
        return None
    return _info_from_header({HEADER_KEY: path.read_text(encoding="utf-8")}, path=path)


def tensor_sizes(path: Path) -> dict[str, int]:
    """Parameters of a safetensors file by number format (F32, F16, BF16...), without reading them.

    Raises:
        CheckpointError: The file cannot be read.
    """
    sizes: dict[str, int] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no dict
                tensor = file.get_slice(name)
                dtype = str(tensor.get_dtype())
                sizes[dtype] = sizes.get(dtype, 0) + math.prod(tensor.get_shape())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    return sizes


def read_header(path: Path) -> dict[str, str]:
    """All text entries of a safetensors header; empty for other kinds of file.

    Raises:
        CheckpointError: The file cannot be read.
    """
    if path.suffix.lower() != SUFFIX:
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def require_match(
    info: CheckpointInfo | None, *, kind: CheckpointKind, backbone: str, source: str
) -> None:
    """Check that a file is of a kind and for a backbone; files without our header pass.

    Raises:
        CheckpointError: It is of another kind, or says that it belongs to another backbone.
    """
    if info is None:
        return
    if info.kind != kind:
        raise CheckpointError(
            f"{source} holds {info.kind} weights, {kind} weights are needed here.",
            hint=f"hypir info {source} shows what the file is",
        )
    if info.backbone not in ("", backbone):
        raise CheckpointError(
            f"{source} was trained for the backbone {info.backbone}, not for {backbone}.",
            hint=f"use --backbone {info.backbone}, or weights for {backbone}",
        )


def require_tensors(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, source: str, target: str
) -> None:
    """Check that a file has exactly the keys and shapes of what it is loaded into.

    Raises:
        CheckpointError: It has not; the first few of each kind are listed.
    """
    missing = [key for key in wanted if key not in found]
    unexpected = [key for key in found if key not in wanted]
    misshapen = [
        f"{key}: file {tuple(value.shape)}, model {tuple(wanted[key].shape)}"
        for key, value in found.items()
        if key in wanted and value.shape != wanted[key].shape
    ]
    if missing or unexpected or misshapen:
        raise misfit(source, target, missing=missing, unexpected=unexpected, misshapen=misshapen)


def split_prefix(
    tensors: Mapping[str, Tensor], prefix: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors whose names begin with a prefix, which is removed, and the rest."""
    inside = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return inside, {k: v for k, v in tensors.items() if not k.startswith(prefix)}


def misfit(
    source: str,
    target: str,
    *,
    missing: Sequence[str] = (),
    unexpected: Sequence[str] = (),
    misshapen: Sequence[str] = (),
    count: int = 3,
) -> CheckpointError:
    """The error for tensors that are not those of `target`, listing the first `count` of each kind."""
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    parts = [
        f"{len(names)} {kind} ({', '.join(sorted(names)[:count])}{', ...' if len(names) > count else ''})"
        for kind, names in kinds.items()
        if names
    ]
    return CheckpointError(
        f"{source} does not fit this {target}: {'; '.join(parts)}.",
        hint="it was made for another backbone or base model, or is incomplete; "
        "hypir info shows what a file is",
    )


def info_to_json(info: CheckpointInfo) -> str:
    """Header text of an info."""
    return json.dumps(dataclasses.asdict(info), sort_keys=True)


def _load_safetensors(path: Path) -> tuple[dict[str, Tensor], CheckpointInfo | None]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, _info_from_header(file.metadata() or {}, path=path)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _load_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own text here explains how to load untrusted code, which nobody should be led to.
        raise _unreadable(path, ValueError("it is not a file of tensors alone")) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise _unreadable(path, error) from error
    for wrapper in ("state_dict", "module"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(
            f"{path} does not hold a flat dictionary of tensors.",
            hint="save the state dict alone, or convert it to safetensors",
        )
    return content


def _info_from_header(header: Mapping[str, str], *, path: Path) -> CheckpointInfo | None:
    if HEADER_KEY not in header:
        return None
    try:
        values = json.loads(header[HEADER_KEY])
    except json.JSONDecodeError as error:
        raise CheckpointError(f"the hypir header of {path} is damaged: {error}.") from error
    if values.get("format_version", 0) > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {values['format_version']}, this hypir reads up to "
            f"{FORMAT_VERSION}.",
            hint="upgrade hypir",
        )
    known = {field.name for field in dataclasses.fields(CheckpointInfo)}
    values["lora_targets"] = tuple(values.get("lora_targets", ()))
    return CheckpointInfo(**{key: value for key, value in values.items() if key in known})


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"cannot read the weights file {path}: {first_line(error)}.",
        hint="it may be truncated or of another kind; download or export it again",
    )
