"""Many processes and one lease under drawn schedules: whatever is late, lost or stopped, terms never mix; and left in peace, one leads."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lease_world import PERIOD, Chances, Node, World, regressions, without_faults

from controller.reconcile.lead.mark import Mode

CHANCES = st.builds(
    Chances,
    lost=st.sampled_from([0.0, 0.05, 0.3]),
    late=st.sampled_from([0.0, 0.02, 0.1]),
    stopped=st.sampled_from([0.0, 0.005, 0.05]),
    stale=st.sampled_from([0.0, 0.2, 0.6]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), chances=CHANCES, slowest=st.sampled_from([0.5, PERIOD, 6 * PERIOD]), commands=st.booleans())
def test_no_statement_of_a_term_has_an_effect_after_the_first_of_a_later_one(
    seed: int, chances: Chances, slowest: float, commands: bool
) -> None:
    world = World(seed, chances)
    nodes = [Node(world, number, slowest=slowest) for number in range(3)]
    for number in range(3, 9):
        world.go(world.random.uniform(0.5, 4) * PERIOD)
        victim = world.random.choice(nodes)
        world.random.choice([victim.kill, victim.release, lambda: None])()
        mode = Mode.APPLY if commands and world.random.random() < 0.5 else Mode.RUN
        nodes.append(Node(world, number, mode, slowest=slowest))
    world.go(4 * PERIOD)
    assert not regressions(world.effects), f"seed {seed}, {chances}"


@pytest.mark.parametrize("number", range(8))
def test_left_in_peace_one_leads_within_three_periods_of_the_death_of_the_leader(number: int) -> None:
    world = World(number, Chances())
    nodes = [Node(world, count) for count in range(3)]
    world.go(3 * PERIOD)
    leader = next(node for node in nodes if node.lease.may_mutate())
    leader.kill()
    world.go(2 * PERIOD)  # one until it counts as deserted, and the renewals' third at either end
    assert [node.lease.may_mutate() for node in nodes if node is not leader].count(True) == 1
    assert len(world.leases) == 1, "the leases of earlier terms are gone"


@pytest.mark.parametrize("number", range(8))
def test_after_a_storm_one_leads_again(number: int) -> None:
    world = World(number, Chances(lost=0.3, late=0.1, stopped=0.02, stale=0.4))
    nodes = [Node(world, count) for count in range(4)]
    world.go(20 * PERIOD)
    without_faults(world)
    world.go(12 * PERIOD)  # what was late comes in, and who was stopped wakes up
    assert [node.lease.may_mutate() for node in nodes].count(True) == 1
    assert not regressions(world.effects)


@pytest.mark.parametrize("slowest", [0.5, PERIOD, 4 * PERIOD])
def test_where_sessions_cannot_be_ended_only_what_was_under_way_comes_late(slowest: float) -> None:
    latest, count = 0.0, 0
    for number in range(20):
        world = World(number, Chances(lost=0.05, abort=False))
        for each in range(3):
            Node(world, each, slowest=slowest, workers=6)
        for each in range(3, 6):
            world.go(world.random.uniform(3, 5) * PERIOD)
            quick = Node(world, each, Mode.APPLY, slowest=0.5)
            world.go(world.random.uniform(3, 5) * PERIOD)
            quick.release()
        world.go(4 * PERIOD)
        for early, first in regressions(world.effects):
            assert early.sent <= first.sent, "nothing was sent after the later term had begun to change things"
            latest, count = max(latest, early.at - first.at), count + 1
    print(f"statements of up to {slowest:g} s, a lease of {PERIOD:g} s: {count} came late, by {latest:.1f} s at most")
    assert latest <= max(0.0, slowest - PERIOD) + 1.0, "a statement that takes no longer than a lease is never late"


def test_a_schedule_is_the_same_for_the_same_seed() -> None:
    def play() -> list[tuple[int, int, float]]:
        world = World(7, Chances(lost=0.2, late=0.05, stale=0.3))
        for number in range(3):
            Node(world, number)
        world.go(10 * PERIOD)
        return [(effect.term, effect.node, effect.at) for effect in world.effects]

    first = play()
    assert first and first == play()


def test_a_steady_renewal_is_one_alter_and_one_show() -> None:
    world = World(1, Chances())
    node = Node(world, 0, workers=2)
    world.go(3 * PERIOD)
    assert node.lease.may_mutate()
    node.stopped = True  # the workers end; only the keeper's statements are counted
    world.go(PERIOD)
    keeper = Node(world, 1, workers=0)
    world.go(4 * PERIOD)
    before = world.statements
    assert keeper.lease.may_mutate()
    world.go(30 * PERIOD)
    renewals = 30 * 3
    assert 2 * renewals * 0.7 <= world.statements - before <= 2 * renewals
