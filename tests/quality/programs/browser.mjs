// A browser for a tool. The program's first argument has its path and its flags, the second what the tool has to do.
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mkdtemp, rm } from 'node:fs/promises';
import puppeteer from 'puppeteer';

const [launch, task] = process.argv.slice(2).map((argument) => JSON.parse(argument));

/** Run the tool with the browser and its task, and print each of its results. */
export async function withBrowser(tool) {
  const browser = await puppeteer.launch(launch);
  try {
    for await (const result of tool(browser, task)) console.log(JSON.stringify(result));
  } finally {
    await browser.close();
  }
}
