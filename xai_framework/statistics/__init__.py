"""Which methods differ, by how much, and how sure we are. Images are the blocks; nothing is pooled over backbones."""

from xai_framework.statistics.agreement import Agreement as Agreement
from xai_framework.statistics.changes import ChangedRow as ChangedRow
from xai_framework.statistics.changes import PairChanges as PairChanges
from xai_framework.statistics.changes import RunChanges as RunChanges
from xai_framework.statistics.changes import cell_changes as cell_changes
from xai_framework.statistics.changes import run_changes as run_changes
from xai_framework.statistics.cliques import cliques as cliques
from xai_framework.statistics.compare import Comparison as Comparison
from xai_framework.statistics.compare import Standing as Standing
from xai_framework.statistics.compare import compared as compared
from xai_framework.statistics.intervals import Interval as Interval
from xai_framework.statistics.intervals import mean_interval as mean_interval
from xai_framework.statistics.intervals import median_interval as median_interval
from xai_framework.statistics.leaderboard import Leaderboard as Leaderboard
from xai_framework.statistics.leaderboard import leaderboard as leaderboard
from xai_framework.statistics.likeness import likeness as likeness
from xai_framework.statistics.likeness import on_one_grid as on_one_grid
from xai_framework.statistics.ranks import critical_difference as critical_difference
from xai_framework.statistics.ranks import holm as holm
from xai_framework.statistics.ranks import rank_biserial as rank_biserial
from xai_framework.statistics.stability import Stability as Stability
from xai_framework.statistics.stability import stability as stability
