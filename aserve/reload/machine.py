"""What the supervisor decides: `step(model, event) -> (model, actions)`, with no process at all.

```text
            changed            settled             loaded, admitted, ready
  SERVING ----------> HOLDING ----------> LOADING -------------------------> SERVING
                       ^   ^                |  |
               changed |   '----------------'  | failed or ended
                       |       changed         v
                       '-------------------- BROKEN
  any --- stop ---> STOPPING --- last process ended ---> STOPPED
```

A generation is one process, or several alike, with the app as it was on the disk at one moment.
Events carry the generation that they are about; what comes from an older one is of no interest any
more.
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
    HOLDING = "holding"  # old code accepts nothing more, and more changes may come
    BROKEN = "broken"  # nothing to serve but a page that says why
    STOPPING = "stopping"
    STOPPED = "stopped"


class What(Enum):
    """Kinds of events."""

    CHANGED = "changed"  # a file is not what was loaded
    SETTLED = "settled"  # and no more changes are waited for
    FORCED = "forced"  # a person wants everything loaded anew
    LOADED = "loaded"  # the app is imported; nothing is accepted yet
    READY = "ready"  # it accepts connections
    FAILED = "failed"  # the app cannot be imported
    SLOW = "slow"  # it takes longer than a person waits without a word
    ENDED = "ended"  # the process is gone
    ASKING = "asking"  # a debugger has opened a prompt in it
    ASKED = "asked"  # and left it
    STOP = "stop"  # a person wants the end; a second time: at once
    EMPTY = "empty"  # no process is left


class Event(NamedTuple):
    """Something happened, to a generation if it has one."""

    what: What
    generation: int = 0


class Act(Enum):
    """Kinds of actions."""

    START = "start"  # processes for this generation, which import the app
    REPLACE = "replace"  # one more process for it: another one has died
    ADMIT = "admit"  # they may accept connections
    RETIRE = "retire"  # they accept nothing more, finish what runs, and end
    KILL = "kill"  # they end at once
    SHOW_ERROR = "show error"  # the supervisor itself accepts, and answers with a page
    SHOW_LOADING = "show loading"  # the same with another page, and only to people
    HIDE_PAGE = "hide page"  # it accepts no more: connections wait for the next generation
    TELL_HELD = "tell held"  # a reload waits for the end of a prompt
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
        processes: How many make up a generation.
        admitted: Whether it may accept connections already.
        retries: How often processes that died while they served were replaced.
        has_page: Whether the supervisor itself accepts.
        prompts: How many prompts of debuggers are open.
        is_held: Whether a change waits until there is none.
    """

    state: State = State.LOADING
    generation: int = 0
    processes: int = 1
    admitted: bool = False
    retries: int = 0
    has_page: bool = False
    prompts: int = 0
    is_held: bool = False


_Step = tuple[Model, list[Action]]

# The only process, when it dies while it serves, is replaced; one that does it again has a bug to
# show. One of several is replaced each time, because the others serve on.
_RETRIES = 1


def begin(processes: int = 1) -> _Step:
    """The first generation.

    Args:
        processes: How many make up a generation.
    """
    return _load(Model(processes=processes))


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
    if event.what is What.CHANGED and model.prompts:
        # Who sits at a prompt would lose it, and with it what was found out.
        return replace(model, is_held=True), [] if model.is_held else [Action(Act.TELL_HELD)]
    if event.what is What.CHANGED:
        return _hold(model)
    if event.what is What.SETTLED:
        return _load(model) if model.state is State.HOLDING else (model, [])
    if event.what is What.FORCED:
        return _reload(model)
    if event.generation != model.generation or event.what is What.EMPTY:
        return model, []  # of a generation that is history
    if event.what is What.ASKING:
        return replace(model, prompts=model.prompts + 1), []
    if event.what is What.ASKED:
        left = replace(model, prompts=max(0, model.prompts - 1))
        return _reload(left) if left.is_held and not left.prompts else (left, [])
    return _progress(model, event.what)


def _load(model: Model, *actions: Action, retries: int = 0) -> _Step:
    generation = model.generation + 1
    new = Model(State.LOADING, generation, model.processes, retries=retries)
    return new, [*actions, Action(Act.START, generation)]


def _hide(model: Model) -> list[Action]:
    return [Action(Act.HIDE_PAGE)] if model.has_page else []


def _hold(model: Model) -> _Step:
    holding = replace(model, state=State.HOLDING, admitted=False, has_page=False)
    if model.state is State.HOLDING:
        return holding, []
    if model.state is State.BROKEN:
        return holding, _hide(model)
    act = Act.RETIRE if model.admitted else Act.KILL
    return holding, [*_hide(model), Action(act, model.generation)]


def _reload(model: Model) -> _Step:
    holding, actions = _hold(model)
    return _load(holding, *actions)


def _progress(model: Model, what: What) -> _Step:
    if model.state in (State.BROKEN, State.HOLDING):
        return model, []
    if what is What.LOADED:
        loaded = replace(model, admitted=True, has_page=False)
        return loaded, [*_hide(model), Action(Act.ADMIT, model.generation)]
    if what is What.READY:
        return replace(model, state=State.SERVING), []
    if what is What.SLOW:
        if model.admitted or model.has_page:
            return model, []
        return replace(model, has_page=True), [Action(Act.SHOW_LOADING, model.generation)]
    if model.state is State.SERVING and model.processes > 1:
        again = replace(model, retries=model.retries + 1)
        return again, [Action(Act.REPLACE, model.generation)]
    if what is What.ENDED and model.state is State.SERVING and model.retries < _RETRIES:
        return _load(model, retries=model.retries + 1)
    broken = replace(model, state=State.BROKEN, admitted=False, has_page=True, prompts=0)
    rest = [Action(Act.KILL, model.generation)] if model.processes > 1 else []
    return broken, [*_hide(model), *rest, Action(Act.SHOW_ERROR, model.generation)]


def _stop(model: Model) -> _Step:
    if model.state is State.STOPPING:
        return model, [Action(Act.KILL_ALL)]
    stopping = replace(model, state=State.STOPPING, has_page=False)
    if model.state in (State.BROKEN, State.HOLDING):
        return stopping, _hide(model)
    act = Act.RETIRE if model.admitted else Act.KILL
    return stopping, [*_hide(model), Action(act, model.generation)]
