"""``python -m leakmw`` is the command ``leakmw``."""

import sys

from leakmw.cli import main

sys.exit(main())
