"""Which methods differ, by how much, and how sure we are. Images are the blocks; nothing is pooled over backbones."""

from xai_framework.statistics.compare import Comparison as Comparison
from xai_framework.statistics.compare import Standing as Standing
from xai_framework.statistics.compare import compared as compared
from xai_framework.statistics.intervals import Interval as Interval
from xai_framework.statistics.intervals import mean_interval as mean_interval
from xai_framework.statistics.intervals import median_interval as median_interval
from xai_framework.statistics.leaderboard import Leaderboard as Leaderboard
from xai_framework.statistics.leaderboard import leaderboard as leaderboard
from xai_framework.statistics.paired import Pair as Pair
from xai_framework.statistics.paired import PairedComparison as PairedComparison
from xai_framework.statistics.paired import paired as paired
from xai_framework.statistics.paired import paired_comparisons as paired_comparisons
from xai_framework.statistics.paired_board import PairedBoard as PairedBoard
from xai_framework.statistics.ranks import critical_difference as critical_difference
from xai_framework.statistics.ranks import holm as holm
from xai_framework.statistics.ranks import rank_biserial as rank_biserial
from xai_framework.statistics.ranks import rank_stability as rank_stability
