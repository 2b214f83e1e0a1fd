"""Settings of the whole suite."""

import os

from hypothesis import settings

# Deadlines measure the machine, not the code. On CI the examples are the same in every run.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
