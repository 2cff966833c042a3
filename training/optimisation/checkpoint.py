"""Checkpoints: everything that a run needs to go on, in one file of tensors and plain values.

A run keeps two, `checkpoint.pt` and the one before it, `checkpoint.previous.pt`. Where the newest cannot be read, the
error names the other and how to go on from it.
"""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.networks import make_network, network_config
from training.storage import archive_flaw, write_whole

NEEDED = ("network", "average", "config", "step")


def previous_path(path: Path) -> Path:
    """Say where the checkpoint before lies.

    Parameters
    ----------
    path : Path
        Of a checkpoint: `checkpoint.pt`.

    Returns
    -------
    Path
        Beside it: `checkpoint.previous.pt`.
    """
    return path.with_suffix(f".previous{path.suffix}")


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint and keep the one before. Whatever interrupts it, a whole one is left at `path`.

    Parameters
    ----------
    path : Path
        Of the file.
    state : mapping
        Tensors and plain values.

    Raises
    ------
    OSError
        Where there is no room or no permission. The checkpoints that are there stay as they are.
    """
    # into memory first: torch hides what the disk says
    content = io.BytesIO()
    torch.save(dict(state), content)
    try:
        write_whole(path, lambda file: file.write(content.getbuffer()), previous=previous_path(path))
    except OSError as error:
        size = f"{content.getbuffer().nbytes / 1e6:.1f} MB"
        left = "; the one there is untouched" if path.exists() else ""
        raise OSError(f"{path}: expected room for a checkpoint of {size}, got {error.strerror}{left}") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote, into the memory of the host. Nothing in the file is executed.

    Parameters
    ----------
    path : Path
        Of the file.

    Returns
    -------
    dict
        With `network`, `average`, `config` (JSON), `step` and whatever else the run needs.

    Raises
    ------
    ValueError
        Where it is missing, cut off, or no checkpoint. The message says which, and names the checkpoint before where
        that one is whole.
    """
    try:
        return _read(path)
    except ValueError as error:
        raise ValueError(f"{error}{_way_out(path)}") from error


def _read(path: Path) -> dict[str, Any]:
    """`read_checkpoint` without a look at the one before."""
    expected = f"{path}: expected a checkpoint of training.train"
    if not path.is_file():
        raise ValueError(f"{expected}, got {'a folder' if path.is_dir() else 'no file'}")
    if flaw := archive_flaw(path):
        raise ValueError(f"{expected}, got {flaw}")
    try:
        saved = torch.load(path, weights_only=True, map_location="cpu")
    except MemoryError:
        raise
    except Exception as error:  # torch and its unpickler raise whatever a broken file makes them stumble over
        first = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{expected}, got one that torch cannot read ({type(error).__name__}: {first})") from error
    missing = [name for name in NEEDED if not isinstance(saved, dict) or name not in saved]
    if missing:
        raise ValueError(f"{expected}, got one without {', '.join(missing)}")
    try:
        is_described = isinstance(json.loads(saved["config"])["network"], dict)
    except (ValueError, TypeError, KeyError):
        is_described = False
    if not is_described:
        raise ValueError(f"{expected}, got one whose configuration names no network")
    return saved


def _way_out(path: Path) -> str:
    """The checkpoint before, where it can be read."""
    previous = previous_path(path)
    try:
        step = _read(previous)["step"]
    except (ValueError, OSError):
        return ""
    return f"; the one before it is whole (step {step}): mv {shlex.quote(str(previous))} {shlex.quote(str(path))}"


def averaged_weights(saved: Mapping[str, Any]) -> dict[str, Tensor]:
    """Take the averaged weights out of a checkpoint.

    Parameters
    ----------
    saved : mapping
        As `read_checkpoint` gives it.

    Returns
    -------
    dict of str to Tensor
        By their names in the network.
    """
    prefix = "module."
    return {name.removeprefix(prefix): value for name, value in saved["average"].items() if name.startswith(prefix)}


def plain_settings(config: Any) -> dict[str, Any]:
    """Give the settings of a run as a checkpoint holds them.

    Parameters
    ----------
    config : dataclass
        The run.

    Returns
    -------
    dict
        Plain values.
    """
    return json.loads(json.dumps(asdict(config), default=str))


def load_network(checkpoint: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load the averaged weights of a checkpoint.

    Parameters
    ----------
    checkpoint : Path
        Of the file.

    Returns
    -------
    network : nn.Module
        Ready for inference.
    saved : dict
        The rest of what the checkpoint says, as `read_checkpoint` gives it.

    Raises
    ------
    ValueError
        Where the file is no checkpoint, its weights are not those of the network that it names, or the network needs
        a feature of CLIP beside the cloud, which neither the runtime nor a student has.
    """
    saved = read_checkpoint(checkpoint)
    try:
        config = network_config(json.loads(saved["config"])["network"])
        network = make_network(config)
        network.load_state_dict(averaged_weights(saved))
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise _mismatch(checkpoint, "network", error) from error
    fusion = getattr(config, "fusion", None)
    if fusion is not None and fusion.manner != "none":
        raise ValueError(
            f"{checkpoint}: expected a network that needs the cloud alone, got one that fuses it with the "
            f"{fusion.feature} feature of CLIP ({fusion.manner}, an ablation of table VI)"
        )
    return network.eval(), saved


def saved_run(
    path: Path, settings: Mapping[str, Any], usual: Mapping[str, Any], free: tuple[str, ...]
) -> dict[str, Any] | None:
    """Read the checkpoint that a run goes on from.

    Parameters
    ----------
    path : Path
        Of the checkpoint.
    settings, usual : mapping
        Of this run, and its defaults, as JSON gives them back.
    free : tuple of str
        Settings that may change.

    Returns
    -------
    dict or None
        What the checkpoint holds. None where the run begins.

    Raises
    ------
    ValueError
        Where the checkpoint cannot be read, or was made with other settings.
    """
    if not path.exists():
        if previous_path(path).exists():
            raise ValueError(
                f"{path}: expected a checkpoint beside {previous_path(path).name}, got none; rename that one to go on "
                "from it, or begin anew in another --output"
            )
        return None
    saved = read_checkpoint(path)
    if changed := changed_settings(json.loads(saved["config"]), settings, usual, free):
        raise ValueError(
            f"{path}: expected the settings that the run was begun with, got others: {'; '.join(changed)}; "
            "give those again, or take another --output"
        )
    return saved


def restore(path: Path, saved: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Put the states of a checkpoint into the parts of a run.

    Parameters
    ----------
    path : Path
        Of the checkpoint, for messages.
    saved : mapping
        What `read_checkpoint` gave.
    parts : mapping
        By name, whatever has `load_state_dict`.

    Raises
    ------
    ValueError
        Where a part is missing or of another shape.
    """
    missing = [name for name in parts if name not in saved]
    if missing:
        raise ValueError(f"{path}: expected the state of {', '.join(parts)}, got none of {', '.join(missing)}")
    for name, part in parts.items():
        try:
            part.load_state_dict(saved[name])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _mismatch(path, name, error) from error


def _mismatch(path: Path, name: str, error: Exception) -> ValueError:
    first = str(error).strip().splitlines()[-1].strip()
    return ValueError(f"{path}: expected the state of the {name} that its configuration describes, got others: {first}")


def changed_settings(
    saved: Mapping[str, Any], given: Mapping[str, Any], defaults: Mapping[str, Any], free: tuple[str, ...]
) -> list[str]:
    """Name the settings of a run that are not those of its checkpoint.

    Parameters
    ----------
    saved, given : mapping
        Settings, as JSON gives them back. Mappings may be nested.
    defaults : mapping
        What a setting was before it could be chosen: it counts where the checkpoint does not know the setting.
    free : tuple of str
        Settings that may change.

    Returns
    -------
    list of str
        One for each, with both values: `learning_rate 0.1 (begun with 0.0015)`.
    """
    kinds = [settings["network"].get("kind") or "compact" for settings in (given, saved)]
    if kinds[0] != kinds[1]:
        return [f"network {kinds[0]} (begun with {kinds[1]})"]
    kept = {name: value for name, value in given.items() if name not in free}
    return list(_changes({name: value for name, value in saved.items() if name not in free}, kept, defaults))


def _changes(
    before: Mapping[str, Any], now: Mapping[str, Any], usual: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    for name in dict.fromkeys([*now, *before]):
        old, new = before.get(name, usual.get(name)), now.get(name)
        nested = isinstance(old, Mapping), isinstance(new, Mapping)
        if all(nested):
            yield from _changes(old, new, usual.get(name) or {}, f"{prefix}{name}.")
        elif any(nested):
            yield f"{prefix}{name} {'given' if nested[1] else 'not given'} (begun {'with' if nested[0] else 'without'})"
        elif old != new and (name in now or old):  # a setting that is gone matters where it was in use
            yield f"{prefix}{name} {new} (begun with {old})"
