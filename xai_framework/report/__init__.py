"""Pages made of stored maps; imports no torch."""

from xai_framework.report.gather import view_of as view_of
from xai_framework.report.gather import write_report as write_report
