"""Phases without a run: drawn schedules, drawn successes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.curriculum.phases import Phase, Schedule, State, remaining, transition

LENGTHS = st.integers(0, 6)
SCHEDULES = st.builds(
    Schedule,
    successes=st.integers(0, 8),
    warmup=LENGTHS,
    min_active=st.integers(0, 3),
    min_mining=st.integers(0, 4),
    mining=LENGTHS,
    internalization=LENGTHS,
    env_steps=st.none() | st.integers(1, 40),
    mines=st.booleans(),
)
LIVES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, 9)), min_size=40, max_size=40)


def live(schedule: Schedule, life):
    """Carry a run through its phases; (state before, what it entered) of every iteration."""
    state, active, history = State(), 0, []
    for successes, proved, steps in life:
        if state.phase is Phase.DONE:
            break
        before = State(state.index, state.phase, state.since, state.successes, state.env_steps)
        state.successes += successes
        active += proved if state.phase is Phase.MINING else 0
        state.env_steps += steps
        state.index += 1
        found = transition(state, {"active": active, "internalized": 0}, schedule)
        history.append((before, found))
        if found is not None:
            state.phase, state.since = found[0], state.index
    return state, history


@given(SCHEDULES, LIVES)
def test_a_run_ends_in_order_and_within_what_remains(schedule: Schedule, life) -> None:
    state, history = live(schedule, life)
    assert state.phase is Phase.DONE
    order = list(Phase)
    entered = [found[0] for _, found in history if found]
    assert entered == sorted(entered, key=order.index)
    assert len(set(entered)) == len(entered)
    for before, _ in history:
        most = remaining(before, schedule)
        left = len(history) - before.index
        assert left >= 1
        if most is not None:
            assert left <= most
        else:
            assert schedule.env_steps is not None
            assert not schedule.mines
    assert remaining(state, schedule) == 0
    if not schedule.mines:
        assert entered == [Phase.DONE]


@given(SCHEDULES, LIVES)
def test_a_transition_depends_on_nothing_else_and_changes_nothing(schedule: Schedule, life) -> None:
    for before, _ in live(schedule, life)[1][:5]:
        counts = {"active": 1, "internalized": 1}
        first = transition(before, counts, schedule)
        assert transition(before, counts, schedule) == first
        assert counts == {"active": 1, "internalized": 1}


@pytest.mark.parametrize(("active", "said"), [(0, "warning"), (1, "most allowed")])
def test_mining_that_proved_nothing_says_so(active: int, said: str) -> None:
    schedule = Schedule(1, 1, 5, 1, 4, 1)
    state = State(index=4, phase=Phase.MINING)
    phase, why = transition(state, {"active": active, "internalized": 0}, schedule) or (None, "")
    assert phase is Phase.INTERNALIZATION
    assert said in why
    assert ("warning" in why) == (active == 0)
