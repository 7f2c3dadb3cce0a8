"""From the command line and YAML to checked jobs; nothing here imports torch or executes what a config names."""

from xai_framework.spec.job import Job as Job
from xai_framework.spec.job import Settings as Settings
