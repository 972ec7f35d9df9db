"""Learning from what one says oneself: a captioner writes, a judge pays, REINFORCE learns.

Training on given captions asks for the next word of a sentence that somebody else began. In use the
model goes on from its own words, and one unlucky word leads it where training never was. So let it
write in training too, pay for each caption as a whole, and make what was paid well more probable.

The expected reward of a picture is J = Σ_y p(y) r(y), a sum over all captions. Its gradient is
Σ_y p(y) r(y) ∇ log p(y), a mean over captions that the model draws itself. With K draws y¹ … y^K of
one picture,

    ∇J ≈ (1/K) Σ_k A_k ∇ log p(y^k),    A_k = r_k − mean of the other K − 1 rewards.

The *advantage* A_k says whether a caption was paid better than what the model says otherwise of the
same picture. What is subtracted does not depend on y^k, and Σ_y p(y) ∇ log p(y) = 0; so the mean stays
right, and the noise gets less.

It is right where all that the model may write can be drawn. Two things cannot: words that decoding
never writes (:data:`mmtutor.kit.decoding.BANNED`), and captions longer than ``limit``. What probability
the model gives to these makes the estimate so much less exact; a trained captioner gives them next to
none.

A reward may be any number, also one that has no slope: a judge's yes or no, a metric. The model
learns what is paid for, not what was meant; see chapter "Show, attend and tell".

Sources: Rennie et al. 2017, section 3 (self-critical training of a captioner; their A_k is the reward
less that of the greedy caption); Kool et al. 2019 (less the mean of the others); Williams 1992
(REINFORCE).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor.kit import decoding

#: Takes captions, each the ids of its words, and the number (N,) of the picture of each; returns
#: what each is worth (N,), finite numbers.
Reward = Callable[[list[tuple[int, ...]], Tensor], Tensor]


def advantages(rewards: Tensor) -> Tensor:
    """How much better each caption was paid than the others of its picture (Kool et al. 2019).

    Args:
        rewards: (B, K), of K ≥ 2 captions of each of B pictures.

    Returns:
        (B, K): each reward less the mean of the K − 1 others. Each row sums to 0.

    Raises:
        ValueError: another shape, fewer than two captions a picture, or a reward that is no finite
            number.
    """
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise ValueError(
            "rewards must be (B, K) with at least two captions a picture: each is compared with the "
            f"others; got {tuple(rewards.shape)}"
        )
    if not rewards.isfinite().all():
        raise ValueError("a reward is NaN or infinite; the judge must return finite numbers")
    others = rewards.shape[1] - 1
    return rewards - (rewards.sum(1, keepdim=True) - rewards) / others


def as_captions(said: Sequence[decoding.Hypothesis]) -> Tensor:
    """Captions that a model wrote as it reads them, (N, T): ``<bos>``, the words, ``<eos>`` if it
    ended them, and ``<pad>``."""
    rows = [(decoding.BOS, *one.ids, *[decoding.EOS][: one.finished]) for one in said]
    longest = max(2, *map(len, rows))
    return torch.tensor([[*row, *[decoding.PAD] * (longest - len(row))] for row in rows])


def log_probabilities(model: nn.Module, inputs: Tensor, captions: Tensor) -> Tensor:
    """log p(y | x) of whole captions (N, T) of N inputs, (N,), with gradients."""
    logits = model(inputs, captions)  # (N, T - 1, V)
    ids = captions[:, 1:]
    nll = F.cross_entropy(
        logits.flatten(0, 1), ids.flatten(), ignore_index=decoding.PAD, reduction="none"
    )
    return -nll.view(ids.shape).sum(1)


class SelfCritical(nn.Module):
    """A captioner that is trained on given captions and on its own; for ``training.fit``.

    Args:
        captioner: writes (:class:`mmtutor.kit.decoding.CaptionModel`), scores given captions
            (``captioner(features, captions)``, (B, T - 1, V)) and has a ``loss(batch)``.
        reward: the judge; see :data:`Reward`.
        weight: of the expected reward, in the unit of the loss a unit of reward.
        samples: K, captions drawn of each picture, at least 2.
        limit: the largest number of words of a drawn caption.

    Raises:
        ValueError: fewer than two samples, or a weight that is negative or not finite.
    """

    def __init__(
        self,
        captioner: nn.Module,
        reward: Reward,
        *,
        weight: float = 1.0,
        samples: int = 4,
        limit: int = 20,
    ) -> None:
        super().__init__()
        if samples < 2:
            raise ValueError(
                f"samples must be at least 2: each is compared with the others; got {samples}"
            )
        if not 0 <= weight < float("inf"):
            raise ValueError(f"weight must be finite and not negative, got {weight}")
        self.captioner, self.reward = captioner, reward
        self.weight, self.samples, self.limit = weight, samples, limit

    def loss(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The captioner's loss less ``weight`` times the expected reward.

        Args:
            batch: what the captioner's own loss takes, with ``"features"`` (B, …); and
                ``"numbers"`` (B,), which tells the judge whose captions these are.

        Returns:
            ``"loss"``; the captioner's own loss, ``"given"``; and the mean reward of what it drew,
            ``"reward"``.

        Raises:
            ValueError: no numbers, or rewards of a wrong shape or not finite.
        """
        if "numbers" not in batch or len(batch["numbers"]) != len(batch["features"]):
            raise ValueError("the batch needs 'numbers' (B,): which picture each row shows")
        given = self.captioner.loss({k: v for k, v in batch.items() if k != "numbers"})
        given = given["loss"] if isinstance(given, dict) else given
        own, paid = self.own(batch["features"], batch["numbers"])
        return {"loss": given + self.weight * own, "given": given.detach(), "reward": paid}

    def own(self, features: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Draw K captions of each picture, have them judged: a number whose gradient estimates −∇J,
        and the mean reward.

        The model writes as in use, without dropout, and hard attention without dice.
        """
        seed = int(torch.randint(2**31, ()))  # from the run's own dice, so a run can be repeated
        drawn = decoding.sample(
            self.captioner, features, n=self.samples, seed=seed, limit=self.limit
        )
        said = [one for own in drawn for one in own]  # B·K
        whose = numbers.cpu().repeat_interleave(self.samples)  # (B·K,)
        paid = torch.as_tensor(self.reward([one.ids for one in said], whose))
        # a judge that is a network learns nothing here
        paid = paid.detach().to("cpu", torch.float32)
        if paid.shape != (len(said),):
            raise ValueError(
                f"the reward of {len(said)} captions must be ({len(said)},), got {tuple(paid.shape)}"
            )
        better = advantages(paid.view(-1, self.samples)).flatten()  # (B·K,)
        told = better.nonzero()[:, 0]  # where all are paid alike there is nothing to learn
        if not len(told):
            return features.new_zeros(()), paid.mean()
        inputs = features.repeat_interleave(self.samples, 0)[told.to(features.device)]
        captions = as_captions([said[i] for i in told.tolist()]).to(features.device)
        training = self.captioner.training
        self.captioner.eval()
        try:
            log_p = log_probabilities(self.captioner, inputs, captions)
        finally:
            self.captioner.train(training)
        return -(better[told].to(log_p) * log_p).sum() / len(said), paid.mean()
