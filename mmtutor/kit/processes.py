"""Several processes that train together, where a loss compares samples with one another.

:func:`mmtutor.kit.training.fit` makes the gradients of several processes one. That is enough where
a loss is a mean over samples. A contrastive loss compares each sample with all others of its batch,
and these may lie in another process: :func:`gathered` fetches them. Then every process computes the
loss of the whole batch, and the result is that of one process. (The last, smaller round of an epoch
included; but where it has fewer samples than there are processes, ``fit`` lets some compute a
sample twice, and a loss over the whole would see it twice: give ``drop_last=True``.)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def several() -> bool:
    """Whether this is one of several processes that train together."""
    at_hand = torch.distributed.is_available() and torch.distributed.is_initialized()
    return at_hand and torch.distributed.get_world_size() > 1


def gathered(x: Tensor) -> Tensor:
    """The rows of all processes, (B, …) → (ΣB, …), in the order of the processes; B may differ.

    What each process finds as the gradient of a row is added up where the row came from. If all of
    them compute the same loss of the whole, their mean, which data-parallel training takes, is the
    gradient of one process with the whole batch.
    """
    import torch.distributed.nn as with_gradients

    count = torch.tensor([len(x)], device=x.device)
    counts = [torch.zeros_like(count) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(counts, count)
    sizes = [int(n) for n in counts]
    x = F.pad(x, (0, 0) * (x.ndim - 1) + (0, max(sizes) - len(x)))  # all send equally much
    if x.requires_grad:
        parts = with_gradients.all_gather(x)
    else:
        parts = [torch.empty_like(x) for _ in sizes]
        torch.distributed.all_gather(parts, x.contiguous())
    return torch.cat([part[:n] for part, n in zip(parts, sizes)])


def of_the_first(x: Tensor) -> Tensor:
    """What the first process has in place of this process's own x, of the same shape: a draw on
    which all must agree. Without gradients."""
    bits = x.dtype == torch.bool  # which not every backend can send
    sent = x.detach().to(torch.uint8) if bits else x.detach().clone()
    torch.distributed.broadcast(sent, 0)
    return sent.bool() if bits else sent
