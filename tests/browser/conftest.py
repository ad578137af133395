"""A real browser on a real server. Tests take `open_page` and `sign_in`; a page that reports an error fails its test."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import connections
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, sync_playwright
from pytest_django.live_server_helper import LiveServer

SYSTEM_CHROMIUMS = (Path("/usr/bin/chromium-headless-shell"), Path("/usr/bin/chromium"))
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = (1440, 900)
PHONE = (390, 844)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def browser(django_db_setup: object) -> Iterator[Browser]:
    """Headless Chromium: the machine's own, else Playwright's.

    Playwright's loop counts as running in this thread for as long as the browser is open, so it is closed with the
    module (async tests could not run), and Django must be told that the ORM may be used here. Django keeps connections
    of such a thread apart: the test database, which is made before, could not be dropped while one of them is open.
    """
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        executable = next(filter(Path.exists, SYSTEM_CHROMIUMS), None)
        chromium = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield chromium
        chromium.close()
        connections.close_all()


@dataclass
class Visitor:
    """Opens pages of one server, as one person, and collects what the pages complain about."""

    browser: Browser
    base_url: str
    cookies: list[dict[str, str]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def open_page(
        self,
        path: str = "",
        *,
        viewport: tuple[int, int] = DESKTOP,
        color_scheme: Literal["light", "dark"] = "light",
        javascript: bool = True,
    ) -> Page:
        """A page of its own context, at `path` if one is given."""
        width, height = viewport
        context = self.browser.new_context(
            base_url=self.base_url,
            viewport={"width": width, "height": height},
            color_scheme=color_scheme,
            java_script_enabled=javascript,
            reduced_motion="reduce",
        )
        self.contexts.append(context)
        context.set_default_timeout(15_000)
        if self.cookies:
            context.add_cookies(self.cookies)  # type: ignore[arg-type]
        page = context.new_page()
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        page.on("response", self._note_response)
        if path:
            page.goto(path)
        return page

    def sign_in(self, user: AbstractBaseUser) -> None:
        """Pages opened from now on are this person's."""
        client = Client()
        client.force_login(user)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        self.cookies = [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": self.base_url}]

    def close(self) -> None:
        for context in self.contexts:
            context.close()

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"console {message.type}: {message.text}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 500:
            self.complaints.append(f"{response.status} from {response.url}")


@pytest.fixture
def visitor(browser: Browser, live_server: LiveServer) -> Iterator[Visitor]:
    """Somebody not signed in yet. Errors on the console and answers of 500 and above fail the test."""
    visitor = Visitor(browser=browser, base_url=live_server.url)
    yield visitor
    visitor.close()
    assert visitor.complaints == []


@pytest.fixture
def open_page(visitor: Visitor) -> Callable[..., Page]:
    return visitor.open_page


@pytest.fixture
def sign_in(visitor: Visitor) -> Callable[[AbstractBaseUser], None]:
    return visitor.sign_in


def assert_fits_the_width(page: Page) -> None:
    """Nothing makes the page itself scroll sideways; what scrolls inside a table's own frame is fine."""
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, f"{page.url} is {overflow} px wider than its window"


def assert_no_cell_is_cut(page: Page) -> None:
    """Every cell of a list shows all of its text."""
    cut = page.evaluate(
        "[...document.querySelectorAll('.result-list td')]"
        ".filter(cell => cell.scrollHeight > cell.clientHeight).map(cell => cell.textContent.trim())"
    )
    assert not cut, f"{page.url} cuts {cut}"
