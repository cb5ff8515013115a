"""The report of sweeps of every shape, read back as a person would."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest
from jinja2 import UndefinedError

from gridcast.reporting import html, report, report_findings, report_page, selection_sentences
from gridcast.reporting.record import SweepRecord, read_sweep
from gridcast.runtime.errors import GridcastError
from gridcast.tracking.store import Store
from made_up_sweep import GRID, sweep

pytestmark = pytest.mark.xdist_group("report")
PICTURES = {
    "best_model_evaluation",
    "cost_quality",
    "grid_search_analysis",
    "hyperparameter_importance",
    "interactions",
    "model_comparison",
    "parallel_coordinates",
}


@dataclass(frozen=True)
class Built:
    """A report on disk, with what it was made from."""

    path: Path
    page: str
    record: SweepRecord
    findings: report_findings.ReportFindings
    store: Store


def built(folder: Path, **shape: Any) -> Built:
    store = sweep(folder, **shape)
    found = read_sweep(store, "made-up")
    path, findings = report.write_report(found, store, folder / "reports")
    return Built(path, path.read_text(encoding="utf-8"), found, findings, store)


def findings_of(folder: Path, **shape: Any) -> tuple[report_findings.ReportFindings, str]:
    """Findings and page without the pictures, which take most of the time."""
    found = read_sweep(sweep(folder, **shape), "made-up")
    findings = report_findings.compute_findings(found)
    return findings, report_page.render_page(found, findings, {})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built(tmp_path_factory.mktemp("whole"))


def test_a_whole_sweep_gives_page_tables_and_every_picture(whole: Built) -> None:
    names = {file.name for file in whole.path.parent.iterdir()}
    wanted = {f"{name}.{kind}" for name in PICTURES for kind in ("png", "svg")}
    wanted |= {"report.html", "leaderboard.csv", "leaderboard.xlsx"}
    assert names == wanted | {".gridcast-report.json"}
    logged = whole.store.client.list_artifacts(whole.record.parent.info.run_id, "report")
    assert {item.path for item in logged} == {f"report/{name}" for name in wanted}


def test_one_seed_describes_settings_and_claims_nothing(whole: Built) -> None:
    sentences = whole.findings.sentences
    described = next(
        text for text in sentences if text.startswith("In these runs, by mean validation loss: 64 units 9")
    )
    assert "One seed cannot tell whether that is luck: how far seeds alone move a run is unknown." in described
    assert not any(" beat " in text or "±" in text for text in sentences)
    assert whole.findings.measure.name == "msse"
    assert whole.findings.bottom_line.startswith("By squared scaled error, the winner beats")
    assert "Settings compared" in whole.page


def test_the_page_opens_with_the_verdict_and_ends_with_what_was_run(whole: Built) -> None:
    parts = (whole.findings.bottom_line, "Load the winner</h2>", "on unseen data</h2>", "<figure", "What was run</h2>")
    places = [whole.page.index(part) for part in parts]
    assert places == sorted(places)
    assert f'"runs:/{whole.record.winner_id}/model"' in whole.page


def test_the_page_needs_nothing_outside_itself_and_runs_no_foreign_script(whole: Built) -> None:
    assert re.findall(r"""(?:src|href)=["']([^"'#][^"']*)""", whole.page) == []
    assert "<script>alert" not in whole.page
    assert "&lt;script&gt;alert" in whole.page


def test_the_leaderboard_is_the_same_in_csv_and_excel(whole: Built) -> None:
    table = pd.read_csv(whole.path.with_name("leaderboard.csv"))
    sheet = openpyxl.load_workbook(whole.path.with_name("leaderboard.xlsx"))["leaderboard"]
    rows = list(sheet.iter_rows(values_only=True))
    assert list(table["name"]) == [row[rows[0].index("name")] for row in rows[1:]]
    assert table["best_val_loss"].is_monotonic_increasing
    assert len(table) == 16


def test_a_name_neither_ends_the_script_nor_swallows_it(whole: Built) -> None:
    name = "<!--<script></script>"
    renamed = replace(whole.record, runs=whole.record.runs.assign(name=name))
    script = report_page.render_page(renamed, whole.findings, {}).rpartition("<script>")[2]
    assert "<!--" not in script
    (data,) = re.findall("const forecasts = .*, data = (.*);", script)
    assert {run["name"] for run in json.loads(data)["runs"]} == {name}


def test_a_point_sweep_of_one_step_has_no_chapters_on_quantiles_or_steps(whole: Built) -> None:
    own = whole.findings.chapters
    assert (own.levels, own.nominal, own.fans) == ((), None, [])
    assert "How close the forecasts came" in whole.page
    for absent in ("WQL", "% coverage", "Error by step", "Which inputs the winner relies on", "Unusual runs of zeros"):
        assert absent not in whole.page


def test_three_seeds_show_intervals_effects_and_what_is_worse(tmp_path: Path) -> None:
    findings, page = findings_of(tmp_path, seeds=(0, 1, 2), grid={k: GRID[k] for k in ("units", "dropout")})
    best = findings.configurations.iloc[0]
    assert best["count"] == 3
    assert best["low"] < best["mean"] < best["high"]
    units = findings.configurations.set_index("configuration")["units"]
    assert {units[name]: relation for name, relation in findings.relations.items()}[8] == "worse"
    assert sorted(findings.relations.values())[0] == "best"
    assert findings.compared_over.startswith("paired over 3 seeds")
    assert any(re.fullmatch(r"64 units beat 8 units by 9\.\d % ± 0\.\d in .*", text) for text in findings.sentences)
    assert "Configurations over 3 seeds" in page
    assert not any(
        "seed" in text.split("simplest of them all is ")[-1] for text in findings.sentences if "simplest" in text
    )


def test_a_sweep_from_before_the_share_was_a_setting_has_the_default(whole: Built) -> None:
    assert "relevant" not in whole.record.about["selection"]
    assert whole.record.relevant == 0.01


def test_a_half_finished_sweep_says_what_is_missing(tmp_path: Path) -> None:
    findings, page = findings_of(tmp_path, tested=False, unfinished=4, failed=2)
    assert findings.sentences[0].startswith("10 of 16 runs finished, 2 failed.")
    assert "6 of 16 runs are not finished; this report covers the finished ones." in findings.limitations
    assert "This sweep has not used the test span yet" in page
    assert page.count("GridcastError: no longer finite") == 2


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        pytest.param({"units": [8, 64]}, "Fewer than two settings were varied", id="two runs, one axis"),
        pytest.param({"learning_rate": [0.1, 0.01, 0.001]}, "Fewer than two settings were varied", id="one axis"),
        pytest.param({k: GRID[k] for k in ("layer", "units", "dropout")}, "One seed was trained", id="no attention"),
    ],
)
def test_a_small_grid_has_findings_that_say_what_they_cannot_show(
    tmp_path: Path, grid: dict[str, list[Any]], said: str
) -> None:
    findings, page = findings_of(tmp_path, grid=grid)
    assert any(sentence.startswith(said) for sentence in findings.limitations)
    assert all(sentence in page for sentence in findings.limitations)


def test_one_run_alone_still_has_a_report_and_its_pictures(tmp_path: Path) -> None:
    alone = built(tmp_path, grid={"units": [64]})
    assert any(sentence.startswith("With 1 finished run the importance") for sentence in alone.findings.limitations)
    assert alone.path.with_name("grid_search_analysis.png").stat().st_size > 10_000


def test_without_a_finished_run_there_is_no_report(tmp_path: Path) -> None:
    store = sweep(tmp_path, grid={"units": [8, 64]}, failed=2)
    with pytest.raises(GridcastError, match="no finished run"):
        read_sweep(store, "made-up")


def test_a_report_that_fails_leaves_the_old_one_in_place(
    whole: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "draw_figures", lambda *_: {})  # what fails comes after them
    old = shutil.copytree(whole.path.parent, tmp_path / "made-up")
    broken = replace(whole.record, about={**whole.record.about, "spans": {}})
    with pytest.raises(UndefinedError):
        report.write_report(broken, whole.store, tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == ["made-up"]
    assert (old / "report.html").read_text(encoding="utf-8") == whole.page


def test_the_page_works_in_a_browser_on_desktop_and_phone_light_and_dark(browser: Any, whole: Built) -> None:
    backgrounds = {}
    for width, mobile in ((1400, False), (390, True)):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        for scheme in ("light", "dark"):
            feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
            browser.get(whole.path.as_uri())
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            script = "return getComputedStyle(document.body).backgroundColor"
            backgrounds[scheme] = browser.execute_script(script)
    assert backgrounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 31)"}
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_the_first_screen_has_verdict_load_snippet_and_a_link_to_each_chapter(browser: Any, whole: Built) -> None:
    metrics = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(whole.path.as_uri())
    for part in (".verdict", "#snippet", "nav"):
        script = f"return document.querySelector('{part}').getBoundingClientRect().bottom"
        assert browser.execute_script(script) <= 800, part
    links, headings = re.findall(r'<a href="#([^"]+)">', whole.page), re.findall(r'<h2 id="([^"]+)">', whole.page)
    assert links == headings
    assert len(set(links)) == len(links) > 8
    assert "<h2>" not in whole.page


def test_tables_are_sorted_by_a_click_and_forecasts_are_read_by_pointing(browser: Any, whole: Built) -> None:
    browser.get(whole.path.as_uri())
    column = "[...document.querySelectorAll('#leaderboard thead th')].findIndex(th => th.textContent == 'seconds')"
    click = f"document.querySelectorAll('#leaderboard thead th')[{column}].click()"
    seconds = (
        f"return [...document.querySelectorAll('#leaderboard tbody tr')].map(tr => tr.cells[{column}].textContent)"
    )
    browser.execute_script(click)
    shown = [float(text) for text in browser.execute_script(seconds)]
    assert shown == sorted(shown)
    browser.execute_script(click)
    assert [float(text) for text in browser.execute_script(seconds)] == shown[::-1]
    point = "document.querySelector('#forecasts svg').onpointermove({clientX: 0, clientY: 0})"
    browser.execute_script(point)
    read = browser.execute_script("return document.getElementById('forecast-value').textContent")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d: actual [\d.]+, forecast [\d.]+", read)


def test_the_winner_and_the_lowest_errors_are_marked(whole: Built) -> None:
    rows = re.findall(r"<tr[^>]*>(?:(?!</tr>).)*</tr>", whole.page, re.S)
    winners = [row for row in rows if ">winner</span>" in row]
    assert winners
    assert all('class="own' in row for row in winners)
    lowest = f'<td class="low">{html.format_number(whole.findings.measures["mase"].min())}</td>'
    assert lowest in whole.page
    assert whole.path.stat().st_size < 5e6


def test_a_best_run_whose_last_epoch_is_its_best_should_train_longer(whole: Built) -> None:
    best = whole.record.best_run_id
    is_best = whole.record.runs["run_id"] == best
    runs = whole.record.runs.assign(best_epoch=whole.record.runs["best_epoch"].where(~is_best, 10.0))
    runs["epochs_trained"] = runs["epochs_trained"].where(~is_best, 10.0)
    [sentence] = selection_sentences.last_epoch_sentences(replace(whole.record, runs=runs))
    assert sentence.startswith("Best epoch 10 of 10: the error of the best run was still falling")
    runs["epochs_trained"] = runs["epochs_trained"].where(~is_best, 11.0)
    assert selection_sentences.last_epoch_sentences(replace(whole.record, runs=runs)) == []


def test_the_interactive_picture_shows_every_run_and_leaves_values_out(browser: Any, whole: Built) -> None:
    browser.get(whole.path.as_uri())
    count = "return document.querySelectorAll('#lines path{}').length"
    assert browser.execute_script(count.format("")) == 16
    label = "[...document.querySelectorAll('#lines .value')].find(t => t.textContent === 'LSTM')"
    click = f"{label}.dispatchEvent(new Event('click'))"
    browser.execute_script(click)
    assert browser.execute_script(count.format(".out")) == 8
    browser.execute_script(click)
    assert browser.execute_script(count.format(".out")) == 0
