"""Whether all is well here: doctor."""

from __future__ import annotations

from typing import Annotated

import typer

from gridcast.cli.app import CACHE, REPORTS, app, out
from gridcast.runtime.errors import GridcastError


@app.command()
def doctor(repair: Annotated[bool, typer.Option("--fix", help="mend what is safe to mend")] = False) -> None:
    """Check installation, disk, store and cache; say what is wrong and how to mend it."""
    from gridcast.cli.doctor import examine, fix

    wrong = mendable = 0
    for finding in examine(folder=CACHE, reports=REPORTS):
        out.print(f"{'ok   ' if finding.ok else 'wrong'}  {finding.about}: {finding.text}", markup=False)
        if finding.ok:
            continue
        if repair and finding.mend:
            try:
                out.print(f"       mended: {fix(finding)}", markup=False)
                continue
            except GridcastError as error:
                out.print(f"       not mended: {error}", markup=False)
        else:
            out.print(f"       remedy: {finding.remedy}", markup=False)
        wrong += 1
        mendable += not repair and finding.mend is not None
    if wrong:
        told = f"; `gridcast doctor --fix` mends {mendable} of them" if mendable else ""
        raise GridcastError(f"wrong: {wrong}{told}")
    out.print("All is well.")
