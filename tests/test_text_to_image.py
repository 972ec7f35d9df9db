"""Text to image: the game against a plain one with torch's optimizers, the losses by hand, the paper's sizes."""

import copy
import io
import itertools
import math
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor import text_to_image as t2i
from mmtutor.kit import saving, training
from mmtutor.kit.text import Vocabulary
from mmtutor.text_to_image import (
    ALPHABET,
    Config,
    Fitting,
    PictureEncoder,
    TextEncoder,
    TextToImage,
    augmented,
    contrastive_loss,
    discriminator_loss,
    fit,
    generator_loss,
    joint_loss,
    letters,
    play,
    players,
    r1_penalty,
    seeking_loss,
    settle,
)

V, B, H, Z, S = 9, 8, 7, 4, 16
SMALL = Config(
    vocabulary=V,
    size=S,
    words=5,
    hidden=6,
    sentence=H,
    projection=5,
    code=Z,
    generator=4,
    discriminator=4,
)
#: The options of today taken away: what is left is the paper's game.
PLAIN = {"seeking": 0.0, "average": 0.0, "falling": 1.0}
#: Each switch by itself, and some together.
SWITCHES = {
    "the paper's": {},
    "no matching": {"matching": False},
    "interpolation": {"interpolation": 0.7},
    "pairs": {"pairs": 0.5},
    "r1": {"r1": 2.0},
    "seeking": {"seeking": 0.3},
    "spectral": {"spectral": True},
    "average": {"average": 0.6},
    "no code": {"code": 0},
    "augment": {"augment": True},
    "augment, pairs": {"augment": True, "pairs": 0.5},
    "pairs, seeking, interpolation": {"pairs": 0.5, "seeking": 0.3, "interpolation": 0.7},
    "all": {
        "pairs": 0.5,
        "seeking": 0.3,
        "interpolation": 0.7,
        "r1": 2.0,
        "average": 0.6,
        "spectral": True,
    },
}
EVERY = pytest.mark.parametrize("switch", SWITCHES)


def build(seed: int = 0, **changes) -> TextToImage:
    torch.manual_seed(seed)
    return TextToImage(replace(SMALL, **changes))


def switched(switch: str, seed: int = 0, **changes) -> TextToImage:
    return build(seed, **{**PLAIN, **SWITCHES[switch], **changes})


def batch_of(seed: int = 0, size: int = B, dtype: torch.dtype = torch.float32) -> dict:
    g = torch.Generator().manual_seed(seed)
    made = {
        "pictures": 2 * torch.rand(size, 3, S, S, generator=g) - 1,
        "sentence": torch.randn(size, H, generator=g),
        "wrong": torch.randn(size, H, generator=g),
    }
    return {name: x.to(dtype) for name, x in made.items()}


def sentences_of(count: int = 5, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, V, (count, 6), generator=g)
    for row in range(count):
        ids[row, 2 + row % 5 :] = 0
    return ids


def weights(part: nn.Module) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in part.state_dict().items()}


def same(one: dict, two: dict, **tolerance) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], **{"rtol": 0, "atol": 0, **tolerance})


def differ(one: dict, two: dict) -> bool:
    same_names = one.keys() == two.keys()
    return not same_names or any(not torch.equal(x, two[name]) for name, x in one.items())


@pytest.fixture
def double():
    """All that is made is of double precision: Adam makes much of a slope that is only rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# --- The paper's sizes ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def paper() -> TextToImage:
    with torch.device("meta"):
        return TextToImage(Config.paper())


def shapes(part: nn.Module, kinds: tuple[type, ...], *inputs: torch.Tensor) -> list[tuple]:
    """The shape (without the batch) that each layer of these kinds gives."""
    seen = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
        for layer in part.modules()
        if isinstance(layer, kinds)
    ]
    part(*inputs)
    for hook in hooks:
        hook.remove()
    return seen


def test_the_players_have_as_many_weights_as_the_papers(paper):
    """Counted from the layers that the paper and DCGAN give: 4 × 4 kernels without bias, batch
    normalization, a projection for each player."""
    listens = 1024 * 128 + 128 + 2 * 128
    assert training.parameter_count(paper.generator.listen) == listens == 131_456
    assert training.parameter_count(paper.generator) == 4_756_736
    assert training.parameter_count(paper.discriminator) == 3_225_728
    up, down = (228, 512, 256, 128, 64, 3), (3, 64, 128, 256, 512)
    drawn = sum(16 * a * b for a, b in itertools.pairwise(up)) + 2 * (512 + 256 + 128 + 64)
    looks = sum(16 * a * b for a, b in itertools.pairwise(down)) + 2 * (128 + 256 + 512)
    judged = 640 * 512 + 2 * 512 + 16 * 512
    assert training.parameter_count(paper.generator) == listens + drawn
    assert training.parameter_count(paper.discriminator) == listens + looks + judged


def test_the_layers_have_the_papers_shapes(paper):
    h, z = torch.zeros(2, 1024, device="meta"), torch.zeros(2, 100, device="meta")
    assert shapes(paper.generator, (nn.ConvTranspose2d, nn.Linear), h, z) == [
        (128,),
        (512, 4, 4),
        (256, 8, 8),
        (128, 16, 16),
        (64, 32, 32),
        (3, 64, 64),
    ]
    pictures = torch.zeros(2, 3, 64, 64, device="meta")
    joined = []
    hook = paper.discriminator.join[0].register_forward_pre_hook(
        lambda _, x: joined.append(tuple(x[0].shape))
    )
    found = shapes(paper.discriminator, (nn.Conv2d, nn.Linear), pictures, h)
    hook.remove()
    looks = [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
    assert found == [*looks, (128,), (512, 4, 4), (1, 1, 1)]
    assert joined == [(2, 640, 4, 4)]
    assert paper.discriminator(pictures, h).shape == (2,)


def test_the_first_layers_and_the_last_are_not_normalized(paper):
    kinds = [type(layer).__name__ for layer in paper.generator.draw]
    assert kinds == ["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 4 + ["ConvTranspose2d", "Tanh"]
    kinds = [type(layer).__name__ for layer in paper.discriminator.look]
    assert kinds == ["Conv2d", "LeakyReLU"] + ["Conv2d", "BatchNorm2d", "LeakyReLU"] * 3
    slopes = {x.negative_slope for x in paper.modules() if isinstance(x, nn.LeakyReLU)}
    assert slopes == {0.2}


def test_the_paper_reads_letters():
    """201 letters, three convolutions with pooling: 66, 21 and 8 places are left."""
    phi = TextEncoder(Config.paper())
    assert shapes(phi, (nn.MaxPool1d,), letters(["a bird", "a flower with red petals"])) == [
        (384, 66),
        (512, 21),
        (512, 8),
    ]
    assert phi.recur.input_size == phi.recur.hidden_size == 512
    assert phi.recur.nonlinearity == "relu"
    assert phi(letters(["a bird"])).shape == (1, 1024)
    assert phi.convolve[0].in_channels == 70


def test_the_papers_settings():
    c = Config.paper()
    assert (c.size, c.sentence, c.projection, c.code) == (64, 1024, 128, 100)
    assert (c.rates, c.beta2, c.falling) == ((2e-4, 2e-4), 0.999, 1.0)
    off = ("interpolation", "average", "seeking", "pairs", "r1", "spectral", "augment")
    assert not any(getattr(c, name) for name in off)
    assert c.matching
    assert Config.paper(interpolation=1.0).interpolation == 1
    assert Config.world(50, size=64).size == 64


def test_the_first_weights_are_drawn_as_in_dcgan():
    model = TextToImage(Config.world(V, generator=64, discriminator=64))
    for part in (model.generator, model.discriminator):
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                w = layer.weight.detach()
                assert float(w.std()) == pytest.approx(0.02, rel=0.2)
                assert layer.bias is None
            if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
                assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.5)
                assert float(layer.weight.detach().mean()) == pytest.approx(1, abs=0.02)
                assert not layer.bias.detach().any()


def test_the_sentence_stands_before_the_code():
    """As in the paper; the programs differ."""
    G = build().generator.eval()
    h, z = torch.randn(2, H), torch.randn(2, Z)
    with torch.no_grad():
        G.draw[0].weight[SMALL.projection :] = 0
        assert torch.equal(G(h, z), G(h, 2 * z))
        assert not torch.equal(G(h, z), G(2 * h, z))
        G.draw[0].weight[: SMALL.projection] = 0
        assert not G(h, z).any()


@pytest.mark.parametrize("size", [8, 16, 32, 64, 128])
def test_every_power_of_two_can_be_drawn(size):
    model = build(size=size).eval()
    x = model.generator(torch.randn(3, H), torch.randn(3, Z))
    assert x.shape == (3, 3, size, size)
    assert float(x.detach().abs().max()) < 1
    assert model.discriminator.look(x).shape[2:] == (4, 4)
    assert model.discriminator(x, torch.randn(3, H)).shape == (3,)
    assert PictureEncoder(model.config)(x).shape == (3, H)


# --- A sentence as a vector -----------------------------------------------------------------------


def test_letters_are_numbered_as_in_the_alphabet():
    assert len(ALPHABET) == 70
    assert len(set(ALPHABET)) == 69  # the program's alphabet has its hyphen twice
    ids = letters(["A b9?", "z" * 300, " é~a"])
    assert ids.shape == (3, 201)
    assert ids[0, :6].tolist() == [1, 70, 2, 36, ALPHABET.index("?") + 1, 0]
    assert ids[1].tolist() == [26] * 201
    assert ids[2, :4].tolist() == [70, ALPHABET.index("~") + 1, 1, 0]  # é is left out
    assert ids.dtype == torch.int64
    assert letters(["abc"], 2).tolist() == [[1, 2]]


@pytest.mark.parametrize("text", ["", "  ", "강아지"])
def test_a_text_without_letters_is_refused(text):
    with pytest.raises(ValueError, match=r"sentence 1, .* has no letter"):
        letters(["a", text])


def test_letters_are_read_one_number_each():
    """A letter is a row of zeros with a one; padding has none."""
    torch.manual_seed(0)
    phi = TextEncoder(replace(SMALL, words=0, convolutions=((4, 2, 2, 1),)))
    seen = []
    phi.convolve.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    phi(torch.tensor([[3, 1, 8, 0, 0]]))
    rows = seen[0][0].T
    assert rows.shape == (5, V - 1)
    assert rows[:3].argmax(1).tolist() == [2, 0, 7]
    assert rows.sum(1).tolist() == [1, 1, 1, 0, 0]


def gru(phi: TextEncoder, ids: list[int]) -> torch.Tensor:
    """h of one sentence, word by word, from the equations of a GRU."""
    w = dict(phi.named_parameters())
    state, states = torch.zeros(SMALL.hidden), []
    for i in ids:
        x = w["embed.weight"][i]
        a = w["recur.weight_ih_l0"] @ x + w["recur.bias_ih_l0"]
        b = w["recur.weight_hh_l0"] @ state + w["recur.bias_hh_l0"]
        (ar, au, an), (br, bu, bn) = a.chunk(3), b.chunk(3)
        reset, update = (ar + br).sigmoid(), (au + bu).sigmoid()
        new = (an + reset * bn).tanh()
        state = (1 - update) * new + update * state
        states.append(state)
    return w["out.weight"] @ (sum(states) / len(states)) + w["out.bias"]


def test_a_sentences_vector_is_the_mean_of_its_states():
    phi, ids = build().encoder, sentences_of()
    found = phi(ids)
    assert found.shape == (5, H)
    for row, h in zip(ids.tolist(), found):
        torch.testing.assert_close(h, gru(phi, [i for i in row if i]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"recurrence": "relu"}, {"words": 0}])
def test_padding_and_neighbours_change_nothing(changes):
    phi, ids = build(**changes).encoder, sentences_of()
    h = phi(ids)
    torch.testing.assert_close(phi(F.pad(ids, (0, 3))), h)
    torch.testing.assert_close(phi(ids[2:3]), h[2:3])
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(phi(ids[order]), h[order])
    assert len({tuple(row) for row in h.tolist()}) == 5


def test_a_word_counts_where_it_stands():
    phi = build().encoder
    one, two = phi(torch.tensor([[1, 2, 3], [3, 2, 1]]))
    assert not torch.allclose(one, two)


# --- Sentences and pictures that fit --------------------------------------------------------------


def hinge(x: torch.Tensor, h: torch.Tensor, alike: torch.Tensor) -> float:
    total = 0.0
    for i, j in itertools.product(range(len(x)), repeat=2):
        if i != j and not bool(alike[i, j]):
            total += max(0.0, 1 + float(x[i] @ h[j]) - float(x[i] @ h[i]))
            total += max(0.0, 1 + float(x[j] @ h[i]) - float(x[i] @ h[i]))
    return total / len(x) ** 2


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(1, 6))
def test_the_joint_loss_is_its_double_sum(seed, count):
    g = torch.Generator().manual_seed(seed)
    x, h = (torch.randn(count, 3, generator=g, dtype=torch.float64) for _ in range(2))
    meaning = torch.randint(0, 3, (count,), generator=g)
    alike = meaning[:, None] == meaning
    assert float(joint_loss(x, h)) == pytest.approx(hinge(x, h, torch.zeros_like(alike)))
    assert float(joint_loss(x, h, alike)) == pytest.approx(hinge(x, h, alike))
    assert float(joint_loss(x, h, torch.ones_like(alike))) == 0


def test_the_joint_loss_by_hand():
    x, h = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 1.0], [0.5, 1.0]])
    # products: x0·h0 = 1, x0·h1 = ½, x1·h0 = 2, x1·h1 = 2. Wrong sentences: 1 + ½ − 1 and 1 + 2 − 2;
    # wrong pictures: for h0, 1 + 2 − 1, for h1, 1 + ½ − 2 < 0
    assert float(joint_loss(x, h)) == pytest.approx((0.5 + 1 + 2) / 4)
    assert float(joint_loss(3 * torch.eye(2), 3 * torch.eye(2))) == 0  # ahead by 9


def test_the_contrastive_loss_is_a_choice_by_hand():
    g = torch.Generator().manual_seed(0)
    x, h = (torch.randn(4, 3, generator=g, dtype=torch.float64) for _ in range(2))
    meaning = torch.tensor([0, 1, 0, 2])
    for alike in (None, meaning[:, None] == meaning):
        total = 0.0
        for i in range(4):
            others = [j for j in range(4) if i == j or alike is None or not bool(alike[i, j])]
            score = {
                (a, b): 5 * float(F.cosine_similarity(x[a], h[b], 0))
                for a in range(4)
                for b in range(4)
            }
            total += math.log(sum(math.exp(score[i, j]) for j in others)) - score[i, i]
            total += math.log(sum(math.exp(score[j, i]) for j in others)) - score[i, i]
        assert float(contrastive_loss(x, h, 5.0, alike)) == pytest.approx(total / 8)
    assert float(contrastive_loss(7 * x, h / 3, 5.0)) == pytest.approx(
        float(contrastive_loss(x, h, 5.0))
    )  # length does not count


@pytest.mark.parametrize("loss", ["contrastive", "hinge"])
def test_fitting_teaches_both_encoders_and_fits_a_batch(loss):
    torch.manual_seed(0)
    both = Fitting(SMALL, loss)
    batch = {
        "pictures": batch_of()["pictures"],
        "sentences": sentences_of(B, 1),
        "meaning": torch.arange(B),
    }
    both.loss(batch).backward()
    for name, p in both.named_parameters():
        assert bool(p.grad.abs().sum() > 0), name
    before = float(both.loss(batch).detach())
    training.fit(both, batch, epochs=150, lr=1e-2, progress=False)
    assert float(both.loss(batch).detach()) < 0.1 * before
    best = (both.pictures(batch["pictures"]) @ both.sentences(batch["sentences"]).T).argmax(1)
    if loss == "hinge":
        assert best.tolist() == list(range(B))


@pytest.mark.parametrize("loss", ["contrastive", "hinge"])
def test_what_means_the_same_is_no_mistake(loss):
    torch.manual_seed(0)
    both = Fitting(SMALL, loss)
    batch = {"pictures": batch_of()["pictures"], "sentences": sentences_of(B)}
    x, h = both.pictures(batch["pictures"]), both.sentences(batch["sentences"])
    meaning = torch.tensor([0, 0, 1, 1, 2, 3, 4, 5])
    alike = meaning[:, None] == meaning
    expected = (
        joint_loss(x, h, alike) if loss == "hinge" else contrastive_loss(x, h, math.exp(2.0), alike)
    )
    torch.testing.assert_close(both.loss({**batch, "meaning": meaning}), expected)
    assert not torch.allclose(both.loss({**batch, "meaning": torch.arange(B)}), expected)


# --- The losses of the game -----------------------------------------------------------------------


def test_the_judges_loss_by_hand():
    right, drawn, wrong = (
        torch.tensor([2.0, -1.0]),
        torch.tensor([0.5, 0.0]),
        torch.tensor([-3.0, 1.0]),
    )

    def s(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    told = -(math.log(s(2)) + math.log(s(-1))) / 2
    fake = -(math.log(1 - s(0.5)) + math.log(1 - s(0))) / 2
    other = -(math.log(1 - s(-3)) + math.log(1 - s(1))) / 2
    assert float(discriminator_loss(right, drawn, wrong)) == pytest.approx(
        told + (fake + other) / 2
    )
    assert float(discriminator_loss(right, drawn)) == pytest.approx(told + fake)
    assert float(generator_loss(drawn)) == pytest.approx(-(math.log(s(0.5)) + math.log(s(0))) / 2)


def test_the_halves_and_the_signs():
    zero, five = torch.zeros(3), torch.full((3,), 5.0)
    for wrong in (None, zero):
        assert float(discriminator_loss(zero, zero, wrong)) == pytest.approx(2 * math.log(2))
    assert float(generator_loss(zero)) == pytest.approx(math.log(2))
    # right above, wrong and drawn below 0: next to nothing to pay
    assert float(discriminator_loss(5 * five, -5 * five, -5 * five)) < 1e-9
    assert float(discriminator_loss(-five, five, five)) == pytest.approx(
        10 + 2 * math.log1p(math.exp(-5))
    )
    assert float(generator_loss(5 * five)) < 1e-9
    scores = [torch.zeros(4, requires_grad=True) for _ in range(3)]
    discriminator_loss(*scores).backward()
    right, drawn, wrong = (float(x.grad.sum()) for x in scores)
    assert (right, drawn, wrong) == (-0.5, 0.25, 0.25)  # slopes at 0: −½, and half of ½ each
    alone = torch.zeros(4, requires_grad=True)
    discriminator_loss(torch.zeros(4), alone).backward()
    assert float(alone.grad.sum()) == 0.5


def test_large_scores_do_not_overflow():
    far = torch.tensor([1e4, -1e4])
    assert float(discriminator_loss(far, far, far)) == pytest.approx(1e4)
    assert float(generator_loss(far)) == pytest.approx(5e3)


def test_the_seeking_loss_by_hand():
    one = torch.tensor([[0.5, -0.5], [0.0, 0.0], [1.0, 1.0]]).view(3, 2, 1, 1)
    two = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0]]).view(3, 2, 1, 1)
    z_one = torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    z_two = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    # |ΔG| = ½, 0, ½ and |Δz| = ½, 1, 1
    expected = (1 / (1 + 0.02) + 1 / 0.02 + 1 / (0.5 + 0.02)) / 3
    assert float(seeking_loss(one, two, z_one, z_two)) == pytest.approx(expected)
    assert math.isfinite(float(seeking_loss(one, two, z_one, z_one)))  # one code twice
    moving = one.clone().requires_grad_()
    seeking_loss(moving, two, z_one, z_two).backward()
    assert bool((moving.grad[0].sign() == -(one - two)[0].sign()).all())  # less is paid further off


def test_r1_of_a_known_slope():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, 4, 4, generator=g, dtype=torch.float64, requires_grad=True)
    a = torch.randn(3, 4, 4, generator=g, dtype=torch.float64)
    torch.testing.assert_close(r1_penalty((a * x).sum((1, 2, 3)), x), a.square().sum() / 2)
    bent = (x**2).sum((1, 2, 3)) / 2  # its slope is x
    torch.testing.assert_close(r1_penalty(bent, x), x.detach().square().sum((1, 2, 3)).mean() / 2)


def test_r1_of_the_judge_by_differences():
    """The slope at each number of two pictures, and what the penalty teaches a weight."""
    model = build(size=8, discriminator=3).double()
    D = model.discriminator.eval()
    g = torch.Generator().manual_seed(1)
    x = torch.rand(2, 3, 8, 8, generator=g, dtype=torch.float64)
    h, e = torch.randn(2, H, generator=g, dtype=torch.float64), 1e-5

    def penalty() -> float:
        total, steps = 0.0, e * torch.eye(192, dtype=torch.float64).view(192, 3, 8, 8)
        with torch.no_grad():
            for picture, said in zip(x, h):
                told = said.expand(192, -1)
                slope = (D(picture + steps, told) - D(picture - steps, told)) / (2 * e)
                total += float(slope.square().sum())
        return total / 2 / len(x)

    real = x.clone().requires_grad_()
    found = r1_penalty(D(real, h), real)
    assert float(found.detach()) == pytest.approx(penalty(), rel=1e-5)
    found.backward()
    w = D.join[0].weight
    place = tuple(int(i) for i in (w.grad.abs() == w.grad.abs().max()).nonzero()[0])
    values = []
    for step in (e, -2 * e):
        with torch.no_grad():
            w[place] += step
        values.append(penalty())
    assert float(w.grad[place]) == pytest.approx((values[0] - values[1]) / (2 * e), rel=1e-3)


# --- The game, plainly ----------------------------------------------------------------------------


class Plain:
    """The same game from the paper's algorithm 1 and the papers of its options: probabilities and
    logarithms, two plain Adams, an average kept in a list."""

    def __init__(self, model: TextToImage) -> None:
        self.c = model.config
        self.G, self.D = copy.deepcopy(model.generator), copy.deepcopy(model.discriminator)
        self.average = [p.detach().clone() for p in self.G.parameters()]
        betas, steps = (0.5, self.c.beta2), zip((self.G, self.D), self.c.rates)
        self.adam_g, self.adam_d = (torch.optim.Adam(p.parameters(), lr, betas) for p, lr in steps)
        self.done = 0

    def look(self, pictures: torch.Tensor) -> torch.Tensor:
        if self.c.augment:
            pictures = augmented(pictures, 2 if self.c.pairs else 1)
        return self.D.look(pictures)

    def p(self, seen: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """The probability that a pair is true."""
        told = self.D.listen(h)
        tiled = torch.stack([torch.stack([told] * 4, -1)] * 4, -1)
        return self.D.join(torch.cat([seen, tiled], 1))[:, 0, 0, 0].sigmoid()

    def p_pairs(self, seen: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        told = self.D.listen(torch.stack([h[k] for k in range(0, len(h), 2)]))
        rows = []
        for k in range(0, len(seen), 2):
            mean, gap = (seen[k] + seen[k + 1]) / 2, (seen[k] - seen[k + 1]).abs()
            rows.append(torch.cat([mean, gap, told[k // 2][:, None, None].expand(-1, 4, 4)]))
        return self.D.compare(torch.stack(rows))[:, 0, 0, 0].sigmoid()

    @staticmethod
    def learn(adam: torch.optim.Adam, loss: torch.Tensor) -> None:
        own = [p for group in adam.param_groups for p in group["params"]]
        for p, slope in zip(own, torch.autograd.grad(loss, own)):
            p.grad = slope
        adam.step()

    def step(self, batch: dict) -> tuple[float, float]:
        c, (x, h) = self.c, (batch["pictures"], batch["sentence"])
        size = len(x)
        z = torch.randn(size, c.code)
        fake = self.G(h, z)
        if c.augment:
            x = augmented(x, 2 if c.pairs else 1)
        x = x.clone().requires_grad_()
        seen = self.D.look(x)
        right = self.p(seen, h)
        pays = -right.log().mean()
        if c.matching:
            wrong = self.p(seen, batch["wrong"])
        imagined = self.look(fake.detach())
        drawn = self.p(imagined, h)
        if c.matching:
            pays = pays - ((1 - wrong).log() + (1 - drawn).log()).mean() / 2
        else:
            pays = pays - (1 - drawn).log().mean()
        told = float(pays.detach())
        if c.pairs:
            two, other = self.p_pairs(seen, h), self.p_pairs(imagined, h)
            pays = pays - c.pairs * (two.log().mean() + (1 - other).log().mean())
        if c.r1:
            score = (right / (1 - right)).log()
            (slope,) = torch.autograd.grad(score.sum(), x, create_graph=True)
            pays = pays + c.r1 / 2 * (slope**2).sum() / size
        self.learn(self.adam_d, pays)

        seen = self.look(fake)
        pays = -self.p(seen, h).log().mean()
        fooled = float(pays.detach())
        if c.pairs:
            pays = pays - c.pairs * self.p_pairs(seen, h).log().mean()
        if c.interpolation:
            back = 2 if c.pairs else 1
            between = torch.stack([0.5 * h[k] + 0.5 * h[k - back] for k in range(size)])
            middle = self.look(self.G(between, torch.randn(size, c.code)))
            pays = pays - c.interpolation * self.p(middle, between).log().mean()
        if c.seeking:
            if c.pairs:
                rows = [(fake[k], fake[k + 1], z[k], z[k + 1]) for k in range(0, size, 2)]
            else:
                z2 = torch.randn(size, c.code)
                rows = list(zip(fake, self.G(h, z2), z, z2))
            ratios = [(a - b).abs().mean() / (s - t).abs().mean() for a, b, s, t in rows]
            pays = pays + c.seeking * sum(1 / (ratio + 0.02) for ratio in ratios) / len(ratios)
        self.learn(self.adam_g, pays)

        self.done += 1
        keep = min(c.average, self.done / (self.done + 10))
        for mean, p in zip(self.average, self.G.parameters()):
            mean.mul_(keep).add_((1 - keep) * p.detach())
        return told, fooled


@EVERY
def test_a_step_is_the_plain_algorithms(switch, double):
    tolerance = {"rtol": 1e-7, "atol": 1e-9}
    model = switched(switch, rates=(3e-3, 2e-3), beta2=0.95).train()
    plain, both = Plain(model), players(model)
    for step in range(2):
        batch = batch_of(step, dtype=torch.float64)
        losses = []
        for game in (
            lambda batch=batch: play(model, batch, both),
            lambda batch=batch: plain.step(batch),
        ):
            torch.manual_seed(7 + step)
            losses.append(game())
        ours = losses[0]["discriminator"], losses[0]["generator"]
        assert ours == pytest.approx(losses[1], rel=1e-7)
    same(weights(model.generator), weights(plain.G), **tolerance)
    same(weights(model.discriminator), weights(plain.D), **tolerance)
    if model.averaged is not None:
        for mean, found in zip(plain.average, model.averaged.parameters()):
            torch.testing.assert_close(found, mean, **tolerance)
    assert both.step == 2


@pytest.mark.parametrize("switch", list(SWITCHES)[1:])
def test_each_switch_changes_the_game(switch):
    """Else the test above might compare two games that both leave it out."""
    found = []
    for name in ("the paper's", switch):
        model = switched(name).train()
        both = players(model)
        torch.manual_seed(7)
        play(model, batch_of(), both)
        found.append({n: x for n, x in model.state_dict().items() if n.startswith("gen")})
        if model.averaged is not None:
            found[-1] = weights(model.averaged)
    if switch == "no code":
        assert (
            found[0]["generator.draw.0.weight"].shape != found[1]["generator.draw.0.weight"].shape
        )
    elif switch == "average":
        assert differ(found[1], weights(model.generator))
    else:
        assert differ(*found)


def test_what_play_tells():
    model = switched("the paper's").train()
    shares = play(model, batch_of(), players(model))
    assert list(shares) == ["discriminator", "generator", "real", "drawn", "wrong"]
    assert all(0 <= shares[name] <= 1 for name in ("real", "drawn", "wrong"))
    assert all(8 * shares[name] % 1 == 0 for name in ("real", "drawn", "wrong"))
    with torch.no_grad():
        model.discriminator.join[-1].weight.zero_()  # scores of 0: not above 0
    shares = play(model, batch_of(), players(model))
    assert (shares["real"], shares["drawn"], shares["wrong"]) == (0, 0, 0)
    assert shares["discriminator"] == pytest.approx(2 * math.log(2))
    deaf = switched("no matching").train()
    batch = batch_of()
    del batch["wrong"]
    assert "wrong" not in play(deaf, batch, players(deaf))


# --- Who learns when ------------------------------------------------------------------------------


@EVERY
def test_each_player_learns_in_its_own_turn(switch):
    for still in ("generator", "discriminator"):
        model = switched(switch).train()
        both = players(model)
        for group in getattr(both, still).param_groups:
            group["lr"] = 0.0
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        play(model, batch_of(), both)
        for name, p in model.named_parameters():
            part = name.split(".")[0]
            if part in ("generator", "discriminator"):
                assert torch.equal(p, before[name]) == (part == still), name
        assert all(p.requires_grad for p in model.discriminator.parameters())


@EVERY
def test_every_weight_of_the_players_gets_a_gradient_and_the_encoder_none(switch):
    model = switched(switch)
    before = weights(model.encoder)
    ids = sentences_of(B)
    fit(model, ({**batch_of(), "sentence": model.encoder(ids)} for _ in range(1)), 1)
    for name, p in model.named_parameters():
        if name.startswith(("encoder", "averaged")):
            assert p.grad is None, name
            assert not p.requires_grad, name
        elif name.endswith("listen.0.bias"):  # batch normalization takes it away again
            assert float(p.grad.abs().max()) < 1e-4, name
        else:
            assert float(p.grad.abs().max()) > 1e-6, name
    same(weights(model.encoder), before)


def test_the_judges_slope_at_drawings_does_not_reach_the_generator_in_its_turn():
    """D's turn uses drawings that are cut off; G's slope comes from its own loss alone."""
    model = switched("the paper's").train()
    both, slopes = players(model), []
    real_step = both.discriminator.step

    def step(*args):
        slopes.extend(p.grad for p in model.generator.parameters())
        return real_step(*args)

    both.discriminator.step = step
    play(model, batch_of(), both)
    assert slopes
    assert all(slope is None for slope in slopes)


def test_the_judge_keeps_no_slope_of_the_generators_turn():
    """In G's turn D only passes slopes on: what it has of its own is from its own turn."""
    model = switched("all").train()
    both, own = players(model), {}
    real_step = both.discriminator.step

    def step():
        own.update({n: p.grad.clone() for n, p in model.discriminator.named_parameters()})
        return real_step()

    both.discriminator.step = step
    play(model, batch_of(), both)
    same(own, {n: p.grad for n, p in model.discriminator.named_parameters()})


# --- The average, and drawing ---------------------------------------------------------------------


def test_the_average_begins_quickly_and_is_then_slow():
    model = switched("the paper's", average=0.9)
    both = players(model)
    kept = [p.detach().clone() for p in model.generator.parameters()]
    model.train()
    for step in range(1, 101):
        if step > 3 and step < 95:  # as if many steps had passed
            both.step = 94
            continue
        play(model, batch_of(step), both)
        slow = min(0.9, both.step / (both.step + 10))
        for k, now in zip(kept, model.generator.parameters()):
            k.copy_(slow * k + (1 - slow) * now.detach())
        for k, found in zip(kept, model.averaged.parameters()):
            torch.testing.assert_close(found, k, rtol=1e-4, atol=1e-6)
    assert both.step == 100
    assert slow == 0.9
    same(dict(model.averaged.named_buffers()), dict(model.generator.named_buffers()))
    assert differ(dict(model.averaged.named_parameters()), dict(model.generator.named_parameters()))


def played(switch: str = "average", seed: int = 0, steps: int = 3, **changes) -> TextToImage:
    model = switched(switch, seed, **changes)
    torch.manual_seed(seed)
    fit(model, (batch_of(k) for k in range(steps)), steps)
    return model


def test_the_average_draws_where_there_is_one():
    h, z = torch.randn(5, H), torch.randn(5, Z)
    with_average, without = played(), played("the paper's")
    assert torch.equal(with_average.draw(h, z), with_average.averaged(h, z))
    assert not torch.equal(with_average.draw(h, z), with_average.generator.eval()(h, z))
    assert without.averaged is None
    assert torch.equal(without.draw(h, z), without.generator(h, z))


def test_settling_counts_the_statistics_of_what_the_average_draws():
    model = played(steps=6, rates=(0.02, 0.02))
    h = torch.randn(50, H)
    model.averaged.train()
    model.averaged(5 * h + 3, torch.randn(50, Z))  # statistics of something else
    before = weights(model.averaged)

    # one batch: its own mean and variance
    torch.manual_seed(3)
    settle(model, h, rounds=1, size=40)
    torch.manual_seed(3)
    x = h[torch.randint(50, (40,))]
    z = torch.randn(40, Z)
    seen: dict[nn.Module, torch.Tensor] = {}
    norms = [m for m in model.averaged.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    hooks = [m.register_forward_pre_hook(lambda m, a: seen.update({m: a[0]})) for m in norms]
    found = {m: (m.running_mean.clone(), m.running_var.clone()) for m in norms}
    model.averaged.train()(x, z)
    for hook in hooks:
        hook.remove()
    for norm, (mean, var) in found.items():
        own = seen[norm].transpose(0, 1).flatten(1)
        torch.testing.assert_close(mean, own.mean(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(var, own.var(1), rtol=1e-4, atol=1e-5)
    assert differ(before, weights(model.averaged))

    # many batches: near those of one large batch of all
    settle(model, h, rounds=60, size=64)
    assert not model.averaged.training
    many = weights(model.averaged)
    settle(model, h, rounds=1, size=4000)
    for name, value in weights(model.averaged).items():
        if name.endswith(("running_mean", "running_var")):
            scale = float(value.abs().max())
            torch.testing.assert_close(many[name], value, rtol=0, atol=0.1 * scale)
        elif not name.endswith("num_batches_tracked"):
            assert torch.equal(value, before[name])  # only counted anew, nothing learnt


def test_settling_without_an_average_changes_nothing():
    model = played("the paper's")
    before = weights(model)
    settle(model, torch.randn(20, H))
    same(weights(model), before)


def test_drawing_is_repeated_with_the_same_codes_and_differs_with_others():
    model, ids = played(), sentences_of()
    torch.manual_seed(0)
    codes = model.codes(5)
    assert codes.shape == (5, Z)
    one = model.draw(ids, codes)
    assert one.shape == (5, 3, S, S)
    assert not one.requires_grad
    assert float(one.abs().max()) < 1
    assert torch.equal(one, model.draw(ids, codes))
    assert not torch.equal(one, model.draw(ids, model.codes(5)))
    assert not torch.equal(one, model.draw(ids))
    torch.testing.assert_close(one[2:3], model.draw(ids[2:3], codes[2:3]))
    with torch.no_grad():
        torch.testing.assert_close(model.draw(model.encoder(ids), codes), one)
    seeded = [model.codes(3, torch.Generator().manual_seed(s)) for s in (4, 4, 5)]
    assert torch.equal(seeded[0], seeded[1])
    assert not torch.equal(seeded[0], seeded[2])


def test_codes_are_normal():
    z = build().codes(20_000)
    torch.testing.assert_close(z.mean(0), torch.zeros(Z), rtol=0, atol=0.03)
    torch.testing.assert_close(z.T.cov(), torch.eye(Z), rtol=0, atol=0.04)


def test_without_a_code_a_sentence_has_one_picture():
    model, ids = played("no code"), sentences_of()
    assert model.codes(3).shape == (3, 0)
    many = model.draw(ids.repeat_interleave(4, 0)).unflatten(0, (5, 4))
    torch.testing.assert_close(many, many[:, :1].expand_as(many), rtol=0, atol=1e-6)
    assert not torch.allclose(many[0], many[1])
    with_code = played().draw(ids.repeat_interleave(4, 0)).unflatten(0, (5, 4))
    assert float((with_code[:, 0] - with_code[:, 1]).abs().max()) > 1e-3


@EVERY
def test_the_order_of_a_batch_does_not_matter_in_use(switch):
    model = played(switch).eval()
    x, order = batch_of(), torch.tensor([5, 2, 7, 0, 1, 6, 4, 3])
    z = model.codes(B)
    G, D, h = model.generator, model.discriminator, x["sentence"]
    torch.testing.assert_close(G(h[order], z[order]), G(h, z)[order])
    score = D(x["pictures"], h)
    torch.testing.assert_close(D(x["pictures"][order], h[order]), score[order])
    torch.testing.assert_close(D(x["pictures"][:1], h[:1]), score[:1])
    if D.compare is not None:
        seen = D.look(x["pictures"])
        two = D.judge_pairs(seen, h)
        assert two.shape == (4,)
        swapped = seen.view(4, 2, *seen.shape[1:]).flip(1).flatten(0, 1)
        torch.testing.assert_close(D.judge_pairs(swapped, h), two)
        mixed = torch.tensor([4, 5, 0, 1, 6, 7, 2, 3])
        torch.testing.assert_close(D.judge_pairs(seen[mixed], h[mixed]), two[[2, 0, 3, 1]])
        other = seen[torch.tensor([0, 2, 1, 3, 4, 5, 6, 7])]
        assert not torch.allclose(D.judge_pairs(other, h)[:2], two[:2])


def test_the_judge_hears_the_sentence_in_every_cell():
    D = build().discriminator.eval()
    h = torch.randn(3, H)
    told = D.tell(h, torch.zeros(3, 8, 4, 4))
    assert told.shape == (3, 5, 4, 4)
    assert torch.equal(told, D.listen(h)[:, :, None, None].repeat(1, 1, 4, 4))
    x = batch_of()["pictures"][:3]
    assert not torch.allclose(D(x, h), D(x, h.flip(0)))
    torch.testing.assert_close(D(x, h), D.judge(D.look(x), h))


def test_a_spectral_judge_stretches_nothing():
    """The largest singular value of each layer is 1 once the power iteration has settled."""
    D = build(spectral=True, pairs=1.0).discriminator.train()
    x = batch_of()
    with torch.no_grad():
        for conv in (m for m in D.modules() if isinstance(m, nn.Conv2d)):
            conv.parametrizations.weight.original.mul_(7)
        for _ in range(100):
            seen = D.look(x["pictures"])
            D.judge(seen, x["sentence"])
            D.judge_pairs(seen, x["sentence"])
        D.eval()
        layers = [m for m in D.modules() if isinstance(m, nn.Conv2d)]
        assert len(layers) == 6
        for layer in layers:
            largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
            assert float(largest) == pytest.approx(1, abs=0.02)
    norms = [m for m in D.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not norms


# --- What a judge sees under augmentation ---------------------------------------------------------

M = S // 8  # how far a picture is moved at most


def changed(pictures: torch.Tensor, seed: int = 0, alike: int = 1) -> torch.Tensor:
    torch.manual_seed(seed)
    return augmented(pictures, alike)


def numbered(count: int) -> torch.Tensor:
    """Grey pictures in which each pixel is the number of its place, from 10."""
    return (10 + torch.arange(S * S).float()).view(1, 1, S, S).expand(count, 3, S, S).contiguous()


def test_a_picture_is_moved_by_an_eighth_at_most_and_has_a_square_hole():
    """In a grey picture the tint does nothing, and lightness is at most a quarter: rounding tells
    where each pixel came from."""
    seen = changed(numbered(600))
    assert seen.shape == (600, 3, S, S)
    moves, centres = [], []
    grid = torch.arange(S)
    for picture in seen[:, 0]:
        source = picture.round().long() - 10  # −10 where there is nothing
        there = picture != 0
        rows, columns = there.nonzero().unbind(1)
        down = rows - source[there] // S
        right = columns - source[there] % S
        assert len(set(zip(down.tolist(), right.tolist()))) == 1  # all moved alike
        dy, dx = int(down[0]), int(right[0])
        moves.append((dy, dx))
        outside = ((grid - dy < 0) | (grid - dy >= S))[:, None] | (
            (grid - dx < 0) | (grid - dx >= S)
        )
        hole = (~there & ~outside).nonzero()
        assert not bool((there & outside).any())
        if len(hole):  # a rectangle, as large as what the border and the margins leave of a square
            (top, left), (bottom, far) = hole.amin(0).tolist(), hole.amax(0).tolist()
            height, width = bottom - top + 1, far - left + 1
            assert len(hole) == height * width
            assert max(height, width) <= 2 * (S // 4) - 1
            inner = min(top, left) > M and max(bottom, far) < S - 1 - M
            if inner:
                assert height == width == 2 * (S // 4) - 1
                centres.append((top + S // 4 - 1, left + S // 4 - 1))
    assert set(itertools.product(range(-M, M + 1), repeat=2)) == set(moves)
    for axis in (0, 1):
        counts = torch.tensor([move[axis] + M for move in moves]).bincount() / len(moves)
        torch.testing.assert_close(
            counts, torch.full((2 * M + 1,), 1 / (2 * M + 1)), rtol=0, atol=0.06
        )
    assert len(set(centres)) > 10  # of 16


def test_lightness_and_colour_are_bounded():
    tint = torch.tensor([0.5, 0.0, -0.5])[None, :, None, None]
    seen = changed(tint.expand(2000, 3, S, S))
    there = (seen != 0).any(1)
    red, green, blue = seen.unbind(1)
    for one in (red, green, blue):
        low = torch.where(there, one, torch.inf).flatten(1).amin(1)
        high = torch.where(there, one, -torch.inf).flatten(1).amax(1)
        torch.testing.assert_close(low, high)  # one change for the whole picture
    picture = torch.arange(2000)
    first = there.flatten(1).float().argmax(1)
    r, g, b = (x.flatten(1)[picture, first] for x in (red, green, blue))
    colour, light = r - b, (r + g + b) / 3
    torch.testing.assert_close(g, light, rtol=0, atol=1e-5)  # the mean of the colours stays
    assert 0.5 <= float(colour.min()) < 0.53
    assert 1.47 < float(colour.max()) <= 1.5
    assert -0.25 <= float(light.min()) < -0.23
    assert 0.23 < float(light.max()) <= 0.25
    assert abs(float(torch.stack([colour, light]).corrcoef()[0, 1])) < 0.08  # each by itself


def test_neighbours_can_be_changed_alike():
    seen = changed(numbered(1).expand(12, 3, S, S), alike=2)
    assert torch.equal(seen[::2], seen[1::2])
    assert len({row.numpy().tobytes() for row in seen[::2]}) == 6
    alone = changed(numbered(1).expand(12, 3, S, S))
    assert len({row.numpy().tobytes() for row in alone}) == 12
    assert torch.equal(alone, changed(numbered(12)))
    assert not torch.equal(alone, changed(numbered(12), seed=1))


def test_slopes_pass_through_what_is_left():
    x = numbered(6).requires_grad_()
    seen = changed(x)
    seen[:, 0].sum().backward()
    for k in range(6):
        there = seen[k, 0] != 0
        source = seen[k, 0][there].round().long() - 10
        kept = torch.zeros(S * S, dtype=torch.bool).index_fill(0, source, True).view(S, S)
        slope = x.grad[k].sum(0)
        torch.testing.assert_close(slope[kept], torch.ones(int(kept.sum())))
        assert not slope[~kept].any()


@pytest.mark.parametrize("size", [8, 32])
def test_pictures_of_every_size_are_changed(size):
    seen = changed(torch.ones(40, 3, size, size))
    gone = (seen == 0).float().mean((1, 2, 3))
    assert float(gone.min()) > 0
    assert float(gone.max()) < 0.6


# --- Learning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"spectral": True}, {"pairs": 1.0}])
def test_the_judge_overfits_one_batch_and_a_still_judge_is_fooled(changes):
    model = build(**{**PLAIN, **changes}, generator=8, discriminator=8).train()
    G, D, b = model.generator, model.discriminator, batch_of()
    h, wrong = b["sentence"], b["sentence"].roll(1, 0)
    with torch.no_grad():
        fake = G(h, model.codes(B))

    def judged() -> torch.Tensor:
        seen, imagined = D.look(b["pictures"]), D.look(fake)
        loss = discriminator_loss(D.judge(seen, h), D.judge(imagined, h), D.judge(seen, wrong))
        if D.compare is not None:
            two = D.judge_pairs(seen, h), D.judge_pairs(imagined, h)
            loss = loss + discriminator_loss(*two)
        return loss

    opt = torch.optim.Adam(D.parameters(), 1e-2, betas=(0.5, 0.99))
    first = float(judged().detach())
    assert first > 1
    for _ in range(150):
        opt.zero_grad()
        loss = judged()
        loss.backward()
        opt.step()
    assert float(loss.detach()) < (0.5 if changes.get("spectral") else 0.05)  # it is held back

    D.eval().requires_grad_(False)
    opt, z = torch.optim.Adam(G.parameters(), 1e-2, betas=(0.5, 0.99)), model.codes(B)
    fooled = []
    for _ in range(60):
        opt.zero_grad()
        loss = generator_loss(D(G(h, z), h))
        loss.backward()
        opt.step()
        fooled.append(float(loss.detach()))
    assert fooled[-1] < min(0.1, fooled[0] / 4)


def colours(steps: int, seed: int, matching: bool = True) -> list[int]:
    """Four sentences, each about a colour, played for a while: which colour each sentence draws."""
    shades = torch.tensor(
        [[0.8, -0.8, -0.8], [-0.8, 0.8, -0.8], [-0.8, -0.8, 0.8], [0.8, 0.8, 0.8]]
    )
    model = build(
        seed,
        size=8,
        generator=16,
        discriminator=16,
        rates=(4e-3, 2e-3),
        matching=matching,
        seeking=0.0,
    )
    h = 3 * torch.eye(4, H)
    g = torch.Generator().manual_seed(seed)

    def batches():
        while True:
            k = torch.randint(4, (16,), generator=g)
            other = (k + torch.randint(1, 4, (16,), generator=g)) % 4
            noise = 0.1 * torch.randn(16, 3, 8, 8, generator=g)
            pictures = (shades[k][:, :, None, None] + noise).clamp(-1, 1)
            yield {"pictures": pictures, "sentence": h[k], "wrong": h[other]}

    torch.manual_seed(seed)
    fit(model, batches(), steps)
    settle(model, h, size=32)
    many = model.draw(h.repeat_interleave(8, 0)).mean((2, 3)).view(4, 8, 3)
    return (many[:, :, None] - shades).square().sum(-1).argmin(-1).mode(1).values.tolist()


def test_the_game_teaches_what_a_sentence_says():
    assert colours(250, 0) == [0, 1, 2, 3]
    assert colours(0, 0) != [0, 1, 2, 3]  # nothing is known beforehand


@EVERY
def test_the_same_seed_gives_the_same_weights(switch):
    one, again, other = (weights(played(switch, seed)) for seed in (1, 1, 2))
    same(one, again)
    assert differ(one, other)


def test_another_draw_of_codes_gives_other_weights():
    found = []
    for seed in (1, 1, 2):
        model = switched("the paper's")
        torch.manual_seed(seed)
        fit(model, [batch_of()], 1)
        found.append(weights(model))
    same(found[0], found[1])
    assert differ(found[0], found[2])


@pytest.mark.parametrize("switch", ["the paper's", "average", "augment", "all"])
def test_a_game_goes_on_where_it_stopped(switch):
    """Model and players through a file, after three of eight steps, with falling rates."""
    batches = [batch_of(k) for k in range(8)]

    def new() -> TextToImage:
        return switched(switch, falling=0.4)

    whole = new()
    torch.manual_seed(5)
    history = fit(whole, batches, 8)
    broken = new()
    both = players(broken)
    torch.manual_seed(5)
    with pytest.raises(ValueError, match="after 3 of 8"):
        fit(broken, batches[:3], 8, both)
    file = io.BytesIO()
    torch.save({"model": broken.state_dict(), "players": both.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)

    torch.manual_seed(99)
    resumed = build(3, **{**PLAIN, **SWITCHES[switch], "falling": 0.4})
    resumed.load_state_dict(state["model"])
    again = players(resumed)
    again.load_state_dict(state["players"])
    assert again.step == 3
    assert fit(resumed, batches[3:], 8, again) is again
    same(weights(resumed), weights(whole))
    assert again.losses == history.losses
    assert {name: len(values) for name, values in again.losses.items()} == dict.fromkeys(
        history.losses, 8
    )
    assert all(map(math.isfinite, itertools.chain(*again.losses.values())))

    # so that it can fail: without the random numbers, or Adam's memory, it is another game
    fresh = new()
    fresh.load_state_dict(state["model"])
    without = players(fresh)
    without.step = 3
    fit(fresh, batches[3:], 8, without)
    assert differ(weights(fresh), weights(whole))


def test_a_state_is_a_copy_and_a_model_is_saved(tmp_path):
    model = played()
    both = players(model)
    model.train()
    both.losses["generator"] = [1.0]
    state = both.state_dict()
    both.losses["generator"].append(2.0)
    assert state["losses"] == {"generator": [1.0]}
    saving.save(model, tmp_path)
    again = saving.load(TextToImage, tmp_path).model
    h, z = torch.randn(3, H), torch.randn(3, Z)
    assert torch.equal(model.draw(h, z), again.draw(h, z))


# --- Rates, watching, the end of the batches ------------------------------------------------------


@pytest.mark.parametrize(
    ("falling", "expected"),
    [
        (1.0, [1] * 10),
        (0.6, [1] * 6 + [1, 0.75, 0.5, 0.25]),
        (0.5, [1] * 5 + [1, 0.8, 0.6, 0.4, 0.2]),
        (0.05, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
    ],
)
def test_rates_fall_in_a_straight_line_at_the_end(falling, expected):
    model = switched("the paper's", falling=falling, rates=(3e-3, 1e-3))
    both, rates = players(model), []

    def batches():
        while True:
            yield batch_of()

    def watch(step: int) -> None:
        if step:
            rates.append([o.param_groups[0]["lr"] for o in (both.generator, both.discriminator)])

    fit(model, batches(), 10, both, watch, every=1)
    assert [rate[0] / 3e-3 for rate in rates] == pytest.approx(expected)
    assert [rate[1] / 1e-3 for rate in rates] == pytest.approx(expected)
    for opt, rate in ((both.generator, 3e-3), (both.discriminator, 1e-3)):
        assert opt.param_groups[0]["betas"] == (0.5, model.config.beta2)
        assert opt.defaults["lr"] == rate


def test_who_watches_is_called_at_the_start_now_and_then_and_at_the_end():
    seen, model = [], switched("average")
    both = fit(model, (batch_of(k) for k in itertools.count()), 7, watch=seen.append, every=3)
    assert seen == [0, 3, 6, 7]
    assert (both.step, len(both.losses["real"])) == (7, 7)
    fit(model, (batch_of(k) for k in itertools.count()), 9, both, seen.append, every=3)
    assert seen == [0, 3, 6, 7, 9]  # not again at its start, and once where both reasons meet
    fit(model, [], 9, both, seen.append)
    assert len(seen) == 5


@pytest.mark.parametrize(("switch", "first"), [("average", 0), ("the paper's", 1)])
def test_who_watches_may_draw(switch, first):
    """Drawings with given codes change nothing, though the generator itself may draw them."""
    found = []
    for draws in (False, True):
        model = switched(switch)

        def watch(step: int, model: TextToImage = model, draws: bool = draws) -> None:
            if draws and step >= first:
                model.draw(torch.ones(2, H), torch.ones(2, Z))

        torch.manual_seed(0)
        fit(model, [batch_of(k) for k in range(5)], 5, watch=watch, every=2)
        assert model.generator.training
        assert model.discriminator.training
        found.append(weights(model))
    same(*found)


def test_a_game_is_played_in_training_mode():
    found = []
    for mode in (True, False):
        model = switched("average").train(mode)
        torch.manual_seed(0)
        fit(model, [batch_of(k) for k in range(3)], 3)
        found.append(weights(model))
    same(*found)


def test_no_more_batches_are_asked_for_than_steps():
    taken = []

    def batches():
        for k in itertools.count():
            taken.append(k)
            yield batch_of(k)

    fit(switched("the paper's"), batches(), 3)
    assert taken == [0, 1, 2]


def test_batches_that_end_too_early_are_told():
    model = switched("the paper's")
    both = players(model)
    with pytest.raises(ValueError, match="the batches ended after 2 of 5 steps"):
        fit(model, [batch_of(), batch_of(1)], 5, both)
    assert both.step == 2
    assert len(both.losses["generator"]) == 2


# --- Every setting counts -------------------------------------------------------------------------

OTHER = {
    "vocabulary": V + 1,
    "size": 32,
    "words": 4,
    "convolutions": ((3, 2, 2, 1),),
    "recurrence": "relu",
    "hidden": 3,
    "sentence": H + 1,
    "projection": 3,
    "code": Z + 1,
    "generator": 3,
    "discriminator": 3,
    "matching": False,
    "interpolation": 0.5,
    "rates": (1e-3, 2e-3),
    "beta2": 0.5,
    "falling": 0.1,
    "average": 0.1,
    "seeking": 0.7,
    "pairs": 0.5,
    "spectral": True,
    "r1": 1.0,
    "augment": True,
}


def test_every_setting_has_another_value_here():
    assert set(OTHER) == {f.name for f in fields(Config)}


@pytest.mark.parametrize("name", OTHER)
def test_every_setting_has_an_effect(name):
    found = []
    for changes in ({}, {name: OTHER[name]}):
        model = build(**changes)
        b = batch_of()
        if name == "size" and changes:
            b["pictures"] = F.interpolate(b["pictures"], 32)
        if name == "sentence" and changes:
            b["sentence"], b["wrong"] = (F.pad(b[n], (0, 1)) for n in ("sentence", "wrong"))
        torch.manual_seed(0)
        fit(model, [b] * 3, 3)
        found.append(weights(model))
    shapes = [{n: x.shape for n, x in w.items()} for w in found]
    assert shapes[0] != shapes[1] or differ(*found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 4}, "size must be 8, 16, 32, 64"),
        ({"size": 24}, "size must be .* got 24"),
        ({"size": 0}, "size must be"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"sentence": 0}, "sentence must be at least 1"),
        ({"projection": -1}, "projection must be at least 1"),
        ({"generator": 0}, "generator must be at least 1"),
        ({"discriminator": 0}, "discriminator must be at least 1"),
        ({"vocabulary": 1}, "vocabulary must be at least 2"),
        ({"recurrence": "lstm"}, "recurrence must be 'gru' or 'relu', got 'lstm'"),
        ({"code": -1}, "code and words must be 0 or more"),
        ({"words": -1}, "code and words must be 0 or more"),
        ({"interpolation": -0.1}, "interpolation must be 0 or more"),
        ({"interpolation": math.nan}, "interpolation must be 0 or more"),
        ({"seeking": -1.0}, "seeking must be 0 or more"),
        ({"pairs": -1.0}, "pairs must be 0 or more"),
        ({"r1": -1.0}, "r1 must be 0 or more"),
        ({"average": 1.0}, r"average must be in \[0, 1\)"),
        ({"average": -0.1}, r"average must be in \[0, 1\)"),
        ({"average": math.nan}, r"average must be in \[0, 1\)"),
        ({"falling": 0.0}, r"falling in \(0, 1\]"),
        ({"falling": 1.1}, r"falling in \(0, 1\]"),
        ({"rates": (1e-3,)}, "two learning rates"),
        ({"rates": (1e-3, 0.0)}, "two learning rates above 0"),
        ({"rates": (math.nan, 1e-3)}, "two learning rates above 0"),
        ({"code": 0, "seeking": 0.1}, "seeking compares drawings of different codes"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(SMALL, **changes)


def test_the_losses_of_fitting_have_names():
    with pytest.raises(ValueError, match="'contrastive' or 'hinge', got 'triplet'"):
        Fitting(SMALL, "triplet")


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (torch.tensor([[1, 2], [0, 0]]), "sentence 1 is empty"),
        (torch.zeros(0, 3, dtype=torch.long), "must be a sentence with a word"),
        (torch.zeros(2, 0, dtype=torch.long), "must be a sentence with a word"),
        (torch.tensor([[1, V]]), f"ids must be from 0 to {V - 1}, got 1 to {V}"),
        (torch.tensor([[-1, 2]]), "ids must be from 0"),
        (torch.tensor([[0, 2]]), "padding .0. must stand at the end"),
        (torch.tensor([[1, 0, 2]]), "padding .0. must stand at the end"),
        (torch.tensor([1, 2]), r"sentences must be whole numbers \(B, T\)"),
        (torch.ones(2, 3), "whole numbers"),
    ],
)
def test_bad_sentences_are_named(ids, words):
    model = build()
    with pytest.raises(ValueError, match=words):
        model.encoder(ids)
    if not ids.is_floating_point():
        with pytest.raises(ValueError, match=words):
            model.draw(ids)


def test_sentences_too_short_for_the_convolutions_are_told():
    phi = TextEncoder(replace(SMALL, convolutions=((4, 3, 2, 2), (4, 2, 2, 1))))
    assert phi(torch.ones(1, 8, dtype=torch.long)).shape == (1, H)
    with pytest.raises(ValueError, match="sentences of 7 are too short"):
        phi(torch.ones(1, 7, dtype=torch.long))


def test_an_unknown_word_is_told_by_the_vocabulary():
    vocabulary = Vocabulary(["a", "dog"], specials=("<pad>",))
    assert vocabulary.encode("a dog") == [1, 2]
    with pytest.raises(KeyError, match="zebra"):
        vocabulary.encode("a zebra")


@pytest.mark.parametrize("switch", ["the paper's", "average", "spectral"])
def test_a_batch_of_one_is_for_drawing_only(switch):
    model = switched(switch)
    one = batch_of(size=1)
    model.train()
    for call in (
        lambda: play(model, one, players(model)),
        lambda: fit(model, [one], 1),
        lambda: model.generator(one["sentence"], model.codes(1)),
        lambda: model.discriminator(one["pictures"], one["sentence"]),
    ):
        with pytest.raises(ValueError, match="batch of two or more, got one"):
            call()
    assert model.draw(one["sentence"]).shape == (1, 3, S, S)
    model.eval()
    assert model.discriminator(one["pictures"], one["sentence"]).shape == (1,)


def test_a_pair_of_pairs_is_the_least_in_training():
    D, b = build(pairs=1.0).discriminator.train(), batch_of()
    seen = D.look(b["pictures"])
    with pytest.raises(ValueError, match="even number of pictures, got 7"):
        D.judge_pairs(seen[:7], b["sentence"][:7])
    with pytest.raises(ValueError, match="batch of two or more"):
        D.judge_pairs(seen[:2], b["sentence"][:2])
    assert D.eval().judge_pairs(seen[:2], b["sentence"][:2]).shape == (1,)


@pytest.mark.parametrize(
    ("sentence", "code", "words"),
    [
        (torch.zeros(3, H), torch.zeros(3, Z + 1), rf"code must be \(B, {Z}\), got \(3, {Z + 1}\)"),
        (torch.zeros(3, H), torch.zeros(Z), r"code must be"),
        (torch.zeros(3, H), torch.zeros(2, Z), "3 sentences need as many codes, got 2"),
        (torch.zeros(3, H + 1), torch.zeros(3, Z), rf"sentence must be \(B, {H}\)"),
        (torch.zeros(0, H), torch.zeros(0, Z), "at least one sentence"),
    ],
)
def test_vectors_and_codes_of_the_wrong_size_are_named(sentence, code, words):
    model = build()
    for draw in (model.draw, model.generator):
        with pytest.raises(ValueError, match=words):
            draw(sentence, code)


@pytest.mark.parametrize(
    ("pictures", "sentence", "words"),
    [
        (torch.zeros(3, 3, 8, 8), torch.zeros(3, H), r"pictures must be \(B, 3, 16, 16\)"),
        (torch.zeros(3, 1, S, S), torch.zeros(3, H), "pictures must be"),
        (torch.zeros(3, S, S), torch.zeros(3, H), "pictures must be"),
        (torch.zeros(3, 3, S, S, dtype=torch.uint8), torch.zeros(3, H), "torch.uint8"),
        (torch.zeros(0, 3, S, S), torch.zeros(0, H), "at least one picture"),
        (torch.zeros(3, 3, S, S), torch.zeros(2, H), "3 pictures need as many sentences, got 2"),
        (torch.zeros(3, 3, S, S), torch.zeros(3, H - 1), rf"sentence must be \(B, {H}\)"),
    ],
)
def test_a_judge_names_what_does_not_fit(pictures, sentence, words):
    with pytest.raises(ValueError, match=words):
        build().discriminator(pictures, sentence)
    if "pictures must be" in words:
        with pytest.raises(ValueError, match=words):
            PictureEncoder(SMALL)(pictures)


@pytest.mark.parametrize(
    ("x", "h", "alike", "words"),
    [
        (torch.zeros(3, 4), torch.zeros(3, 5), None, r"\(B, H\) both"),
        (torch.zeros(3, 4), torch.zeros(2, 4), None, r"\(B, H\) both"),
        (torch.zeros(3), torch.zeros(3), None, r"\(B, H\) both"),
        (torch.zeros(3, 4), torch.zeros(3, 4), torch.eye(2) > 0, r"same must be \(3, 3\)"),
    ],
)
def test_a_joint_loss_names_what_does_not_fit(x, h, alike, words):
    with pytest.raises(ValueError, match=words):
        joint_loss(x, h, alike)


@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        (torch.full((B, 3, S, S), 1.01), r"pictures must be in \[-1, 1\], got 1.01 to 1.01"),
        (torch.full((B, 3, S, S), -2.0), "got -2 to -2"),
        (torch.full((B, 3, S, S), math.nan), r"pictures must be in \[-1, 1\]"),
        (
            torch.randint(0, 256, (B, 3, S, S), dtype=torch.uint8),
            "bytes become so by x / 127.5 - 1",
        ),
    ],
)
def test_pictures_out_of_range_stop_the_game_before_anything_is_learnt(pictures, words):
    model = switched("average")
    before = weights(model)
    both = players(model)
    with pytest.raises(ValueError, match=words):
        fit(model, [{**batch_of(), "pictures": pictures}], 1, both)
    same(weights(model), before)
    assert both.step == 0
    edge = torch.ones(B, 3, S, S)
    edge[0] = -1  # the range has its ends
    fit(model, [{**batch_of(), "pictures": edge}], 1, both)


def trained(model: TextToImage) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters()}


@pytest.mark.parametrize("name", ["sentence", "wrong"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_in_a_step_stops_and_leaves_the_last_good_weights(name, bad):
    model = switched("average")
    both = players(model)
    spoilt = batch_of(2)
    spoilt[name][3, 1] = bad
    after = []
    torch.manual_seed(0)
    with pytest.raises(
        FloatingPointError, match=r"step 2: the discriminator's loss is .*smaller rate"
    ):
        fit(
            model,
            [batch_of(0), batch_of(1), spoilt],
            9,
            both,
            watch=lambda step: after.append(trained(model)),
            every=1,
        )
    same(trained(model), after[2])
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    assert (both.step, len(both.losses["generator"])) == (2, 2)
    assert all(map(math.isfinite, itertools.chain(*both.losses.values())))
    # nor did the average, which draws, take anything of it
    assert all(bool(torch.isfinite(x).all()) for x in model.averaged.state_dict().values())
    assert bool(torch.isfinite(model.draw(torch.ones(2, H))).all())


@pytest.mark.parametrize(
    ("weight", "words"), [(1e38, "loss is inf"), (1e36, r"loss is .*e\+37, its slope (inf|nan)")]
)
def test_a_generator_that_goes_astray_keeps_its_weights(weight, words):
    """Its own term overflows, or only its slope: D has had its turn by then, with finite numbers."""
    model = switched("seeking", seeking=weight).train()
    both = players(model)
    before = weights(model.generator)
    with pytest.raises(FloatingPointError, match=f"step 0: the generator's {words}"):
        play(model, batch_of(), both)
    same(
        {n: p.detach() for n, p in model.generator.named_parameters()},
        {n: before[n] for n, _ in model.generator.named_parameters()},
    )
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    assert both.step == 0
    assert not both.generator.state


def test_a_batch_without_wrong_sentences_is_for_a_deaf_game_only():
    batch = batch_of()
    del batch["wrong"]
    model = switched("the paper's").train()
    before = weights(model)
    with pytest.raises(ValueError, match="wrong"):
        play(model, batch, players(model))
    same(before, weights(model))
    deaf = switched("no matching").train()
    play(deaf, batch, players(deaf))


# --- What a failure leaves behind -----------------------------------------------------------------


def spoilt(name, step=1):
    batch = batch_of(step)
    batch[name] = batch[name].clone()
    batch[name][0, 0] = math.nan
    return batch


@pytest.mark.parametrize("switch", ["the paper's", "average"])
@pytest.mark.parametrize("name", ["sentence", "wrong"])
def test_after_a_bad_number_the_model_still_draws_what_it_drew(switch, name):
    """Statistics of batch normalisation are kept as well as weights."""
    model = switched(switch)
    both = players(model)
    fit(model, [batch_of(0)], 1, both)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(FloatingPointError):
        fit(model, [spoilt(name)], 2, both)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert torch.isfinite(model.draw(torch.ones(2, H), torch.ones(2, Z))).all()


def test_the_judge_learns_on_after_the_generator_failed():
    model = switched("seeking", seeking=1e38).train()
    with pytest.raises(FloatingPointError, match="generator"):
        play(model, batch_of(), players(model))
    assert all(p.requires_grad for p in model.discriminator.parameters())


@pytest.mark.parametrize("switch", ["the paper's", "average"])
def test_who_watches_may_draw_at_the_start(switch):
    """A watcher that draws changes nothing."""

    def after(draws):
        model = switched(switch)

        def watch(_):
            if draws:
                model.draw(torch.ones(2, H), torch.ones(2, Z))

        torch.manual_seed(0)
        fit(model, [batch_of(k) for k in range(4)], 4, watch=watch, every=2)
        return weights(model)

    same(after(True), after(False))


def test_a_batch_is_left_as_it_was():
    model = switched("r1").train()
    h = model.encoder(torch.ones(B, 3, dtype=torch.long))  # with a graph behind it
    batch = {**batch_of(), "sentence": h}
    play(model, batch, players(model))
    assert not batch["pictures"].requires_grad
    assert batch["pictures"].grad is None
    assert h.requires_grad
    assert all(p.grad is None for p in model.encoder.parameters())


@pytest.mark.parametrize("side", [S // 2, 2 * S])
def test_pictures_of_another_size(side):
    model = switched("the paper's").train()
    batch = batch_of()
    batch["pictures"] = F.interpolate(batch["pictures"], side)
    with pytest.raises(ValueError, match=f"3, {S}, {S}"):
        play(model, batch, players(model))


def test_no_picture_at_all():
    model = switched("the paper's").train()
    with pytest.raises(ValueError):
        play(model, {name: x[:0] for name, x in batch_of().items()}, players(model))


@pytest.mark.parametrize("switch", ["pairs", "augment, pairs"])
def test_an_odd_batch_has_no_pairs(switch):
    model = switched(switch).train()
    batch = {name: x[:7] for name, x in batch_of().items()}
    with pytest.raises(ValueError, match="even number"):
        play(model, batch, players(model))
    with pytest.raises(ValueError, match="groups of 2"):
        augmented(torch.zeros(7, 3, 16, 16), 2)


def test_a_judge_of_pairs_wants_pairs():
    plain = build().discriminator.eval()
    with pytest.raises(ValueError, match="pairs"):
        plain.judge_pairs(torch.zeros(4, 8, 4, 4), torch.zeros(4, H))
    paired = build(pairs=1.0).discriminator.eval()
    with pytest.raises(ValueError, match="as many"):
        paired.judge_pairs(torch.zeros(4, 8, 4, 4), torch.zeros(6, H))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_augmented_keeps_the_precision(dtype):
    assert augmented(torch.zeros(2, 3, 16, 16, dtype=dtype)).dtype == dtype


def test_whole_numbers_of_other_widths_are_ids():
    phi = TextEncoder(replace(SMALL, words=0)).eval()
    ids = torch.tensor([[1, 2, 3]])
    for kind in (torch.int32, torch.int16, torch.uint8):
        assert torch.equal(phi(ids.to(kind)), phi(ids))
    with pytest.raises(ValueError, match="whole numbers"):
        phi(torch.ones(2, 3, dtype=torch.bool))


@pytest.mark.parametrize(
    "changes",
    [
        {"beta2": 1.0},
        {"beta2": -0.1},
        {"beta2": math.nan},
        {"rates": (math.inf, 1e-3)},
        {"r1": math.inf},
        {"convolutions": ((3, 0, 2, 1),)},
        {"convolutions": ((3, 2, 2, 0),)},
    ],
)
def test_a_config_refuses(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(SMALL, **changes)


def test_a_config_wants_whole_numbers():
    with pytest.raises(TypeError, match="vocabulary must be a whole number"):
        replace(SMALL, vocabulary=2.5)


def test_fit_and_settle_say_what_they_want():
    with pytest.raises(ValueError, match="every"):
        fit(switched("average"), [batch_of()], 1, watch=print, every=0)
    model = switched("average")
    for h, rounds, size in ((20, 2, 1), (20, 0, 8), (0, 2, 8)):
        with pytest.raises(ValueError):
            settle(model, torch.randn(h, H), rounds, size)


def test_the_contrastive_loss_wants_as_many_of_both():
    with pytest.raises(ValueError, match="both"):
        contrastive_loss(torch.zeros(3, 4), torch.zeros(2, 4), 1.0)
    with pytest.raises(ValueError, match="same"):
        contrastive_loss(torch.zeros(3, 4), torch.zeros(3, 4), 1.0, torch.zeros(2, 2).bool())


# --- A pretended GPU ------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["paper", "world", "spectral"])
def test_on_a_pretended_gpu(scale, monkeypatch):
    """Nothing is left on the CPU. What looks at values (the checks) cannot be pretended."""
    for name in ("check_sentences", "check_range"):
        monkeypatch.setattr(t2i, name, lambda *_: None)
    config = {
        "paper": Config.paper(interpolation=1.0),
        "world": Config.world(V, recurrence="relu", average=0.0, pairs=1.0, augment=True),
        "spectral": Config.world(V, recurrence="relu", average=0.0, spectral=True, size=8),
    }[scale]
    c = config
    with FakeTensorMode(), torch.backends.cudnn.flags(enabled=False):
        with torch.device("cuda"):
            model, both = TextToImage(config), Fitting(config)
        x = torch.zeros(4, 3, c.size, c.size, device="cuda")
        ids = torch.ones(4, 201 if c.convolutions else 6, dtype=torch.int64, device="cuda")
        batch = {"pictures": x, "sentences": ids, "meaning": torch.arange(4, device="cuda")}
        h = model.encoder(ids)
        z = model.codes(4)
        fake, seen = model.generator(h, z), model.discriminator.look(x)
        score = model.discriminator(fake, h)
        found = [h, z, fake, score, both.loss(batch), model.draw(ids), model.draw(h)]
        found += [discriminator_loss(score, score, score), generator_loss(score)]
        found += [seeking_loss(fake, fake, z, z), augmented(x), augmented(x, 2)]
        if c.pairs:
            found.append(model.discriminator.judge_pairs(seen, h))
        found += [*model.parameters(), *model.buffers()]
    assert {t.device.type for t in found} == {"cuda"}
    assert fake.shape == (4, 3, c.size, c.size)
    assert score.shape == (4,)


@pytest.mark.parametrize("switch", [n for n in SWITCHES if n not in ("r1", "average", "all")])
def test_a_whole_step_on_a_pretended_gpu(switch, monkeypatch):
    """All that leads to both losses. The numbers that a step tells cannot be pretended, nor can
    slopes, nor a copy (the average)."""
    monkeypatch.setattr(t2i, "check_range", lambda *_: None)
    learnt = []
    monkeypatch.setattr(t2i, "_learn", lambda opt, part, loss, *_: learnt.append(loss))
    with FakeTensorMode():
        with torch.device("cuda"):
            model = TextToImage(replace(SMALL, **{**PLAIN, **SWITCHES[switch]}))
        batch = {n: torch.zeros(x.shape, device="cuda") for n, x in batch_of().items()}
        with pytest.raises(Exception, match="_local_scalar_dense"):
            play(model, batch, players(model))
    assert len(learnt) == 2
    assert {loss.device.type for loss in learnt} == {"cuda"}
