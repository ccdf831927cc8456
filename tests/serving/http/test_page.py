"""The page in a real browser, against a real server with a real run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Response,
    Route,
    expect,
    sync_playwright,
)

import letterrec
from letterrec.reports.html import write_report
from letterrec.runs.layout import Layout
from letterrec.runs.run import Run

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card, for the maps in space
]
ICON = Path(letterrec.__file__).parent / "serving" / "page" / "icon.svg"
PATIENCE = 120_000  # milliseconds
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1240, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium where there is one, else Playwright's own; `make browser` brings either."""
    with sync_playwright() as playwright:
        found = shutil.which("chromium")
        browser = playwright.chromium.launch(
            executable_path=found, args=ARGUMENTS, timeout=PATIENCE
        )
        yield browser
        browser.close()


class Visit:
    """An open page; at its end nothing may have gone wrong or been fetched from elsewhere."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.context = browser.new_context(**{"viewport": DESK, **options})
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note_message)
        self.page.on("response", self._note_response)
        self.page.on("request", lambda request: self._note(request.url))
        self.page.goto(url, wait_until="domcontentloaded")

    def _note_message(self, message: ConsoleMessage) -> None:
        refused = "the server responded with a status of 4" in message.text  # noted below
        if message.type == "error" and not refused:
            self.errors.append(message.text)

    def _note_response(self, response: Response) -> None:
        if response.status >= 400 and "/v1/" not in response.url:
            self.errors.append(f"{response.status} {response.url}")

    def _note(self, url: str) -> None:
        if not url.startswith((self.url, "blob:", "data:")):
            self.elsewhere.append(url)

    def end(self) -> None:
        self.context.close()
        assert self.errors == []
        assert self.elsewhere == []


@pytest.fixture
def visit(browser: Browser, server: Any) -> Iterator[Callable[..., Page]]:
    visits: list[Visit] = []
    expect.set_options(timeout=PATIENCE)

    def open_page(**options: Any) -> Page:
        visits.append(Visit(browser, options.pop("url", server.url), **options))
        return visits[-1].page

    yield open_page
    for one in visits:
        one.end()


def answers(page: Page) -> Any:
    return page.locator("#answers > li")


def test_a_history_is_made_by_searching_and_answered_with_reasons(
    visit: Callable[..., Page],
) -> None:
    page = visit()
    expect(answers(page)).to_have_count(10)
    expect(page.locator("#status")).to_contain_text("most popular")
    page.fill("#search", "red lip")
    page.click("#found li >> text=red lipstick no. 12")
    page.fill("#search", "lipstick 0")
    page.click("#found li >> text=red lipstick no. 0")
    expect(page.locator("#history li")).to_have_count(2)
    expect(page.locator("#status")).to_have_text("10 for a history of 2 items")
    expect(answers(page).first.locator(".code")).to_have_count(4)
    expect(answers(page).first.locator(".score")).to_contain_text("%")
    page.fill("#k", "40")
    page.press("#k", "Tab")
    expect(answers(page)).to_have_count(40)
    expect(page.locator(".why").first).to_contain_text("%")
    assert page.locator(".code.shared").count() > 0
    page.click("#history li >> nth=0 >> .remove")
    expect(page.locator("#status")).to_have_text("40 for a history of 1 item")
    expect(page.locator("#history li .remove")).to_be_focused()
    page.click("#clear")
    expect(page.locator("#status")).to_contain_text("most popular")


def load_a_user_then_nobody(page: Page) -> None:
    page.fill("#user", "u3")
    page.click("button:text-is('Load')")
    expect(page.locator("#history li").nth(5)).to_be_visible()
    page.fill("#user", "nobody")
    page.press("#user", "Enter")
    expect(page.locator("#problem")).to_contain_text("user 'nobody' is not among")


def test_a_user_of_the_run_fills_the_history(visit: Callable[..., Page]) -> None:
    page = visit()
    load_a_user_then_nobody(page)


def test_an_answer_that_comes_late_hides_no_problem(visit: Callable[..., Page]) -> None:
    page = visit()
    expect(answers(page)).to_have_count(10)
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "history" in (route.request.post_data_json or {}):
            held.append(route)
        else:
            route.continue_()

    page.route("**/v1/recommend", hold)
    load_a_user_then_nobody(page)
    held[0].continue_()
    expect(page.locator("#status")).to_contain_text("for a history of")
    expect(page.locator("#problem")).to_contain_text("user 'nobody' is not among")
    page.unroute("**/v1/recommend")
    page.click("#clear")
    expect(page.locator("#status")).to_contain_text("most popular")
    expect(page.locator("#problem")).to_be_hidden()


def test_a_user_can_be_loaded_before_the_run_is_known(visit: Callable[..., Page]) -> None:
    page = visit()
    held: list[Route] = []
    page.route("**/v1/run", lambda route: held.append(route))
    page.reload(wait_until="domcontentloaded")
    page.fill("#user", "u3")
    page.click("button:text-is('Load')")
    expect(page.locator("#history li").nth(5)).to_be_visible()
    assert "?" not in page.url  # the browser did not send the form by itself
    held[0].continue_()
    expect(page.locator("#run")).to_contain_text("60 items")
    expect(page.locator("#history li").nth(5)).to_be_visible()


def test_an_item_is_shown_with_its_neighbours(visit: Callable[..., Page]) -> None:
    page = visit()
    answers(page).first.locator(".link").click()
    expect(page.locator("#item")).to_be_visible()
    expect(page.locator("#item .text")).to_contain_text("brand")
    title = page.locator("#item li .link").first.inner_text()
    page.locator("#item li .link").first.click()
    expect(page.locator("#item-title")).to_have_text(title)
    page.click("text=Add to the history")
    expect(page.locator("#history .title")).to_contain_text(title)


def test_everything_can_be_done_by_keyboard(visit: Callable[..., Page]) -> None:
    page = visit()
    expect(answers(page)).to_have_count(10)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator("#tab-recommend")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("chess")
    expect(page.locator("#found li").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#search")).to_have_attribute("aria-activedescendant", "found-1")
    second = page.locator("#found li .title").nth(1).inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("#history .title")).to_contain_text(second)
    page.focus("#tab-recommend")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-codes")).to_be_focused()
    expect(page.locator("#codes")).to_be_visible()
    expect(page.locator("#tree .branch")).to_have_count(1)
    page.focus("#tree button")
    for depth in (2, 3, 4):
        page.keyboard.press("ArrowRight")
        expect(page.locator("#tree .branch")).to_have_count(depth)
        expect(page.locator(".branch").nth(depth - 1).locator("button").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#item")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#item")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".branch").nth(2).locator("button:focus")).to_have_count(1)


def test_codes_and_maps_are_drawn(visit: Callable[..., Page]) -> None:
    page = visit()
    page.click("#tab-codes")
    expect(page.locator("#levels .main-svg").first).to_be_visible()
    expect(page.locator("#levels figure")).to_have_count(4)
    page.click("#tab-map")
    expect(page.locator("#map-plot .scatterlayer .point")).to_have_count(60)
    expect(page.locator("#map-note")).to_have_text("60 items; the colour is the first code")
    page.select_option("#map-of", "codes 2")
    expect(page.locator("#map-plot .scatterlayer .point")).to_have_count(16)
    page.check("[name=dims][value='3']")
    expect(page.locator("#map-plot .gl-container canvas").first).to_be_attached()


def test_a_history_has_an_address_and_a_command(visit: Callable[..., Page]) -> None:
    page = visit()
    expect(answers(page)).to_have_count(10)
    page.fill("#search", "lipstick 0")
    page.click("#found li >> text=red lipstick no. 0")
    page.fill("#search", "lipstick 12")
    page.click("#found li >> text=red lipstick no. 12")
    page.fill("#k", "7")
    page.press("#k", "Tab")
    expect(answers(page)).to_have_count(7)
    titles = answers(page).locator(".link").all_inner_texts()
    assert page.url.endswith("#recommend/item=i00&item=i12&k=7")
    page.click("#copy-curl")
    expect(page.locator("#copied-text")).to_have_value(re.compile("^curl"))
    command = page.input_value("#copied-text")
    found = subprocess.run(["sh", "-c", command], check=True, capture_output=True).stdout
    assert [item["title"] for item in json.loads(found)["items"]] == titles
    shared = page.url
    page.goto("about:blank")
    page.goto(shared)
    expect(page.locator("#history li .title").first).to_contain_text("red lipstick no. 12")
    expect(answers(page)).to_have_count(7)
    assert answers(page).locator(".link").all_inner_texts() == titles


def test_items_of_an_address_that_are_not_there_are_named(visit: Callable[..., Page]) -> None:
    page = visit()
    page.goto(page.url.split("#")[0] + "#recommend/item=i00&item=gone-1&item=gone-2")
    expect(page.locator("#status")).to_contain_text(
        "does not have, of this address: gone-1, gone-2"
    )
    page.click("#history li .remove")
    expect(page.locator("#status")).not_to_contain_text("gone")


def test_the_map_marks_what_is_shown_and_found(visit: Callable[..., Page]) -> None:
    page = visit()
    page.goto(page.url.split("#")[0] + "#map/item=i00&item=i12")
    points, legend = page.locator("#map-plot .scatterlayer .point"), page.locator(".legendtext")
    expect(points).to_have_count(60 + 2 + 10)
    expect(legend.filter(has_text="history (2)")).to_have_count(1)
    expect(legend.filter(has_text="recommended (10)")).to_have_count(1)
    page.fill("#map-find", "chess")
    expect(legend.filter(has_text="found (10)")).to_have_count(1)
    page.select_option("#map-method", "tsne")
    expect(page.locator("#map-plot .xtitle")).to_have_count(0)
    expect(points).to_have_count(60 + 2 + 10 + 10)


def test_an_item_is_shown_in_the_tree_and_the_tree_is_sifted(visit: Callable[..., Page]) -> None:
    page = visit()
    title = answers(page).first.locator(".link").inner_text()
    answers(page).first.locator(".link").click()
    page.click("text=Show in the tree")
    expect(page.locator("#tree .branch")).to_have_count(4)
    leaf = page.locator("#tree .branch").nth(3).locator("button:focus")
    expect(leaf.locator(".sample")).to_have_text(title)
    page.fill("#tree-filter", title)
    branches = page.locator("#tree .branch").first.locator("li:visible")
    expect(branches).not_to_have_count(16)
    expect(branches.locator("button.open")).to_have_count(1)


def test_images_are_shown_where_the_catalogue_has_them(
    browser: Browser, serve: Callable[..., Any], own_run: Path
) -> None:
    table = Layout(own_run).data / "items.parquet"
    items = pl.read_parquet(table)
    elsewhere = "https://shop.example/1.svg"
    images = ["/static/icon.svg", elsewhere] + [""] * (len(items) - 2)
    items.with_columns(image=pl.Series(images)).write_parquet(table)
    with serve(own_run) as served:
        one = Visit(browser, served.url)
        one.page.route(elsewhere, lambda route: route.fulfill(path=ICON))
        both = "&".join(f"item={item}" for item in items["item"][:2])
        one.page.goto(f"{served.url}/#recommend/{both}")
        shown = one.page.locator("#history .thumb")
        expect(shown).to_have_count(2)
        for image, title in zip(shown.all(), items["title"][1::-1], strict=True):
            assert image.get_attribute("alt") == title
            assert image.get_attribute("loading") == "lazy"
        expect(one.page.locator("#answers .thumb")).to_have_count(0)
        assert set(one.elsewhere) <= {elsewhere}
        one.elsewhere.clear()
        one.end()


def test_metrics_and_report_are_shown(
    browser: Browser, serve: Callable[..., Any], own_run: Path
) -> None:
    with serve(own_run) as served:
        one = Visit(browser, served.url)
        one.page.click("#tab-metrics")
        expect(one.page.locator("#report-note")).to_contain_text("letterrec report")
        mean = Run.open(own_run).metrics()["test"]["metrics"]["recall@10"]
        expect(one.page.locator("#metrics-table")).to_contain_text(f"{mean:.4f} ± ")
        write_report(own_run)
        one.page.reload()
        expect(
            one.page.locator("#report >> text=By length of the history >> nth=0")
        ).to_be_visible()
        one.page.click("#report >> button:text-is('Level 2')")
        expect(one.page.locator("#report >> text=Level 2 >> nth=0")).to_be_visible()
        one.end()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_light_and_dark_follow_the_system_and_the_button(
    visit: Callable[..., Page], theme: str
) -> None:
    page = visit(color_scheme=theme)
    expect(page.locator("html")).to_have_attribute("data-theme", theme)
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.click("#theme")
    other = {"light": "dark", "dark": "light"}[theme]
    expect(page.locator("html")).to_have_attribute("data-theme", other)
    assert page.evaluate(ground) != before


def test_a_phone_needs_no_sideways_scrolling(visit: Callable[..., Page]) -> None:
    page = visit(viewport=PHONE, has_touch=True)
    page.fill("#user", "u3")
    page.click("button:text-is('Load')")
    expect(page.locator("#history li").nth(5)).to_be_visible()
    for view in ("recommend", "codes", "map", "metrics"):
        page.click(f"#tab-{view}")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    names = page.locator("[role=tab]")
    assert names.evaluate_all("tabs => tabs.every((tab) => tab.scrollWidth <= tab.clientWidth)")


def test_a_wish_reorders_as_it_is_typed(
    visit: Callable[..., Page], wishing_run: Path, serve: Callable[..., Any]
) -> None:
    with serve(wishing_run) as served:
        page = visit(url=served.url)
        first = page.locator("#answers li").first
        for wish in ("green tea", "garden hose, no tea"):
            page.locator("#wish").fill(wish)
            expect(page.locator("#status")).to_contain_text(f"for “{wish}”, without a history")
            expect(first).to_contain_text(wish.split(",")[0])
        page.locator("#wish").fill("quantum chromodynamics")
        expect(page.locator("#status")).to_contain_text("no item of the catalogue is near")
        page.locator("#wish").fill("?!")  # not a wish yet
        expect(page.locator("#status")).to_contain_text("what is most popular")
        expect(page.locator("#problem")).to_be_hidden()


def test_a_run_without_wishes_has_no_box_for_them(visit: Callable[..., Page]) -> None:
    page = visit()
    expect(page.locator("#answers li").first).to_be_visible()
    expect(page.locator("#wish")).to_be_hidden()


def test_a_token_is_asked_for_once(
    browser: Browser, serve: Callable[..., Any], own_run: Path
) -> None:
    token = "correct-horse-battery"
    with serve(own_run, token=token) as served:
        one = Visit(browser, served.url)
        one.page.fill("#token", token)
        one.page.click("text=Enter")
        expect(answers(one.page)).to_have_count(10)
        one.end()


def test_a_wrong_token_is_called_wrong_and_one_that_cannot_be_is_not_kept(
    browser: Browser, serve: Callable[..., Any], own_run: Path
) -> None:
    token = "correct-horse-battery"
    kept = "sessionStorage.getItem('token')"
    with serve(own_run, token=token) as served:
        one = Visit(browser, served.url)
        page, problem = one.page, one.page.locator("#token-problem")
        expect(page.locator("#token-dialog")).to_be_visible()
        expect(problem).to_be_hidden()
        page.fill("#token", "pässwörd-日本-0123456789")
        page.click("text=Enter")
        expect(problem).to_contain_text("ASCII only")
        assert page.evaluate(kept) is None
        page.fill("#token", "wrong-horse-battery")
        page.click("text=Enter")
        expect(problem).to_have_text("That token is wrong.")
        expect(page.locator("#token-dialog")).to_be_visible()
        assert page.evaluate(kept) is None
        page.fill("#token", f" {token} ")
        page.click("text=Enter")
        expect(answers(page)).to_have_count(10)
        assert page.evaluate(kept) == token
        page.evaluate("sessionStorage.setItem('token', 'kept before \\u65e5')")
        page.reload(wait_until="domcontentloaded")
        page.fill("#token", token)
        page.click("text=Enter")
        expect(answers(page)).to_have_count(10)
        one.end()


@pytest.mark.parametrize(
    ("typed", "shown"), [("500", 50), ("0", 1), ("-3", 1), ("", 10), ("7.6", 8)]
)
def test_how_many_are_shown_is_bounded_and_said(
    visit: Callable[..., Page], typed: str, shown: int
) -> None:
    page = visit()
    expect(answers(page)).to_have_count(10)
    page.fill("#k", "12")
    page.press("#k", "Tab")
    expect(answers(page)).to_have_count(12)
    expect(page.locator("#k-note")).to_be_hidden()
    page.fill("#k", typed)
    page.press("#k", "Tab")
    expect(page.locator("#k-note")).to_contain_text(f"1 to 50 are shown here: {shown} instead of")
    expect(page.locator("#k")).to_have_value(str(shown))
    expect(answers(page)).to_have_count(shown)
    page.fill("#k", "20")
    page.press("#k", "Tab")
    expect(page.locator("#k-note")).to_be_hidden()


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_a_long_history_is_folded_and_results_come_before_it(
    visit: Callable[..., Page], viewport: dict[str, int]
) -> None:
    page = visit(viewport=viewport)
    expect(answers(page)).to_have_count(10)
    named = [{"item": f"i{i % 60:02d}", "title": f"no. {i}"} for i in range(240)]
    history = [item | {"identifier": "<a_1><b_2>"} for item in named]

    def long(route: Route) -> None:
        if "user" in (route.request.post_data_json or {}):
            route.fulfill(json={"items": [], "history": history, "skipped": []})
        else:
            route.continue_()

    page.route("**/v1/recommend", long)
    page.fill("#user", "u3")
    page.click("button:text-is('Load')")
    entries = page.locator("#history li")
    expect(entries).to_have_count(10)
    expect(entries.first.locator(".title")).to_contain_text("no. 239")
    expect(entries.last.locator(".title")).to_contain_text("no. 230")
    expect(page.locator("#status")).to_contain_text("for a history of 240 items")
    page.uncheck("#exclude-seen")  # all 60 items are in the history
    expect(answers(page)).to_have_count(10)
    height = "document.documentElement.scrollHeight"
    assert page.evaluate(height) < (2000 if viewport == DESK else 3000)
    results, past = page.locator("#answers").bounding_box(), page.locator("#past").bounding_box()
    assert results is not None
    assert past is not None
    if viewport == PHONE:
        assert results["y"] < past["y"]
        assert results["y"] < PHONE["height"]  # seen without scrolling
    page.click("#earlier:text-is('230 earlier')")
    expect(entries).to_have_count(240)
    assert page.evaluate(height) < (2000 if viewport == DESK else 3500)
    expect(page.locator("#earlier")).to_have_attribute("aria-expanded", "true")
    entries.last.locator(".remove").click()  # the oldest
    expect(entries).to_have_count(239)
    expect(entries.last.locator(".title")).to_contain_text("no. 1")
    page.click("#earlier")
    expect(entries).to_have_count(10)
    expect(page.locator("#earlier")).to_have_text("229 earlier")


def test_titles_are_text_and_never_markup(
    browser: Browser, serve: Callable[..., Any], own_run: Path
) -> None:
    with serve(own_run) as served:
        title = "<img src=x onerror=alert(1)> sword"
        with served.client() as client:
            body = {"items": [{"item": "x<script>", "title": title}]}
            client.post("/v1/items", json=body).raise_for_status()
        one = Visit(browser, served.url)
        one.page.fill("#search", "sword")
        one.page.click("#found li")
        expect(one.page.locator("#history .link")).to_have_text(title)
        assert one.page.locator("#history img").count() == 0
        one.end()


def test_a_choice_of_domain(
    visit: Callable[..., Page], serve: Callable[..., Any], two_domains: Path
) -> None:
    with serve(two_domains) as served:
        page = visit(url=served.url)
        expect(page.locator("#domain option")).to_have_text(
            ["all domains", "books (24 items)", "games (24 items)"]
        )
        page.fill("#search", "jazz books")
        page.click("#found li >> nth=0")
        page.select_option("#domain", "games")
        expect(answers(page).locator(".id")).to_have_text([re.compile("^games/")] * 10)
    page = visit()  # a run of one source
    expect(answers(page)).to_have_count(10)
    expect(page.locator("#domain-choice")).to_be_hidden()
