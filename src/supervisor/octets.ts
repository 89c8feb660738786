/** Numbers of octets as people read them. In a file of its own because the page reads nothing else of this room. */

const UNITS = ["B", "kB", "MB", "GB", "TB"] as const;

/** `1.5 MB`; decimal units. */
export function formatOctets(octets: number): string {
  let value = octets;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}
