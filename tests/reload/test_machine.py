"""`aserve.reload.machine`: every decision, with no process at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aserve.reload.machine import Act, Action, Event, Model, State, What, begin, step

LOADING = Model(State.LOADING, 5)
ADMITTED = Model(State.LOADING, 5, admitted=True)
SERVING = Model(State.SERVING, 5, admitted=True)
HOLDING = Model(State.HOLDING, 5)
BROKEN = Model(State.BROKEN, 5, has_page=True)
STOPPING = Model(State.STOPPING, 5)
STOPPED = Model(State.STOPPED, 5)
SLOW = Model(State.LOADING, 5, has_page=True)
ASKING = Model(State.SERVING, 5, admitted=True, prompts=1)
HELD = Model(State.SERVING, 5, admitted=True, prompts=1, is_held=True)
THREE = Model(State.SERVING, 5, processes=3, admitted=True)
THREE_LOADING = Model(State.LOADING, 5, processes=3)


@pytest.mark.parametrize(
    ("model", "event", "state", "actions"),
    [
        (LOADING, Event(What.LOADED, 5), State.LOADING, [Action(Act.ADMIT, 5)]),
        (ADMITTED, Event(What.READY, 5), State.SERVING, []),
        (LOADING, Event(What.FAILED, 5), State.BROKEN, [Action(Act.SHOW_ERROR, 5)]),
        (LOADING, Event(What.ENDED, 5), State.BROKEN, [Action(Act.SHOW_ERROR, 5)]),
        # What has not accepted anything is superseded; what may have, finishes.
        (LOADING, Event(What.CHANGED), State.HOLDING, [Action(Act.KILL, 5)]),
        (ADMITTED, Event(What.CHANGED), State.HOLDING, [Action(Act.RETIRE, 5)]),
        (SERVING, Event(What.CHANGED), State.HOLDING, [Action(Act.RETIRE, 5)]),
        (BROKEN, Event(What.CHANGED), State.HOLDING, [Action(Act.HIDE_PAGE)]),
        # The old code accepts no more at once; the new one is loaded when no change is waited for.
        (HOLDING, Event(What.CHANGED), State.HOLDING, []),
        (HOLDING, Event(What.READY, 5), State.HOLDING, []),
        (HOLDING, Event(What.ENDED, 5), State.HOLDING, []),
        (HOLDING, Event(What.SETTLED), State.LOADING, [Action(Act.START, 6)]),
        (HOLDING, Event(What.STOP), State.STOPPING, []),
        (SERVING, Event(What.SETTLED), State.SERVING, []),
        # One retry for a process that dies while it serves.
        (SERVING, Event(What.ENDED, 5), State.LOADING, [Action(Act.START, 6)]),
        (
            Model(State.SERVING, 5, admitted=True, retries=1), Event(What.ENDED, 5), State.BROKEN,
            [Action(Act.SHOW_ERROR, 5)],
        ),
        # A page is shown while a load takes long, and taken away before anybody else accepts.
        (LOADING, Event(What.SLOW, 5), State.LOADING, [Action(Act.SHOW_LOADING, 5)]),
        (SLOW, Event(What.SLOW, 5), State.LOADING, []),
        (LOADING, Event(What.SLOW, 4), State.LOADING, []),
        (ADMITTED, Event(What.SLOW, 5), State.LOADING, []),
        (SLOW, Event(What.LOADED, 5), State.LOADING, [Action(Act.HIDE_PAGE), Action(Act.ADMIT, 5)]),
        (
            SLOW, Event(What.FAILED, 5), State.BROKEN,
            [Action(Act.HIDE_PAGE), Action(Act.SHOW_ERROR, 5)],
        ),
        (
            SLOW, Event(What.CHANGED), State.HOLDING,
            [Action(Act.HIDE_PAGE), Action(Act.KILL, 5)],
        ),
        (SLOW, Event(What.STOP), State.STOPPING, [Action(Act.HIDE_PAGE), Action(Act.KILL, 5)]),
        # A change waits for the end of the last prompt; a person who forces it does not.
        (ASKING, Event(What.CHANGED), State.SERVING, [Action(Act.TELL_HELD)]),
        (HELD, Event(What.CHANGED), State.SERVING, []),
        (ASKING, Event(What.ASKED, 5), State.SERVING, []),
        (HELD, Event(What.ASKED, 5), State.LOADING, [Action(Act.RETIRE, 5), Action(Act.START, 6)]),
        (HELD, Event(What.ASKED, 4), State.SERVING, []),
        (
            replace(HELD, prompts=2), Event(What.ASKED, 5), State.SERVING, [],
        ),
        (
            ASKING, Event(What.FORCED), State.LOADING,
            [Action(Act.RETIRE, 5), Action(Act.START, 6)],
        ),
        # One of several is replaced, and the others serve on.
        (THREE, Event(What.ENDED, 5), State.SERVING, [Action(Act.REPLACE, 5)]),
        (THREE, Event(What.FAILED, 5), State.SERVING, [Action(Act.REPLACE, 5)]),
        (
            THREE_LOADING, Event(What.FAILED, 5), State.BROKEN,
            [Action(Act.KILL, 5), Action(Act.SHOW_ERROR, 5)],
        ),
        # What comes from another generation is history.
        (LOADING, Event(What.LOADED, 4), State.LOADING, []),
        (SERVING, Event(What.ENDED, 4), State.SERVING, []),
        (BROKEN, Event(What.ENDED, 5), State.BROKEN, []),
        (SERVING, Event(What.EMPTY), State.SERVING, []),
        (LOADING, Event(What.STOP), State.STOPPING, [Action(Act.KILL, 5)]),
        (SERVING, Event(What.STOP), State.STOPPING, [Action(Act.RETIRE, 5)]),
        (BROKEN, Event(What.STOP), State.STOPPING, [Action(Act.HIDE_PAGE)]),
        (STOPPING, Event(What.STOP), State.STOPPING, [Action(Act.KILL_ALL)]),
        (STOPPING, Event(What.CHANGED), State.STOPPING, []),
        (STOPPING, Event(What.READY, 5), State.STOPPING, []),
        (STOPPING, Event(What.EMPTY), State.STOPPED, [Action(Act.FINISH)]),
        (STOPPED, Event(What.STOP), State.STOPPED, []),
    ],
)  # fmt: skip
def test_the_table(model: Model, event: Event, state: State, actions: list[Action]) -> None:
    new, found = step(model, event)
    assert (new.state, found) == (state, actions)


def test_the_beginning() -> None:
    model, actions = begin()
    assert model == Model(State.LOADING, 1)
    assert actions == [Action(Act.START, 1)]


def test_a_process_that_was_replaced_and_served_may_die_again() -> None:
    """After a change the count begins anew."""
    model, _ = step(SERVING, Event(What.ENDED, 5))
    assert model.retries == 1
    model, _ = step(model, Event(What.FORCED))
    assert model.retries == 0


@given(st.lists(st.tuples(st.sampled_from(What), st.integers(0, 2)), max_size=60))
def test_at_most_one_generation_accepts(events: list[tuple[What, int]]) -> None:
    """Whatever happens in whatever order: nobody is admitted who is not told to end later."""
    model, actions = begin()
    accepting: set[int] = set()
    shown = False
    for what, age in [*events, (What.STOP, 0)]:
        for act, generation in actions:
            if act is Act.ADMIT:
                accepting.add(generation)
                assert not shown
            elif act in (Act.RETIRE, Act.KILL):
                accepting.discard(generation)
            elif act is Act.SHOW_ERROR:
                accepting.discard(generation)  # it has ended
                shown = True
            elif act is Act.HIDE_PAGE:
                shown = False
        assert len(accepting) <= 1
        before = model
        model, actions = step(model, Event(what, max(0, model.generation - age)))
        assert model.generation >= before.generation
        if what is What.ENDED:
            accepting.discard(max(0, before.generation - age))
    assert model.state in (State.STOPPING, State.STOPPED)
