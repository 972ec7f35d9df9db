# --- the second half: results
new[39]='''heard_, named_, result_ = (-np.array(history.losses[n][-20:]).mean() for n in ("heard", "named", "snr"))
assert result_ < named_ - 0.5
assert result_ < -8
assert abs(undecided + 3) < 0.1
assert rows[0][2] < 0.01
assert rows[1][1] < -6
assert 5 < rows[1][2] < 7.5'''
new[40]='''The pale lines are the losses of every tenth batch, the dark ones their means over nine of them. Each decibel is harder than the last.

Read the three from top to bottom. In the beginning the voices by ear come down first (grey), and it does not help: the faces do not know yet whose they are (orange). After some TODO steps they do, and from there on the orange line follows the grey one. The result (blue) is below both: that is what the lips add.

Loss and gain count the same from different zeros. Silence has a loss of 0, but the mask ½ everywhere (dashed) has −3 dB and gains nothing. What counts as separation lies below the dashed line. In training any two speakers are mixed; the table is of near ones, which are harder.

`hand_over` tells `experiment.train` to give this very model from now on, so that no later cell trains it again. The experiment trains by the same lines, with a {term}`seed`:'''
rep(42,"This pair is harder than most: it gains about 4 dB, where the mean of the 200 is about 6.","TODO pair gains")
rep(48,"The network paints mostly *columns*: it turns all frequencies of a moment up or down together. Remember this; we come back to it.","TODO columns or stripes")
s=src(50); assert 'C46 is the claim of this section' in s
new[50]=s.replace('''Where do the numbers come from? The [claims](claims.md) of this book are numbered, and each is measured by a rule that was written first. C46 is the claim of this section: faces separate voices. It was measured on five seeds, so each network was trained five times, and the results are stored. The table shows the means over the 200 near mixtures (the last line: over 200 of any two speakers) and the seeds; brackets are 95 % {term}`intervals <interval>` of the mean.''','''Where do the numbers come from? The [claims](claims.md) of this book are numbered, and each is measured by a rule that was written first. C46 is the claim of this section: faces separate voices. It was measured on five seeds, and the results are stored; the figure above was made of them. The table shows the means over the 200 near mixtures (the last line: over 200 of any two speakers) and the seeds; brackets are 95 % intervals of the mean.''')
new[51]=src(51).replace('seeing = ledger.result("C46")\n','')
new[59]='''(sec-cp-both)=
## Ears and eyes together

Back to the figure of the [two halves](sec-cp-halves), with the network of this page in it. The one that only hears we call its **twin**: as many weights and as deep, no visual stream, a wider trunk, and the same recipe (which was chosen for the network that sees; its own might suit it better).'''
new[61]='''by_pitch(
    ("sees", "ours: first by ear, then by the lips"),
    ("at once", "sees and hears, joined at once"),
    ("hears", "only hears, order told"),
)'''
new[62]='''table(
    ["mixtures", "ours, dB", "joined at once, dB", "only hears, order told, dB"],
    [
        [words, *(str(seeing[f"{who}: {name}"]) for who in ("sees", "at once", "hears"))]
        for words, name in (
            ("any two speakers", "all"),
            ("within 3 semitones", "near"),
            ("one speaker, two sentences", "same"),
            ("within 3 semitones, the same sentence", "unison"),
        )
    ],
)'''
new[63]='''By itself the twin does not know the order. Ours asks the faces. How often are they right? (Step 2 alone: in how many mixtures each face gets the better of both voices.) And on five fresh seeds, on which all was measured again?'''
s=src(64); i=s.index('first, fresh ='); 
new[64]='''measured = json.loads(
    (ledger.results_dir() / "cocktail_party.json").read_text(encoding="utf-8")
)
first_, fresh = (measured["claims"]["C46"][kind] for kind in ("runs", "replication"))
print("right order, the twin's own:", seeing["hears: right order"])
for words, share in zip(("any two", "within 3 semitones"), seeing["sees: by ear"]):
    print(f"right order, by the faces, {words}: {share}")


def leads(runs, k, other):
    """By how much ours is ahead of another network in a band, for each seed."""
    own, its = (
        [run["values"][f"{who}: bands"][k] for run in runs] for who in ("sees", other)
    )
    return ledger.summarize([a - b for a, b in zip(own, its)])


table(
    ["semitones apart", "ahead of at once", "again", "ahead of the twin", "again"],
    [
        [
            words,
            *(str(leads(runs, k, who)) for who in ("at once", "hears") for runs in (first_, fresh)),
        ]
        for k, words in enumerate(bands)
    ],
)'''
new[65]='''# TODO asserts'''
new[66]='''TODO three things to see'''
new[66]='''Three things to see.

**Ours has both.** Its line rises with the distance in pitch, as the twin's does. It does not fall to nothing where pitches are alike, for there it has the lips. TODO compare with both, band by band.

**The order comes from the faces.** By itself the twin gets it right in half of the mixtures, as a coin would. With faces step 2 has it right in TODO of any two, and in TODO of near ones, where the voices by ear are so mixed up that neither order is good.

**What cannot be heard must be seen.** One speaker with two sentences: no pitch tells the two apart, the twin gains nothing, and all of it is the lips'. TODO compare with at once. The hardest case for the eyes is the last line: both say the *same* sentence at the same time. Their lips then do nearly the same, only not equally fast, and TODO of the gain is lost. If they spoke exactly together, nobody could tell by the lips.

What did it cost? Nothing but a question. The network joined at once has as many weights to use and the same recipe; it was never *asked* what the ears know, and had no reason to find out. When one input explains much quickly, ask for the other by a loss of its own.'''
new[67]='''### Where is the rest lost? A volume knob

If a network only knew *when* each voice is loud, its mask would be nearly the same for all frequencies of a frame: a volume knob, turned by the lips. How far would the best of all knobs come, one that knows both voices? And how far does the network come if its own mask is replaced by its mean over the frequencies of each frame (weighted by loudness)?'''
new[70]='''TODO knob'''
new[75]='''It does not pay here. TODO complex; compressed costs TODO dB.

Why? The high ceiling is for one who knows the phase of each voice at each place. The phase of a place turns with the least shift in time; to say it from what is heard, one has to know the waves to a fraction of a millisecond. Our network is TODO dB below what the ratio mask gains, and TODO dB below the ceiling of its own range. So what holds it back is not the kind of mask. A finer pencil does not help who does not know what to draw.

And the compressed loss? It makes faint places count, but the SI-SDR that we report does not hear them. To be fair: who listens does. A loss and a score that look at the same thing agree, and that says nothing of which sounds better.'''
rep(76,"and two voices gain 5.4 dB here, not 5.9.","and two voices gain TODO dB here, not TODO.")
rep(79,"our network hears 1.3 seconds to either side and no farther","our network hears 2.3 seconds to either side and no farther, most of it to know whose voice is whose")
rep(83,"It is the network of this page, seed 0; its weights are rounded to bytes, which on 60 pairs changed the mean gain by less than 0.01 dB.","It is the network of this page, seed 0; its weights are rounded to bytes, which on 60 pairs changed the mean gain by less than 0.01 dB. TODO check")
rep(87,"The distance in pitch does not matter; that is the flat line from above once more.","TODO pitch within 3 semitones")
rep(89,"And what does the sound have that the faces do not? Pitch, and all that is between closed and open lips. Ours has hardly learnt to use them.","""And what does the sound have that the faces do not? Pitch, and all that is between closed and open lips. A network with both does not use both by itself: it takes what comes down fastest. Asked for each by a loss of its own, it does.""")
rep(92,"C46 holds in all its parts, and holds again on five fresh seeds. Mind what it does not say: over *any* two speakers the lead is small, and where pitches lie more than an octave apart the twin leads on nine of ten seeds (if somebody tells it the order). The lecture's claim, \"better than sound alone\", is true where it is hard.","""C46 holds in all its parts, and holds again on five fresh seeds. TODO any two, above an octave. The lecture's claim, "better than sound alone", is TODO.""")
rep(95,"| sound stream | 15 convolutions over frames and frequencies | one over frames; a frequency is a channel |\n| trunk | BiLSTM, three layers for each frame | six convolutions over frames |","| sound stream | 15 convolutions over frames and frequencies | one over frames; a frequency is a channel |\n| before faces are seen | nothing | three convolutions that separate by ear |\n| trunk | BiLSTM, three layers for each frame | four convolutions over frames |")
rep(95,"| training | 5 million steps of 6 mixtures | 1,000 steps of 8 |","| training | 5 million steps of 6 mixtures | 1,200 steps of 16 |")
rep(95,"(so ours has 5.4 dB here, and not 5.9)","(so ours has TODO dB here, and not TODO)")
rep(96,'changed = ["ours", "masks of any size",','changed = ["ours", "lips and sound at once", "masks of any size",')
new[97]='''TODO parts

In its table of SDR the paper reports, for two clean voices, 10.3 with both faces and 8.6 for a network that only hears {cite:p}`ephrat2018looking`. SDR is an older measure, which forgives a filter, and the data are others, with rooms and with people who do not sit still; it cannot be compared with our numbers.'''
out=[]
for i,c in enumerate(cells):
    if i in new: c=dict(c); c['source']=new[i]
    out.append(c); out+=after.get(i,[])
for c in out:
    if isinstance(c['source'],str): c['source']=c['source'].splitlines(keepends=True)
nb['cells']=out
open(ROOT+'/book/16_cocktail_party.ipynb','w').write(json.dumps(nb,indent=1,ensure_ascii=False)+'\n')
t=json.dumps(nb,ensure_ascii=False); print('TODO',t.count('TODO'))
