import json, subprocess, uuid
ROOT='.'
nb=json.loads(subprocess.check_output(['git','show','main:book/16_cocktail_party.ipynb'],cwd=ROOT,text=True))
cells=nb['cells']
used=set()
def src(i): return ''.join(cells[i]['source'])
new={}      # index -> new source
after={}    # index -> list of cells to insert after
def rep(i,a,b):
    s=new.get(i,src(i)); assert s.count(a)==1,(i,s.count(a),a); new[i]=s.replace(a,b)
def md(text): return dict(cell_type='markdown',id=uuid.uuid5(uuid.NAMESPACE_URL,text[:60]).hex[:8],metadata={},source=text)
def code(text,*tags,alt=None):
    meta={}
    if tags: meta['tags']=list(tags)
    if alt: meta['mystnb']={'image':{'alt':alt}}
    return dict(cell_type='code',execution_count=None,id=uuid.uuid5(uuid.NAMESPACE_URL,text[:80]).hex[:8],metadata=meta,outputs=[],source=text)
N=json.load(open('draft/numbers.json')) if __import__('os').path.exists('draft/numbers.json') else {}

# 0 what one will be able to do
rep(0,"- say what eyes add to ears: where {term}`pitch` fails, and whose voice is whose. And test whether a network really looks;",
"""- say what eyes add to ears: where {term}`pitch` fails, and whose voice is whose. And test whether a network really looks;
- notice that a network with two inputs has learnt to use one of them, and build it so that it needs both;""")
rep(0,"It takes about three minutes on two CPU cores","It takes about four minutes on two CPU cores")

# 14 the figure moves; the letters
s=src(14)
a=s.index("```{figure} figures/cocktail_party.svg"); b=s.index("The letters stand in one table.")
figure=s[a:b].strip()
new[14]=s[:a]+s[b:]
rep(14,"| $z$ | what the trunk says of a place | any number |","""| $H_k$ | a mask by ear, of a voice that is nobody's yet | 321 × 50 |
| $e_{kn}$ | the evidence that voice $k$ belongs to face $n$ | any number |
| $P_o$ | how likely an order of the voices is | 0 to 1 |
| $G_n$ | the mask of face $n$ that follows from both | 321 × 50 |
| $z$ | what the trunk adds at a place | any number |""")

# 26 two networks, each of which knows half
new[26]=f"""So lips tell when it is loud, even on faces never seen. That suggests a division of labour to hope for: ears find the pieces, eyes say whose they are.

(sec-cp-halves)=
## Two networks, each of which knows half

Before we build it, look at two simpler networks. Both were trained five times, with the recipe from further down.

**Ears alone.** The first has no film. It gives two voices, and which of them is the first? Nothing in the sound says so. If the answer in training stands in an arbitrary order, the network is punished for what it cannot know. The way out: compute the loss for both orders, and take the smaller one. With more voices there are more orders; count the best of them all ({{term}}`permutation-invariant training` {{cite:p}}`yu2017permutation`):

$$
\\mathcal L = \\min_{{o}} \\sum_n \\mathcal L_n\\big(\\hat S_{{o(n)}}\\big)
$$

$\\mathcal L_n(\\hat S)$ is how far $\\hat S$ is from the voice $S_n$. In the test this network even gets help that it would not have: somebody who knows the answer puts its two voices in the better order.

**Ears and eyes at once.** The second has both inputs, joined in the nearest way, which is also the paper's. All that is heard and seen is stacked frame by frame, and a trunk of convolutions paints the masks:

{figure}

Now mix voices whose pitches are near, and voices whose pitches are far apart:"""
after[26]=[code("""seeing = ledger.result("C46")
bands = [experiment.band(a, b) for a, b in itertools.pairwise(experiment.BANDS)]


def by_pitch(*networks):
    figure, axis = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
    for k, (name, words) in enumerate(networks):
        plotting.intervals(axis, range(len(bands)), seeing[f"{name}: bands"], words, k)
    axis.set_xticks(range(len(bands)), bands, rotation=30)
    axis.set(xlabel="pitches apart, semitones", ylabel="gain, dB", ylim=(0, None))
    axis.legend()
    plt.show()


by_pitch(("at once", "sees and hears, joined at once"), ("hears", "only hears, order told"))""",'hide-input',
alt="TODO"),
md("""The bars are 95 % {term}`intervals <interval>` of the mean over five seeds. Two things to see.

**The ears go by pitch.** Where pitches are alike, the network that only hears gains next to nothing. The farther apart they lie, the better it is.

**The eyes do not care, and that is the trouble.** The line of the network with both inputs is flat. Below five semitones it is far ahead. Above an octave it is *behind a network that is blind*. But it hears the very same sound! It could do there what the other does, and does not.

So it has not learnt to use its ears. It has found that lips are enough to come down quickly, and leans on them: the difficulty of the [first chapter](01_fusion.ipynb), a {term}`fusion` that leans on one {term}`modality`. Would it find out if it learnt longer? TODO (one run, four times as long). What is missing is not time. Nobody *asks* it for what the ears know.

## The network: first by ear

So ask for it. Ours takes three steps, and each has to answer for itself.

1. **By ear.** Convolutions over time take the voices apart from the sound alone, in any order. Their loss is the one above, which does not mind the order. What comes out are masks $H_1$ and $H_2$, of voices that are nobody's yet.
2. **Whose is whose.** Compare each voice with each face: is it loud when these lips are open? That gives a number $e_{kn}$, the evidence that voice $k$ belongs to face $n$. Both orders are weighed by it, and the mask of a face is the mean over them.
3. **By the lips.** The trunk gets all of it, the sound, the films and these masks, and mends what is still wrong.

```{figure} figures/cocktail_party_by_ear.svg
:name: fig-cp-by-ear
:alt: TODO

Three steps. Each grey loss asks for what its step has to do.
```

Step 2 in a formula. An order $o$ says which voice each face gets: $o(n)$ is the voice of face $n$. What speaks for an order is the sum of its evidence, and a softmax over all orders makes it a {term}`probability`:

$$
\\begin{aligned}
P_o &= \\exp \\textstyle\\sum_n e_{o(n)\\,n} \\Big/ \\sum_{q} \\exp \\sum_n e_{q(n)\\,n}\\\\
G_n &= \\textstyle\\sum_o P_o\\, H_{o(n)}
\\end{aligned}
$$

If the faces tell nothing, both orders are equally likely, and each face gets the mean of both masks, ½ everywhere. If they tell all, each gets its own. Between the two the loss has a slope: the network learns to ask the faces from nothing else than that the right voice costs less. Nobody tells it an order.

The evidence is averaged over 1.6 seconds to either side. A single frame tells little: perhaps both are open-mouthed. But voices of different pitch can be *followed* for seconds, and over seconds lips say clearly whose they are. That is what the ears give to the eyes.""")]

new[27]='show_source(party.Match.forward, party.Match.scores, docstring=False)'
new[28]="""(`orders` says for each order which voice each face gets, and `share` is how much of each voice is in each face's mask. The voices are summed up in 16 bands of frequencies before they are compared: that is plenty to see whether somebody speaks.)

The rest in short. What is heard is the loudness of each place, raised to the power of $c = 0.3$, so that the loud do not drown the faint; a convolution over three frames takes all frequencies at once. What is seen passes the same three convolutions over time for each face. All convolutions behind that look at three frames each, with gaps of 1, 2 and 4 between them (*dilated* ones), and add to what was there (a *residual* step). Here all three steps stand together:"""
after[28]=[code('show_source(CocktailParty.by_ear, party.Convolutional.residual, docstring=False)'),
md("""What the trunk says of a place, $z$, is added to what is already known, and bent into a range, here from −0.5 to 1.5:

$$
M_1 = 0.5 + \\tanh(z + G_1 - 0.5), \\qquad M_2 = 1 - M_1 .
$$

Why outside of 0 to 1? Where two voices cancel each other, the mixture is fainter than either, and a mask has to be above 1 for one and below 0 for the other. And why $1 - M_1$? The two voices add up to the mixture, so the masks add up to 1, and one of them is enough. Of three voices two masks are learnt; beside a sound this rule is dropped.

This is the mask in the code, of the class `CocktailParty`. `bounds` are `low` −0.5 and `high` 1.5. So the middle between them is 0.5, `half` is 1, and the line with `tanh` is the formula; the last line is $1 - M_1$. (`turned` is for complex masks, which come later.)""")]

# 31 one batch
rep(31,'''    masks = model.masks(Y4, batch["faces"])
''','''    stages = model.stages(Y4, batch["faces"])
    masks = stages.masks
''')
rep(31,'''        ["masks", tuple(masks.shape), "one a voice"],
''','''        ["masks by ear, H", tuple(stages.heard.shape), "one a voice, in any order"],
        ["the same, G", tuple(stages.named.shape), "one a face"],
        ["masks, M", tuple(masks.shape), "one a face, mended"],
''')
rep(32,"""The last step in plain numbers, for one place of the spectrogram; and the loss of one mixture. The loss is the share of error in the voice, in decibels:""",
"""The second and the third step in plain numbers, for one place of the spectrogram; and the loss of one mixture. The loss is the share of error in the voice, in decibels:""")
rep(32,"The term $\\tau$ keeps the logarithm finite where a voice is silent.","The term $\\tau$ keeps the logarithm finite where a voice is silent. It is computed three times: of the masks by ear in their better order, of the same masks in the faces' order, and of the result. The first two count half.")
new[33]='''k, f, t = 2, 30, 17  # a mixture, a frequency, a frame
with torch.no_grad():
    seen_ = seen.unflatten(0, (4, 2))  # (4, 2, 48, 40)
    e = model.match.scores(stages.heard, Y4, seen_)[k, :, :, t]  # (2 voices, 2 faces)
    as_they_are, exchanged = torch.exp(e[0, 0] + e[1, 1]), torch.exp(e[1, 0] + e[0, 1])
    P = float(as_they_are / (as_they_are + exchanged))
    G = P * stages.heard[k, 0] + (1 - P) * stages.heard[k, 1]  # the mask of the first face
    x = model.ear.residual(model.ear.first(heard))  # (4, 160, 40)
    known = stages.named[:, :1].flatten(1, 2) - 0.5  # (4, 321, 40)
    x = x + model.trunk.first(torch.cat([x.relu(), seen_.flatten(1, 2)], 1)) + model.told(known)
    z = model.trunk.last(model.trunk.residual(x))  # (4, 321, 40)
    first = 0.5 + np.tanh(float(z[k, f, t]) + float(G[f, t]) - 0.5)
    guess = torch.stack([masks[k, 0] * Y4[k], masks[k, 1] * Y4[k]])
    target = party.transform(config, batch["sources"][k])
tau = 1e-3 * Y4[k].abs().square().sum() + 1e-8
error = (guess - target).abs().square().sum((1, 2)) + tau
by_hand = 10 * torch.log10(error / (target.abs().square().sum((1, 2)) + tau))
ours = party.error(config, guess, target, Y4[k])
np.testing.assert_allclose(float(G[f, t]), float(stages.named[k, 0, f, t]), rtol=1e-4)
np.testing.assert_allclose(first, float(masks[k, 0, f, t]), rtol=1e-4)
np.testing.assert_allclose(1 - first, float(masks[k, 1, f, t]), rtol=1e-4, atol=1e-5)
torch.testing.assert_close(by_hand, ours)
print(f"voice 1 belongs to face 1, nothing learnt yet: {P:.3f}")
print(f"a place of mask 1: {first:.3f}, of mask 2: {1 - first:.3f}")
print("loss of the two voices:", *(f"{x:.2f} dB" for x in by_hand.tolist()))'''

# 38 the curve
new[38]='''figure, axis = plt.subplots(figsize=(5.6, 4.2), layout="constrained")
for name, words, colour in (
    ("heard", "1. by ear, in the better order", "#666666"),
    ("named", "2. by ear, in the faces' order", "#D55E00"),
    ("snr", "3. the result", "#0072B2"),
):
    losses = -np.array(history.losses[name])
    axis.plot(history.steps, losses, "-", color=colour, alpha=0.2)
    smooth = np.convolve(losses, np.ones(9) / 9, "valid")
    axis.plot(history.steps[4:-4], smooth, "-", color=colour, label=words)
axis.axhline(0, color="#555555", linestyle=":", label="silence as the guess")
axis.axhline(undecided, color="#111111", linestyle="--", label="the mask ½ everywhere")
axis.set(xlabel="step", ylabel="loss, dB")
axis.legend(loc="upper right", bbox_to_anchor=(1, 0.97))
plt.show()'''
open('draft/mid.json','w').write(json.dumps([new,{k:v for k,v in after.items()}]))
exec(open('draft/chapter2.py').read())
