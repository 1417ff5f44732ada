// html-validate over what the server sends, and pa11y over the page in the browser. Prints the problems of each page.
import { HtmlValidate } from 'html-validate';
import pa11y from 'pa11y';
import { withBrowser } from './browser.mjs';

const html = new HtmlValidate({
  root: true,
  extends: ['html-validate:recommended', 'html-validate:document'],
  rules: {
    // How a document is written, and not what it says.
    'doctype-style': 'off',
    'no-implicit-input-type': 'off',
    'no-redundant-role': 'off', // Safari needs role="list" where a list has no markers
    'no-trailing-whitespace': 'off',
    'prefer-native-element': ['error', { exclude: ['list'] }],
    'void-style': 'off',
    'require-sri': ['error', { target: 'crossorigin' }], // the shop's own files come with the page
  },
});

await withBrowser(async function* (browser, { url, pages, languages }) {
  const page = await browser.newPage();
  for (const language of languages) {
    const headers = { 'accept-language': language };
    await page.setExtraHTTPHeaders(headers);
    for (const path of pages) {
      const response = await page.goto(url + path);
      yield { path, language, tool: 'html-validate', problems: await validate(path, await response.text()) };
      await page.waitForNetworkIdle({ idleTime: 100 });
      yield { path, language, tool: 'pa11y', problems: await check(browser, page) };
    }
  }
});

/** The problems of a document. What a template lacks comes from a script: only the filled template is a part of the page. */
async function validate(path, source) {
  const { results } = await html.validateString(source.replaceAll(/(<template\b[^>]*>).*?(<\/template>)/gs, '$1$2'), path);
  return results.flatMap(({ messages }) =>
    messages.map(({ ruleId, line, message, selector }) => `${ruleId}: ${message} (line ${line}, ${selector})`),
  );
}

/** The problems of what the page shows: a closed dialog and hidden parts are filled when they are opened. */
async function check(browser, page) {
  const { issues } = await pa11y(page.url(), {
    browser,
    page,
    ignoreUrl: true, // it is open
    standard: 'WCAG2AA',
    hideElements: '[hidden], dialog:not([open])',
  });
  return issues.map(({ code, message, selector, context }) => `${code}: ${message} (${selector}: ${context})`);
}
