"""What the supervisor decides: `step(model, event) -> (model, actions)`, with no process at all.

```text
            changed                 loaded, admitted, ready
  SERVING ----------> LOADING ------------------------------> SERVING
                       |  ^ ^
       failed or ended |  | | changed: that load is superseded
                       v  | |
                     BROKEN-+  changed
  any --- stop ---> STOPPING --- last process ended ---> STOPPED
```

A generation is one process with the app as it was on the disk at one moment. Events carry the
generation that they are about; what comes from an older one is of no interest any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

__all__ = ["Act", "Action", "Event", "Model", "State", "What", "step"]


class State(Enum):
    """Where in its life the supervisor is."""

    LOADING = "loading"
    SERVING = "serving"
    BROKEN = "broken"  # nothing to serve but a page that says why
    STOPPING = "stopping"
    STOPPED = "stopped"


class What(Enum):
    """Kinds of events."""

    CHANGED = "changed"  # a file is not what was loaded
    LOADED = "loaded"  # the app is imported; nothing is accepted yet
    READY = "ready"  # it accepts connections
    FAILED = "failed"  # the app cannot be imported
    ENDED = "ended"  # the process is gone
    STOP = "stop"  # a person wants the end; a second time: at once
    EMPTY = "empty"  # no process is left


class Event(NamedTuple):
    """Something happened, to a generation if it has one."""

    what: What
    generation: int = 0


class Act(Enum):
    """Kinds of actions."""

    START = "start"  # a process for this generation, which imports the app
    ADMIT = "admit"  # it may accept connections
    RETIRE = "retire"  # it accepts nothing more, finishes what runs, and ends
    KILL = "kill"  # it ends at once
    SHOW_ERROR = "show error"  # the supervisor itself accepts, and answers with a page
    HIDE_ERROR = "hide error"  # it accepts no more: connections wait for the next generation
    KILL_ALL = "kill all"
    FINISH = "finish"


class Action(NamedTuple):
    """Something to do, with a generation if it has one."""

    act: Act
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """All that the decisions depend on.

    Args:
        state: The state.
        generation: The one that is loading or serving; before the first one 0.
        admitted: Whether it may accept connections already.
        retries: How often a process that died while it served was replaced in a row.
    """

    state: State = State.LOADING
    generation: int = 0
    admitted: bool = False
    retries: int = 0


_Step = tuple[Model, list[Action]]

# A process that dies while it serves is replaced; one that does it again has a bug to show.
_RETRIES = 1


def begin() -> _Step:
    """The first generation."""
    return _load(Model())


def step(model: Model, event: Event) -> _Step:
    """What follows from an event. Pure."""
    if model.state is State.STOPPED:
        return model, []
    if event.what is What.STOP:
        return _stop(model)
    if model.state is State.STOPPING:
        if event.what is What.EMPTY:
            return replace(model, state=State.STOPPED), [Action(Act.FINISH)]
        return model, []
    if event.what is What.CHANGED:
        return _change(model)
    if event.generation != model.generation or event.what is What.EMPTY:
        return model, []  # of a generation that is history
    return _progress(model, event.what)


def _load(model: Model, *actions: Action, retries: int = 0) -> _Step:
    generation = model.generation + 1
    new = Model(State.LOADING, generation, retries=retries)
    return new, [*actions, Action(Act.START, generation)]


def _change(model: Model) -> _Step:
    if model.state is State.BROKEN:
        return _load(model, Action(Act.HIDE_ERROR))
    if model.admitted:
        return _load(model, Action(Act.RETIRE, model.generation))
    return _load(model, Action(Act.KILL, model.generation))


def _progress(model: Model, what: What) -> _Step:
    generation = model.generation
    if model.state is State.BROKEN:
        return model, []
    if what is What.LOADED:
        return replace(model, admitted=True), [Action(Act.ADMIT, generation)]
    if what is What.READY:
        return replace(model, state=State.SERVING), []
    broken = replace(model, state=State.BROKEN, admitted=False)
    if what is What.FAILED:
        return broken, [Action(Act.SHOW_ERROR, generation)]
    if model.state is State.SERVING and model.retries < _RETRIES:
        return _load(model, retries=model.retries + 1)
    return broken, [Action(Act.SHOW_ERROR, generation)]


def _stop(model: Model) -> _Step:
    if model.state is State.STOPPING:
        return model, [Action(Act.KILL_ALL)]
    stopping = replace(model, state=State.STOPPING)
    if model.state is State.BROKEN:
        return stopping, [Action(Act.HIDE_ERROR)]
    act = Act.RETIRE if model.admitted else Act.KILL
    return stopping, [Action(act, model.generation)]
