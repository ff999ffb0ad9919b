"""How a plan looks: what would be registered, changed, related, withdrawn, and the facts before and after.

+ agent:support-bot
    owner        support-rota
~ tool:refund
    tier         (nothing) -> 1
- withdraw agent:support-bot calls tool:lookup
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from quarterdeck_cli.estate_words import told
from quarterdeck_cli.output import cell_len
from quarterdeck_cli.text import visible

if TYPE_CHECKING:
    from rich.text import Text

MAX_STEPS: Final = 40
"""How many steps are shown where nobody asked for all of them."""
_MARKS: Final = {
    "register": ("+", "", "green"),
    "change": ("~", "", "yellow"),
    "retire": ("-", "retire ", "red"),
    "relate": ("+", "", "green"),
    "unrelate": ("-", "withdraw ", "red"),
    "drift": ("!", "drift ", "magenta"),
    "quarantine": ("!", "quarantine ", "bold red"),
}
_VERBS: Final = {
    "register": "to register",
    "change": "to change",
    "retire": "to retire",
    "relate": "to relate",
    "unrelate": "to withdraw",
    "drift": "not as pinned",
    "quarantine": "to quarantine",
}
_DONE: Final = {
    "register": "registered",
    "change": "changed",
    "retire": "retired",
    "relate": "related",
    "unrelate": "withdrawn",
    "drift": "not as pinned",
    "quarantine": "quarantined",
}


def plan_lines(plan: dict[str, Any], *, everything: bool = False) -> Iterator[Text]:
    """Yield a plan line by line; where it is long, its beginning, and what is left out."""
    from rich.text import Text

    steps: Sequence[dict[str, Any]] = plan["steps"]
    shown = steps if everything else _chosen(steps)
    for step in shown:
        yield from _step(step, None if everything else 80)
    if left := len(steps) - len(shown):
        yield Text(f"  … and {left:,} more; --all shows everything", style="dim")
    for note in plan.get("notes") or ():
        yield Text(f"  note: {visible(note)}", style="dim")


def counted(counts: dict[str, int], *, done: bool = False) -> str:
    """Return how much there is of everything, in words."""
    words = _DONE if done else _VERBS
    named = [f"{count:,} {words.get(name, visible(name))}" for name, count in counts.items() if count]
    return ", ".join(named) or "nothing to change"


def _chosen(steps: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Return what is shown of a long plan. What takes something away stands first: it is what people look for."""
    if len(steps) <= MAX_STEPS:
        return steps
    taken = [step for step in steps if _MARKS.get(str(step["action"]), ("!",))[0] in "-!"]
    others = [step for step in steps if _MARKS.get(str(step["action"]), ("!",))[0] not in "-!"]
    return [*taken, *others][:MAX_STEPS]


def _step(step: dict[str, Any], limit: int | None) -> Iterator[Text]:
    from rich.text import Text

    action = str(step["action"])
    mark, verb, style = _MARKS.get(action, ("!", f"{visible(action)} ", "magenta"))
    yield Text(f"{mark} {verb}{visible(step['subject'])}", style=style)
    fields: Sequence[dict[str, Any]] = step.get("fields") or ()
    width = max((cell_len(visible(item["field"])) for item in fields), default=0)
    for item in fields:
        name = visible(item["field"])
        name += " " * (width - cell_len(name))
        after = told(item.get("after"), limit)
        said = after if action == "register" else f"{told(item.get('before'), limit)} -> {after}"
        yield Text(f"    {name}  {said}")
