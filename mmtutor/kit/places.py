"""Places: what a model that attends over a map is told of *where* each cell lies.

Attention reads a map as a set. Each cell i has a content c_i (what is there) and a position p_i
(where it lies), and gives an *annotation* a_i; what is read of them is a weighted mean
z = Σ_i α_i a_i. A mean does not say which cell said what, so the place must be in the annotation.
There are two ways to put it there:

- the **sum**: a_i = W c_i + P p_i, as Transformers do;
- the **product**: a_i = W c_i ⊙ (φ + P p_i), with a constant φ, the *floor*.

**Why the sum does not learn sides.** Before training has said anything else, attention is even:
α_i = 1/L. Let r read from z whether a thing is on the left (y = 0) or on the right (y = 1): the
model says ŷ = σ(r · z).

- With the sum, z = W c̄ + P p̄. The mean content c̄ is the same wherever the thing stands, and the
  mean position p̄ is the same for *every* picture. So z does not depend on y. The gradient of r is
  the mean of (ŷ − y) z over the pictures. If each thing is as often left as right, it is zero at
  r = 0, where ŷ = ½.
- The score e_i of a cell gets the gradient (ŷ − y) α_i r · (a_i − z). At r = 0 that is zero too.

Each waits for the other: as long as attention is even there is nothing to read, and as long as
nothing is read there is no reason to look anywhere. No minimum is there, but a **saddle**: if r and
the attention moved together, the loss would fall, but neither alone has a slope to go down.

**Why the product does.** A thing of content c in cell j adds W c ⊙ (φ + P p_j) / L to the mean. This
depends on j, however even attention is. The gradient of r at r = 0 is the mean of
(½ − y) W c ⊙ P p_j / L over the things and their cells j: not zero unless P says the same of left
and right. So r moves at the first step, and from r ≠ 0 on attention has a slope as well.

**Why a floor.** φ W c_j is the part of the annotation that does not depend on the place: it says
*what*, and P says *where*. P is drawn with mean 0, so without a floor the cells would speak with
factors of both signs, and a mean would name nothing wherever it stands.

**What the bound adds.** Afterwards comes a tanh, which keeps the annotations small. With a curved
bound the sum is not exactly blind: tanh(u + p) − tanh(p) ≈ u (1 − p²) depends on the place, but only
to second order in p, and alike for p and −p. It is blind again where all positions begin as zeros.

**What stands beside.** With the product, a place is written into the content: to read it from z one
must know which thing it was. As long as attention is even there is no other way. Once it has a peak,
there is: the mean of the positions *beside* the contents, Σ_i α_i Q p_i, is the place of the peak,
and it reads alike for every thing. So an annotation may have both: the product gets attention off
the saddle, and what stands beside is read with ease afterwards.

The tests (``tests/kit/test_places.py``) count all this out in a world of a few cells.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

HOW = ("product", "sum", "none")
BOUNDS = ("tanh", "relu", "none")


class Places(nn.Module):
    """Annotations of the cells of a map: content × position.

    It has content·width + width weights for the content, and places·(width + beside) for the
    positions.

    Args:
        content: C, numbers that say what is in a cell (channels of the map).
        width: D, length of an annotation.
        places: length of a position. A position is usually one of so many cells: then ``places`` is
            L, and P holds a vector for each. Or it is a few numbers that the caller gives, such as
            a region's corners. 0 with ``"none"``.
        how: ``"product"``: W c ⊙ (φ + P p); ``"sum"``: W c + P p; ``"none"``: W c, a set without
            places.
        bound: what comes last: ``"tanh"``, ``"relu"`` or ``"none"``.
        floor: φ of the product.
        spread: standard deviation with which P is drawn. The product needs one above 0: where all
            places begin alike, it is as blind as the sum.
        beside: numbers of the position alone, Q p, that follow the D of the annotation; Q is drawn
            like P, or with 0.7 where P begins as zeros.

    Raises:
        ValueError: sizes below 1, an unknown ``how`` or ``bound``, a floor or spread that is not
            finite or out of range, or one that has no effect.
    """

    def __init__(
        self,
        content: int,
        width: int,
        places: int = 0,
        how: str = "product",
        bound: str = "tanh",
        floor: float = 0.3,
        spread: float = 0.7,
        beside: int = 0,
    ) -> None:
        super().__init__()
        for name, value, known in (("how", how, HOW), ("bound", bound, BOUNDS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        for name, value in (("content", content), ("width", width)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if (places < 1) != (how == "none"):
            raise ValueError(
                f"places must be at least 1, or 0 with how = 'none'; got {places} and {how!r}"
            )
        if how != "product" and floor != 0.3:
            raise ValueError(f"floor = {floor} has no effect with how = {how!r}; leave it at 0.3")
        if how == "none" and spread != 0.7:
            raise ValueError(f"spread = {spread} has no effect with how = 'none'; leave it at 0.7")
        if not math.isfinite(floor):
            raise ValueError(f"floor must be finite, got {floor}")
        if not 0 <= spread < math.inf or (spread == 0 and how == "product"):
            least = "above 0" if how == "product" else "not negative"
            raise ValueError(f"spread must be finite and {least}, got {spread}")
        if beside < 0 or (beside and how == "none"):
            raise ValueError(
                f"beside must be at least 0, and 0 with how = 'none'; got {beside} and {how!r}"
            )
        self.how, self.bound, self.floor = how, bound, floor
        self.content = nn.Linear(content, width)  # W
        self.places = None if how == "none" else nn.Parameter(torch.randn(places, width) * spread)
        self.beside = (
            nn.Parameter(torch.randn(places, beside) * (spread or 0.7)) if beside else None
        )

    def extra_repr(self) -> str:
        places = 0 if self.places is None else len(self.places)
        floor = f", floor={self.floor}" if self.how == "product" else ""
        beside = "" if self.beside is None else f", beside={self.beside.shape[1]}"
        return f"places={places}, how={self.how!r}, bound={self.bound!r}{floor}{beside}"

    def forward(self, content: Tensor, position: Tensor | None = None) -> Tensor:
        """The annotations of cells.

        Args:
            content: (B, L, C).
            position: (B, L, places) or (L, places), where the cells lie. If not given, cell i lies
                at place i, and L must be ``places``. A row that is a part of the places (a clip of
                fewer frames) gives the first rows of the unit matrix.

        Returns:
            (B, L, D), or (B, L, D + beside).

        Raises:
            ValueError: shapes that do not fit, or a position where there are no places.
        """
        self.check(content, position)
        a = self.content(content)  # (B, L, D)
        if self.places is not None:
            p = self.places if position is None else position @ self.places  # (…, L, D)
            a = a * (self.floor + p) if self.how == "product" else a + p
        if self.bound != "none":
            a = torch.tanh(a) if self.bound == "tanh" else torch.relu(a)
        if self.beside is None:
            return a
        q = self.beside if position is None else position @ self.beside  # (…, L, beside)
        return torch.cat([a, q.expand(len(a), -1, -1)], -1)

    def check(self, content: Tensor, position: Tensor | None) -> None:
        """Raise a ValueError unless the shapes fit; see :meth:`forward`."""
        channels = self.content.in_features
        if not isinstance(content, Tensor) or content.ndim != 3 or content.shape[2] != channels:
            got = tuple(content.shape) if isinstance(content, Tensor) else type(content).__name__
            raise ValueError(f"content must be a tensor (B, L, {channels}), got {got}")
        if self.places is None:
            if position is not None:
                raise ValueError("a position has no effect with how = 'none'; leave it out")
            return
        count, cells = len(self.places), content.shape[1]
        if position is None and cells != count:
            raise ValueError(
                f"there are {count} places but {cells} cells; give the position of each cell"
            )
        shapes = ((cells, count), (len(content), cells, count))
        got = tuple(position.shape) if isinstance(position, Tensor) else type(position).__name__
        if position is not None and got not in shapes:
            raise ValueError(f"position must be {shapes[0]} or {shapes[1]}, got {got}")
