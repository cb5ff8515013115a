"""README and docs: every command and snippet runs, every link holds, every option that is named exists."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import typer
import yaml

import gridcast
from gridcast import cli, config
from gridcast.config import LENIENT
from shell_session import run_script, shell_session
from small_experiments import sales

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")))
    if "_build" not in path.parts and path != DOCS / "reference" / "commands.md"
}
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]+?) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
NOT_RUN = {
    "installs packages",
    "needs a clone, and downloads data",
    "needs a cluster",
    "needs containers",
    "needs PostgreSQL",
    "needs systemd",
    "needs the retail data",
    "needs a plant",
    "an excerpt, without the functions that it calls",
    "not an experiment file",
    "KerasTuner is not installed for the tests",
    "Prophet is an extra, and fitting takes long",
    "optuna-integration is not installed for the tests",
}
"""Why a block is not run: a comment before it says which of these it is."""
SECONDS = 200
SHOP_PAGES = ("README.md", "docs/tutorials/plant-engineer.md")
"""Run first: the pages on how to do things use their models, `sales` and `pump`."""
MADE = {
    "docs/how-to/watch.md": "reports/sales/monitor.html",
    "docs/tutorials/retail-analyst.md": "reports/sales/monitor.html",
    "docs/tutorials/plant-engineer.md": "reports/pump/live.html",
    "docs/tutorials/student.md": "next-week.csv",
}
"""A file that the commands of a page make last, also where one of them may end with a finding."""
LONG = {"docs/tutorials/ml-engineer.md", "docs/tutorials/retail-analyst.md", "docs/how-to/probabilistic.md"}
"""Pages that train longer, or start a server; `make proofs` runs them."""
NEWCOMERS = {
    "closes_daily.yaml": "student",
    "load_hourly.yaml": "ml-engineer",
    "pump_folder.yaml": "plant-engineer",
    "sales_excel.yaml": "retail-analyst",
    "plugins/sales_search.yaml": "retail-analyst",
}
"""Experiments, and the tutorial whose first snippet makes their table."""
OWN_FOLDER = {name for name in PAGES if name.startswith("docs/tutorials/")} - set(SHOP_PAGES)
MINIMAL = {
    "version": 1,
    "name": "page",
    "data": {"source": "sales.csv", "time": "date", "target": "quantity"},
    "window": {"lookback": 7, "horizon": 2},
}


def blocks(page):
    return [match.groupdict() for match in BLOCK.finditer(PAGES[page])]


def script_of(page, folder):
    """The commands of a page, one after the other; each Python snippet is a file."""
    parts = []
    for number, block in enumerate(blocks(page)):
        if block["reason"] or block["kind"] not in ("bash", "python"):
            continue
        if block["kind"] == "python":
            name = f"{Path(page).stem}-{number}.py"
            (folder / name).write_text(block["text"])
            parts.append(f"python {name}\n")
        else:
            # What `gridcast new` wrote is for a small machine, not for a test: fewer, smaller networks.
            parts.append(re.sub(r"^(gridcast new .*)$", r"\1\npython ../small.py *.yaml", block["text"], flags=re.M))
    return "".join(parts)


SMALL = """
import re, sys
for path in sys.argv[1:]:
    text = open(path).read()
    for pattern, small in [
        (r"epochs: \\d+", "epochs: 1"), (r"units: \\d+", "units: 4"), (r"units: \\[.*?\\]", "units: [4]"),
        (r"scaling: \\[none, \\w+\\]", "scaling: [none]"), (r"layer: \\[GRU, LSTM\\]", "layer: [GRU]"),
        (r"baselines: \\[auto\\]", "baselines: [@]"),
    ]:
        text = re.sub(pattern, small, text)
    open(path, "w").write(text.replace("@", "z-score" if "task: anomaly" in text else "last value"))
"""


def run_page(page, folder, programs):
    if "gridcast new sales.csv\n" in PAGES[page].replace("  ", "\n"):
        (folder / "sales.yaml").unlink(missing_ok=True)  # of another page; no file is written over
    done = run_script(script_of(page, folder), folder, programs, SECONDS)
    assert done.returncode == 0, f"{page}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert (folder / MADE.get(page, "")).exists()
    return done


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("programs are forked as Linux can")
    folder = tmp_path_factory.mktemp("documentation")
    (folder / "small.py").write_text(SMALL)
    return folder


@pytest.fixture(scope="module")
def on_path(base):
    with shell_session(base / "bin", ROOT) as folder:
        yield folder


@pytest.fixture(scope="module")
def shop(base, on_path):
    folder = base / "shop"
    folder.mkdir()
    sales(130).to_csv(folder / "sales.csv", index=False)
    for page in SHOP_PAGES:
        run_page(page, folder, on_path)
    return folder


def runnable(page):
    return any(not block["reason"] and block["kind"] in ("bash", "python") for block in blocks(page))


def slow_where_long(pages):
    return [pytest.param(page, marks=[pytest.mark.slow] if page in LONG else []) for page in sorted(pages)]


@pytest.mark.parametrize("page", slow_where_long(filter(runnable, OWN_FOLDER)))
def test_the_tutorial_runs(page, base, on_path):
    folder = base / Path(page).stem
    folder.mkdir()
    run_page(page, folder, on_path)


@pytest.mark.parametrize("page", slow_where_long(filter(runnable, PAGES.keys() - OWN_FOLDER - set(SHOP_PAGES))))
def test_the_page_runs(page, shop, on_path):
    run_page(page, shop, on_path)


@pytest.fixture(params=NEWCOMERS)
def experiment(request, tmp_path, monkeypatch):
    """An experiment of experiments/, made small, beside its table."""
    monkeypatch.chdir(tmp_path)
    snippet = next(
        block for block in blocks(f"docs/tutorials/{NEWCOMERS[request.param]}.md") if block["kind"] == "python"
    )
    exec(snippet["text"], {})
    path = tmp_path / Path(request.param).name
    path.write_text((ROOT / "experiments" / request.param).read_text())
    return path


def plugins_of(path):
    return [ROOT / "experiments" / "plugins" / "networks.py"] if path.name == "sales_search.yaml" else []


def test_the_experiments_of_the_tutorials_are_valid(experiment, jax_backend):
    assert gridcast.validate(experiment, plugins=plugins_of(experiment)).panel.series


@pytest.mark.slow
def test_the_experiments_of_the_tutorials_are_trained(experiment, jax_backend):
    small = [(r"epochs: \d+", "epochs: 1"), (r"units: \d+", "units: 4"), (r"runs: \d+", "runs: 8")]
    text = experiment.read_text()
    for pattern, replacement in [*small, (r"seeds: \[.*?\]", "seeds: [0]"), (r"confirm: \{.*?\}", "confirm: none")]:
        text = re.sub(pattern, replacement, text)
    experiment.write_text(text)
    sweep = gridcast.run(experiment, plugins=plugins_of(experiment), workers=1, progress=False)
    assert not sweep.failure
    assert sweep.report.exists()


def test_each_block_that_is_not_run_has_a_known_reason():
    reasons = {block["reason"] for page in PAGES for block in blocks(page)} - {None}
    assert reasons == NOT_RUN
    kinds = {block["kind"] for page in PAGES for block in blocks(page)}
    assert kinds <= {"bash", "python", "yaml", "text", "toml", "ini", "bat"}


@pytest.mark.parametrize("page", [page for page in PAGES if "```yaml" in PAGES[page]])
def test_pieces_of_experiment_files_are_valid(page):
    for block in blocks(page):
        if block["kind"] == "yaml" and not block["reason"]:
            piece = yaml.safe_load(block["text"])
            content = {**MINIMAL, **piece, "data": {**MINIMAL["data"], **piece.get("data", {})}}
            content["window"] = {**MINIMAL["window"], **piece.get("window", {})}
            config.parse(yaml.safe_dump(content), page, LENIENT)


def verbs():
    """The options of each verb of the command line."""
    found = {}
    for name, command in typer.main.get_command(cli.app).commands.items():
        for verb, one in {name: command, **getattr(command, "commands", {})}.items():
            options = {flag for option in one.params for flag in (*option.opts, *option.secondary_opts)}
            found[name] = found.get(name, set()) | options | {"-h", "--help"}
            found[verb] = found[name]
    return found


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_that_are_named_exist(page):
    known = verbs()
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    named = re.findall(r"`(gridcast [^`]+)`", PAGES[page])
    named += re.findall(r"^\s*(gridcast .*)$", "".join(block["text"] for block in blocks(page)), re.M)
    for line in named:
        words = shlex.split(re.split(r"[|&>#]", line)[0].replace("'", ""))
        if len(words) < 2 or words[1].isupper() or words[1].startswith("-"):
            continue
        assert words[1] in known, line
        flags = {word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
        assert flags <= known[words[1]], line
    asked = {word for words in re.findall(r"`make ([a-z -]+?)[ `A-Z]", PAGES[page]) for word in words.split()}
    assert asked <= targets


LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(path):
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "SECURITY.md"])
def test_links_hold(page):
    path = ROOT / page
    for address in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" in address or address.startswith("mailto:"):
            continue
        file, _, anchor = address.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{page}: {address}"
        assert not anchor or anchor in anchors(target), f"{page}: {address}"
