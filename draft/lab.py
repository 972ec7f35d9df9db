"""scratch: python lab.py name key=value…"""

import sys, time, math, torch, functools, json
import os

sys.path.insert(0, os.environ.get("ROOT", "."))
torch.set_num_threads(1)
import torch.nn as nn, torch.nn.functional as F
from torch.utils.data import default_collate
from mmtutor.experiments import cocktail_party as e
from mmtutor import cocktail_party as cp
from mmtutor.cocktail_party import *
import numpy as np
from mmtutor.world import voices

o = dict(
    steps=1000,
    batch=8,
    lr=5e-3,
    width=160,
    dil="1,2,4,8,16",
    seed=10,
    opt="adamw",
    wd=0.01,
    warm=40,
    ema=0.0,
    fast=1,
    seconds=1.6,
    cfg="{}",
    deaf=0,
    b2=0.98,
    sched="cos",
    mlr=0.02,
    face="",
    loss="",
    n_hold=60,
    two="",
    aux=0.5,
    skip=1,
    ask=0.0,
    res=1,
    told=1,
    real=0,
    det=0,
    cep=0,
    cs=4.0,
    wgt=1,
    err=0,
    avg=0,
    bands=16,
    mid=64,
)
for a in sys.argv[2:]:
    k, v = a.split("=", 1)
    o[k] = type(o[k])(v)
own = e.load("train")
held = own.speaker >= own.speaker.max() + 1 - o["n_hold"]
tr = (~held).nonzero()[:, 0]
va = held.nonzero()[:, 0]


class FastConv(nn.Conv1d):
    """conv over time as one matrix product"""

    def forward(self, x):
        k = self.kernel_size[0]
        B, C, M = x.shape
        X = x.transpose(1, 2)  # B,M,C
        if k > 1:
            d = self.dilation[0]
            p = self.padding[0]
            X = F.pad(X, (0, 0, p, p))
            X = torch.cat([X[:, i * d : i * d + M] for i in range(k)], 2)
        W = self.weight.permute(2, 1, 0).reshape(k * C, -1)
        y = torch.addmm(self.bias, X.reshape(B * M, -1), W)
        return y.view(B, M, -1).transpose(1, 2)


def fasten(m):
    for mod in m.modules():
        if type(mod) is nn.Conv1d:
            mod.__class__ = FastConv


def zeropower(G, steps=5):
    a, b, c = 3.4445, -4.7750, 2.0315
    X = G / (G.norm() + 1e-7)
    t = X.shape[0] > X.shape[1]
    if t:
        X = X.T
    for _ in range(steps):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X.T if t else X


class Muon(torch.optim.Optimizer):
    def __init__(self, ps, lr, mom=0.95, wd=0.0):
        super().__init__(ps, dict(lr=lr, mom=mom, wd=wd))

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            for p in g["params"]:
                s = self.state[p]
                if "m" not in s:
                    s["m"] = torch.zeros_like(p)
                s["m"].mul_(g["mom"]).add_(p.grad)
                u = p.grad.add(s["m"], alpha=g["mom"])
                u2 = zeropower(u.flatten(1))
                p.mul_(1 - g["lr"] * g["wd"]).add_(
                    u2.view_as(p), alpha=-g["lr"] * max(1, u2.shape[0] / u2.shape[1]) ** 0.5
                )


torch.manual_seed(o["seed"])


class Two(nn.Module):
    """sound first: its own voices in any order; then the faces"""

    def __init__(self, c, audio, pre):
        super().__init__()
        self.config = c
        W = c.width

        def step(o, k, d=1):
            return nn.Sequential(
                nn.BatchNorm1d(W), nn.ReLU(), nn.Conv1d(W, o, k, padding=k // 2 * d, dilation=d)
            )

        self.hear = Hear(c)
        self.pre = nn.ModuleList(step(W, 3, d_) for d_ in pre)
        self.head = step(c.bins, 1)
        self.watch = Watch(c) if not o["deaf"] else None
        below = W + (2 * self.watch.channels if self.watch else 0)
        self.join = nn.Conv1d(below, W, 3, padding=1)
        self.steps = nn.ModuleList(step(W, 3, d_) for d_ in c.dilations)
        self.last = step(c.bins, 1)
        if o["ask"]:
            self.agree = nn.Sequential(
                nn.Conv1d(o["bands"] + self.watch.channels, 64, 3, padding=1),
                nn.BatchNorm1d(64),
                nn.ReLU(),
                nn.Conv1d(64, 64, 3, padding=1),
                nn.BatchNorm1d(64),
                nn.ReLU(),
            )
            self.say = nn.Linear(64, 1)
            self.told = nn.Conv1d(c.bins, W, 1)
        self.mask_of = CocktailParty.mask.__get__(self)

    def both(self, Y, faces):
        x = self.hear(Y)
        for s in self.pre:
            x = x + s(x)
        aux = self.mask_of(self.head(x))
        seen = []
        if self.watch is not None:
            z = self.watch(faces.flatten(0, 1)).unflatten(0, (len(Y), 2))
            seen = [z.flatten(1, 2)]
        self.p = None
        more = 0
        base = 0
        if o["ask"]:
            e = (
                (aux.clamp(min=0) * Y.abs()[:, None]) ** 0.3
                if False
                else ((aux * Y.abs()[:, None]).square() + 1e-6) ** 0.15
            )
            e = (
                F.adaptive_avg_pool1d(e.flatten(0, 1).transpose(1, 2), o["bands"])
                .transpose(1, 2)
                .unflatten(0, (len(Y), 2))
            )  # B,2,16,M
            E = e[:, :, None].expand(-1, -1, 2, -1, -1)
            Z = z[:, None].expand(-1, 2, -1, -1, -1)
            h = self.agree(torch.cat([(E - 0.4) * 2.5, Z], 3).flatten(0, 2))
            if o["avg"]:
                h = F.avg_pool1d(h, o["avg"], 1, o["avg"] // 2, count_include_pad=False)
            else:
                h = h.mean(-1, keepdim=True)
            s_ = self.say(h.transpose(1, 2)).transpose(1, 2).reshape(len(Y), 2, 2, -1)
            self.logit = s_[:, 0, 0] + s_[:, 1, 1] - s_[:, 0, 1] - s_[:, 1, 0]
            p = torch.sigmoid(self.logit)[:, None]
            base = p * aux[:, 0] + (1 - p) * aux[:, 1]
            more = self.told(base - 0.5) if o["told"] else 0
        self.base = base
        y = self.join(torch.cat([torch.relu(x), *seen], 1)) + more + (x if o["skip"] else 0)
        for s in self.steps:
            y = y + s(y)
        q = self.last(y)
        if o["ask"] and o["res"]:
            q = q + (base - 0.5)
        return self.mask_of(q), aux

    def forward(self, mixture, faces=None):
        Y = transform(self.config, check_waves(mixture))
        return inverse(self.config, self.both(Y, faces)[0] * Y[:, None], mixture.shape[1])

    def loss(self, b):
        c = self.config
        S, Y = transform(c, b["sources"]), transform(c, b["mixture"])[:, None]
        m_, a_ = self.both(Y[:, 0], b.get("faces"))

        def pit(g):
            return best_order(cp.error(c, g[:, :, None], S[:, None], Y[:, :, None]))[0].mean()

        costs = cp.error(c, (a_ * Y)[:, :, None], S[:, None], Y[:, :, None])
        each, order = best_order(costs)
        aux = each.mean()
        asked = 0
        if o["ask"]:
            right = (order[:, 0] == 0).float()
            gap = (costs[:, 0, 0] + costs[:, 1, 1] - costs[:, 0, 1] - costs[:, 1, 0]).abs().detach()
            asked = F.binary_cross_entropy_with_logits(
                self.logit,
                right[:, None].expand_as(self.logit),
                weight=(gap / 10).clamp(max=1)[:, None] if o["wgt"] else None,
            )
            if o["err"]:
                bm = torch.stack([self.base, 1 - self.base], 1)
                asked = cp.error(c, bm * Y, S, Y).mean()
            self.acc = float(((self.logit > 0) == (right[:, None] > 0)).float().mean())
        main = cp.error(c, m_ * Y, S, Y).mean() if self.watch is not None else pit(m_ * Y)
        self.seen_aux = float(aux.detach())
        return {"loss": main + o["aux"] * aux + o["ask"] * asked, "snr": -main.detach()}


if o["real"]:
    c = Config.world(**eval(o["cfg"]))
else:
    c = Config.world(
        dilations=tuple(int(x) for x in o["dil"].split(",")) if o["dil"] else (),
        width=o["width"],
        **eval(o["cfg"]),
    )
if o["deaf"]:
    c = twin(c)
m = Two(c, None, [int(x) for x in o["two"].split(",")]) if o["two"] else CocktailParty(c)
if o["det"]:
    f0 = cp.Match.forward

    def fwd(self, heard, Y, seen):
        return f0(self, heard.detach(), Y, seen)

    cp.Match.forward = fwd
if o["cep"]:
    lo, hi = 20, 160

    def hear_forward(self, Y):
        c = self.config
        x = Y.abs() ** c.compression  # B,F,M
        q = torch.fft.irfft(x.transpose(1, 2), n=c.n_fft)[..., lo:hi].transpose(1, 2)  # B,140,M
        x = (x - c.standard[0]) * c.standard[1]
        return self.layers(torch.cat([x, q * o["cs"] * 10], 1))

    cp.Hear.forward = hear_forward
    old = m.hear.layers[0][0]
    m.hear.layers[0][0] = nn.Conv1d(old.in_channels + hi - lo, old.out_channels, 3, padding=1)
if o["fast"]:
    fasten(m)
d = Mixtures(
    c, own.wave[tr], own.face[tr] if m.watch else None, own.speaker[tr], seconds=o["seconds"]
)
n = sum(p.numel() for p in m.parameters())
if o["opt"] == "adamw":
    opts = [
        torch.optim.AdamW(
            m.parameters(), lr=o["lr"], betas=(0.9, o["b2"]), weight_decay=o["wd"], fused=True
        )
    ]
else:
    big = [p for k, p in m.named_parameters() if p.ndim >= 2 and min(p.shape[:2]) > 1]
    rest = [p for p in m.parameters() if not any(p is q for q in big)]
    opts = [
        Muon(big, o["mlr"], wd=o["wd"]),
        torch.optim.AdamW(rest, lr=o["lr"], betas=(0.9, o["b2"]), weight_decay=0.0, fused=True),
    ]
base = [[g["lr"] for g in q.param_groups] for q in opts]


def rate(i):
    w = min(1, (i + 1) / o["warm"])
    t = i / o["steps"]
    if o["sched"] == "cos":
        return w * 0.5 * (1 + math.cos(math.pi * t))
    if o["sched"] == "lin":
        return w * (1 - t)
    if o["sched"] == "wsd":
        return w * min(1, (1 - t) / 0.4)


names = [own.names[i] for i in va.tolist()]
bands = {
    k: va[
        torch.as_tensor(
            np.ascontiguousarray(
                voices.pairs_by_pitch(names, *b, 150 if k == "all" else 80, seed=1)
            )
        )
    ]
    for k, b in {
        "all": (0.0, 60.0),
        "near": (0.0, 3.0),
        "mid": (3.0, 8.0),
        "far": (8.0, 60.0),
    }.items()
}


def bandtest():
    return " ".join(f"{k} {test(m, None, 0, pairs=p):.2f}" for k, p in bands.items())


def draw(rows, size, g):
    a = rows[torch.randperm(len(rows), generator=g)]
    p = torch.stack([a, a.roll(7)], 1)
    return p[own.speaker[p[:, 0]] != own.speaker[p[:, 1]]][:size]


@torch.no_grad()
def test(model, rows, size=150, pairs=None):
    model.eval()
    g = torch.Generator().manual_seed(3)
    if pairs is None:
        pairs = draw(rows, size, g)
    mixture, sources = mix(own.wave[pairs], 0.0)
    if model.watch is None:
        guess = model(mixture)
        costs = -si_sdr(guess[:, :, None], sources[:, None])
        _, order = best_order(costs)
        guess = guess.take_along_dim(order[..., None], 1)
    else:
        guess = model(mixture, own.face[pairs])
    model.train()
    return float(improvement(guess, sources, mixture).mean())


t0 = time.process_time()
w0 = time.time()
perm = []
snr = 0
T = 0
hn = [0, 0]
for i in range(o["steps"]):
    if len(perm) < o["batch"]:
        perm = torch.randperm(len(d)).tolist()
    idx, perm = perm[: o["batch"]], perm[o["batch"] :]
    b = default_collate(d.__getitems__(idx))
    out = m.loss(b)
    for q in opts:
        q.zero_grad()
    out["loss"].backward()
    torch.nn.utils.clip_grad_norm_(m.parameters(), 20.0)
    r = rate(i)
    for q, bb in zip(opts, base):
        for g, l in zip(q.param_groups, bb):
            g["lr"] = l * r
        q.step()
    snr = 0.98 * snr + 0.02 * float(out["snr"])
    if "heard" in out:
        hn = [0.97 * a + 0.03 * float(out[k]) for a, k in zip(hn, ("heard", "named"))]
    if (i + 1) % (o["steps"] // 4) == 0:
        T += time.process_time() - t0
        print(
            sys.argv[1],
            i + 1,
            f"cpu {T:.0f}s wall {time.time() - w0:.0f} snr {snr:.2f} heard {hn[0]:.2f} named {hn[1]:.2f} {bandtest()}"
            + (f" aux {-m.seen_aux:.2f} acc {getattr(m, 'acc', 0)}" if o["two"] else ""),
            flush=True,
        )
        t0 = time.process_time()
print(
    "RESULT",
    sys.argv[1],
    " ".join(sys.argv[2:]),
    f"weights {n} ms/step {T / o['steps'] * 1000:.0f} cpu {T:.0f} train {test(m, tr, 300):.2f} held {test(m, va, 300):.2f} {bandtest()}",
    flush=True,
)
