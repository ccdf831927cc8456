"""Run a notebook's cells in this process and keep what they print: `python docs/run_notebook.py`.

The figures shown in `tutorial.ipynb` come from here. A plot is kept as a picture if a browser for
Playwright is there (`make browser`), otherwise by name.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import shutil
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parent / "tutorial.ipynb"


def run_notebook(notebook: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The notebook with the outputs of its cells, run from top to bottom in ``folder``."""
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    with chdir(folder):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                count += 1
                cell["execution_count"] = count
                cell["outputs"] = run_cell("".join(cell["source"]), names, count)
    return notebook


def run_cell(source: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """What a cell prints, and the value of its last line, as a notebook's outputs."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with redirect_stdout(printed):
        exec(compile(ast.Module(body, []), f"cell {count}", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {count}", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": text})
    if value is not None:
        result = {"output_type": "execute_result", "execution_count": count, "metadata": {}}
        outputs.append({**result, "data": shown(value)})
    return outputs


def shown(value: Any) -> dict[str, Any]:
    """A value as a notebook keeps it."""
    if type(value).__module__.startswith("plotly.") and shutil.which("chromium"):
        return {"image/png": picture(value), "text/plain": ["a plot"]}
    return {"text/plain": repr(value).splitlines(keepends=True)}


def picture(figure: Any) -> str:
    """A plotly figure as PNG, in base64."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 760, "height": 480})
        page.set_content(figure.to_html(include_plotlyjs=True))
        plot = page.locator(".plot-container")
        plot.wait_for()
        image = plot.screenshot()
        browser.close()
    return base64.b64encode(image).decode()


if __name__ == "__main__":
    os.environ.setdefault("POLARS_FMT_TABLE_HIDE_DATAFRAME_SHAPE_INFORMATION", "1")
    with tempfile.TemporaryDirectory() as folder:
        done = run_notebook(json.loads(NOTEBOOK.read_text("utf-8")), Path(folder))
    NOTEBOOK.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n", "utf-8")
