"""Find a backbone's weights: a local folder, the hub's cache, or a download with fallbacks.

What is in the cache is used without asking the network, so that a fetched backbone works offline.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hypir_cli.config.families import find_family
from hypir_cli.config.family import BackbonePreset
from hypir_cli.errors import BackboneError, first_line
from hypir_cli.models.layout import missing_parts
from hypir_cli.models.reach import is_offline, limited_network
from hypir_cli.models.run_weights import find_trained_weights

_TEXT_FILES = ("*.json", "*.txt", "*.model")
_WEIGHT_ROUNDS = (
    (("*.safetensors",), ("*.fp16.*", "*.non_ema.*", "*.bf16.*", "openvino*", "flax*")),
    (("*.fp16.safetensors", "*.fp16.*safetensors", "*.fp16-*.safetensors"), ()),
    (("*.bin",), ("*.fp16.*", "*.non_ema.*")),
)
"""Patterns of weight files to take and to leave, tried in order until every component is whole."""


_VAE_FILES = (
    *(
        f"{folder}{name}"
        for folder in ("", "vae/")
        for name in (
            "config.json",
            "diffusion_pytorch_model.safetensors",
            "diffusion_pytorch_model.bin",
        )
    ),
)


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """Where the files of a backbone are."""

    base: Path
    """Folder in diffusers layout."""
    lora: Path | None
    """The public restoration LoRA, where there is one."""
    vae: Path | None = None
    """Another VAE, where one was asked for."""


def find_base(
    base: str | None, *, name: str, preset: BackbonePreset, revision: str | None = None
) -> Path:
    """Folder in diffusers layout with a backbone's base weights; downloaded when it has to be.

    Args:
        base: A folder or a hub id; None for the preset's own ids, in order.
        name: Registry name, for messages.
        preset: What the backbone needs.
        revision: Hub revision, instead of the preset's.

    Raises:
        BackboneError: A folder that is incomplete, or ids that are gone, gated or out of reach.
    """
    if base is not None and _looks_local(base):
        return _checked_folder(Path(base).expanduser(), preset)
    candidates = preset.candidates if base is None else ((base, None),)
    candidates = tuple((repo, revision or own) for repo, own in candidates)
    for repo, wanted in candidates:
        cached = _cached(repo, wanted, preset)
        if cached is not None:
            return cached
    return _download_first(candidates, name=name, preset=preset)


def check_base(
    base: str | None, *, name: str, preset: BackbonePreset, revision: str | None = None
) -> None:
    """Look whether `find_base` has something to find, without a download.

    Raises:
        BackboneError: A folder that is incomplete, or weights that are not in the cache while there is no network.
    """
    if base is not None and _looks_local(base):
        _checked_folder(Path(base).expanduser(), preset)
        return
    candidates = preset.candidates if base is None else ((base, None),)
    found = any(_cached(repo, revision or own, preset) is not None for repo, own in candidates)
    if candidates and not found and is_offline():
        error = OSError("there is no network.")
        raise _unreachable(candidates[0][0], name=name, error=error)


def find_lora(lora: str | None, *, name: str, preset: BackbonePreset) -> Path | None:
    """Path of a LoRA file; downloaded when it has to be.

    Args:
        lora: A file, a folder as for `find_trained_weights`, or `owner/repository:file`; None for the preset's public LoRA.
        name: Registry name, for messages.
        preset: The backbone's values.

    Returns:
        The path, or None when none is given and the backbone has no public LoRA.

    Raises:
        BackboneError: The file is not there and cannot be downloaded.
    """
    if lora is None:
        if not preset.lora_repo:
            return None
        return _hub_file(preset.lora_repo, preset.lora_file, name=name)
    if Path(lora).expanduser().exists():
        return find_trained_weights(Path(lora).expanduser())
    repo, colon, file = lora.partition(":")
    if colon and file and _is_hub_id(repo):
        return _hub_file(repo, file, name=name)
    raise BackboneError(
        f"there is no LoRA file or folder {lora}.",
        hint="give a file, the folder of a training run, or owner/repository:file for the hub",
    )


def find_vae(vae: str, *, name: str) -> Path:
    """Folder with the `config.json` and the weights of a VAE; downloaded when it has to be.

    Args:
        vae: A folder or a hub id.
        name: Registry name of the backbone, for messages.

    Raises:
        BackboneError: It is not there, gone, gated or out of reach.
    """
    if _looks_local(vae):
        return _vae_folder(Path(vae).expanduser(), source=vae)
    try:
        return _vae_folder(Path(snapshot_download(vae, local_files_only=True)), source=vae)
    except (LocalEntryNotFoundError, HFValidationError, BackboneError):
        pass
    try:
        with _downloading(vae, vae, name=name, command=f"{name} --vae {vae}"):
            folder = Path(snapshot_download(vae, allow_patterns=list(_VAE_FILES)))
    except _NotOnHubError as error:
        raise BackboneError(
            f"the hub has no {vae} (gone, renamed or private).",
            hint="give --vae a folder that you have, or leave it out",
        ) from error
    return _vae_folder(folder, source=vae)


def fetch(
    name: str, *, base: str | None = None, revision: str | None = None, vae: str = ""
) -> Fetched:
    """Download all that a backbone needs, so that later runs work offline; interrupted downloads go on.

    `vae` is the hub id of another VAE to download besides; empty for none.

    Raises:
        BackboneError: The ids are gone, gated or out of reach.
    """
    preset = find_family(name).preset
    if base is None and not preset.candidates:
        raise BackboneError(
            f"the backbone {name} ships inside the package, there is nothing to fetch."
        )
    return Fetched(
        base=find_base(base, name=name, preset=preset, revision=revision),
        lora=find_lora(None, name=name, preset=preset),
        vae=find_vae(vae, name=name) if vae else None,
    )


def cached_base(preset: BackbonePreset) -> Path | None:
    """Folder of a backbone's base in the cache, or None; asks no network."""
    found = (_cached(repo, revision, preset) for repo, revision in preset.candidates)
    return next((folder for folder in found if folder is not None), None)


def cached_lora(preset: BackbonePreset) -> Path | None:
    """The public LoRA in the cache, or None; asks no network."""
    if not preset.lora_repo:
        return None
    try:
        return Path(hf_hub_download(preset.lora_repo, preset.lora_file, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _vae_folder(folder: Path, *, source: str) -> Path:
    """The folder itself, or its subfolder `vae`."""
    for place in (folder, folder / "vae"):
        if (place / "config.json").is_file() and not missing_parts(place.parent, (place.name,)):
            return place
    raise BackboneError(
        f"{source} holds no VAE in diffusers layout: config.json and weights are wanted.",
        hint="give --vae small, a folder, or a hub id as owner/repository",
    )


def _looks_local(base: str) -> bool:
    return Path(base).expanduser().exists() or not _is_hub_id(base)


def _is_hub_id(text: str) -> bool:
    owner, slash, repository = text.partition("/")
    return bool(slash and owner and repository) and not (
        "/" in repository or "\\" in text or owner[0] in ".~"
    )


def _checked_folder(folder: Path, preset: BackbonePreset) -> Path:
    if not folder.is_dir():
        raise BackboneError(
            f"there is no folder {folder} with base weights.",
            hint="give a folder in diffusers layout, or a hub id as owner/repository",
        )
    missing = missing_parts(folder, preset.components)
    if missing:
        raise BackboneError(
            f"{folder} is not a complete base in diffusers layout: it lacks {', '.join(missing)}.",
            hint=f"it needs the subfolders {', '.join(preset.components)}",
        )
    return folder


def _cached(repo: str, revision: str | None, preset: BackbonePreset) -> Path | None:
    try:
        folder = Path(
            snapshot_download(
                repo,
                revision=revision,
                local_files_only=True,
                allow_patterns=_patterns(preset, _TEXT_FILES),
            )
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return None if missing_parts(folder, preset.components) else folder


def _download_first(
    candidates: Sequence[tuple[str, str | None]], *, name: str, preset: BackbonePreset
) -> Path:
    gone: list[str] = []
    for repo, revision in candidates:
        try:
            with _downloading(repo, repo, name=name, command=name):
                return _download(repo, revision, preset)
        except _NotOnHubError:
            gone.append(f"{repo}@{revision}" if revision else repo)
    raise BackboneError(
        f"the hub has no {' and no '.join(gone)} (gone, renamed or private).",
        hint=f"give --base a folder in diffusers layout or another hub id for {name}; "
        "if it is private, log in with `hf auth login`",
    )


def _download(repo: str, revision: str | None, preset: BackbonePreset) -> Path:
    missing: list[str] = []
    for take, leave in _WEIGHT_ROUNDS:
        folder = Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=_patterns(preset, (*_TEXT_FILES, *take)),
                ignore_patterns=list(leave),
            )
        )
        missing = missing_parts(folder, preset.components)
        if not missing:
            return folder
    raise BackboneError(
        f"{repo} is not in diffusers layout: it lacks {', '.join(missing)}.",
        hint="give --base another hub id or a local folder",
    )


def _patterns(preset: BackbonePreset, names: Sequence[str]) -> list[str]:
    parts = (*preset.components, *preset.optional_components)
    return ["model_index.json", *(f"{part}/{name}" for part in parts for name in names)]


def _hub_file(repo: str, file: str, *, name: str) -> Path:
    try:
        return Path(hf_hub_download(repo, file, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        with _downloading(repo, f"{repo}:{file}", name=name, command=name):
            path = Path(hf_hub_download(repo, file))
    except _NotOnHubError as error:
        raise BackboneError(
            f"the hub has no {file} in {repo} (gone, renamed or private).",
            hint="give --lora a file that you have",
        ) from error
    return path


class _NotOnHubError(Exception):
    """What was asked for is gone, renamed or private."""


@contextmanager
def _downloading(repo: str, what: str, *, name: str, command: str) -> Iterator[None]:
    """The hub's errors as ours; `hypir fetch COMMAND` is the way out without a network."""
    try:
        with limited_network():
            yield
    except GatedRepoError as error:
        raise _gated(repo, name=name) from error
    except LocalEntryNotFoundError as error:
        raise _unreachable(what, name=command, error=error) from error
    except (
        RepositoryNotFoundError,
        RevisionNotFoundError,
        EntryNotFoundError,
        HFValidationError,
    ) as error:
        raise _NotOnHubError from error
    except (HfHubHTTPError, OSError) as error:
        raise _unreachable(what, name=command, error=error) from error


def _gated(repo: str, *, name: str) -> BackboneError:
    return BackboneError(
        f"the weights of {name} ({repo}) are gated: their owner asks you to accept a licence first.",
        hint=f"accept it at https://huggingface.co/{repo}, run `hf auth login` (or set HF_TOKEN), "
        f"then `hypir fetch {name}`",
    )


def _unreachable(what: str, *, name: str, error: Exception) -> BackboneError:
    return BackboneError(
        f"{what} is not in the cache ({constants.HF_HUB_CACHE}) and cannot be downloaded: {first_line(error)}",
        hint=f"where there is a network run `hypir fetch {name}`, and copy the cache here or give "
        "--base and --lora local paths; --backbone tiny needs no download",
    )
