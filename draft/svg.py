import re

o = []


def box(x, y, w, h, fill, stroke, *lines, bold=False):
    o.append(
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{fill}" stroke="{stroke}" stroke-width="1.5"/>'
    )
    top = y + h / 2 + 5.7 - (len(lines) - 1) * 10.5
    for i, l in enumerate(lines):
        o.append(
            f'<text x="{x + w / 2:g}" y="{top + 21 * i:g}" text-anchor="middle" fill="#222">{l}</text>'
        )


def arrow(d):
    o.append(
        f'<path d="{d}" stroke="#444" stroke-width="1.7" fill="none" marker-end="url(#cpe-a)"/>'
    )


def text(x, y, t, anchor="start", fill="#222", style=""):
    o.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{fill}"{style}>{t}</text>')


B = ("#CFE5F3", "#0072B2")
G = ("#EEEEEE", "#666666")
R = ("#F8D5C2", "#D55E00")
V = ("#CDEBDD", "#00795A")
Y = ("#FBE3B5", "#B87F00")
it = ' font-style="italic"'
box(16, 606, 180, 46, *B, "film of a mouth, F₁")
box(230, 606, 180, 46, *G, "mixture y")
box(444, 606, 180, 46, *R, "film of a mouth, F₂")
for x in (106, 320, 534):
    arrow(f"M{x} 604V570")
box(16, 506, 180, 62, *V, "visual stream:", "3 convolutions")
box(230, 506, 180, 62, *V, "spectrogram Y,", "audio stream")
box(444, 506, 180, 62, *V, "visual stream:", "the same weights")
arrow("M320 504V470")
box(200, 406, 240, 62, *V, "1. by ear:", "3 convolutions over time")
arrow("M320 404V350")
text(330, 374, "H₁, H₂")
text(330, 395, "loss: the better order", fill="#555", style=it)
box(140, 286, 360, 62, *Y, "2. whose is whose:", "each voice beside each face")
arrow("M76 504V232")
arrow("M564 504V232")
arrow("M76 317H138")
arrow("M564 317H502")
arrow("M320 284V232")
text(330, 255, "G₁, G₂")
text(330, 276, "loss: the faces’ order", fill="#555", style=it)
box(
    40,
    168,
    560,
    62,
    *V,
    "3. by the lips: the trunk, 4 convolutions over time.",
    "It gets the sound, the films, G₁ and G₂",
)
arrow("M170 166V112")
arrow("M470 166V112")
text(180, 136, "mask M₁")
text(460, 136, "mask M₂ = 1 − M₁", "end")
text(320, 158, "loss: the result", "middle", "#555", it)
box(60, 48, 220, 62, *B, "M₁ × Y:", "the left voice")
box(360, 48, 220, 62, *R, "M₂ × Y:", "the right voice")
desc = "From below: the film of the left mouth, the mixture, the film of the right mouth. Each film passes the visual stream, whose weights are the same for both; the mixture becomes a spectrogram and passes the audio stream. Step 1, by ear: convolutions over time make masks H₁ and H₂ in any order; their loss is that of the better order. Step 2, whose is whose: each voice is compared with each face, which makes masks G₁ and G₂; their loss is that of the faces’ order. Step 3, by the lips: the trunk gets the sound, the films and G₁ and G₂, and gives the masks M₁ and M₂; their loss is that of the result."
svg = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 668" role="img" font-family="Helvetica, Arial, sans-serif" font-size="17">\n<title>First by ear, then whose is whose, then by the lips</title>\n<desc>{desc}</desc>\n<defs><marker id="cpe-a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="#444"/></marker></defs>\n<rect width="640" height="668" rx="10" fill="#ffffff"/>\n'
    + "\n".join(o)
    + "\n</svg>\n"
)
# cut the empty top
svg = svg.replace('viewBox="0 0 640 668"', 'viewBox="0 0 640 640"').replace(
    'height="668" rx="10"', 'height="640" rx="10"'
)


def up(m):
    return m


import xml.dom.minidom


def shift(svg, dy):
    svg = re.sub(r' y="([\d.]+)"', lambda m: f' y="{float(m[1]) - dy:g}"', svg)

    def path(m):
        d = m[1]
        d = re.sub(r"M([\d.]+) ([\d.]+)", lambda k: f"M{k[1]} {float(k[2]) - dy:g}", d)
        d = re.sub(r"V([\d.]+)", lambda k: f"V{float(k[1]) - dy:g}", d)
        return f'<path d="{d}" stroke="#444"'

    return re.sub(r'<path d="([^"]+)" stroke="#444"', path, svg)


svg = shift(svg, 28)
open("./book/figures/cocktail_party_by_ear.svg", "w").write(svg)
