from __future__ import annotations

from hypothesis import settings

# A busy machine is slow at times; that is no failure of the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
