"""A `Problem` as HTML: the exceptions of its chain, the newest first, each with its frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from ..pages.elements import button, place, prose, source
from ..pages.markup import Content, Markup, element, fragment
from .model import Frame, Place, Problem, Repetition, Value

__all__ = ["headline", "render_outline", "render_problem", "render_values"]

_RELATIONS: Final = {"": "", "cause": "Caused by", "context": "While handling"}
# A longer message is set smaller: it is to be read, and not to push the frames out of view.
_LONG_MESSAGE: Final = 160
_MOST_LIBRARIES: Final = 3


def headline(problem: Problem) -> str:
    """Type and first line of the message, for a title."""
    first = problem.message.strip().partition("\n")[0]
    return f"{problem.type}: {first}" if first else problem.type


def render_problem(problem: Problem) -> Markup:
    """The exception and what came before it, with headings from level 1.

    Args:
        problem: The newest exception of the chain.
    """
    chosen = _innermost_user_frame(problem)
    return fragment([
        _one(link, relation, chosen, min(at, 2) if relation else 1)
        for at, (link, relation) in enumerate(_chain(problem), 1)
    ])  # fmt: skip


def render_outline(problem: Problem) -> Content:
    """Links to the frames, for a window that is wide enough to have them beside the code."""
    chosen = _innermost_user_frame(problem)
    items: list[Content] = []
    for is_user, run in groupby(_frames(problem), key=lambda frame: frame.is_user):
        frames = list(run)
        if not is_user and len(frames) > 1 and chosen not in frames:
            items.append(element("li", f"{len(frames)} library frames", class_="library"))
            continue
        items += [_link(frame, is_chosen=frame is chosen) for frame in frames]
    if len(items) < 2:
        return ""
    return element("nav", element("ol", items), class_="outline", aria_label="Frames")


def _link(frame: Frame, *, is_chosen: bool) -> Markup:
    last = frame.shown_file.replace("\\", "/").rpartition("/")[2]
    title = [
        element("code", frame.name or last),
        element("span", f"{last}:{frame.line}" if frame.line else last, class_="where"),
    ]
    current = {"aria_current": "true"} if is_chosen else {}
    link = element("a", title, href=f"#{_id_of(frame)}", **current)
    return element("li", link, class_="user" if frame.is_user else "library")


def _id_of(frame: Frame) -> str:
    # The place of a SyntaxError, or in a template, is no living frame.
    return f"place-{frame.line}" if frame.id is None else f"frame-{frame.id}"


def _chain(problem: Problem) -> Iterator[tuple[Problem, str]]:
    relation, link = "", problem
    while True:
        yield link, relation
        if link.earlier is None:
            return
        relation, link = _RELATIONS[link.relation] or _RELATIONS["context"], link.earlier


def _innermost_user_frame(problem: Problem) -> Frame | None:
    """The one to look at first: of the newest exception, or of one that led to it."""
    frames = list(_frames(problem))
    return next((frame for frame in frames if frame.is_user), frames[0] if frames else None)


def _frames(problem: Problem) -> Iterator[Frame]:
    """As they stand on the page."""
    for link, _ in _chain(problem):
        for member in link.group:
            yield from _frames(member)
        for each in reversed(link.places):
            if isinstance(each, Frame):
                yield each


def _one(
    problem: Problem, relation: str, chosen: Frame | None, level: int, *, has_heading: bool = True
) -> Markup:
    """One exception, without those before it."""
    return element(
        "section",
        [
            element("p", relation, class_="relation") if relation else "",
            _heading(problem, level) if has_heading else "",
            [element("p", note, class_="note") for note in problem.notes],
            element("p", problem.suggestion, class_="suggestion") if problem.suggestion else "",
            element("p", prose(problem.advice), class_="advice") if problem.advice else "",
            _group(problem, chosen, level + 1),
            _places(problem.places, chosen),
        ],
        class_="problem",
    )


def _heading(problem: Problem, level: int) -> Markup:
    is_long = len(problem.message) > _LONG_MESSAGE or "\n" in problem.message.strip("\n")
    parts: list[Content] = [element("span", problem.type, class_="type")]
    if problem.message:
        # The colon is for who hears the heading, or copies it.
        parts.append(element("span", ": ", class_="unseen"))
        # A long one scrolls, and the keyboard has to reach it.
        stop = {"tabindex": "0"} if is_long else {}
        kind = "message long" if is_long else "message"
        parts.append(element("span", problem.message, class_=kind, **stop))
    return element(f"h{min(level, 6)}", parts, class_="headline")


def _group(problem: Problem, chosen: Frame | None, level: int) -> Content:
    if not problem.group:
        return ""
    count = len(problem.group)
    members = []
    for number, member in enumerate(problem.group, 1):
        title = [element("b", f"{number} of {count}"), _heading(member, level)]
        links = [
            _one(link, relation, chosen, level + bool(relation), has_heading=bool(relation))
            for link, relation in _chain(member)
        ]
        body = element("details", [element("summary", title), *links], open=True)
        members.append(element("li", body))
    return element("ul", members, class_="group")


def _places(places: Sequence[Place], chosen: Frame | None) -> Content:
    """The innermost first; runs of frames of libraries are folded into one line."""
    if not places:
        return ""
    items: list[Content] = []
    innermost = next((each for each in reversed(places) if isinstance(each, Frame)), None)
    for is_user, run in groupby(_with_owner(places), key=lambda pair: pair[0]):
        members = [each for _, each in run]
        rendered: Content = [_place(each, chosen) for each in members]
        frames = [each for each in members if isinstance(each, Frame)]
        if is_user or len(frames) < 2 or chosen in frames:
            items.append(rendered)
            continue
        items.append(
            element(
                "li",
                element(
                    "details",
                    [_title_of_run(frames, innermost), element("ol", rendered, class_="frames")],
                ),
                class_="run",
            )
        )
    return element("ol", items, class_="frames", aria_label="Frames, the innermost first")


def _with_owner(places: Sequence[Place]) -> Iterator[tuple[bool, Place]]:
    """In the order of the page; a repetition goes with the frames that it repeats."""
    found: list[tuple[bool, Place]] = []
    is_user = True
    for each in places:
        is_user = each.is_user if isinstance(each, Frame) else is_user
        found.append((is_user, each))
    return reversed(found)


def _title_of_run(frames: list[Frame], innermost: Frame | None) -> Markup:
    names = list(dict.fromkeys(_library(frame) for frame in frames))
    shown = ", ".join(names[:_MOST_LIBRARIES]) + (" …" if len(names) > _MOST_LIBRARIES else "")
    if frames[0] is innermost:
        shown += f" · raised in {frames[0].name}"
    return element(
        "summary",
        [f"{len(frames)} library frames", element("span", shown, class_="libraries")],
    )


def _library(frame: Frame) -> str:
    first = frame.shown_file.replace("\\", "/").strip("/").partition("/")[0]
    return first.removesuffix(".py") or "?"


def _place(shown: Place, chosen: Frame | None) -> Markup:
    if isinstance(shown, Repetition):
        which = "The frame below comes" if shown.frames == 1 else (
            f"The {shown.frames} frames below come"
        )  # fmt: skip
        times = "once more" if shown.times == 1 else f"{shown.times} times more"
        return element("li", f"{which} {times}", class_="repetition")
    return _frame(shown, shown is chosen)


def _frame(frame: Frame, is_chosen: bool) -> Markup:
    kinds = ["frame", "user" if frame.is_user else "library"]
    body = [
        element("summary", _title(frame)),
        source(frame.source, frame.line, frame.mark, f"Code of {frame.shown_file}"),
        _locals(frame, is_chosen),
    ]
    return element(
        "li",
        [
            element("details", body, open=frame.is_user or is_chosen, class_="body"),
            _tools(frame),
        ],
        id=_id_of(frame),
        class_=" ".join([*kinds, "chosen"] if is_chosen else kinds),
        data_frame="" if frame.id is None else str(frame.id),
        data_kind=frame.kind,
    )


def _title(frame: Frame) -> Content:
    badge = element("span", "template", class_="badge") if frame.kind == "template" else ""
    return [place(frame.shown_file, frame.line, frame.name, file=frame.file), badge]


def _tools(frame: Frame) -> Content:
    """Buttons; who has no script sees none."""
    buttons: list[Content] = []
    where = f"{frame.shown_file}:{frame.line}"
    if frame.can_open and frame.id is not None:
        label = f"Open {where} in the editor"
        buttons.append(button("open", "Open in editor", aria_label=label))
    if frame.id is not None and frame.is_alive and frame.kind == "python":
        label = f"Console in {frame.name}, {where}"
        buttons.append(button("console", "Console", aria_label=label))
    return element("div", buttons, class_="tools") if buttons else ""


def _locals(frame: Frame, is_open: bool) -> Content:
    if frame.values is None:
        if frame.id is None:
            return ""
        # Asked for when it is opened; the script shows it.
        return element(
            "details", element("summary", "Variables"), class_="locals", data_lazy=True, hidden=True
        )
    if not frame.values:
        return ""
    count = len(frame.values)
    title = "1 variable" if count == 1 else f"{count} variables"
    return element(
        "details",
        [element("summary", title), render_values(frame.values, can_expand=frame.id is not None)],
        class_="locals",
        open=is_open,
    )


def render_values(
    values: Sequence[Value], *, can_expand: bool = False, has_types: bool = True
) -> Markup:
    """A table of values.

    Args:
        values: One a row.
        can_expand: There is a living frame that can be asked for their parts.
        has_types: Show the types.
    """
    titles = ("Name", "Type", "Value") if has_types else ("Name", "Value")
    head = element("tr", [element("th", title, scope="col") for title in titles])
    rows: list[Content] = []
    for value in values:
        name: Content = value.name
        if can_expand and value.can_expand:
            name = [element("button", "", type="button", data_do="expand", aria_expanded="false",
                            aria_label=f"Parts of {value.name}"), value.name]  # fmt: skip
        text_class = "text hidden-value" if value.is_hidden else "text"
        rows.append(
            element(
                "tr",
                [
                    element("th", name, scope="row"),
                    element("td", value.type, class_="type") if has_types else "",
                    element("td", value.text, class_=text_class),
                ],
                data_name=value.name,
            )
        )
    return element(
        "table",
        [element("thead", head, class_="unseen"), element("tbody", rows)],
        class_="values",
    )
