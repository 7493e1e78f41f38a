"""A blind A/B page: people rate pairs of restorations from 0 to 10 without knowing which method made which.

The page, its pictures (under meaningless names, re-encoded, so that no metadata tells) and the key lie in one folder. Give
raters everything but the key.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Mapping
from pathlib import Path

from hypir_cli.config.evaluate import StudyConfig
from hypir_cli.errors import ConfigError
from hypir_cli.evaluate.pairing import Pairing
from hypir_cli.evaluate.ratings import KEY_FORMAT, KEY_NAME
from hypir_cli.folder.pages.page import template, write_page
from hypir_cli.folder.pages.pictures import relative_address
from hypir_cli.images import atomic_file, read_image, write_image
from hypir_cli.images.atomic import require_writable

PAGE_NAME = "study.html"
"""The page raters open."""
_PICTURES = "pictures"
_INPUT = "(input)"


def check_study_place(folder: Path) -> None:
    """Refuse a folder for a study before any work is spent.

    Raises:
        ConfigError: It holds a study already.
        InputError: It cannot be written.
    """
    key_path = folder / KEY_NAME
    if key_path.exists():
        raise ConfigError(
            f"{folder} holds a study already; its ratings could no longer be told apart.",
            hint="choose another folder, or delete that one",
        )
    require_writable(key_path)


def write_study(folder: Path, pairing: Pairing, config: StudyConfig) -> Path:
    """Write the page, the pictures and the key; returns the page.

    Args:
        folder: Where to; it must not hold another study's key.
        pairing: Two or more methods; with one method and inputs, it is rated against the inputs.
        config: Number of pairs and seed.

    Raises:
        ConfigError: Nothing to compare, or the folder holds a study already.
        InputError: A picture cannot be read or something not written.
    """
    check_study_place(folder)
    key_path = folder / KEY_NAME
    draws = random.Random(config.seed)
    entrants = _entrants(pairing)
    chosen = _chosen_pairs(pairing, entrants, draws)[: config.max_pairs]
    names: dict[tuple[str, str], str] = {}
    pairs = []
    for image, sides in chosen:
        picture = {
            side: _name((image, method), names, draws)
            for side, method in zip("ab", sides, strict=True)
        }
        pairs.append({"id": f"{draws.getrandbits(48):012x}", **picture})
    study = f"{draws.getrandbits(64):016x}"
    page = folder / PAGE_NAME
    sources = {
        name: _copy(entrants[method][image], folder / _PICTURES / f"{name}.png", page)
        for (image, method), name in names.items()
    }
    _write_page(page, study, pairs, sources)
    items = {name: {"image": image, "method": method} for (image, method), name in names.items()}
    key = {"format": KEY_FORMAT, "study": study, "pairs": pairs, "items": items}
    with atomic_file(key_path) as file:
        file.write((json.dumps(key, indent=2, ensure_ascii=False) + "\n").encode())
    return page


def _entrants(pairing: Pairing) -> Mapping[str, Mapping[str, Path]]:
    if len(pairing.restored) > 1:
        return pairing.restored
    if not pairing.lq:
        raise ConfigError(
            "a study needs two things to compare, got one method.",
            hint="add --compare NAME=FOLDER, or --lq FOLDER to rate against the inputs",
        )
    return {**pairing.restored, _INPUT: pairing.lq}


def _chosen_pairs(
    pairing: Pairing, entrants: Mapping[str, object], draws: random.Random
) -> list[tuple[str, tuple[str, str]]]:
    """Every pair of methods on every image, shuffled, sides too."""
    pairs = []
    for image in pairing.keys:
        for first, second in itertools.combinations(entrants, 2):
            sides = (first, second) if draws.random() < 0.5 else (second, first)
            pairs.append((image, sides))
    draws.shuffle(pairs)
    return pairs


def _name(what: tuple[str, str], names: dict[tuple[str, str], str], draws: random.Random) -> str:
    if what not in names:
        names[what] = f"{draws.getrandbits(64):016x}"
    return names[what]


def _copy(source: Path, target: Path, page: Path) -> str:
    write_image(target, read_image(source).pixels, keep_metadata=False)
    return relative_address(target, page)


def _write_page(
    page: Path, study: str, pairs: list[dict[str, str]], sources: Mapping[str, str]
) -> None:
    write_page(
        page,
        title="Which restoration is better?",
        lead='<p class="soft">Rate every picture from 0 (unusable) to 10 (perfect). The two sides are in random order.</p>',
        body=template("study.html"),
        data={
            "study": study,
            "pairs": [
                {"id": pair["id"], "a": sources[pair["a"]], "b": sources[pair["b"]]}
                for pair in pairs
            ],
        },
        scripts=("view.js", "study.js"),
    )
