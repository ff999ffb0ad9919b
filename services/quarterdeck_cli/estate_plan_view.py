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
    "contest": ("!", "said otherwise, and left as it is: ", "magenta"),
}
_VERBS: Final = {
    "register": "to register",
    "change": "to change",
    "retire": "to retire",
    "relate": "to relate",
    "unrelate": "to withdraw",
    "drift": "not as pinned",
    "quarantine": "to quarantine",
    "contest": "said otherwise",
}
_DONE: Final = {
    "register": "registered",
    "change": "changed",
    "retire": "retired",
    "relate": "related",
    "unrelate": "withdrawn",
    "drift": "not as pinned",
    "quarantine": "quarantined",
    "contest": "said otherwise",
}


def plan_lines(plan: dict[str, Any], *, everything: bool = False) -> Iterator[Text]:
    """Yield a plan line by line; where it is long, its beginning, and what is left out."""
    from rich.text import Text

    steps: Sequence[dict[str, Any]] = plan["steps"]
    long = not everything and len(steps) > MAX_STEPS
    shown = sorted(steps, key=_rank)[:MAX_STEPS] if long else steps
    for step in shown:
        yield from _step(step, limit=None if everything else 80, brief=long)
    if left := len(steps) - len(shown):
        yield Text(f"  … and {left:,} more; --all shows everything", style="dim")
    for note in plan.get("notes") or ():
        yield Text(f"  note: {visible(note)}", style="dim")


def counted(counts: dict[str, int], *, done: bool = False) -> str:
    """Return how much there is of everything, in words."""
    words = _DONE if done else _VERBS
    named = [f"{count:,} {words.get(name, visible(name))}" for name, count in counts.items() if count]
    return ", ".join(named) or "nothing to change"


def _rank(step: dict[str, Any]) -> int:
    """Return where a step stands in a long plan: what takes something away first, since it is what people look for."""
    return "-!~+".find(_MARKS.get(str(step["action"]), ("!",))[0])


def _step(step: dict[str, Any], *, limit: int | None, brief: bool) -> Iterator[Text]:
    """Yield a step line by line; in brief, what is registered is its name alone."""
    from rich.text import Text

    action = str(step["action"])
    mark, verb, style = _MARKS.get(action, ("!", f"{visible(action)} ", "magenta"))
    yield Text(f"{mark} {verb}{visible(step['subject'])}", style=style)
    new = action == "register"
    fields = [
        item
        for item in step.get("fields") or ()
        if not (new and (brief or (item["field"] == "lifecycle" and item.get("after") == "live")))
    ]
    width = max((cell_len(visible(item["field"])) for item in fields), default=0)
    for item in fields:
        name = visible(item["field"])
        name += " " * (width - cell_len(name))
        after = told(item.get("after"), limit)
        said = after if new else f"{told(item.get('before'), limit)} -> {after}"
        yield Text(f"    {name}  {said}")
