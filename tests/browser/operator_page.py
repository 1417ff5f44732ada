"""The operator's page, as an operator uses it."""

from datetime import UTC, datetime

from playwright.async_api import Locator, Page, expect

from api.storefront.pages import read_messages
from tests.browser.drop_page import english


class OperatorPage:
    """The parts of the page, and what is done with them."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.sign_in_form = page.locator("#sign-in")
        self.products = page.locator("#product-list > li")
        self.read_only = page.locator("#read-only")
        self.heading = page.locator("#heading")
        self.state = page.locator("#status")
        self.connection = page.locator("#connection")
        self.charts = page.locator("#charts svg[role=img]")
        self.orders = page.locator("#orders tbody tr")
        self.log = page.locator("#log > li")
        self.search_result = page.locator("#search .result")

    def form(self, name: str) -> Locator:
        return self.page.locator(f"#{name}")

    def result(self, form: str) -> Locator:
        """What became of the last submission of a form."""
        return self.page.locator(f"#{form} .result")

    def figure(self, name: str) -> Locator:
        return self.page.locator(f"[data-figure={name}]")

    async def sign_in(self, token: str) -> None:
        await self.page.locator("#token").fill(token)
        await self.page.keyboard.press("Enter")

    async def fill(self, form: str, **fields: str) -> None:
        for name, value in fields.items():
            await self.page.locator(f"#{form} [name={name}]").fill(value)

    async def submit(self, form: str) -> None:
        await self.page.locator(f"#{form} [type=submit]").click()

    async def search(self, **fields: str) -> None:
        await self.fill("search", **fields)
        await self.submit("search")

    async def cancel_first_order(self, answer: str) -> None:
        await self.orders.get_by_role("button").first.click()
        await self.confirm(answer)

    async def expect_state(self, key: str) -> None:
        await expect(self.state).to_have_text(english(key))

    async def expect_live(self) -> None:
        await expect(self.connection).to_have_text(english("live"))

    async def confirm(self, answer: str = "yes") -> None:
        await self.page.locator(f"#confirm [value={answer}]").click()


def in_words(language: str, key: str) -> str:
    """Return a text that has no plural forms."""
    message: str = read_messages(language)[key]
    return message


def field_of(moment: datetime) -> str:
    """A moment as a field for a date and a time has it; the tests' browser is in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
