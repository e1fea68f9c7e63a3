"""``vpbench check``: does a plugin keep the contract of its kind?"""

from __future__ import annotations

import click

from vpbench.cli.common import State, common_options, json_option, print_json, roots
from vpbench.cli.ranges import FiniteRange
from vpbench.errors import UsageError
from vpbench.names import Selector
from vpbench.output import say


@click.command("check")
@click.argument("name", metavar="[KIND/]NAME[:PRESET]")
@click.option("-o", "--option", "options", multiple=True, metavar="NAME.OPTION=VALUE", help="An option of the plugin.")
@click.option("--data-root", "data_roots", multiple=True, metavar="[DATASET=]DIR", help="Folder of a dataset.")
@click.option(
    "--timeout",
    type=FiniteRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End a check that takes longer; it fails, and the next one starts.",
)
@json_option
@common_options
@click.pass_obj
def command(
    state: State,
    name: str,
    options: tuple[str, ...],
    data_roots: tuple[str, ...],
    timeout: float | None,
    as_json: bool,
) -> None:
    """Check that a predictor, dataset, metric or annotator keeps its contract.

    Predictors, metrics and annotators run on synthetic clips, datasets on the data at their root. The checks run in a
    process of their own, which a plugin may crash. Prints a line per check. Exits with 1 if a check fails.
    """
    from vpbench.select.options import check_used, parse_assignments
    from vpbench.testing.check import Outcome
    from vpbench.testing.conformance import Request
    from vpbench.testing.isolated import check_isolated

    selector = Selector.parse(name)
    entry = state.plugins.find(selector.name)
    if entry.kind == "protocol":
        raise UsageError(f"{entry.name!r} is a protocol: check it with `vpbench data check protocol/{entry.name}`")
    values = parse_assignments(options, "-o")
    check_used(values, [entry.name])
    text = str(Selector(entry.name, selector.argument))
    request = Request(
        state.plugins, entry.kind, text, values.get(entry.name, {}), roots(data_roots), tuple(state.extra)
    )
    outcomes: list[Outcome] = []
    for outcome in check_isolated(request, timeout):
        outcomes.append(outcome)
        if not as_json:
            say(f"{outcome.status:<14}  {outcome.check:<14}  {outcome.detail or outcome.demand}")
    failed = [outcome.check for outcome in outcomes if outcome.status == "failed"]
    if as_json:
        fields = ("check", "demand", "status", "detail")
        checks = [{name: getattr(outcome, name) for name in fields} for outcome in outcomes]
        print_json({"kind": entry.kind, "name": entry.name, "checks": checks})
    else:
        counts = {status: sum(o.status == status for o in outcomes) for status in ("ok", "failed", "not applicable")}
        say(f"{entry.kind} {text}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    if failed:
        raise click.exceptions.Exit(1)
