"""Image to speech: against published counts, an enumeration, scikit-learn, librosa, and what is known of
made sounds."""

import itertools
import math
import tracemalloc
from dataclasses import replace

import librosa
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor import image_to_speech
from mmtutor.image_to_speech import (
    Block,
    Config,
    ImageToUnits,
    UnitDiscovery,
    UnitsToSpeech,
    as_captions,
    as_units,
    between,
    excitation,
    join_pitch,
    k_means,
    nearest,
    patient_codes,
    pitch,
    run_lengths,
    unit_means,
)
from mmtutor.kit import decoding, saving, training
from mmtutor.sound import MelSpectrogram

TINY = Config(
    widths=(8, 8, 12),
    strides=(1, 1),
    dilations=(1, 2),
    teachers=6,
    units=5,
    annotation=7,
    grid=(2, 3),
    prepare=10,
    embedding=9,
    hidden=11,
    attention=6,
    voice=16,
    voice_bands=20,
)
FED = replace(TINY, recurrence="fed", prepare=0)
BOTH = pytest.mark.parametrize("config", [TINY, FED], ids=["stacked", "fed"])


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def tone(hertz: float, seconds: float = 0.5, rate: int = 16000, parts: int = 8) -> torch.Tensor:
    """A note with overtones, loudest first."""
    t = torch.arange(int(seconds * rate)) / rate
    return 0.2 * sum(torch.sin(2 * math.pi * hertz * k * t) / k for k in range(1, parts + 1))


def melody(seed: int = 0) -> torch.Tensor:
    """A second of notes and noise."""
    dice = torch.Generator().manual_seed(seed)
    own = [tone(90 + 40 * float(torch.rand(1, generator=dice)), 0.2) for _ in range(4)]
    return torch.cat([*own, 0.05 * torch.randn(3200, generator=dice)]).clamp(-1, 1)


@pytest.fixture(scope="module")
def ears() -> UnitDiscovery:
    """Tiny, taught and with units."""
    torch.manual_seed(0)
    model = UnitDiscovery(TINY)
    frames = [model.frames(melody(k)[None])[0] for k in range(6)]
    model.teach(torch.cat([x.T for x in frames]))
    training.fit(model, {"frames": torch.stack(frames)}, epochs=5, batch_size=3, progress=False)
    model.learn_codes(frames)
    return model


# --- paper scale ----------------------------------------------------------------------------------


def test_the_unit_network_has_the_published_rows():
    # ResDAVEnet-VQ: channels, frames of 2,048, and weights of each stage
    model = UnitDiscovery(Config.paper())
    assert size(model.conv1) == 5120 + 256
    assert [size(stage) for stage in model.stages] == [2_099_712, 2_427_392, 8_393_728, 33_564_672]
    # the published total counts one batch normalisation of two weights that is never used
    assert size(model.conv1) + size(model.stages) + 2 == 46_490_882
    with FakeTensorMode(allow_non_fake_inputs=True):
        x, shapes = torch.zeros(1, 40, 2048), []
        x = nn.Conv1d(40, 128, 1)(x)
        for below, width in itertools.pairwise(Config.paper().widths):
            x = Block(below, width, 9, 2, 1)(x)
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(256, 1024), (256, 512), (512, 256), (1024, 128)]
    assert Config.paper().period == pytest.approx(0.16)
    two = Config.paper(widths=(128, 256, 256), strides=(2, 2), dilations=(1, 1))
    assert two.period == pytest.approx(0.04)  # the units that the paper uses: 25 a second


def test_the_captioner_has_the_published_count():
    # 11,809,284 with three special words; ours has four, and so one more row in and one more out
    assert size(ImageToUnits(Config.paper())) == 11_809_284 + 512 + 513
    model = ImageToUnits(Config.paper())
    with torch.no_grad():
        scores = model(torch.zeros(1, 2048, 14, 14), torch.tensor([[1, 7, 2]]))
    assert scores.shape == (1, 2, 1028)


def test_the_voice_at_paper_scale_beside_tacotron_2():
    import torchaudio

    with torch.device("meta"):
        tacotron = torchaudio.models.Tacotron2(n_symbol=1024)
    assert size(tacotron) == 28_641_665  # the paper's voice
    ours = size(UnitsToSpeech(Config.paper()))
    w, bands = 512, 80
    assert ours == voice_size(1024, w, bands) == 9_762_899
    assert ours < size(tacotron)


def voice_size(units: int, w: int, bands: int) -> int:
    """Vectors of units and places, seven residual layers, the plan, what is told, the mel frames."""
    return (units + 1 + 3) * w + 7 * (5 * w * w + 3 * w) + 3 * (w + 1) + 16 * w + (w + 1) * bands


def test_world_sizes():
    c = Config.world()
    block, n, d, m, v = 2 * (64 * 64 * 3 + 2 * 64), c.hidden, c.prepare, c.embedding, c.vocabulary
    assert size(UnitDiscovery(c)) == 40 * 64 * 5 + 128 + 3 * block + 65 * 64 == 91_584
    first, second = (4 * n * (below + n + 2) for below in (m, n + d))
    places = (c.annotation + 1) * d + 36 * d
    look = 2 * n * (d + 1) + c.attention * (d + 1 + n + 1)
    assert size(ImageToUnits(c)) == first + second + places + look + v * m + v * (n + 1)
    assert size(UnitsToSpeech(c)) == voice_size(64, 64, 64) == 154_435
    assert c.period == 0.01
    assert c.vocabulary == 68


# --- units ----------------------------------------------------------------------------------------


def test_run_lengths():
    found = run_lengths(torch.tensor([5, 5, 5, 9, 9, 5]))
    assert found.units.tolist() == [5, 9, 5]
    assert found.frames.tolist() == [3, 2, 1]
    assert torch.equal(
        found.units.repeat_interleave(found.frames), torch.tensor([5, 5, 5, 9, 9, 5])
    )


def test_k_means_is_as_good_as_scikit_learn():
    dice = torch.Generator().manual_seed(0)
    x = torch.randn(600, 5, generator=dice) + 4 * torch.randint(0, 3, (600, 1), generator=dice)

    def spread(centres: torch.Tensor) -> float:
        return float((x - centres[nearest(x, centres)]).square().sum())

    ours = min(spread(k_means(x, 8, seed=s)) for s in range(4))
    theirs = KMeans(8, n_init=4, random_state=0).fit(x.numpy()).inertia_
    assert ours < 1.05 * theirs
    # from given centres, Lloyd's steps are the library's
    start = k_means(x, 8, rounds=0, seed=3)
    lloyd = KMeans(8, init=start.numpy(), n_init=1, max_iter=25, tol=0, algorithm="lloyd").fit(x)
    assert torch.allclose(
        k_means(x, 8, seed=3), torch.from_numpy(lloyd.cluster_centers_).float(), atol=1e-4
    )
    assert torch.equal(k_means(x, 8, seed=5), k_means(x, 8, seed=5))


def test_k_means_of_equal_vectors_and_bad_ones():
    assert torch.equal(k_means(torch.ones(9, 2), 3), torch.ones(3, 2))
    with pytest.raises(ValueError, match="as many vectors"):
        k_means(torch.zeros(2, 3), 4)
    with pytest.raises(ValueError, match="NaN or infinity"):
        k_means(torch.full((5, 2), math.nan), 2)


@pytest.mark.parametrize("price", [0.0, 0.4, 1.5, 100.0])
def test_patient_codes_are_the_best_of_all_paths(price):
    distance = torch.rand(3, 5, 3, generator=torch.Generator().manual_seed(1))
    found = patient_codes(distance, price)
    for own, path in zip(distance, found.tolist()):

        def cost(codes, own=own):
            changes = sum(a != b for a, b in itertools.pairwise(codes))
            return float(sum(own[t, k] for t, k in enumerate(codes))) + price * changes

        best = min(cost(p) for p in itertools.product(range(3), repeat=5))
        assert cost(path) == pytest.approx(best, abs=1e-5)
    if price == 0:
        assert torch.equal(found, distance.argmin(2))
    if price == 100:
        assert all(len(set(path)) == 1 for path in found.tolist())


def test_a_block_is_torchvisions_basic_block():
    from torchvision.models.resnet import BasicBlock

    torch.manual_seed(0)
    ours = Block(4, 4, 3, 1, 1).eval()
    theirs = BasicBlock(4, 4).eval()
    with torch.no_grad():
        for a, b in ((theirs.conv1, ours.conv1), (theirs.conv2, ours.conv2)):
            a.weight.zero_()
            a.weight[:, :, 1] = b.weight
    x = torch.randn(2, 4, 9)
    assert torch.allclose(ours(x), theirs(x[:, :, None])[:, :, 0], atol=1e-5)


def test_only_what_is_masked_is_a_riddle(ears):
    ears.train()
    batch = {"frames": torch.stack([ears.frames(melody(k)[None])[0] for k in range(3)])}
    torch.manual_seed(0)
    terms = ears.loss(batch)
    ears.eval()
    assert terms["loss"].item() == pytest.approx(
        (terms["masked"] + TINY.told * terms["open"]).item(), rel=1e-5
    )
    # the answers are the clusters of the raw sound
    mfcc = batch["frames"].transpose(1, 2) @ ears.cepstra.T
    assert torch.equal(
        ears.answers(batch["frames"]), torch.cdist(mfcc, ears.teacher[None]).argmin(-1)
    )


def test_it_learns_one_batch():
    torch.manual_seed(0)
    model = UnitDiscovery(replace(TINY, hide=0.1))
    frames = torch.stack([model.frames(melody(k)[None])[0] for k in range(2)])
    model.teach(frames.transpose(1, 2).flatten(0, 1))
    history = training.fit(
        model, {"frames": frames}, epochs=300, lr=1e-2, progress=False, log_every=1
    )
    assert history.losses["loss"][-1] < 0.5 * history.losses["loss"][0]


def test_strings_do_not_depend_on_neighbours_or_padding(ears):
    waves = [melody(1), melody(2)[:9000]]
    frames = [ears.frames(w[None])[0] for w in waves]
    padded = nn.utils.rnn.pad_sequence([x.T for x in frames], True, -2.0).transpose(1, 2)
    together = ears.strings(padded, [x.shape[1] for x in frames])
    alone = [ears.strings(x[None], [x.shape[1]])[0] for x in frames]
    assert torch.equal(together[0].units, alone[0].units)
    assert [int(own.frames.sum()) for own in together] == [x.shape[1] for x in frames]
    assert (alone[0].units[1:] != alone[0].units[:-1]).all()
    assert (alone[0].frames > 0).all()


def test_a_long_recording_in_pieces_is_the_whole(ears, monkeypatch):
    wave = torch.cat([melody(k) for k in range(5)])
    whole = ears.units(wave)
    monkeypatch.setattr(image_to_speech, "CHUNK", 150)
    parts = ears.units(wave)
    a, b = (own.units.repeat_interleave(own.frames) for own in (whole, parts))
    assert len(a) == len(b) == 1 + len(wave) // 160
    assert (a == b).float().mean() > 0.97  # at a seam the path is chosen without the other side


def test_an_hour_takes_no_more_memory_than_a_minute(ears):
    peaks = []
    for seconds in (60, 600):
        wave = melody(0).repeat(seconds)[: seconds * 16000]
        tracemalloc.start()
        seen, real = [], ears.encode

        def watch(frames, seen=seen, real=real):
            seen.append(frames.shape[2])
            return real(frames)

        ears.encode = watch
        found = ears.units(wave)
        del ears.encode
        tracemalloc.stop()
        peaks.append(max(seen))
        assert int(found.frames.sum()) == 1 + len(wave) // 160
    assert peaks[0] == peaks[1] <= image_to_speech.CHUNK + 2 * 64 + 1


def test_silence_and_one_sample(ears):
    quiet = ears.units(torch.zeros(8000))
    assert len(quiet.units) <= 3
    assert int(quiet.frames.sum()) == 51
    short = ears.units(torch.zeros(1))
    assert int(short.frames.sum()) >= 1
    pcm = ears.units((melody(1) * 32767).short())
    assert torch.equal(pcm.units, ears.units((melody(1) * 32767).short().float() / 32768).units)


# --- picture to units -----------------------------------------------------------------------------


def test_units_as_captions_and_back():
    ids = as_captions([torch.tensor([0, 4, 2]), torch.tensor([3])])
    assert ids.tolist() == [[1, 4, 8, 6, 2], [1, 7, 2, 0, 0]]
    assert as_units(ids[0, 1:-1].tolist()).tolist() == [0, 4, 2]
    assert as_units([4, 4, 6, 2, 3]).tolist() == [0, 2]  # merged; special words are no sounds
    assert as_units([]).tolist() == []


@BOTH
def test_a_step_is_a_step_of_the_walk(config):
    torch.manual_seed(0)
    model = ImageToUnits(config).eval()
    maps, ids = torch.randn(3, 7, 2, 3), torch.randint(4, 9, (3, 6))
    ids[:, 0] = 1
    whole = model(maps, ids)
    memory, state = model.begin(maps)
    for t in range(5):
        scores, state = model.step(ids[:, t], state, memory)
        assert torch.allclose(scores, whole[:, t], atol=1e-5)
    alpha = model.looks(maps, ids)
    assert torch.allclose(alpha.sum(-1), torch.ones(3, 5), atol=1e-5)
    # causal: a later unit changes nothing before it
    other = ids.clone()
    other[:, 4] = 4 + (other[:, 4] - 3) % 5
    assert torch.allclose(model(maps, other)[:, :4], whole[:, :4], atol=1e-6)
    assert not torch.allclose(model(-maps, ids), whole)


def test_fed_is_a_loop_over_a_cell():
    torch.manual_seed(0)
    model = ImageToUnits(FED).eval()
    maps, ids = torch.randn(2, 7, 2, 3), torch.tensor([[1, 5, 6, 2], [1, 8, 4, 2]])
    cell = nn.LSTMCell(9 + 7, 11)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(cell, name).data = getattr(model.lstm, f"{name}_l0").data
    a = maps.flatten(2).transpose(1, 2)
    h, c = model.first(a.mean(1)).chunk(2, -1)
    for t in range(3):
        e = model.score(torch.relu(model.key(a) + model.ask(h)[:, None]))
        z = torch.sigmoid(model.gate(h)) * (e.softmax(1) * a).sum(1)
        h, c = cell(torch.cat([model.words(ids[:, t]), z], 1), (h, c))
        assert torch.allclose(model.output(h), model(maps, ids)[:, t], atol=1e-5)


@BOTH
def test_it_learns_to_tell_pictures_apart(config):
    torch.manual_seed(0)
    model = ImageToUnits(config)
    maps = torch.randn(4, 7, 2, 3)
    said = [torch.tensor(s) for s in ([0, 1, 2], [3, 1], [4, 2, 0, 3], [1, 0])]
    history = training.fit(
        model,
        {"features": maps, "captions": as_captions(said)},
        epochs=150,
        lr=2e-2,
        progress=False,
    )
    assert history.losses["loss"][-1] < 0.5 * history.losses["loss"][0]
    best = [as_units(h.ids).tolist() for h in decoding.greedy(model, maps, limit=8)]
    assert best == [s.tolist() for s in said]
    beams = decoding.beam_search(model, maps, width=3, limit=8, n_best=1)
    assert [as_units(b[0].ids).tolist() for b in beams] == best


def test_the_papers_penalty_wants_every_place_seen_once():
    torch.manual_seed(0)
    model = ImageToUnits(FED).eval()
    batch = {"features": torch.randn(2, 7, 2, 3), "captions": torch.tensor([[1, 5, 2], [1, 6, 2]])}
    terms, seen = model.loss(batch), model.looks(**batch).sum(1)
    assert terms["loss"].item() == pytest.approx(
        (terms["per_unit"] + (1 - seen).square().mean()).item(), rel=1e-5
    )


# --- units to speech ------------------------------------------------------------------------------


@pytest.mark.parametrize("hertz", [75.0, 110.0, 151.0, 240.0])
def test_pitch_of_a_known_tone(hertz):
    found = pitch(tone(hertz)[None])[0]
    inner = found[4:-4]
    assert found.shape == (51,)
    assert (inner > 0).all()
    assert (12 * (inner / hertz).log2().abs()).max() < 0.25  # a quarter of a semitone


def test_pitch_agrees_with_librosa():
    t = torch.arange(16000) / 16000
    turn = 2 * math.pi * (100 * t + 15 * t * t)  # from 100 to 130 Hz
    wave = 0.2 * (torch.sin(turn) + 0.5 * torch.sin(2 * turn) + 0.3 * torch.sin(3 * turn))
    ours = pitch(wave[None])[0][5:-5]
    theirs = librosa.yin(
        wave.numpy(), fmin=60, fmax=300, sr=16000, frame_length=1024, hop_length=160
    )[5:-5]
    assert np.abs(12 * np.log2(ours.numpy() / theirs)).max() < 0.3


def test_noise_and_silence_have_no_pitch():
    noise = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    assert (pitch(noise)[0] > 0).float().mean() < 0.1
    assert not pitch(torch.zeros(1, 4000)).any()
    assert not pitch(torch.zeros(1, 1)).any()


def test_joined_pitch_is_numpys_interpolation():
    hertz = torch.tensor([0, 0, 100, 0, 0, 130, 120, 0.0])
    log, voiced = join_pitch(hertz)
    at = hertz.nonzero()[:, 0].numpy()
    want = np.interp(np.arange(8), at, np.log(hertz[at].numpy()))
    assert np.allclose(log.numpy(), want, atol=1e-5)
    assert voiced.sum() == 3
    flat, none = join_pitch(torch.zeros(3))
    assert flat.exp().tolist() == pytest.approx([110.0] * 3)
    assert not none.any()


def test_lines_between_units_are_numpys():
    at, values = torch.tensor([[1.0, 4.0, 9.0]]), torch.tensor([[2.0, -1.0, 5.0]])
    t = torch.arange(12.0)[None]
    there = torch.ones(1, 3, dtype=torch.bool)
    assert np.allclose(
        between(t, at, values, there)[0], np.interp(np.arange(12), at[0], values[0]), atol=1e-5
    )
    two = between(t, at, values, torch.tensor([[True, True, False]]))
    assert np.allclose(two[0], np.interp(np.arange(12), [1, 4], [2, -1]), atol=1e-5)


def test_means_of_units():
    x, frames = torch.arange(6.0)[None], torch.tensor([[1, 3, 2, 0]])
    assert unit_means(x, frames).tolist() == [[0.0, 2.0, 4.5, 0.0]]


def voice_batch(model: UnitsToSpeech) -> dict[str, torch.Tensor]:
    wave = torch.stack([melody(3), melody(4)])
    mel, hertz = model.measure(wave)
    joined = [join_pitch(own) for own in hertz]
    units = torch.tensor([[0, 3, 1, 4, 2], [2, 0, 4, -1, -1]])
    frames = torch.tensor([[20, 20, 20, 20, 21], [40, 30, 31, 0, 0]])
    return {
        "units": units,
        "frames": frames,
        "mel": mel,
        "pitch": torch.stack([a for a, _ in joined]),
        "voiced": torch.stack([b for _, b in joined]),
    }


def test_the_voice_learns_one_batch_and_keeps_time():
    torch.manual_seed(0)
    model = UnitsToSpeech(TINY)
    batch = voice_batch(model)
    model.get_used_to(batch["pitch"].exp() * batch["voiced"], batch["frames"][batch["units"] >= 0])
    history = training.fit(model, batch, epochs=200, lr=1e-2, progress=False, log_every=1)
    first, last = (history.losses["loss"][k] for k in (0, -1))
    assert last < 0.25 * first
    spoken = model.say(batch["units"])
    known = batch["units"] >= 0
    ratio = spoken.frames[known] / batch["frames"][known]
    assert (ratio > 0.7).all()
    assert (ratio < 1.4).all()
    assert not spoken.frames[~known].any()
    waves = model.speak(batch["units"])
    assert [len(w) for w in waves] == (160 * spoken.frames.sum(1)).tolist()
    assert all(w.isfinite().all() and w.abs().max() <= 1 for w in waves)
    quick = model.speak(batch["units"], "griffin-lim")
    assert [len(w) for w in quick] == [len(w) for w in waves]
    # padding changes nothing
    alone = model.say(batch["units"][1:, :3])
    assert torch.equal(alone.frames[0], spoken.frames[1, :3])
    n = int(alone.frames.sum())
    assert torch.allclose(alone.mel[0, :, :n], spoken.mel[1, :, :n], atol=1e-4)


def test_it_speaks_at_the_pitch_and_pace_that_it_is_told():
    torch.manual_seed(0)
    model = UnitsToSpeech(TINY).eval()
    units, frames = torch.tensor([[1, 2, 3]]), torch.tensor([[30, 30, 40]])
    for hertz in (90.0, 140.0):
        log = torch.full((1, 100), math.log(hertz))
        spoken = model.say(units, frames, log, torch.ones(1, 100))
        assert torch.equal(spoken.frames, frames)
        spoken = spoken._replace(mel=torch.full_like(spoken.mel, 0.5))
        wave = model.speak(units, how=spoken)[0]
        found = pitch(0.5 * wave[None] / wave.abs().max())[0][10:-10]
        assert len(wave) == 16000
        assert (12 * (found / hertz).log2().abs()).median() < 0.3


def test_the_throat():
    raw = excitation(torch.full((1, 100), math.log(100.0)), torch.ones(1, 100), 16000, 160)[0]
    at = (raw > 5).nonzero()[:, 0]
    assert raw.shape == (16000,)
    assert 98 <= len(at) <= 100
    assert (at.diff() == 160).all()
    noise = excitation(torch.full((1, 100), math.log(100.0)), torch.zeros(1, 100), 16000, 160)[0]
    assert noise.std() == pytest.approx(1, abs=0.05)
    assert raw.std() == pytest.approx(1, abs=0.1)  # as loud as noise


def test_the_channel_vocoder_makes_the_bands_as_loud_as_told():
    model = UnitsToSpeech(TINY)
    wave = melody(5)
    mel, hertz = model.measure(wave[None])
    log, voiced = join_pitch(hertz[0])
    spoken = image_to_speech.Spoken(mel, log[None], voiced[None], torch.tensor([[mel.shape[2]]]))
    for how in ("channel", "griffin-lim"):
        out = image_to_speech.vocode(model, spoken, how)
        again = model.measure(out.clamp(-1, 1))[0]
        off = (again[:, :, : mel.shape[2]] - mel)[mel > 0].abs().mean()  # above -40 dB
        assert off < 0.2, how  # 4 dB


# --- all of it ------------------------------------------------------------------------------------


def test_same_seed_same_result():
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        model = UnitDiscovery(TINY)
        frames = torch.stack([model.frames(melody(k)[None])[0] for k in range(3)])
        model.teach(frames.transpose(1, 2).flatten(0, 1), seed=1)
        training.fit(model, {"frames": frames}, epochs=2, progress=False, seed=4)
        model.learn_codes(list(frames), seed=1)
        made.append(model.units(melody(9)))
    assert torch.equal(made[0].units, made[1].units)


def test_saved_and_loaded_it_hears_the_same(ears, tmp_path):
    saving.save(ears, tmp_path / "ears")
    again = saving.load(UnitDiscovery, tmp_path / "ears").model
    assert torch.equal(again.units(melody(7)).units, ears.units(melody(7)).units)


def pretended(model: nn.Module) -> nn.Module:
    """A model whose weights are on a pretended GPU."""
    for part in model.modules():
        for own in (part._parameters, part._buffers):
            for name, x in own.items():
                if x is not None:
                    fake = torch.empty(x.shape, dtype=x.dtype, device="cuda")
                    own[name] = nn.Parameter(fake) if own is part._parameters else fake
    return model


@pytest.mark.parametrize("config", [TINY, FED, Config.world()], ids=["stacked", "fed", "world"])
def test_on_a_pretended_gpu(config):
    # the filterbank looks at its numbers, which pretended tensors do not have: build it before
    made = UnitDiscovery(config), ImageToUnits(config), UnitsToSpeech(config)
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.backends.cudnn.flags(enabled=False),
    ):
        ears, tells, mouth = (pretended(model) for model in made)
        cuda = dict(device="cuda")
        found = [*ears.loss({"frames": torch.zeros(2, config.bands, 64, **cuda)}).values()]
        maps = torch.zeros(2, config.annotation, *config.grid, **cuda)
        ids = torch.ones(2, 6, dtype=torch.long, **cuda)
        found += tells.loss({"features": maps, "captions": ids}).values()
        batch = {
            "units": torch.zeros(2, 5, dtype=torch.long, **cuda),
            "frames": torch.full((2, 5), 4, **cuda),
            "mel": torch.zeros(2, config.voice_bands, 20, **cuda),
            "pitch": torch.zeros(2, 20, **cuda),
            "voiced": torch.zeros(2, 20, **cuda),
        }
        found += mouth.loss(batch).values()
    assert {t.device.type for t in found} == {"cuda"}


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": 1}, "two units or more"),
        ({"units": 0}, "units must be at least 1"),
        ({"widths": (8, 8)}, "one number more"),
        ({"widths": ()}, "widths must hold"),
        ({"kernel": 4}, "must be odd"),
        ({"patience": math.nan}, "patience"),
        ({"patience": -1.0}, "patience"),
        ({"hide": 0.0}, "shares"),
        ({"dropout": 1.0}, "shares"),
        ({"grid": (2, 3, 4)}, "height, width"),
        ({"recurrence": "gru"}, "recurrence must be one of"),
        ({"window": 200}, "two hops"),
        ({"prepare": -1}, "prepare"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


def test_ears_refuse(ears):
    with pytest.raises(ValueError, match="22050 samples a second, and 16000 are read"):
        ears.units(melody(0), rate=22050)
    with pytest.raises(ValueError, match="NaN or infinity"):
        ears.units(torch.tensor([0.0, math.nan]))
    with pytest.raises(ValueError, match="one wave"):
        ears.units(torch.zeros(2, 100))
    with pytest.raises(ValueError, match="none of them 0"):
        ears.units(torch.zeros(0))
    with pytest.raises(ValueError, match="peak of"):
        ears.units(torch.full((100,), 300.0))
    fresh = UnitDiscovery(TINY)
    with pytest.raises(ValueError, match="teach"):
        fresh.loss({"frames": torch.zeros(1, 40, 30)})
    with pytest.raises(ValueError, match="no units yet"):
        fresh.eval().units(melody(0))
    with pytest.raises(ValueError, match="features must be a tensor"):
        ears.loss({"frames": torch.zeros(1, 39, 30)})
    ears.train()
    with pytest.raises(ValueError, match="call eval"):
        ears.units(melody(0))
    ears.eval()


def test_the_captioner_refuses():
    model = ImageToUnits(TINY)
    with pytest.raises(ValueError, match="features must be a tensor"):
        model.begin(torch.zeros(1, 7, 3, 3))
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.begin(torch.full((1, 7, 2, 3), math.nan))
    with pytest.raises(ValueError):
        model(torch.zeros(1, 7, 2, 3), torch.tensor([[1, 9]]))  # a unit that there is not
    with pytest.raises(ValueError):
        model.loss({"features": torch.zeros(1, 7, 2, 3), "captions": torch.tensor([[1, 5]])})


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (torch.tensor([[5]]), "never seen has no sound"),
        (torch.tensor([[-1, 2]]), "padding"),
        (torch.tensor([[2, -1, 2]]), "padding"),
        (torch.tensor([[-2]]), "units lie in"),
        (torch.tensor([1, 2]), "must be a tensor"),
        (torch.zeros(1, 0).long(), "must be a tensor"),
        (torch.tensor([[1.0]]), "whole numbers"),
    ],
)
def test_the_voice_refuses(units, message):
    model = UnitsToSpeech(TINY).eval()
    with pytest.raises(ValueError, match=message):
        model.say(units)


def test_the_voice_refuses_more():
    model = UnitsToSpeech(TINY).eval()
    with pytest.raises(ValueError, match="one frame or more"):
        model.say(torch.tensor([[1, 2]]), torch.tensor([[3, 0]]))
    with pytest.raises(ValueError, match="frames must be whole numbers"):
        model.say(torch.tensor([[1, 2]]), torch.tensor([[3]]))
    with pytest.raises(ValueError, match="vocoder must be one of"):
        model.speak(torch.tensor([[1]]), "wavenet")
    with pytest.raises(ValueError, match="8000 samples a second"):
        model.measure(torch.zeros(1, 100), rate=8000)
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.measure(torch.full((1, 100), math.nan))
    mel, hertz = model.measure(torch.zeros(1, 1))
    assert mel.isfinite().all()
    assert not hertz.any()


def test_mels_are_the_houses():
    model = UnitsToSpeech(TINY)
    mel = MelSpectrogram(16000, n_fft=512, hop_length=160, n_mels=20)(melody(0)[None])
    got = model.measure(melody(0)[None])[0]
    assert torch.allclose(got, (10 * torch.log10(mel + 1e-8) + 40) / 20, atol=1e-5)
    assert F.mse_loss(got, got) == 0
