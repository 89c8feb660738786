/** Of two delays in milliseconds, -1 meaning none, the shorter. */
export function earlier(a: number, b: number): number {
  if (a < 0) return b;
  return b >= 0 && b < a ? b : a;
}
