// A browser for a tool. The program's first argument has its path and its flags, the second what the tool has to do.
import puppeteer from 'puppeteer';

const [launch, task] = process.argv.slice(2).map((argument) => JSON.parse(argument));

/** Run the tool with the browser and its task, and print each of its results. The browser is the guest of the task. */
export async function withBrowser(tool) {
  const browser = await puppeteer.launch(launch);
  try {
    const { hostname: domain } = new URL(task.url);
    await browser.setCookie({ name: 'dropzero_guest', value: task.guest, domain, path: '/', sameSite: 'Strict' });
    for await (const result of tool(browser, task)) console.log(JSON.stringify(result));
  } finally {
    await browser.close();
  }
}
