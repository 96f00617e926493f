"""Which arrivals a rule meets: counted, drawn by seed, and refused when it makes no sense."""

from __future__ import annotations

import random
from typing import Any

import pytest

from emulator.faults.rules import Arrival, RuleBook, RuleProblem

QUERY = "/queries/v1/query-request"


def book(*rules: dict[str, Any], seed: int = 0) -> RuleBook:
    made = RuleBook(seed)
    made.add(rules)
    return made


def fired(rules: RuleBook, *texts: str, client: str = "snowcat lab a") -> list[int]:
    """The places, from 1, of the texts that met a fault."""
    return [n for n, text in enumerate(texts, 1) if not rules.decide(Arrival(QUERY, client, text)).quiet]


@pytest.mark.parametrize(
    ("rule", "places", "reason"),
    [
        ({"match": "^create"}, [1, 2, 3, 4, 5, 6], "every match, without regard to case"),
        ({"match": "^create", "nth": [2, 5]}, [2, 5], "the second and the fifth match"),
        ({"match": "^create", "every": 3}, [3, 6], "each third match"),
        ({"match": "^create", "times": 2}, [1, 2], "not more often than so"),
        ({"match": "^create", "every": 2, "times": 2}, [2, 4], "both bounds hold"),
        ({"match": "w[34]"}, [3, 4], "anywhere in the text"),
        ({"client": "lab"}, [1, 2, 3, 4, 5, 6], "by the session's tag"),
        ({"client": "other"}, [], "another client"),
        ({"path": "query-request"}, [1, 2, 3, 4, 5, 6], "by the path"),
        ({"path": "login"}, [], "another path"),
        ({"match": "^create", "probability": 0.0}, [], "never"),
        ({"match": "^create", "probability": 1.0}, [1, 2, 3, 4, 5, 6], "always"),
    ],
)
def test_whom_a_rule_meets(rule: dict[str, Any], places: list[int], reason: str) -> None:
    rules = book({**rule, "http": 503})
    assert fired(rules, *(f"CREATE WAREHOUSE w{n}" for n in range(1, 7))) == places, reason
    assert rules.as_json()[0]["fired"] == len(places)


def test_latencies_add_up_and_the_first_other_fault_is_taken() -> None:
    late = [{"latency": 0.5}, {"latency": {"min": 0.1, "max": 0.2}}]
    rules = book(*late, {"name": "a", "http": 503, "times": 1}, {"name": "b", "drop": "before"})
    first = rules.decide(Arrival(QUERY, "", "SELECT 1"))
    assert first.rule is not None and first.rule.http == 503 and 0.6 <= first.latency <= 0.7
    second = rules.decide(Arrival(QUERY, "", "SELECT 1"))
    assert second.rule is not None and second.rule.drop == "before"
    assert [(rule["matched"], rule["fired"]) for rule in rules.as_json()[2:]] == [(2, 1), (2, 1)], "b was passed over once"


def test_the_same_statements_meet_the_same_faults_in_any_order() -> None:
    texts = [f"CREATE WAREHOUSE w{n % 20}" for n in range(100)]

    def met(seed: int, order: list[str]) -> dict[str, int]:
        rules = book({"probability": 0.3, "http": 503}, seed=seed)
        found: dict[str, int] = dict.fromkeys(texts, 0)
        for text in order:
            found[text] += not rules.decide(Arrival(QUERY, "", text)).quiet
        return found

    once = met(7, texts)
    assert once == met(7, random.Random(3).sample(texts, len(texts)))
    assert 10 <= sum(once.values()) <= 55
    assert once != met(8, texts)


def test_a_rule_for_requests_leaves_statements_alone_and_the_other_way_round() -> None:
    rules = book({"match": "", "http": 503}, {"path": "login|query", "http": 429})
    login = rules.decide(Arrival("/session/v1/login-request", ""))
    assert login.rule is not None and login.rule.http == 429, "a pattern for statements meets no login"
    statement = rules.decide(Arrival(QUERY, "", "SELECT 1"))
    assert statement.rule is not None and statement.rule.http == 503


def test_a_late_listing_is_a_show() -> None:
    rules = book({"stale": 5})
    assert fired(rules, "SHOW STAGES", "  show roles", "CREATE STAGE s", "SELECT 1") == [1, 2]


def test_capacity_lasts_as_long_as_the_rule() -> None:
    rules = book({"capacity": "gpu"})
    assert [rules.starves(pool) for pool in ("GPU_POOL", "CPU_POOL", "GPU_POOL")] == [True, False, True]
    assert fired(rules, "CREATE COMPUTE POOL gpu_pool") == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "exactly one fault"),
        ({"http": 503, "drop": "before"}, "this one has drop, http"),
        ({"http": 200}, "http: Input should be greater than or equal to 400"),
        ({"drop": "never"}, "drop: Input should be 'before' or 'after'"),
        ({"match": "(", "http": 503}, "'(' is not a regular expression"),
        ({"wait": 3}, "wait: unknown key 'wait'; known here: name, match, client"),
        ({"match": "^CREATE", "holds": "after"}, "holds: unknown key 'holds'; did you mean hold?"),
        ({"http": "x", "retryafter": 1}, "did you mean retryAfter?"),
        ({"latency": {"min": 1, "maxx": 2}}, "unknown key 'maxx'; did you mean max?"),
        ({"error": {"errno": 1, "sqlState": "42501"}}, "unknown key 'sqlState'; did you mean sqlstate?"),
        ({"name": "slow", "latency": -1}, "slow: "),
        ({"stale": 3600}, "stale: Input should be less than or equal to 600"),
        ({"capacity": "p", "match": "CREATE"}, "takes nothing but a name"),
        ("http", "rule 1 is not an object"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: Any, message: str) -> None:
    rules = book({"http": 503})
    with pytest.raises(RuleProblem) as refused:
        rules.add([{"drop": "before"}, rule])
    assert message in str(refused.value).replace("rule 3", "rule 1")
    assert len(rules.as_json()) == 1, "none of them was added"
