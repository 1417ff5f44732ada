// This script is in the page itself, because it has to work when a file of the page failed to load.
{
  const FIRST_PAUSE = 500; // ms
  const LONGEST_PAUSE = 20_000; // ms
  const DEADLINE = 10_000; // ms for one answer

  const pause = (failures) => {
    const longest = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** failures);
    return new Promise((resolve) => setTimeout(resolve, longest * (0.5 + Math.random() / 2)));
  };
  const isServed = async (address) => {
    const { status } = await fetch(address, { signal: AbortSignal.timeout(DEADLINE) });
    return status < 500;
  };

  // A document never requests a failed module again. So the whole page is loaded again, as soon as the server serves
  // all of its files. Nothing has run in the page yet, so no click is lost.
  const loadPageAgain = async () => {
    const modules = [...document.querySelectorAll("[rel=modulepreload], [type=module]")];
    const addresses = [location.href, ...modules.map(({ href, src }) => href ?? src)];
    let failures = history.state?.failures ?? 0; // which survives loading the page again
    for (let complete = false; !complete; failures += 1) {
      await pause(failures);
      const answers = await Promise.all(addresses.map(isServed)).catch(() => [false]);
      complete = answers.every(Boolean);
    }
    history.replaceState({ failures }, "");
    location.reload();
  };

  let styles = 0;
  const loadStylesAgain = async (link) => {
    await pause(styles);
    styles += 1;
    link.replaceWith(link.cloneNode());
  };

  const onError = ({ target }) => {
    if (target.type === "module") loadPageAgain();
    else if (target.rel === "stylesheet") loadStylesAgain(target);
  };
  document.addEventListener("error", onError, { capture: true });
}
