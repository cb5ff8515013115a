"""The verb `doctor`: is everything here in order?"""

from __future__ import annotations

from typing import Annotated

import typer

from gridcast.api.folders import CACHE, REPORTS
from gridcast.cli.app import app, out
from gridcast.runtime.errors import GridcastError


@app.command("doctor")
def doctor_verb(
    repair: Annotated[bool, typer.Option("--fix", help="repair what is safe to repair")] = False,
) -> None:
    """Check installation, disk, store and cache.

    Each problem comes with a remedy.
    """
    from gridcast.cli.doctor import examine, fix

    problems = fixable = 0
    for finding in examine(folder=CACHE, reports=REPORTS):
        out.print(f"{'ok   ' if finding.ok else 'wrong'}  {finding.about}: {finding.text}", markup=False)
        if finding.ok:
            continue
        if repair and finding.fix:
            try:
                out.print(f"       fixed: {fix(finding)}", markup=False)
                continue
            except GridcastError as error:
                out.print(f"       not fixed: {error}", markup=False)
        else:
            out.print(f"       remedy: {finding.remedy}", markup=False)
        problems += 1
        fixable += not repair and finding.fix is not None
    if problems:
        remark = f"; `gridcast doctor --fix` fixes {fixable} of them" if fixable else ""
        raise GridcastError(f"problems: {problems}{remark}")
    out.print("Everything is in order.")
