"""``python -m xai_framework`` is ``xai``."""

import sys

from xai_framework.cli.main import main

sys.exit(main())
