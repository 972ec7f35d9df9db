import sys

sys.path.insert(0, ".")
import torch, json
from dataclasses import asdict
from playwright.sync_api import sync_playwright
from mmtutor.cocktail_party import *
from mmtutor.page import live

torch.manual_seed(0)
for cfg in (Config.world(), Config.world(width=96)):
    m = CocktailParty(cfg)
    for p in m.modules():
        if hasattr(p, "running_mean") and p.running_mean is not None:
            p.running_mean.uniform_(-0.1, 0.1)
            p.running_var.uniform_(0.3, 2)
            p.weight.data.uniform_(0.5, 1.5)
            p.bias.data.uniform_(-0.2, 0.5)
    if cfg.by_ear:
        m.match.evidence.weight.data *= 20000
    m.eval()
    f = live.packed(
        m.state_dict(), {"kind": "party", "config": json.loads(json.dumps(asdict(cfg)))}, 12
    )
    m.load_state_dict({k: v for k, v in live.unpacked(f).items()}, strict=False)
    x = 0.1 * torch.randn(1, 16000)
    faces = 0.3 * torch.randn(1, 2, 50, 16, 24)
    with torch.no_grad():
        Y = transform(cfg, x)
        s = m.stages(Y, faces)
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path="/usr/bin/chromium-headless-shell")
        pg = b.new_page()
        pg.set_content("<p>x</p>")
        pg.add_script_tag(path="./book/_static/live/engine.js")
        out = pg.evaluate(
            "([f,x,a,b]) => { const m=new MMT.Party(f); const t=performance.now(); const r=m.separate(Float32Array.from(x),[Float32Array.from(a),Float32Array.from(b)]); return [[...r.masks[0]], performance.now()-t] }",
            [f, x[0].tolist(), faces[0, 0].flatten().tolist(), faces[0, 1].flatten().tolist()],
        )
        b.close()
    d = (torch.tensor(out[0]).view_as(s.masks[0, 0]) - s.masks[0, 0]).abs().max()
    print(
        cfg.width,
        cfg.by_ear,
        float(d),
        "mask std",
        float(s.masks.std()),
        "named-1/2",
        float((s.named - 0.5).abs().mean()) if s.named is not None else "",
        "ms",
        round(out[1]),
    )
