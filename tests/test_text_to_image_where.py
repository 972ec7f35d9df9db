"""Players that are told where the thing stands: its square is pasted in and cut out where it should
be, each look has its say, and a sentence alone is enough to draw."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor import text_to_image as t2i
from mmtutor.experiments import text_to_image as experiment
from mmtutor.page.fingerprint import reached
from mmtutor.text_to_image import (
    Config,
    Discriminator,
    Generator,
    PlacedConfig,
    PlacedTextToImage,
    Places,
    TextToImage,
    cut_out,
    discriminator_loss,
    fit,
    generator_loss,
    pasted,
    play,
    players,
    settle,
    with_place,
)

V, B, H, Z, S = 9, 6, 7, 4, 16
SMALL = PlacedConfig(
    vocabulary=V,
    size=S,
    words=5,
    hidden=6,
    sentence=H,
    projection=5,
    code=Z,
    generator=4,
    discriminator=4,
    seeking=0.0,
    patch=8,
    cells=8,
    changed=False,
)


def build(seed: int = 0, **changes) -> PlacedTextToImage:
    torch.manual_seed(seed)
    return PlacedTextToImage(replace(SMALL, **changes))


def batch_of(size: int = B) -> dict:
    g = torch.Generator().manual_seed(1)
    place = torch.rand(size, 3, generator=g) * 0.4 + 0.3
    h, wrong = torch.randn(2, size, H, generator=g)
    return {
        "pictures": 2 * torch.rand(size, 3, S, S, generator=g) - 1,
        "sentence": with_place(h, place),
        "wrong": wrong,
    }


def heard_by(model: PlacedTextToImage) -> PlacedTextToImage:
    """With larger weights: the first ones are so small that scores hardly differ."""
    with torch.no_grad():
        for p in model.discriminator.parameters():
            if p.ndim > 1:
                p.mul_(10)
    return model


# --- Squares --------------------------------------------------------------------------------------


def test_a_patch_lies_where_it_is_told():
    patch = torch.arange(1.0, 17).view(1, 1, 4, 4)
    for across, down in ((4, 4), (2, 5), (6, 2)):  # the centre, in pixels
        found = pasted(patch, torch.tensor([[across / 8, down / 8, 0.5]]), 8)
        expected = torch.zeros(1, 1, 8, 8)
        expected[..., down - 2 : down + 2, across - 2 : across + 2] = patch
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_what_was_pasted_is_cut_out_again():
    patch = torch.randn(2, 3, 4, 4)
    place = torch.tensor([[0.5, 0.375, 0.25], [0.25, 0.5, 0.25]])
    whole = pasted(patch, place, 8, margin=2)
    torch.testing.assert_close(cut_out(whole, place, 4, margin=2), patch, atol=1e-5, rtol=0)


def test_a_larger_side_is_a_larger_square():
    ones = torch.ones(1, 1, 8, 8)
    covered = [
        int((pasted(ones, torch.tensor([[0.5, 0.5, side]]), 16, margin) > 0.5).sum())
        for side, margin in ((0.25, 1.0), (0.5, 1.0), (0.25, 2.0))
    ]
    assert covered == [16, 64, 64]


def test_outside_a_picture_there_is_its_edge():
    picture = torch.arange(8.0).expand(1, 1, 8, 8)
    found = cut_out(picture, torch.tensor([[0.0, 0.5, 0.5]]), 4)  # half of it outside, on the left
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([0.0, 0, 0, 1]), atol=1e-5, rtol=0)


# --- Places ---------------------------------------------------------------------------------------


def places_of(p: list[float]) -> Places:
    """All three by the same four cells with these probabilities, whatever the sentence."""
    made = Places(replace(SMALL, cells=4))
    with torch.no_grad():
        made.out.weight.zero_()
        made.out.bias.copy_(torch.tensor(p).clamp_min(1e-9).log().repeat(3))
    return made


def test_a_place_is_chosen_by_the_codes_part_of_the_normal_distribution():
    made = places_of([0.0, 0.5, 0.0, 0.5])
    part = torch.tensor([0.1, 0.25, 0.5 - 1e-4, 0.5 + 1e-4, 0.75, 0.9])
    code = torch.special.ndtri(part)[:, None].expand(-1, Z)
    found = made(torch.randn(6, H), code)[:, 1] * 4
    expected = torch.tensor(
        [1.2, 1.5, 2, 3, 3.5, 3.8]
    )  # in cells: half are in 1 to 2, half in 3 to 4
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_three_numbers_of_the_code_choose_one_each():
    made, h = places_of([0.25] * 4), torch.zeros(1, H)
    code = torch.zeros(1, Z)
    for k in range(Z):
        moved = made(h, code + F.one_hot(torch.tensor([k]), Z)) != made(h, code)
        assert moved.tolist() == [[j == k for j in range(3)]]
    torch.testing.assert_close(made(h, torch.zeros(1, 0)), torch.full((1, 3), 0.5))


def test_places_pay_the_cross_entropy_of_their_cells():
    made = places_of([0.1, 0.2, 0.3, 0.4])
    place = torch.tensor([[0.0, 0.3, 1.0], [0.74, 0.76, 0.5]])  # cells 0 1 3, 2 3 2
    expected = -torch.tensor([0.1, 0.2, 0.4, 0.3, 0.4, 0.3]).log().mean()
    found = made.loss({"sentence": torch.zeros(2, H), "place": place})
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("far", [-40.0, 40.0])
def test_a_code_far_out_still_draws_a_picture(far: float):
    model = build()
    code = torch.full((2, model.config.code), far)
    with torch.no_grad():
        picture = model.generator.eval()(torch.zeros(2, H), code)
    assert picture.isfinite().all()


def test_places_learn_which_side_a_sentence_says():
    torch.manual_seed(0)
    made, h = Places(SMALL), torch.randn(200, H)
    place = torch.rand(200, 3)
    place[:, 0] = torch.where(h[:, 0] > 0, 0.5 + place[:, 0] / 2, place[:, 0] / 2)
    opt = torch.optim.Adam(made.parameters(), 0.1)
    for _ in range(150):
        opt.zero_grad()
        made.loss({"sentence": h, "place": place}).backward()
        opt.step()
    found = made(h, torch.randn(200, Z))
    assert float(((found[:, 0] > 0.5) == (h[:, 0] > 0)).float().mean()) > 0.9
    assert 0.35 < float((found[:, 1] > 0.5).float().mean()) < 0.65


# --- The two players ------------------------------------------------------------------------------


def test_a_drawing_is_the_thing_before_the_ground():
    model = build()
    G, b, z = model.generator.eval(), batch_of(), torch.randn(B, Z)
    h, place = b["sentence"][:, :H], b["sentence"][:, H:]
    with torch.no_grad():
        drawn = G(b["sentence"], z)
        ground = Generator.forward(G, h, z)
        colours = G.thing(torch.cat([G.hear(h), z], 1)[:, :, None, None])
        mask = pasted(colours[:, 3:].sigmoid(), place, S, 1.25)
        thing = pasted(colours[:, :3].tanh() * colours[:, 3:].sigmoid(), place, S, 1.25)
    torch.testing.assert_close(drawn, thing + ground * (1 - mask))
    outside = (mask == 0).expand_as(drawn)
    assert 0.3 < float(outside.float().mean()) < 0.95
    torch.testing.assert_close(drawn[outside], ground[outside])
    assert not torch.allclose(drawn[~outside], ground[~outside], atol=1e-3)
    assert float(drawn.abs().max()) < 1


def test_without_a_place_the_code_chooses_one():
    model = build()
    h, z = torch.randn(B, H), torch.randn(B, Z)
    for draw in (model.generator.eval(), model.draw):
        told = with_place(h, model.places(h, z))
        torch.testing.assert_close(draw(h, z), draw(told, z))
        assert not torch.equal(draw(h, z), draw(with_place(h, torch.full((B, 3), 0.5)), z))


def test_one_look_is_the_usual_judges_and_the_other_sees_the_square_only():
    D, b = heard_by(build()).discriminator.eval(), batch_of()
    h, x = b["sentence"][:, :H], b["pictures"]
    place = torch.tensor([[0.3, 0.4, 0.25]]).repeat(B, 1)
    usual = Discriminator(SMALL).eval()
    own = {n.replace("look.body", "look"): w for n, w in D.state_dict().items()}
    usual.load_state_dict({n: own[n] for n in usual.state_dict()})
    near = pasted(torch.ones(B, 1, S, S), place, S, 1.9) > 0  # a little more than the square
    with torch.no_grad():
        first = D(x, with_place(h, place)).view(2, B)
        torch.testing.assert_close(first[0], usual(x, h))
        for pictures, said, where, same in (
            (x * near, h, place, (False, True)),
            (x * ~near, h, place, (False, False)),
            (x, h.flip(0), place, (False, False)),
            (x, h, 1 - place, (True, False)),
        ):
            found = D(pictures, with_place(said, where)).view(2, B)
            moved = (found - first).abs()
            for k in (0, 1):
                assert float(moved[k].max()) < 1e-6 if same[k] else float(moved[k].min()) > 1e-5


def test_the_judge_changes_what_it_sees_in_training_only():
    model, b = build(changed=True), batch_of()
    D = model.discriminator
    D.eval()
    assert torch.equal(D(b["pictures"], b["sentence"]), D(b["pictures"], b["sentence"]))
    D.train()
    for look in (0, 1):
        seen = [D(b["pictures"], b["sentence"]).view(2, B)[look] for _ in range(2)]
        assert not torch.equal(*seen)


def test_the_square_is_cut_out_before_anything_is_moved(monkeypatch):
    """Else it would not lie where the thing is."""
    met = []
    monkeypatch.setattr(t2i, "augmented", lambda x: met.append(x.shape[-1]) or torch.zeros_like(x))
    monkeypatch.setattr(
        t2i, "cut_out", lambda x, *_: met.append(float(x.abs().sum())) or x[..., :8, :8]
    )
    model, b = build(changed=True), batch_of()
    model.discriminator.train()(b["pictures"], b["sentence"])
    assert met == [S, float(b["pictures"].abs().sum()), 8]


@pytest.mark.parametrize("changed", [False, True])
def test_another_sentence_is_judged_on_the_squares_of_the_first(changed, monkeypatch):
    model, b = heard_by(build(changed=changed)), batch_of()
    D, place = model.discriminator.eval(), b["sentence"][:, H:]
    told = with_place(b["wrong"], place)
    with torch.no_grad():
        seen = D.look(b["pictures"])
        right, wrong = D.judge(seen, b["sentence"]), D.judge(seen, b["wrong"])
        torch.testing.assert_close(wrong, D(b["pictures"], told))
        assert float((right - wrong).abs().view(2, B).amin(1).min()) > 1e-5
        # a place that is told anew counts
        moved = D.judge(seen, with_place(b["wrong"], 1 - place))
        torch.testing.assert_close(moved, D(b["pictures"], with_place(b["wrong"], 1 - place)))
    looked = []
    monkeypatch.setattr(t2i, "cut_out", lambda *own: looked.append("cut") or cut_out(*own))
    monkeypatch.setattr(
        D.close, "forward", lambda x: looked.append("seen") or x.new_ones(B, 8, 4, 4)
    )
    for said in (b["sentence"], b["wrong"]):
        D.train().judge(seen, said)
    assert looked == ["cut", "seen"]


def test_before_it_was_told_a_place_no_sentence_goes_without():
    D, b = build().discriminator.eval(), batch_of()
    with pytest.raises(ValueError, match=f"sentences with places must be .*{H + 3}"):
        D.judge(D.look(b["pictures"]), b["wrong"])


# --- The game -------------------------------------------------------------------------------------


def test_both_looks_count_the_same():
    model, b = build(), batch_of()
    D, G = copy.deepcopy(model.discriminator), copy.deepcopy(model.generator)
    torch.manual_seed(3)
    paid = play(model.train(), b, players(model))
    torch.manual_seed(3)
    fake = G.train()(b["sentence"], torch.randn(B, Z)).detach()
    D.train()
    seen = D.look(b["pictures"])
    scores = [D.judge(seen, b[n]).view(2, B) for n in ("sentence", "wrong")]
    drawn = D(fake, b["sentence"]).view(2, B)
    each = [discriminator_loss(scores[0][k], drawn[k], scores[1][k]) for k in (0, 1)]
    assert each[0].item() != pytest.approx(each[1].item(), rel=1e-6)
    assert paid["discriminator"] == pytest.approx(float(sum(each)) / 2, rel=1e-5)


def test_every_weight_but_the_places_learns_in_a_step():
    model = build(average=0.9)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    play(model.train(), batch_of(), players(model))
    still = {n for n, p in model.named_parameters() if torch.equal(p, before[n])}
    apart = {n for n in before if n.startswith("encoder.") or ".places." in n}
    assert still == apart
    assert model.averaged.places is model.places
    for player in (model.generator, model.discriminator):  # what and where are heard apart
        assert not torch.equal(player.hear[0].weight, player.listen[0].weight)
    assert model.places.out.weight.requires_grad  # it may learn, before the game


def test_a_slope_reaches_the_thing_through_the_square():
    model, b = build(), batch_of()
    drawn = model.generator.train()(b["sentence"], torch.randn(B, Z))
    model.discriminator.requires_grad_(False)
    generator_loss(model.discriminator.train()(drawn, b["sentence"])[B:]).backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in model.generator.thing.parameters())
    assert all(p.grad is None for p in model.discriminator.parameters())
    assert all(p.grad is None for p in model.places.parameters())


def test_the_judge_overfits_one_batch_and_a_still_judge_is_fooled():
    model, b = build(generator=8, discriminator=8, average=0.0).train(), batch_of()
    G, D = model.generator, model.discriminator
    z = torch.randn(B, Z)
    with torch.no_grad():
        fake = G(b["sentence"], z)
    opt, paid = torch.optim.Adam(D.parameters(), 1e-2, betas=(0.5, 0.99)), []
    for _ in range(100):
        opt.zero_grad()
        seen = D.look(b["pictures"])
        right, wrong = D.judge(seen, b["sentence"]), D.judge(seen, b["wrong"])
        loss = discriminator_loss(right, D(fake, b["sentence"]), wrong)
        loss.backward()
        opt.step()
        paid.append(float(loss.detach()))
    assert paid[-1] < 0.1 < 1 < paid[0]
    D.eval().requires_grad_(False)
    opt, fooled = torch.optim.Adam(G.parameters(), 1e-2, betas=(0.5, 0.99)), []
    for _ in range(80):
        opt.zero_grad()
        loss = generator_loss(D(G(b["sentence"], z), b["sentence"]))
        loss.backward()
        opt.step()
        fooled.append(float(loss.detach()))
    assert fooled[-1] < fooled[0] / 4


@pytest.mark.parametrize(
    "changes", [{"changed": True}, {"seeking": 0.1}, {"spectral": True}, {"code": 0}]
)
def test_a_game_goes_on_where_it_stopped(changes, tmp_path):
    b = batch_of()
    whole = build(**changes)
    torch.manual_seed(5)
    fit(whole, [b] * 4, 4)
    half = build(**changes)
    torch.manual_seed(5)
    both = players(half)
    with pytest.raises(ValueError, match="ended after 2"):
        fit(half, [b] * 2, 4, both)
    torch.save((half.state_dict(), both.state_dict()), tmp_path / "half.pt")
    weights, state = torch.load(tmp_path / "half.pt", weights_only=True)
    other = build(1, **changes)
    other.load_state_dict(weights)
    again = players(other)
    again.load_state_dict(state)
    fit(other, [b] * 2, 4, again)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_settling_needs_sentences_only():
    model = build(average=0.5)
    fit(model, [batch_of()] * 2, 2)
    before = copy.deepcopy(model.averaged.state_dict())
    settle(model, torch.randn(20, H), rounds=2, size=8)
    changed = {n for n, x in model.averaged.state_dict().items() if not torch.equal(x, before[n])}
    assert any(n.startswith("thing.") and "running" in n for n in changed)
    assert all("running" in n or "tracked" in n for n in changed)


# --- What goes in, and what stays as it was -------------------------------------------------------


def test_who_is_told_no_place_is_what_it_was():
    """The numbers of C27 and C28 do not hang on any of this."""
    for claim in (experiment.c27, experiment.c28):
        names = {place.split(":")[1] for place in reached(claim) if "text_to_image:" in place}
        assert {"Config", "Generator", "Discriminator", "fit"} <= names
        assert not {n for n in names if "Place" in n} | names & {"pasted", "cut_out", "with_place"}


def test_the_same_seed_begins_with_the_same_usual_weights():
    torch.manual_seed(0)
    usual = TextToImage(Config(**{n: getattr(SMALL, n) for n in Config.__dataclass_fields__}))
    model = build()
    assert torch.equal(usual.encoder.out.weight, model.encoder.out.weight)


def test_a_batch_of_one_is_for_drawing_only():
    model, told = build(), batch_of()["sentence"][:1]
    assert model.draw(told).shape == (1, 3, S, S)
    assert model.draw(told[:, :H]).shape == (1, 3, S, S)
    with pytest.raises(ValueError, match="two or more"):
        model.generator.train()(told, torch.randn(1, Z))
    with pytest.raises(ValueError, match="two or more"):
        model.discriminator.train()(torch.zeros(1, 3, S, S), told)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (torch.full((B, 2), 0.5), r"\(B, 3\)"),
        (torch.full((B, 3), 1), r"\(B, 3\)"),
        (torch.full((B, 3), 16.0), "from 0 to 1"),
        (torch.tensor([0.5, 0.5, 0.0]).expand(B, 3), "side above 0"),
        (torch.full((B, 3), float("nan")), "from 0 to 1"),
        (torch.full((B - 1, 3), 0.5), "as many"),
    ],
)
def test_bad_places_are_named(place, words):
    with pytest.raises(ValueError, match=words):
        with_place(torch.zeros(B, H), place)


def test_a_judge_wants_a_place_and_a_generator_a_sentence():
    model = build()
    with pytest.raises(ValueError, match=f"sentences with places must be .*{H + 3}"):
        model.discriminator(torch.zeros(B, 3, S, S), torch.zeros(B, H))
    with pytest.raises(ValueError, match=f"sentences with places must be .*{H + 3}"):
        model.generator(torch.zeros(B, H + 1), torch.zeros(B, Z))


@pytest.mark.parametrize(
    "changes",
    [
        {"patch": 12},
        {"patch": 4},
        {"patch": 16.0},
        {"margin": 0.0},
        {"margin": float("inf")},
        {"cells": 1},
        {"cells": 2.5},
        {"augment": True},
        {"pairs": 0.5},
        {"interpolation": 0.5},
        {"r1": 0.5},
        {"code": -1},
    ],
)
def test_a_config_refuses(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(SMALL, **changes)


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("patch", [8, 16])
def test_other_sizes(size, patch):
    model = build(size=size, patch=patch)
    told = with_place(torch.randn(2, H), torch.full((2, 3), 0.5))
    drawn = model.generator(told, torch.randn(2, Z))
    assert drawn.shape == (2, 3, size, size)
    assert model.discriminator(drawn, told).shape == (4,)
    assert model.generator.patch(told[:, :H], torch.randn(2, Z)).shape == (2, 4, patch, patch)


def test_a_step_on_a_pretended_gpu(monkeypatch):
    monkeypatch.setattr(t2i, "check_range", lambda *_: None)
    learnt = []
    monkeypatch.setattr(t2i, "_learn", lambda opt, part, loss, *_: learnt.append(loss))
    with FakeTensorMode():
        with torch.device("cuda"):
            model = PlacedTextToImage(replace(SMALL, average=0.0, seeking=0.3, changed=True))
        batch = {
            "pictures": torch.zeros(B, 3, S, S, device="cuda"),
            "sentence": torch.zeros(B, H + 3, device="cuda"),
            "wrong": torch.zeros(B, H, device="cuda"),
        }
        with pytest.raises(Exception, match="_local_scalar_dense"):
            play(model, batch, players(model))
        drawn = model.draw(batch["sentence"][:, :H])
    assert [loss.device.type for loss in learnt] == ["cuda", "cuda"]
    assert drawn.device.type == "cuda"
    assert isinstance(model.generator.places, nn.Module)
