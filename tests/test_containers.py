"""The container files, as far as they can be checked without an engine: their rules, and their commands carried out."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

import tracking_servers
from small_experiments import SMALL, sales, write_experiment

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
SECRETS = {"GRIDCAST_ADMIN_TOKEN": "a" * 64, "DATABASE_PASSWORD": "b" * 64, "JUPYTER_TOKEN": "c" * 64}


def instructions():
    """Pairs of word and text, one for each instruction of the Dockerfile."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    whole = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in whole.splitlines() if line]


def stages():
    """The instructions of each stage, those included of the stage that it begins from."""
    found = {}
    for word, text in instructions():
        if word == "FROM":
            base, _, name = text.split()
            found[name] = list(found.get(base, [("FROM", base)]))
        else:
            found[name].append((word, text))
    return found


def all_of(word):
    return [text for found, text in instructions() if found == word]


def interpolated(text, environment):
    """`text` with its variables filled in as Compose does. Raises KeyError for one that must be there and is not."""

    def fill(found):
        name, sign, other = found.groups()
        return environment.get(name, other) if sign == ":-" else environment[name]

    return re.sub(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}", fill, text)


def compose(**environment):
    """The services and the whole of compose.yaml with its variables filled in."""
    whole = yaml.safe_load(interpolated((ROOT / "compose.yaml").read_text(), SECRETS | environment))
    return whole["services"], whole


def test_images_have_a_name_and_a_whole_version():
    services, _ = compose()
    outside = [text.split()[0] for text in all_of("FROM") if text.split()[0] not in stages()]
    named = [service["image"] for service in services.values()]
    assert set(outside) == {"python:3.11.14-slim-bookworm"}
    for image in (*outside, *named):
        assert re.fullmatch(r"[a-z-]+:\d+(\.\d+){1,2}(-[a-z]+)*", image), image


def test_the_dockerfile_keeps_the_rules_of_hadolint():
    done = subprocess.run([BIN / "hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("stage", ["api", "lab"])
def test_an_image_runs_as_an_ordinary_user(stage):
    assert [text for word, text in stages()[stage] if word == "USER"][-1] == "1000:1000"
    assert "useradd --create-home --uid 1000 " in " ".join(text for word, text in stages()[stage] if word == "RUN")


def test_what_is_installed_is_pinned_by_hash_and_leaves_no_cache():
    commands = [command.strip() for text in all_of("RUN") for command in text.split("&&")]
    installing = [shlex.split(command) for command in commands if command.startswith("pip ")]
    assert len(installing) == 3
    for words in installing:
        assert words[:4] == ["pip", "install", "--no-cache-dir", "--no-deps"]
        assert words[4:] == ["."] or words[4:-1] == ["--require-hashes", "--only-binary", ":all:", "--requirement"]
    assert not [command for command in commands if re.match(r"(apt|apt-get|curl|wget)\b", command)]


def test_packages_are_installed_before_the_code_is_copied():
    """So that a change of the code leaves the layer of the packages as it is."""
    found = [text.split()[0] if word == "COPY" else text for word, text in stages()["api"]]
    packages = next(text for text in found if "pip install" in text)
    assert found.index("requirements.txt") < found.index(packages) < found.index("src")


def test_only_what_an_image_needs_goes_to_the_engine():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    allowed = {pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")}
    copied = {word for text in all_of("COPY") for word in shlex.split(text)[:-1] if not word.startswith("--")}
    assert patterns[0] == "*"
    assert copied == allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_no_secret_is_written_down():
    """Not in an image, whose history everybody can read, nor in the compose file, which git keeps."""
    assert not [text for word, text in instructions() if word in ("ENV", "ARG") and re.search("TOKEN|PASS|KEY", text)]
    for name in SECRETS:
        with pytest.raises(KeyError, match=name):
            interpolated((ROOT / "compose.yaml").read_text(), {k: v for k, v in SECRETS.items() if k != name})
    written = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for service in written.values():
        for name, value in service.get("environment", {}).items():
            if re.search("TOKEN|PASSWORD", name):
                assert value.startswith(f"${{{'DATABASE_PASSWORD' if 'POSTGRES' in name else name}:?")


def test_commands_are_lists_that_start_without_a_shell():
    for text in (*all_of("CMD"), *(text.split("CMD ", 1)[1] for text in all_of("HEALTHCHECK"))):
        words = json.loads(text)
        if words[0] == "python":
            compile(words[2], "healthcheck", "exec")
    for service in compose()[0].values():
        assert isinstance(service.get("command", []), list)


def test_the_compose_file_is_one_by_its_specification():
    _, whole = compose()
    assert PyCompose.from_json(json.dumps(whole)).service_names() == ["database", "mlflow", "api", "lab", "grid"]
    with pytest.raises(ValueError, match="prots"):
        PyCompose.from_json(json.dumps(whole | {"services": {"api": whole["services"]["api"] | {"prots": []}}}))


def test_the_services_wait_for_each_other_and_listen_on_this_machine_alone():
    services, whole = compose()
    for name, service in services.items():
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in services[other], f"{name} waits for {other}"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert (service.get("profiles") == ["job"]) == (name == "grid")
        named = [volume.split(":")[0] for volume in service.get("volumes", []) if not volume.startswith("./")]
        assert set(named) <= set(whole["volumes"])
    assert services["database"]["networks"] == ["record"]
    assert whole["networks"]["record"] == {"internal": True}


EVERYTHING = ("useradd ", "install --directory ")
"""What only a container can do: a user and folders at the root."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_run_line_works_in_a_clean_environment(tmp_path):
    """The steps of both images, in order, with the root of the image in a scratch folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    folder, done = tmp_path, []
    for word, text in dict.fromkeys(step for stage in ("lab", "api") for step in stages()[stage]):
        moved = text.replace("/opt/", f"{tmp_path}/opt/").replace("/project", f"{tmp_path}/project")
        if word == "ENV":
            for setting in shlex.split(moved):
                name, value = setting.split("=", 1)
                environment[name] = value.replace("$PATH", environment["PATH"])
        elif word == "WORKDIR":
            folder = Path(moved)
            folder.mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            *sources, target = [part for part in shlex.split(moved) if not part.startswith("--")]
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, folder / target, dirs_exist_ok=True)
                else:
                    shutil.copy(ROOT / source, folder / target)
        elif word == "RUN" and not text.startswith(EVERYTHING):
            subprocess.run(["bash", "-euc", moved], cwd=folder, env=environment, check=True)
            done.append(text)
    assert len(done) == len(all_of("RUN")) - 1

    def told(*command):
        return subprocess.run(
            command, cwd=tmp_path / "project", env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert told("which", "gridcast").strip() == f"{tmp_path}/opt/gridcast/bin/gridcast"
    assert told(*json.loads(stages()["api"][-1][1])).strip()
    assert told("gridcast", "validate", "experiments/smoke.yaml", "--help").strip()
    assert told("jupyter", "lab", "--version").startswith("4.")
    assert told("pip", "check").strip() == "No broken requirements found."


def ask(port, path, **headers):
    """Status of an answer, and its text."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Container:
    """What a service of compose.yaml starts, as a process of this machine at another port."""

    def __init__(self, service, folder, *, port=0, moved=()):
        self.port, self.inside = tracking_servers.free_port(), port
        self.moved = [
            *moved,
            (f"--port={port}", f"--port={self.port}"),
            (f"127.0.0.1:{port}", f"127.0.0.1:{self.port}"),
        ]
        self.service, self.folder = service, folder
        own = {name: self.here(value) for name, value in service["environment"].items()}
        self.environment = os.environ | own | {"PATH": f"{BIN}:{os.environ['PATH']}"}

    def here(self, text):
        for inside, outside in self.moved:
            text = text.replace(inside, outside)
        return text

    def run(self, words, **options):
        command = [self.here(word) for word in words]
        return subprocess.run(command, cwd=self.folder, env=self.environment, check=False, **options)

    def healthy(self):
        """By the check in compose.yaml, else by that of the image."""
        image = json.loads(next(text for word, text in stages()["api"] if word == "HEALTHCHECK").split("CMD ", 1)[1])
        first, *command = self.service.get("healthcheck", {"test": ["CMD", *image]})["test"]
        assert first == "CMD"
        return self.run(command, capture_output=True).returncode == 0

    def __enter__(self):
        self.log = (self.folder / f"{self.inside}.log").open("w+")
        command = [self.here(word) for word in self.service["command"]]
        options = {"cwd": self.folder, "env": self.environment, "stdout": self.log, "stderr": self.log}
        self.process = subprocess.Popen(command, start_new_session=True, **options)
        try:
            tracking_servers.wait(
                lambda: self.healthy() or self.process.poll() is not None, 120, f"{command}: not healthy"
            )
            assert self.process.poll() is None
        except BaseException as error:
            self.__exit__()
            raise RuntimeError(Path(self.log.name).read_text()[-3000:]) from error
        return self

    def __exit__(self, *_):
        tracking_servers.end(self.process)
        self.log.close()


@pytest.fixture
def database():
    try:
        with tracking_servers.postgres() as uri:
            yield uri
    except tracking_servers.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_services_work_together(tmp_path, programs, database):
    """As processes of this machine: the record on PostgreSQL, a sweep, the service of its champion; all are healthy."""
    services, _ = compose(MODEL="small")
    inside = services["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]
    moved = [(inside, database), ("/project", str(tmp_path))]
    with Container(services["mlflow"], tmp_path, port=5000, moved=moved) as mlflow:
        assert ask(mlflow.port, "/health", Host="mlflow:5000")[0] == 200
        assert ask(mlflow.port, "/health", Host="localhost:5000")[0] == 200
        assert ask(mlflow.port, "/api/2.0/mlflow/experiments/search", Host="evil.example.org")[0] == 403
        moved = [("http://mlflow:5000", f"http://127.0.0.1:{mlflow.port}")]
        sales(130).to_csv(tmp_path / "sales.csv", index=False)
        write_experiment(tmp_path / "small.yaml", **SMALL, selection={"promote_to": "small", "when_beaten": "warn"})
        grid = services["grid"]
        swept = Container(grid, tmp_path, moved=moved).run(
            [*grid["entrypoint"], grid["command"][0], "small.yaml"], capture_output=True, text=True
        )
        assert swept.returncode == 0, swept.stdout + swept.stderr
        assert "champion" in swept.stdout
        with Container(services["api"], tmp_path, port=8000, moved=moved) as api:
            status, text = ask(api.port, "/")
            assert (status, json.loads(text)["status"]) == (200, "ok")
            api.process.terminate()
            assert api.process.wait(20) == 0
            assert not api.healthy()
