"""What other tools ask first, in the one statement that they ask it in."""

from __future__ import annotations

import json
import re
from typing import Any


def test_the_account_tells_about_itself(session: Any) -> None:
    account, bundles, region, admin = (
        session.cursor()
        .execute(
            "SELECT SYSTEM$BOOTSTRAP_DATA_REQUEST('ACCOUNT'), SYSTEM$SHOW_ACTIVE_BEHAVIOR_CHANGE_BUNDLES(), CURRENT_REGION(), "
            "IS_ROLE_IN_SESSION('ACCOUNTADMIN')"
        )
        .fetchone()
    )
    assert json.loads(account)["accountInfo"]["serviceLevelName"] == "ENTERPRISE"
    assert re.match(r"\d+\.\d+\.\d+", json.loads(account)["serverVersion"])
    assert json.loads(bundles) == []
    assert re.fullmatch(r"[A-Z]+_[A-Z0-9_]+", region), "cloud and region"
    assert admin is True
