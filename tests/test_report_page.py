import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fake_runs import write_failure, write_run

from cl_runner.report.cli import main

# Elements that HTML leaves open.
VOID = {"meta", "br", "hr", "img", "input", "link"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for method, start in (("ewc", 0.5), ("global_mask", 0.6), ("finetune", 0.41)):
        for seed in range(3):
            write_run(folder / f"{method}{seed}", start + 0.01 * seed, seed, method)
    write_run(folder / "l1", 0.305, 0, "layerwise_mask", metrics={"forward_transfer": None})
    write_failure(folder / "bad", "<script>alert('x')</script> & more")
    assert main([str(folder), "--compare", "method=ewc", "method=finetune"]) == 0
    return folder / "report" / "report.html"


class Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("href", "src", "action", "srcset", "xlink:href", "data"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_whole_and_refers_to_itself_only(report: Path) -> None:
    html = report.read_text()
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    assert "#left-out" in checker.links
    # The colour bar is a bitmap within the page.
    links = [link for link in checker.links if not link.startswith("data:image/png;base64,")]
    assert all(link.startswith("#") and link[1:] in checker.ids for link in links)
    assert not re.search(r"https?:|//[a-z]|@import|<link|<iframe", html)
    assert html.count("<svg") == 5


def test_what_the_page_says(report: Path) -> None:
    checker = Checker()
    checker.feed(report.read_text())
    words = " ".join(" ".join(checker.words).split())
    answer = "use global_mask: average accuracy 61.0 % [58.5, 63.5] (3 seeds), the highest of 4 settings."
    assert f"Chosen on the test set: {answer}" in words
    assert "Not in any number: 1 failed" in words
    assert "<script>alert('x')</script> & more" in words
    assert "method=ewc against method=finetune" in words
    assert "average accuracy +9.0 [+9.0, +9.0]" in words
    assert "--compare method=ewc method=finetune" in words


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not here to drive a browser")
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("chromium is not here: apt-get install chromium")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    quiet += ["--disable-background-networking", "--disable-component-update"]
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=quiet)
        yield started
        started.close()


def opened(browser: Any, report: Path, width: int = 1280, scheme: str = "light") -> tuple[Any, list[str]]:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith("file:") else said.append(request.url))
    page.goto(report.as_uri())
    return page, said


def test_a_click_or_a_key_on_a_columns_name_sorts(browser: Any, report: Path) -> None:
    page, said = opened(browser, report)

    def column(number: int) -> list[str]:
        cells = page.locator(f"#settings tbody td:nth-child({number})").all_inner_texts()
        return [cell.split()[0] for cell in cells]

    ranked = ["global_mask", "ewc", "finetune", "layerwise_mask"]
    assert column(2) == ranked
    head = page.locator("#settings th", has_text="method")
    assert head.get_attribute("aria-sort") is None
    head.locator("button").click()
    assert column(2) == sorted(ranked)
    assert head.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert column(2) == sorted(ranked, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator("#settings th[aria-sort]").count() == 1
    page.locator("#settings th button", has_text="average accuracy").click()
    assert column(4) == ["30.5", "42.0", "51.0", "61.0"]
    # What has no value stays last.
    transfer = page.locator("#settings th button", has_text="forward transfer")
    for _ in range(2):
        transfer.click()
        assert column(8)[-1] == "–"
    assert said == []


def test_light_and_dark(browser: Any, report: Path) -> None:
    def shades(scheme: str) -> list[int]:
        page, said = opened(browser, report, scheme=scheme)
        assert said == []
        colours = [
            page.evaluate("getComputedStyle(document.body).backgroundColor"),
            page.evaluate("getComputedStyle(document.body).color"),
            page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill"),
        ]
        return [sum(map(int, re.findall(r"\d+", colour)[:3])) // 3 for colour in colours]

    ground, text, ink = shades("light")
    assert ground > 240
    assert max(text, ink) < 60
    ground, text, ink = shades("dark")
    assert ground < 40
    assert min(text, ink) > 200


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_the_page_is_no_wider_than_the_screen(width: int, browser: Any, report: Path) -> None:
    page, said = opened(browser, report, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.body.scrollWidth") <= width
    if width == 390:
        # What is wider scrolls by itself.
        assert page.evaluate("(box => box.scrollWidth > box.clientWidth)(document.querySelector('.rows'))")
    assert said == []
