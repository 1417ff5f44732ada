// Lighthouse over pages, and over a page again while it was too slow. Prints a result for each run.
import lighthouse, { defaultConfig, desktopConfig } from 'lighthouse';
import { withBrowser } from './browser.mjs';

const RUNS = 3;

// The orders and the receipts of a buyer are for nobody else, and so for no search engine.
const PRIVATE = /^\/orders/;
const CRAWLED = 'is-crawlable';
const METRICS = ['first-contentful-paint', 'largest-contentful-paint', 'total-blocking-time', 'speed-index'];

const config = {
  ...desktopConfig,
  settings: {
    ...desktopConfig.settings, // a desktop's screen and network; the CPU is as fast as it is
    onlyCategories: ['performance', 'accessibility', 'best-practices', 'seo'],
    pauseAfterFcpMs: 0,
    pauseAfterLoadMs: 300,
    networkQuietThresholdMs: 300,
    cpuQuietThresholdMs: 300,
    disableFullPageScreenshot: true,
  },
};

// No score depends on the others, and they take a third of each run. `layout-shifts` says what has shifted.
const weighed = Object.values(defaultConfig.categories).flatMap(({ auditRefs }) => auditRefs.filter(({ weight }) => weight));
const needed = new Set([...weighed.map(({ id }) => id), 'layout-shifts']);
const unneeded = defaultConfig.audits.map((path) => path.split('/').at(-1)).filter((id) => !needed.has(id));

await withBrowser(async function* (browser, { url, pages, fastEnough }) {
  for (const path of pages) {
    for (let run = 0, performance = 0; run < RUNS && performance < fastEnough; run += 1) {
      const page = await browser.newPage();
      const skipAudits = PRIVATE.test(path) ? [...unneeded, CRAWLED] : unneeded;
      const { lhr } = await lighthouse(url + path, { logLevel: 'silent', skipAudits }, config, page);
      await page.close();
      const result = resultOf(lhr);
      yield { path, ...result };
      ({ performance } = result.scores);
    }
  }
});

function resultOf({ categories, audits, environment, runtimeError }) {
  if (runtimeError) throw new Error(runtimeError.message);
  const scores = Object.values(categories).map(({ id, score }) => [id, Math.round(score * 100)]);
  const faults = Object.values(categories)
    .filter(({ id }) => id !== 'performance')
    .flatMap(({ auditRefs }) => auditRefs)
    .map(({ id, weight }) => ({ ...audits[id], weight }))
    .filter(({ score, weight }) => weight > 0 && score !== null && score < 1)
    .map(({ id, title, details }) => `${id}: ${title} ${JSON.stringify(details?.items?.slice(0, 3))}`);
  return {
    scores: Object.fromEntries(scores),
    faults,
    layoutShift: audits['cumulative-layout-shift'].numericValue,
    shifted: audits['layout-shifts'].details?.items?.map(({ node, score }) => `${node?.selector}: ${score}`) ?? [],
    milliseconds: Object.fromEntries(METRICS.map((id) => [id, Math.round(audits[id].numericValue)])),
    benchmarkIndex: environment.benchmarkIndex,
  };
}
