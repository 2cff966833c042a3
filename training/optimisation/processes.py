"""Many processes that train as one: every loss sees the outputs of all, and the gradients are summed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor, nn


def gathered(tensors: dict[str, Tensor], accelerator: Accelerator) -> dict[str, Tensor]:
    """Collect the tensors of all processes into one batch, in the order of the processes.

    Gradients flow into those of this process alone.

    Parameters
    ----------
    tensors : dict of (B, ...) Tensor
        Of this process.
    accelerator : Accelerator
        Of the run.

    Returns
    -------
    dict of Tensor
        Of all processes.
    """
    if accelerator.num_processes == 1:
        return tensors
    own_count = len(next(iter(tensors.values())))
    counts = accelerator.gather(torch.tensor([own_count], device=accelerator.device)).tolist()

    def whole(own: Tensor) -> Tensor:
        padded = own.new_zeros(max(counts), *own.shape[1:])
        padded[:own_count] = own.detach()
        parts = [
            part[:count] for part, count in zip(accelerator.gather(padded).split(max(counts)), counts, strict=True)
        ]
        parts[accelerator.process_index] = own
        return torch.cat(parts)

    return {name: whole(own) for name, own in tensors.items()}


def reduce_gradients(parameters: Iterable[nn.Parameter], accelerator: Accelerator) -> None:
    """Replace gradients by their sums over all processes, in one message.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        Those without a gradient are left alone.
    accelerator : Accelerator
        Of the run.
    """
    if accelerator.num_processes == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    summed = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "sum")
    for gradient, part in zip(gradients, summed.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch compute on so many threads in a `with` block. The number is the process's: it is put back.

    Parameters
    ----------
    count : int
        Threads of an operation.

    Yields
    ------
    None
        The block runs.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
