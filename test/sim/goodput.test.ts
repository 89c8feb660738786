/**
 * Goodput by loss and window, in virtual time. A change in TCP behaviour shows here as a diff of numbers; look at
 * which way they moved before accepting it.
 */
import { expect, it } from "vitest";
import { transfer } from "./goodput.ts";

const LOSSES = [0, 0.001, 0.01, 0.03, 0.1];
/** 200 Mbit/s, 10 ms there and back, a queue of 100 frames: a window of 250 KB fills the link. */
const LINK = { rate: 25_000, delayMs: 5, queueFrames: 100 };
const OCTETS = 600_000;

/** One line: Mbit/s by rate of loss. */
function line(direction: "down" | "up", windowKib: number): string {
  const rates = LOSSES.map((loss) =>
    transfer({ seed: 1, direction, octets: OCTETS, window: windowKib * 1024, loss, ...LINK }),
  );
  return `${String(windowKib).padStart(5)} KiB ${rates.map((rate) => rate.toFixed(1).padStart(7)).join("")}`;
}

const HEAD = `          ${LOSSES.map((loss) => `${loss * 100} %`.padStart(7)).join("")}`;

it("carries octets to the guest at these rates, by the guest's window", () => {
  const table = [HEAD, ...[16, 64, 512].map((window) => line("down", window))];
  expect(`\n${table.join("\n")}\n`).toMatchInlineSnapshot(`
    "
                  0 %  0.1 %    1 %    3 %   10 %
       16 KiB     9.9    9.9    9.7    5.9    2.1
       64 KiB    35.9   35.9   22.6   18.2    2.2
      512 KiB    54.1   54.1   22.6   18.2    3.0
    "
  `);
});

it("takes octets from the guest at these rates: the window is the engine's own", () => {
  expect(`\n${HEAD}\n${line("up", 512)}\n`).toMatchInlineSnapshot(`
    "
                  0 %  0.1 %    1 %    3 %   10 %
      512 KiB    58.8   58.8   13.4    5.1    1.2
    "
  `);
});

it("carries octets to the guest at these rates when frames overtake others: what is lost, queues lose", () => {
  const plan = { seed: 1, direction: "down", octets: 1_000_000, window: 1 << 19, loss: 0, ...LINK } as const;
  const lines = [0, 0.01, 0.05, 0.2].map((reorder) => {
    const rates = [1, 5, 20].map((reorderMs) => transfer({ ...plan, reorder, reorderMs }));
    return `${`${reorder * 100} %`.padStart(9)} ${rates.map((rate) => rate.toFixed(1).padStart(7)).join("")}`;
  });
  expect(`\n${["             1 ms   5 ms  20 ms", ...lines].join("\n")}\n`).toMatchInlineSnapshot(`
    "
                 1 ms   5 ms  20 ms
          0 %    70.8   70.8   70.8
          1 %    69.9   66.4   25.6
          5 %    68.9   55.0   23.9
         20 %    67.9   55.5   33.5
    "
  `);
});
