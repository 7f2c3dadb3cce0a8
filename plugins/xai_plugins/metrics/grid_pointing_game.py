"""Grid pointing game. Böhle, Fritz & Schiele 2021, arXiv:2104.00032."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core import Case, param
from xai_plugins.metrics._heat import SIGN_DOC, EvidenceSign
from xai_plugins.metrics._regions import Localisation, everywhere, locate

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GridPointingGame(Localisation):
    """Share of a mosaic's heat that lies in the cell of the explained class; the picture's regions are its cells.

    Equation: sum of heat in own cells / sum of heat in all cells. Heat in no cell (a frame) counts nowhere. Higher is
    better; 0..1, and a map without an opinion gets the own cells' share of the cells. The map is enlarged to the input
    bilinearly, so a coarse map leaks over the cells' edges. No pass. NaN without a visible cell of the class, without
    heat in a cell, or where no other class has a cell.
    """

    sign: EvidenceSign = param("positive", doc=SIGN_DOC)

    def measure(self, case: Case) -> Tensor:
        """Two sums an image."""
        found = self.locate(case, self.sign)
        cells = locate(everywhere(case), self.sign).inside
        for i in (cells == found.inside).all(1).nonzero()[:, 0].tolist():
            case.undefined(i, "no other class has a cell: the picture is no mosaic")
        own, all_cells = ((found.heat * part).sum(1) for part in (found.inside, cells))
        for i in (all_cells == 0).nonzero()[:, 0].tolist():
            case.undefined(i, "no cell has heat")
        alone = (cells == found.inside).all(1)
        return found.values((own / all_cells).masked_fill(alone, float("nan")))
