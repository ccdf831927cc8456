"""The examples for those who deploy: a typed client, nginx, systemd, Kubernetes."""

from __future__ import annotations

import getpass
import importlib
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import typer.main
import yaml

from letterrec.cli.app import app
from letterrec.serving.http.tokens import Tokens

EXAMPLES = Path(__file__).parents[3] / "docs" / "deploy"
ADMIN, READ = "may-change-anything", "may-only-look-at-it"
OPERATIONS = {
    *("recommend", "recommend_batch", "search_items", "list_items", "add_items", "get_item"),
    *("put_item", "change_item", "delete_item", "import_items", "get_run", "get_tree", "get_map"),
    *("list_models", "reload_run", "rollback_run", "health", "ready", "metrics"),
    *("get_places", "get_report", "get_evaluation"),
}


@pytest.fixture(scope="module")
def guarded(
    serve: Callable[..., Any], shop_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A server as the examples start it: under a path, with tokens."""
    run = shutil.copytree(shop_run, tmp_path_factory.mktemp("deployed") / "run")
    with (
        serve(run, tokens=Tokens([ADMIN], [READ]), root_path="/rec") as served,
        served.client() as client,
    ):
        yield client


def options_of(words: list[str]) -> dict[str, Any]:
    """What `letterrec serve` would make of its arguments; wrong ones are an error."""
    assert words[0] == "serve"
    group = typer.main.get_group(app)
    context = group.commands["serve"].make_context("serve", words[1:])
    return dict(context.params)


@pytest.fixture(scope="module")
def generated(
    guarded: httpx.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of the client that openapi-python-client makes of the description."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_text(guarded.get("/openapi.json").text)
    command = [sys.executable, "-m", "openapi_python_client", "generate"]
    options = ["--path", "openapi.json", "--output-path", "shop_client", "--meta", "none"]
    config = ["--config", str(EXAMPLES / "client.yaml")]
    done = subprocess.run([*command, *options, *config], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    try:
        yield lambda name: importlib.import_module(f"shop_client{name}")
    finally:
        sys.path.remove(str(folder))


def test_a_typed_client_is_generated_and_asks(
    guarded: httpx.Client, generated: Callable[[str], ModuleType]
) -> None:
    models = generated(".models")
    with generated("").AuthenticatedClient(f"{guarded.base_url}/rec", token=ADMIN) as client:
        body = models.RecommendRequest(history=["i05", "i06"], k=3)
        answer = generated(".api.recommend.recommend").sync(client=client, body=body)
        assert isinstance(answer, models.RecommendResponse)
        assert len(answer.items) == 3
        assert answer.run == guarded.get("/healthz").headers["x-run"]
        change = generated(".api.catalogue.change_item").sync
        changed = change("i33", client=client, body=models.ItemChange(title="chess set, large"))
        assert changed.title == "chess set, large"
        page = generated(".api.catalogue.list_items").sync(client=client, limit=5)
        assert len(page.items) == 5
        assert page.next_ == page.items[-1].item


def test_the_description_names_operations_and_what_they_ask_for(guarded: httpx.Client) -> None:
    document = guarded.get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    assert {scheme["scheme"] for scheme in schemes.values()} == {"bearer"}
    asked = {}
    for operations in document["paths"].values():
        for operation in operations.values():
            names = {name for choice in operation["security"] for name in choice}
            asked[operation["operationId"]] = names
    assert asked.keys() == OPERATIONS  # clients are made of these names: they stay
    assert asked["recommend"] == asked["list_items"] == {"readToken", "adminToken"}
    assert asked["add_items"] == asked["rollback_run"] == {"adminToken"}
    assert asked["ready"] == set()


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[str]:
    """nginx with the example's site, on a free port, until the block ends; its address."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed; apt-get install nginx-light")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    site = (EXAMPLES / "nginx.conf").read_text("utf-8")
    changed = site.replace("listen 80;", f"listen 127.0.0.1:{port};")
    changed = changed.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")
    assert changed.count(str(port)) == 1
    assert changed.count(str(upstream)) == 1
    (folder / "site.conf").write_text(changed)
    paths = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nuser {getpass.getuser()};\npid {folder}/pid;\n"
        f"error_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}include {folder}/site.conf;\n}}\n"
    )
    with subprocess.Popen([program, "-c", str(folder / "nginx.conf"), "-p", str(folder)]) as proxy:
        try:
            ends = time.monotonic() + 30
            while time.monotonic() < ends and proxy.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.02)
            yield f"http://127.0.0.1:{port}"
        finally:
            proxy.terminate()


def test_behind_nginx_page_interface_and_ids_are_there(
    guarded: httpx.Client, tmp_path: Path
) -> None:
    port = guarded.base_url.port
    assert port is not None
    headers = {"authorization": f"Bearer {READ}", "host": "rec.example.com"}
    with nginx(tmp_path, port) as url, httpx.Client(base_url=url, headers=headers) as client:
        assert client.get("/rec").headers["location"].endswith("/rec/")
        assert client.get("/rec/").status_code == 200
        assert client.get("/rec/static/main.js").status_code == 200
        ids = {"x-request-id": "through-nginx"}
        answer = client.post("/rec/v1/recommend", json={"history": ["i05"]}, headers=ids)
        assert answer.status_code == 200
        assert answer.headers["x-request-id"] == "through-nginx"
        made = client.get("/rec/v1/run").headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)
        # A page that nginx serves asks under the name that nginx is called by.
        own = {"origin": "http://rec.example.com"}
        answer = client.post("/rec/v1/recommend", json={"history": ["i05"]}, headers=own)
        assert answer.status_code == 200
        assert client.get("/rec/metrics").status_code == 404
        table = "item,title\n" + "".join(f"x{i},chess set {i}\n" for i in range(80_000))
        large = {"content-type": "text/csv"}
        refused = client.post("/rec/v1/bulk", content=table, headers=large)
        assert refused.status_code == 403  # by the server, not by nginx for its size


def test_the_unit_starts_what_there_is(tmp_path: Path) -> None:
    unit = (EXAMPLES / "letterrec.service").read_text("utf-8")
    (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    program, *words = shlex.split(command)
    options = options_of(words)
    (stopping,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert int(stopping) > options["drain"] + 20
    checker = shutil.which("systemd-analyze")
    if checker is None:
        pytest.skip("systemd is not installed: the unit's other lines were not checked")
    here = tmp_path / "letterrec.service"
    here.write_text(unit.replace(program, sys.executable), "utf-8")
    done = subprocess.run([checker, "verify", str(here)], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "letterrec.service" in line]
    assert said == []


def test_the_manifests_probes_are_those_of_the_server(guarded: httpx.Client) -> None:
    deployment, service = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text("utf-8"))
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    options = options_of(container["args"])
    assert pod["terminationGracePeriodSeconds"] > options["drain"] + 20
    (port,) = container["ports"]
    assert port["containerPort"] == options["port"]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    volumes = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert volumes.keys() == {volume["name"] for volume in pod["volumes"]}
    assert str(options["token_file"]).startswith(volumes["tokens"])
    assert options["runs"][0].startswith(volumes["runs"])
    probes = {name: probe for name, probe in container.items() if name.endswith("Probe")}
    assert len(probes) == 3
    for probe in probes.values():
        assert probe["httpGet"]["port"] == port["name"]
        # As the kubelet asks: by the pod's address, without a token.
        kubelet = {"host": f"10.1.2.3:{options['port']}", "user-agent": "kube-probe/1.31"}
        answer = guarded.get(probe["httpGet"]["path"], headers=kubelet)
        assert answer.status_code == 200
        assert json.loads(answer.text)["status"] in ("ok", "ready")
