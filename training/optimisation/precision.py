"""Which products a GPU may round, and which it may not.

TF32 keeps 11 bits of a number, bfloat16 under autocast 8. The measure is the direction of the gradient of a first step
(cosine with that in full, on 12 views; TF32 was imitated on a CPU by rounding the inputs of all layers):

| | compact | paper's network |
|---|---|---|
| TF32 | 1.000 | 0.979 |
| bf16 everywhere | 1.000 | 0.798 |
| bf16 but for the encoder | | 0.979 |

So layers bear TF32, and bf16 but for the paper's encoder, where rounded features have other neighbours and other
winners: that one stays out of autocast. Small differences of large numbers bear neither: the search for neighbours, the
geometry of a batch, the losses with their plane fits, cosines over a small temperature, and the last layers, whose
outputs are the pose. These compute in float32 throughout: `exact` and `exact_product` see to it. On a CPU nothing is
rounded but under autocast.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@contextmanager
def rounded_products(tf32: bool) -> Iterator[None]:
    """Choose for the process, within the block, how a GPU multiplies matrices of float32.

    Parameters
    ----------
    tf32 : bool
        With 11 bits on tensor cores; else with all 24.

    Yields
    ------
    None
        While it holds.
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32" if tf32 else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def unlowered(tensor: Tensor) -> AbstractContextManager:
    """Keep autocast away from the products within the block; TF32 may round them.

    Parameters
    ----------
    tensor : Tensor
        Whose device counts.

    Returns
    -------
    context manager
        One that does nothing where there is nothing to switch off: any other doubles the time of an export.
    """
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def exact(tensor: Tensor) -> AbstractContextManager:
    """Keep autocast and TF32 away from the products within the block. For the training thread alone.

    Parameters
    ----------
    tensor : Tensor
        Whose device counts.

    Returns
    -------
    context manager
        As for `unlowered`.
    """
    if tensor.device.type != "cuda" or torch.backends.cuda.matmul.fp32_precision != "tf32":
        return unlowered(tensor)
    stack = ExitStack()
    stack.enter_context(unlowered(tensor))
    stack.enter_context(rounded_products(False))
    return stack


def exact_product(first: Tensor, second: Tensor) -> Tensor:
    """Multiply matrices without rounding, in whatever thread.

    A thread that makes batches cannot switch TF32 off: the switch is the process's, and another thread trains.

    Parameters
    ----------
    first : (..., A, K) float
        On any device.
    second : (..., K, C) float
        On the same one.

    Returns
    -------
    (..., A, C) float
        Computed in double precision on a GPU, in the given one elsewhere.
    """
    if first.device.type != "cuda":
        return first @ second
    return (first.double() @ second.double()).to(first.dtype)


class ExactLinear(nn.Linear):
    """A linear layer whose output is that of float32 under autocast and TF32, too: the last of a head."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply and add.

        Parameters
        ----------
        x : (..., in) float
            In any precision.

        Returns
        -------
        (..., out) float32
            In full.
        """
        with exact(x):
            return F.linear(x.float(), self.weight, self.bias)
