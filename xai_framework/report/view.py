"""What a page shows, free of where it comes from: plain data, filled by whoever reads the results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xai_framework.core.dataset import Box
from xai_framework.core.maps import status_of
from xai_framework.core.renderer import flat
from xai_framework.core.status import Status
from xai_framework.statistics import Comparison, Summary

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ColumnView:
    """One method: its label in the study, its parameters as text, the first line of its documentation."""

    label: str
    parameters: str = ""
    doc: str = ""


@dataclass(frozen=True)
class MetricView:
    """One metric by its label in the study."""

    label: str
    higher_is_better: bool = True
    judged: bool = True


@dataclass(frozen=True)
class RecipeView:
    """One cell of a study, the command that computes it alone, and the precision in which it was, with the reason where
    that was decided by the framework.
    """

    method: str
    backbone: str
    target: str
    command: str
    precision: str = "float32"


@dataclass(frozen=True, eq=False)
class CellView:
    """One map: raw (C,h,w) or None, its status (None: not computed yet), and the reason where there is no map."""

    attribution: NDArray[Any] | None
    status: Status | None = Status.ok
    reason: str = ""

    def judged(self) -> Status | None:
        """The status to show: a map called ok is still looked at, and without a map nothing is ok."""
        if self.status != Status.ok:
            return self.status
        return None if self.attribution is None else status_of(flat(self.attribution))


@dataclass(frozen=True, eq=False)
class PictureView:
    """One row of the page: an image explained for one target of one backbone.

    ``photograph`` is RGB, as the model saw it (None: see ``missing``); ``boxes`` and ``mask`` (H,W) are the truth in
    its pixels. ``target`` names the rule of the study (``predicted``), ``explained`` the class it chose and ``score``
    that class's score, a ``score_kind`` (``logit``). ``probability`` belongs to the prediction. Empty texts and NaN
    or None numbers stand for unknown. ``cells`` are in the order of the study's columns, and so are the numbers of
    ``values``, by metric. ``run`` and ``dataset`` tell those apart where
    a page shows several.
    """

    id: str
    cells: Sequence[CellView]
    photograph: Image | None = None
    missing: str = ""
    backbone: str = ""
    target: str = ""
    explained: str = ""
    score: float | None = None
    score_kind: str = ""
    label: str = ""
    prediction: str = ""
    probability: float | None = None
    correct: bool | None = None
    boxes: Sequence[Box] = ()
    mask: NDArray[np.bool_] | None = None
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    run: str = ""
    dataset: str = ""


@dataclass(frozen=True, eq=False)
class StudyView:
    """Everything on the page. ``rows`` is read once and never held: give a generator that reads maps as it goes.

    All rows of one image stand together, so that a cut after so many images needs no look at the rest. ``images``
    counts the different images of the whole study. ``notes`` are short lines for the head of the page, ``comparisons``
    what metrics say of the methods, ``pairs`` what they say of two backbones.
    """

    title: str
    columns: Sequence[ColumnView]
    rows: Iterable[PictureView]
    images: int
    command: str = ""
    config_yaml: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    comparisons: Sequence[Comparison] = ()
    metrics: Sequence[MetricView] = ()
    recipes: Sequence[RecipeView] = ()
    pairs: Sequence[Summary] = ()
