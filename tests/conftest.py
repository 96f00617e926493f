"""How hard the property tests look: `make test-deep` chooses the profile `deep`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None)
settings.register_profile(
    "deep", deadline=None, max_examples=int(os.environ.get("EXAMPLES", "2000")), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
