"""SoundNet: a network that hears, taught by networks that see.

A video has a picture and a sound at the same moment. A vision network, trained long ago and frozen,
looks at the frame and says how probable each thing is; a sound network hears the wave and has to
say the same. Nobody labels anything (Aytar, Vondrick and Torralba, NIPS 2016). What the sound
network learns on the way is worth more than its answers: its inner layers serve other tasks.

The sound network reads the **raw wave**: no spectrogram, only convolutions along time, each
followed by batch normalisation, ReLU and perhaps the maximum of a few neighbours. Each layer sees a
longer stretch of the wave than the one before, and gives its answer less often. How long and how
often is counted in :func:`layers`.

Read from top to bottom: the settings, the table of the layers, the model, the loss, long waves, and
the weights that the authors published.

Sources: the paper, its loss and its tables 1 and 2; and where these contradict themselves, the
program that its authors published: the tables print strides of 1 for the pools, which are 8, 8, 4.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor.kit.vision import finite
from mmtutor.kit.waves import check_waves

STARTS = ("paper", "torch")
#: Names in a batch that are no head's.
TAKEN = ("loss", "wave", "there")


class Layer(NamedTuple):
    """A convolution over time, and the pool behind it.

    Attributes:
        channels: of its output.
        kernel: samples (or steps of the layer below) that it looks at.
        stride: from one to the next.
        padding: zeros at both ends.
        pool: maximum over so many steps, without overlap; 0 for none.
    """

    channels: int
    kernel: int
    stride: int
    padding: int
    pool: int = 0


#: Table 1 of the paper, without its last row, the heads.
EIGHT = (
    Layer(16, 64, 2, 32, 8),
    Layer(32, 32, 2, 16, 8),
    Layer(64, 16, 2, 8),
    Layer(128, 8, 2, 4),
    Layer(256, 4, 2, 2, 4),
    Layer(512, 4, 2, 2),
    Layer(1024, 4, 2, 2),
)
#: Table 2.
FIVE = (
    Layer(32, 64, 2, 32, 8),
    Layer(64, 32, 2, 16, 8),
    Layer(128, 16, 2, 8, 8),
    Layer(256, 8, 2, 4),
)
#: For two seconds at 8,000 samples a second.
SMALL = (
    Layer(32, 64, 8, 32, 8),
    Layer(64, 16, 2, 8),
    Layer(128, 8, 2, 4),
    Layer(192, 4, 2, 2, 2),
    Layer(256, 4, 2, 2),
)


@dataclass(frozen=True)
class Config:
    """Sizes and choices of a :class:`SoundNet`.

    Args:
        heads: the teachers: pairs of a name and its number of classes. Each has an answer of its
            own, from the same last layer.
        stack: the layers below the heads. Layer i is called ``conv1``, ``conv2``, …, and the pool
            behind it ``pool1``, …
        head: kernel, stride and padding of the heads, which are convolutions too: an answer every
            so often. ``None``: one answer for the whole wave, from the mean of the last layer.
        weights: of each teacher's divergence in the loss; ``()``: 1 each.
        rate: samples a second of the waves.
        scale: what waves in [−1, 1] are multiplied by. The published weights know waves in
            [−256, 256].
        start: the first weights: the ``"paper"``'s normal distributions, or those of ``"torch"``.
    """

    heads: tuple[tuple[str, int], ...]
    stack: tuple[Layer, ...] = SMALL
    head: tuple[int, int, int] | None = None
    weights: tuple[float, ...] = ()
    rate: int = 8000
    scale: float = 256.0
    start: str = "torch"

    def __post_init__(self) -> None:
        # plain tuples, if read from a file
        object.__setattr__(self, "stack", tuple(Layer(*own) for own in self.stack))
        names = [name for name, _ in self.heads]
        if not names or len(set(names)) < len(names) or not all(n.isidentifier() for n in names):
            raise ValueError(
                f"heads must be pairs of a plain, different name and a size, got {self.heads}"
            )
        if taken := {*TAKEN, *named(self.stack)} & set(names):
            raise ValueError(f"a head cannot be called {min(taken)!r}: that means something else")
        if min(size for _, size in self.heads) < 2:
            raise ValueError(f"a head needs two classes or more, got {self.heads}")
        if not self.stack:
            raise ValueError("stack must have a layer, got ()")
        wholes = [own[:3] for own in self.stack] + ([self.head[:2]] if self.head else [])
        zeros = [own[3:] for own in self.stack] + ([self.head[2:]] if self.head else [])
        if min(map(min, wholes)) < 1 or min(map(min, zeros)) < 0:
            raise ValueError(
                "channels, kernels and strides must be at least 1, paddings and pools at least 0; "
                f"got stack = {self.stack} and head = {self.head}"
            )
        if self.weights and (
            len(self.weights) != len(names)
            or not all(0 <= w < math.inf for w in self.weights)
            or not sum(self.weights)
        ):
            raise ValueError(
                f"weights must be () or a finite number for each of {names}, none negative and not "
                f"all 0, got {self.weights}"
            )
        if self.rate < 1 or not 0 < self.scale < math.inf:
            raise ValueError(f"rate and scale must be above 0, got {self.rate} and {self.scale}")
        if self.start not in STARTS:
            raise ValueError(f"start must be one of {STARTS}, got {self.start!r}")

    @classmethod
    def world(cls, heads: tuple[tuple[str, int], ...], **changes: Any) -> Config:
        """Trains on two CPU cores in about a minute, on two-second clips at 8,000 samples a
        second: five layers, and one answer a clip."""
        return cls(heads=tuple(heads), **changes)

    @classmethod
    def paper(cls, depth: int = 8, *, program: bool = False, **changes: Any) -> Config:
        """The published networks, for waves of 22,050 samples a second and of any length; 20
        seconds give four answers.

        Args:
            depth: 8 (table 1) or 5 (table 2), the heads counted.
            program: weigh the teachers as the authors' program does. The paper adds their
                divergences up; the program divides each by its number of classes and multiplies by
                250 / 2, so that the scenes weigh 2.49 times as much as the objects.
        """
        if depth not in (5, 8):
            raise ValueError(f"the paper has networks of 5 and 8 layers, not {depth}")
        heads = (("objects", 1000), ("scenes", 401))
        sizes = dict(heads=heads, rate=22050, start="paper")
        sizes |= (
            dict(stack=EIGHT, head=(8, 2, 0)) if depth == 8 else dict(stack=FIVE, head=(16, 12, 4))
        )
        if program:
            sizes["weights"] = tuple(250 / (len(heads) * size) for _, size in heads)
        return cls(**{**sizes, **changes})


# --- The table of the layers ----------------------------------------------------------------------


class Row(NamedTuple):
    """A layer as it stands in the table.

    Attributes:
        name: ``conv1``, ``pool1``, … or a head.
        channels: of its output.
        kernel, stride, padding: of the layer itself; 0, 0, 0 for a head that reads the mean of all.
        length: steps of its output.
        weights: parameters, those of the batch normalisation behind it included.
        field: samples of the wave that one step of its output sees: the receptive field.
        hop: samples from one step to the next.
        shift: samples by which the first step reaches back before the wave begins, into zeros.
    """

    name: str
    channels: int
    kernel: int
    stride: int
    padding: int
    length: int
    weights: int
    field: int
    hop: int
    shift: int


def layers(config: Config, length: int) -> list[Row]:
    """The table of all layers for a wave of ``length`` samples, from the wave to the heads.

    Raises:
        ValueError: the wave is too short for the heads; the message has the least length.
    """
    check_length(config, length)
    rows, row = [], Row("wave", 1, 0, 0, 0, length, 0, field=1, hop=1, shift=0)
    for name, shape in named(config.stack).items():
        channels = config.stack[int(name[4:]) - 1].channels
        # a bias, and the two numbers of the batch normalisation
        weights = channels * (row.channels * shape[0] + 3) if name.startswith("conv") else 0
        row = on_top(row, name, channels, shape, weights)
        rows.append(row)
    for name, classes in config.heads:
        if config.head is None:
            mean = Row(name, classes, 0, 0, 0, 1, classes * (row.channels + 1), length, length, 0)
            rows.append(mean)
        else:
            weights = classes * (row.channels * config.head[0] + 1)
            rows.append(on_top(row, name, classes, config.head, weights))
    return rows


def on_top(below: Row, name: str, channels: int, shape: tuple[int, int, int], weights: int) -> Row:
    """A layer that reads the one below: how long it is, and how far it sees."""
    kernel, stride, padding = shape
    return Row(
        name,
        channels,
        *shape,
        (below.length + 2 * padding - kernel) // stride + 1,
        weights,
        below.field + (kernel - 1) * below.hop,
        below.hop * stride,
        below.shift + padding * below.hop,
    )


def named(stack: tuple[Layer, ...]) -> dict[str, tuple[int, int, int]]:
    """Kernel, stride and padding of each convolution and each pool of a stack, by name."""
    found = {}
    for i, own in enumerate(stack, 1):
        found[f"conv{i}"] = (own.kernel, own.stride, own.padding)
        if own.pool:
            found[f"pool{i}"] = (own.pool, own.pool, 0)
    return found


def chain(config: Config, layer: str | None = None) -> list[tuple[int, int, int]]:
    """Kernel, stride and padding of all layers up to a layer, by default a head."""
    steps = named(config.stack)
    if layer is None or layer in dict(config.heads):
        return [*steps.values(), *([config.head] if config.head else [])]
    check_names(config, (layer,))
    return [*steps.values()][: [*steps].index(layer) + 1]


def receptive_field(config: Config, layer: str | None = None) -> int:
    """How many samples one step of a layer sees; a head that takes the mean of all sees them all,
    and counts here as the layer below it."""
    field = 1
    for kernel, stride, _ in reversed(chain(config, layer)):
        field = (field - 1) * stride + kernel
    return field


def least_length(config: Config, layer: str | None = None) -> int:
    """The shortest wave, in samples, of which a layer makes one step.

    Zeros stand at both ends of most layers, so it may be shorter than the receptive field; a wave
    as long as that is always enough. For the heads of the eight layers the two are 209,374 samples
    (9.5 s) and 320,542 (14.5 s).
    """
    length = 1
    for kernel, stride, padding in reversed(chain(config, layer)):
        length = max(1, (length - 1) * stride + kernel - 2 * padding)
    return length


# --- The model ------------------------------------------------------------------------------------


class SoundNet(nn.Module):
    """Hears a wave and says what would be seen. Left to the caller: the teachers, which are frozen
    networks outside; the model reads their answers only."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        channels = [1, *(own.channels for own in c.stack)]
        self.conv = nn.ModuleList(
            nn.Conv1d(below, own.channels, own.kernel, own.stride, own.padding)
            for below, own in zip(channels, c.stack)
        )
        self.norm = nn.ModuleList(nn.BatchNorm1d(own.channels) for own in c.stack)
        kernel, stride, padding = c.head or (1, 1, 0)
        self.heads = nn.ModuleDict(
            {name: nn.Conv1d(channels[-1], n, kernel, stride, padding) for name, n in c.heads}
        )
        if c.start == "paper":
            self.first_weights()

    @torch.no_grad()
    def first_weights(self) -> None:
        """The paper's program: weights of convolutions from N(0, 0.01²), those of batch
        normalisation from N(1, 0.02²), no biases."""
        for part in [*self.conv, *self.norm, *self.heads.values()]:
            mean, std = (1, 0.02) if isinstance(part, nn.BatchNorm1d) else (0, 0.01)
            nn.init.normal_(part.weight, mean, std)
            nn.init.zeros_(part.bias)

    def steps(self, waves: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The outputs of the layers, one after another: name and (B, C, T). Heads give logits."""
        x = self.config.scale * waves[:, None]  # (B, 1, L)
        for i, (own, conv, norm) in enumerate(zip(self.config.stack, self.conv, self.norm), 1):
            x = torch.relu(norm(conv(x)))
            yield f"conv{i}", x
            if own.pool:
                x = F.max_pool1d(x, own.pool)
                yield f"pool{i}", x
        if self.config.head is None:
            x = x.mean(-1, keepdim=True)  # (B, C, 1)
        for name, head in self.heads.items():
            yield name, head(x)

    def features(self, waves: Tensor, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """What layers make of waves, by name: (B, C, T) each; convolutions behind their ReLU, heads
        before their softmax.

        Args:
            waves: (B, L), numbers in [−1, 1] or 16-bit integers, ``config.rate`` samples a second.
            names: of layers (``conv1``, ``pool1``, …, heads); by default all. Layers above the
                last of them are not computed, and a shorter wave will do.

        Raises:
            ValueError: no such layer; a wave that is too short for one (its least length is in the
                message), or not as :func:`mmtutor.kit.waves.check_waves` wants it.
        """
        x = check_waves(waves)
        names = self.names() if names is None else names
        check_names(self.config, names)
        for name in names:
            check_length(self.config, x.shape[1], name)
        found: dict[str, Tensor] = {}
        for name, out in self.steps(x):
            if name in names:
                found[name] = out
                if len(found) == len(set(names)):
                    break
        return found

    def names(self) -> tuple[str, ...]:
        """The names of the layers, from the wave to the heads."""
        return (*named(self.config.stack), *self.heads)

    def forward(self, waves: Tensor) -> dict[str, Tensor]:
        """For each teacher the logits of its classes, (B, T, K), T steps after one another."""
        return {n: x.transpose(1, 2) for n, x in self.features(waves, tuple(self.heads)).items()}

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """How far the student's distributions are from the teachers': Σ_k w_k D_KL(g_k ‖ f_k).

        The mean over clips and steps, where the paper has a sum.

        Args:
            batch: ``"wave"`` (B, L); for each head, by its name, the teacher's distributions
                (B, T, K), or (B, K) where one picture stands for the whole clip; and, where
                pictures are missing, ``"there"`` (B, T) or (B,), True where there is one.

        Returns:
            ``"loss"``; for the eye, for each head its divergence in nats, under its name.
        """
        weights = self.config.weights or (1.0,) * len(self.heads)
        there = batch.get("there")
        terms = {}
        for name, logits in self(batch["wave"]).items():
            if name not in batch:
                raise ValueError(f"the batch needs {name!r}, what that teacher says")
            try:
                terms[name] = distil_loss(logits, batch[name], there)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        total = sum(w * one for w, one in zip(weights, terms.values()))
        return {"loss": total, **{name: one.detach() for name, one in terms.items()}}

    @torch.no_grad()
    def answer(self, waves: Tensor) -> dict[str, Tensor]:
        """What the student believes to see: for each teacher the mean of its distributions over
        the steps, (B, K) of sum 1."""
        return {name: logits.softmax(-1).mean(1) for name, logits in self(waves).items()}

    # -- waves of any length

    @torch.no_grad()
    def listen(
        self, waves: Tensor, names: Collection[str] | None = None, window: int | None = None
    ) -> dict[str, Tensor]:
        """The same as :meth:`features`, of long waves in little memory.

        The wave is read in windows that overlap by the receptive field. What a window says near its
        own ends, where it sees zeros that are none in the wave, is dropped; the window before or
        after it has it right. So the result is that of the whole wave. Beside the wave and the
        result it takes the memory of one window. (Ten minutes, for ``pool5`` and the answers of the
        eight layers: 0.3 GiB; in one piece 1.2 GiB.)

        Args:
            waves: (B, L).
            names: as for :meth:`features`; each first layer more makes the result long.
            window: samples read at once, at least receptive field + hop of the last layer wanted;
                by default four times that.

        Raises:
            ValueError: as :meth:`features`; a window that is too short; or a model in training,
                whose batch normalisation would hear each window by itself.
        """
        if self.training:
            raise ValueError("listen() is for a trained model: call eval() first")
        x = check_waves(waves)
        names = self.names() if names is None else tuple(names)
        check_names(self.config, names)
        total = x.shape[1]
        for name in names:
            check_length(self.config, total, name)
        means = [n for n in names if n in self.heads and self.config.head is None]
        top = self.names()[-1 - len(self.heads)]  # what heads take the mean of
        wanted = [n for n in self.names() if n in names and n not in means]
        wanted += [top] if means and top not in wanted else []
        length = max(total, least_length(self.config))
        rows = [row for row in layers(self.config, length) if row.name in wanted]
        field, hop = max(row.field for row in rows), max(row.hop for row in rows)
        window = 4 * (field + hop) if window is None else window
        if window < field + hop:
            raise ValueError(
                f"a window must have at least {field + hop} samples, the receptive field and a hop "
                f"of {rows[-1].name!r}; got {window}"
            )
        parts: dict[str, list[Tensor]] = {row.name: [] for row in rows}
        done = dict.fromkeys(parts, 0)  # steps that are known
        start, end = 0, 0
        while end < total:
            end = start + window if total - start >= window + hop else total
            found = self.features(x[:, start:end], wanted)
            for row in rows:
                name, first = row.name, start // row.hop  # the window's first step in the whole
                last = found[name].shape[2]
                if end < total:  # steps that see nothing beyond the end
                    last = (end - start - row.field + row.shift) // row.hop + 1
                parts[name].append(found[name][:, :, done[name] - first : last])
                done[name] = first + last
            # the next window sees all that the next step of each layer sees
            start = min(done[row.name] * row.hop - row.shift for row in rows) // hop * hop
        heard = {name: torch.cat(own, 2) for name, own in parts.items()}
        for name in means:
            heard[name] = self.heads[name](heard[top].mean(-1, keepdim=True))
        return {name: heard[name] for name in self.names() if name in names}


# --- The loss -------------------------------------------------------------------------------------


def distil_loss(logits: Tensor, teacher: Tensor, there: Tensor | None = None) -> Tensor:
    """The mean Kullback–Leibler divergence of a student from its teacher, in nats:
    D_KL(g ‖ f) = Σ_j g_j log(g_j / f_j), with f the softmax of the logits.

    It is 0 where they agree. A teacher who is certain (a label) makes it the cross-entropy.

    Args:
        logits: (B, T, K) of the student.
        teacher: g, (B, T, K), or (B, K) for all steps.
        there: (B, T) or (B,) bool, True where the teacher saw a picture; the others do not count.
            Without any picture the loss is 0.

    Raises:
        ValueError: shapes that do not fit; or (on the CPU) rows of the teacher that are negative,
            NaN or not of sum 1, where there is a picture.
    """
    told, known = check_teacher(logits, teacher, there)
    each = F.kl_div(logits.log_softmax(-1).to(told.dtype), told, reduction="none").sum(-1)  # (B, T)
    return (each * known).sum() / known.sum().clamp(min=1)


def agreement(logits: Tensor, teacher: Tensor, there: Tensor | None = None) -> Tensor:
    """The share of steps whose most probable class is the teacher's; see :func:`distil_loss`."""
    told, known = check_teacher(logits, teacher, there)
    same = (logits.argmax(-1) == told.argmax(-1)) * known
    return same.sum() / known.sum().clamp(min=1)


# --- The published weights ------------------------------------------------------------------------


def published_keys(config: Config) -> dict[str, str]:
    """Our name of each weight, and its name in the network that the authors published.

    That is a Lua ``nn.Sequential`` (``soundnet8_final.t7``). Its modules are numbered from 1, in
    the order convolution, batch normalisation, ReLU, pool where there is one: so 18 is ``pool5``
    and 24 is ``conv7``, as in the authors' scripts. Last comes a table of the heads: the weights of
    objects and scenes are ``25.1.weight`` and ``25.2.weight``. With the package ``torchfile``::

        def weights(module, name=""):
            for own in ("weight", "bias", "running_mean", "running_var"):
                if module[own] is not None:
                    yield f"{name}{own}", torch.from_numpy(module[own])
            for i, part in enumerate(module["modules"] or [], 1):
                yield from weights(part, f"{name}{i}.")

        model = from_published(Config.paper(), dict(weights(torchfile.load("soundnet8_final.t7"))))
    """
    keys, module = {}, 1
    for i, own in enumerate(config.stack):
        for ours, number, parts in (
            (f"conv.{i}", module, ("weight", "bias")),
            (f"norm.{i}", module + 1, ("weight", "bias", "running_mean", "running_var")),
        ):
            keys |= {f"{ours}.{part}": f"{number}.{part}" for part in parts}
        module += 4 if own.pool else 3
    for k, (name, _) in enumerate(config.heads, 1):
        keys |= {f"heads.{name}.{part}": f"{module}.{k}.{part}" for part in ("weight", "bias")}
    return keys


def from_published(config: Config, state: Mapping[str, Tensor]) -> SoundNet:
    """A network with the published weights, in ``eval`` mode.

    Time is the height of the Lua network's pictures, so its kernels are (out, in, k, 1); single
    rows and columns are taken out. Others of its tensors (outputs, gradients) are not looked at.

    Args:
        config: :meth:`Config.paper`.
        state: the weights by the names of :func:`published_keys`.

    Raises:
        ValueError: weights are missing, or of another shape; the message names some.
    """
    model = SoundNet(config)
    ours, wrong = model.state_dict(), []
    for name, key in published_keys(config).items():
        found = state.get(key)
        if found is None:
            wrong.append(f"{key} ({name}) is missing")
        elif found.squeeze().shape != ours[name].squeeze().shape:
            wrong.append(f"{key} ({name}) is {tuple(found.shape)}, not {tuple(ours[name].shape)}")
        else:
            ours[name] = found.reshape(ours[name].shape).to(ours[name].dtype)
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"these are not the weights of this network: {'; '.join(wrong[:3])}{more}")
    model.load_state_dict(ours)
    return model.eval()


# --- Checks ---------------------------------------------------------------------------------------


def check_names(config: Config, names: Collection[str]) -> None:
    """Raise a ValueError unless these are names of layers, at least one."""
    known = (*named(config.stack), *dict(config.heads))
    strange = [name for name in names if name not in known]
    if strange or not names or isinstance(names, str):
        raise ValueError(f"names must be some of {known}, got {names!r}")


def check_length(config: Config, length: int, layer: str | None = None) -> None:
    """Raise a ValueError unless a wave is long enough for a layer, by default the heads."""
    least = least_length(config, layer)
    if length < least:
        name = layer or config.heads[0][0]
        raise ValueError(
            f"a wave of {length} samples is too short for {name!r}, which needs at least {least} "
            f"({least / config.rate:.3g} s at {config.rate} samples a second); its receptive field "
            f"is {receptive_field(config, layer)} samples"
        )


def check_teacher(logits: Tensor, teacher: Tensor, there: Tensor | None) -> tuple[Tensor, Tensor]:
    """The teacher's distributions (B, T, K), and which of them count, (B, T), as numbers."""
    if logits.ndim != 3:
        raise ValueError(f"logits must be (B, T, K), got {tuple(logits.shape)}")
    batch, steps, classes = logits.shape
    shapes = ((batch, steps, classes), (batch, classes))
    got = tuple(teacher.shape) if isinstance(teacher, Tensor) else type(teacher).__name__
    if got not in shapes or not teacher.is_floating_point():
        kind = "" if got not in shapes else f" of {teacher.dtype}"
        raise ValueError(
            f"the teacher's distributions must be numbers {shapes[0]} or {shapes[1]}, got "
            f"{got}{kind}"
        )
    exact = torch.promote_types(logits.dtype, torch.float32)
    told = teacher.to(exact).reshape(batch, -1, classes).expand(-1, steps, -1)
    known = told.new_ones(batch, steps)
    if there is not None:
        seen = tuple(there.shape) if isinstance(there, Tensor) else type(there).__name__
        if seen not in ((batch, steps), (batch,)) or there.dtype != torch.bool:
            raise ValueError(
                f"there must be bool {(batch, steps)} or {(batch,)}, got {seen}"
                + (f" of {there.dtype}" if isinstance(there, Tensor) else "")
            )
        known = known * there.reshape(batch, -1)
        told = torch.where(known[..., None] > 0, told, 1 / classes)  # what is not known may be NaN
    if told.device.type == "cpu":
        sums = told.detach().sum(-1)
        if not finite(sums) or told.min() < 0 or (sums - 1).abs().max() > 5e-3:
            raise ValueError(
                "the teacher's rows must be distributions: not negative and of sum 1, got a least "
                f"of {float(told.min()):.3g} and sums from {float(sums.min()):.4g} to "
                f"{float(sums.max()):.4g}; where a picture is missing, say so with 'there'"
            )
    return told, known
