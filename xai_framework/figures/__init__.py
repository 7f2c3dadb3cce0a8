"""Figures for papers: maps side by side, and statistics; PDF and PNG of a given width. Needs the extra ``figures``."""

from xai_framework.figures.changes import changes_figure as changes_figure
from xai_framework.figures.look import COLUMN as COLUMN
from xai_framework.figures.look import FULL as FULL
from xai_framework.figures.look import Look as Look
from xai_framework.figures.make import LAYOUTS as LAYOUTS
from xai_framework.figures.make import figure as figure
from xai_framework.figures.paper import PaperFigure as PaperFigure
