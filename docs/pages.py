"""Pages that are made when the site is built: settings, commands, Python API, the notebook.

A hook of MkDocs (see `mkdocs.yml`). Modules are found in the source tree and the command line by
the name of the installed script, so that nothing here has to follow when a module moves.
"""

from __future__ import annotations

import html
import json
import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

from letterrec import load_settings

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "letterrec"
LOADED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


def on_config(config: Any) -> Any:
    """Put the pages of the Python API into the navigation, below those that are named there."""
    reference = next(part["Reference"] for part in config.nav if "Reference" in part)
    reference.append({"Python modules": [{room: api_path(room)} for room in rooms()]})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages made here to those in the folder."""
    from mkdocs.structure.files import File

    pages = {
        "reference/settings.md": settings_page(),
        "reference/commands.md": commands_page(),
        "reference/python.md": public_page(),
        "notebook.md": notebook_page(ROOT / "docs" / "tutorial.ipynb"),
        **{api_path(room): modules_page(inside) for room, inside in rooms().items()},
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_post_build(config: Any) -> None:
    """Refuse a site that loads something from elsewhere: it has to work without a network."""
    from mkdocs.exceptions import PluginError

    for page in Path(config.site_dir).rglob("*.html"):
        for tag in LOADED.findall(page.read_text("utf-8")):
            if 'rel="canonical"' not in tag:
                raise PluginError(f"{page} loads from another site: {tag}")


def modules() -> dict[str, Path]:
    """Every module of the package, dotted -> its file, in order of names."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    del found[PACKAGE.name]
    return dict(sorted(found.items()))


def rooms() -> dict[str, list[str]]:
    """Each direct child of the package -> its modules, dotted, the child itself first."""
    found: dict[str, list[str]] = {}
    for module in modules():
        found.setdefault(".".join(module.split(".")[:2]), []).append(module)
    return found


def api_path(room: str) -> str:
    """The page of a room."""
    return f"reference/modules/{room}.md"


def modules_page(room: list[str]) -> str:
    """All modules of a room, from their docstrings."""
    options = "    options:\n      heading_level: 1\n"  # the room itself is the page's heading
    rest = (f"::: {module}\n" for module in room[1:])
    return "\n".join([f"::: {room[0]}\n{options}", *rest])


def public_page() -> str:
    """What `import letterrec` promises."""
    package = import_module("letterrec")
    options = "    options:\n      skip_local_inventory: true\n      show_root_full_path: false\n"
    parts = [
        "# Python\n\nThe names that `import letterrec` promises; everything else may change. "
        "[How to use them](../PYTHON.md).\n"
    ]
    for name in package.__all__:
        public = getattr(package, name)
        parts.append(f"::: {public.__module__}.{public.__qualname__}\n{options}")
    return "\n".join(parts)


def settings_page() -> str:
    """Every setting, then every recipe."""
    here = "def settings_markdown("
    (module,) = (name for name, file in modules().items() if here in file.read_text("utf-8"))
    recipes = {file.stem: file.read_text("utf-8") for file in PACKAGE.rglob("recipes/*.toml")}
    parts = [
        "# Settings\n\n`--set KEY=VALUE` changes one, a recipe several; an unknown key is an "
        "error. `letterrec settings` prints these tables, and a run keeps its own in "
        "`settings.toml`.\n",
        import_module(module).settings_markdown(),
        "## Recipes\n\nWhat each changes; `--recipe NAME` starts from one.\n",
    ]
    for name, text in sorted(recipes.items()):
        load_settings(name)  # what is shown here can be used
        first, _, rest = text.partition("\n")
        parts.append(f"### {name}\n\n{first.lstrip('# ')}\n\n```toml\n{rest.strip()}\n```\n")
    return "\n".join(parts)


def commands_page() -> str:
    """What `--help` prints of every command."""
    from typer.main import get_command
    from typer.testing import CliRunner

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    app = import_module(scripts["letterrec"].partition(":")[0]).app
    parts = [
        "# Command line\n\nEvery command exits with 0, or with 2 and one line on stderr where "
        "something that was given cannot be used. Below is what `letterrec COMMAND --help` "
        "prints.\n"
    ]
    terminal = {"COLUMNS": "88", "TERMINAL_WIDTH": "88", "NO_COLOR": "1"}
    for name in get_command(app).commands:  # type: ignore[attr-defined]
        shown = (
            CliRunner().invoke(app, [name, "--help"], env=terminal, prog_name="letterrec").output
        )
        text = "\n".join(line.rstrip() for line in shown.strip("\n").splitlines())
        parts.append(f"## {name}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def notebook_page(path: Path) -> str:
    """A notebook as Markdown: its text, its code, and what the code printed when it was run."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                image = "".join(data["image/png"]).replace("\n", "")
                parts.append(f'<img alt="plot" src="data:image/png;base64,{image}">')
            else:
                text = html.escape("".join(data["text/plain"]).rstrip(), quote=False)
                parts.append(f'<pre class="output">{text}</pre>')
    return "\n\n".join(parts) + f"\n\n[This page as a notebook]({path.name})\n"
