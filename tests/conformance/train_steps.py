"""One training step of a recorded case, reckoned in float64."""

from __future__ import annotations

import torch
from whole_models import inputs

from deft.changenet.model import ChangeNet

Step = tuple[torch.Tensor, float, dict[str, torch.Tensor]]


def precise_step(
    network: ChangeNet, optimizer: torch.optim.Optimizer, case: str, labels: list[int]
) -> Step:
    """Make one step on the case's pictures; return the output, the loss and the buffers.

    The network goes over to float64, the loss stays what it is. Each of the decoder's first sums
    has 802 816 products, and batch norm over three pairs magnifies their rounding twice: with
    float32, logits differ by 8e-5 and the loss by 3e-5 from one processor, BLAS or number of
    threads to the next (upstream's loss is 4e-6 from the exact one, ours up to 2.4e-5), which would
    hide what is compared here.
    """
    network.double()  # the optimizer holds the same parameters
    network.criterion.float()
    output = network(*(picture.double() for picture in inputs(case)))
    loss = network.criterion(output, torch.tensor(labels, dtype=torch.float32)[:, None])
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    loss.backward()
    optimizer.step()
    return output.detach(), loss.item(), buffers
