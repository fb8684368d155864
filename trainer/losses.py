"""What a subnet learns from its teacher."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from gearshift.runtime.space import Subnet
from gearshift.trainer.model import Output


def soft_cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean cross-entropy of the student's answers under the teacher's: -sum softmax(t) log_softmax(s).

    Both (batch, labels). DynaBERT, section 2.2, temperature 1.
    """
    return -(F.softmax(teacher, -1) * F.log_softmax(student, -1)).sum(-1).mean()


def hidden_loss(student: Output, teacher: Output, subnet: Subnet, attention_mask: Tensor) -> Tensor:
    """Mean squared error of embeddings and layer outputs, summed over layers, over real tokens only.

    The output of layer i is compared with that of the teacher's layer i, but the last kept layer with
    the teacher's last (DynaBERT, section 2.2). The teacher is the full-size net.
    """
    layers = [kept.layer for kept in subnet.kept()]
    layers[-1] = len(teacher.hidden) - 2  # hidden[0] is the embeddings
    targets = [teacher.hidden[0], *(teacher.hidden[layer + 1] for layer in layers)]
    real = attention_mask.bool()
    total = student.logits.new_zeros(())
    for mine, target in zip(student.hidden, targets, strict=True):
        total = total + F.mse_loss(mine[real], target[real])
    return total
