/** Every flow there is, page by page. */
import type { Flow, FlowPage } from "./schema.ts";

/** `page` asks for the one after a flow's number, 0 for the first. Flows that come meanwhile may be missing. */
export async function allFlows(page: (after: number) => Promise<FlowPage>): Promise<Flow[]> {
  const flows: Flow[] = [];
  for (let after: number | null = 0; after !== null; ) {
    const { flows: some, next } = await page(after);
    flows.push(...some);
    after = next;
  }
  return flows;
}
