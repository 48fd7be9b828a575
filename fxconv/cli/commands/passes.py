"""`fxconv passes`: the ordered list, a line each."""

from __future__ import annotations


def passes() -> None:
    """The rewrite passes in the order they run, a line each.

    Examples:
        fxconv passes
    """
    from fxconv.cli.terminal import console
    from fxconv.quantization.pass_names import named_passes
    from fxconv.report.tables import add, grid, show

    table = grid(">", "", "", header=False)
    for number, rule in enumerate(named_passes(), 1):
        place, when = ("-", " (on request)") if rule.on_request else (str(number), "")
        add(table, place, rule.name, f"{rule.summary}{when}")
    show(table, console())
