// What a checker of accessibility finds on a page.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Page } from "playwright-core";

const source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** The rules that depend on the colours. */
const COLOURS = ["color-contrast", "link-in-text-block"];

/** What axe-core finds wrong with a page, a line for each. */
export async function violations(page: Page, { only = "all", alike = "pre" }: {
  /** Everything; or, where a page has been looked at in other colours, only what depends on them. */
  only?: "all" | "colours";
  /** A selector. Of the text in there that looks alike, such as the thousands of words of a listing, the colours of one are checked. */
  alike?: string;
} = {}): Promise<string[]> {
  if (!await page.evaluate(() => "axe" in window)) await page.evaluate(source);
  return await page.evaluate(async ([rules, alike]) => {
    const { axe } = window as unknown as { axe: typeof import("axe-core") };
    const seen = new Set<string>();
    for (const element of document.querySelectorAll(`:is(${alike}) *`)) {
      let behind: Element | null = element;
      while (behind && getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
      const { color, fontSize, fontWeight, opacity } = getComputedStyle(element);
      const look = [color, fontSize, fontWeight, opacity, behind && getComputedStyle(behind).backgroundColor].join();
      element.toggleAttribute("data-alike", seen.has(look));
      if ([...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.nodeValue!.trim())) seen.add(look);
    }
    axe.configure({ rules: [{ id: "color-contrast", selector: "*:not([data-alike])" }] });
    const found = await axe.run(document, { resultTypes: ["violations"], ...rules ? { runOnly: { type: "rule", values: rules } } : {} });
    return found.violations.flatMap(({ id, nodes }) => [
      ...nodes.length > 5 ? [`${id}: ${nodes.length} times, such as`] : [],
      ...nodes.slice(0, 5).map(({ target, failureSummary }) => `${id}: ${target.join(" ")}: ${failureSummary?.replace(/\s+/g, " ")}`),
    ]);
  }, [only === "all" ? null : COLOURS, alike] as const);
}
