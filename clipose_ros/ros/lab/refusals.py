"""What keeps the node from starting, and its last words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clipose_ros.inference.card import CARD_FILE


@dataclass(frozen=True)
class Refusal:
    """One thing that keeps the node from starting.

    Parameters
    ----------
    name, text : str
        What it is, in few words and in more.
    message : str
        Is in the node's last words.
    damage : callable
        Damages the folder of a good model, and gives the arguments that the node is started with.
    """

    name: str
    text: str
    message: str
    damage: Callable[[Path], tuple[str, ...]]


REFUSALS: dict[str, Refusal] = {}


def refusal(message: str) -> Callable:
    """Put a function into the catalogue. Its name and docstring are those of the refusal.

    Parameters
    ----------
    message : str
        See `Refusal`.

    Returns
    -------
    callable
        The decorator.
    """

    def register(damage: Callable[[Path], tuple[str, ...]]) -> Callable[[Path], tuple[str, ...]]:
        name = damage.__name__.strip("_").replace("_", " ")
        REFUSALS[name] = Refusal(name, damage.__doc__, message, damage)
        return damage

    return register


@refusal("expected the network file that card.yaml names, got none")
def _model_file_is_missing(folder: Path) -> tuple[str, ...]:
    """a card without its network"""
    (folder / "model.onnx").unlink()
    return ()


@refusal("expected sha256")
def _model_is_of_another_card(folder: Path) -> tuple[str, ...]:
    """the network was changed after the card was written"""
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    return ()


@refusal("expected an ONNX network")
def _model_is_corrupt(folder: Path) -> tuple[str, ...]:
    """no network, though its hash is the card's"""
    content, card = b"not a network", folder / CARD_FILE
    (folder / "model.onnx").write_bytes(content)
    card.write_text(re.sub("sha256: [0-9a-f]{64}", f"sha256: {hashlib.sha256(content).hexdigest()}", card.read_text()))
    return ()


@refusal("model: expected one of")
def _card_is_missing(folder: Path) -> tuple[str, ...]:
    """a network without its card"""
    (folder / CARD_FILE).unlink()
    return ()


@refusal("provider: expected one that this onnxruntime has")
def _provider_is_missing(folder: Path) -> tuple[str, ...]:
    """`provider:=cuda` without an onnxruntime for CUDA, and `allow_cpu` false"""
    return "-p", "provider:=cuda"
