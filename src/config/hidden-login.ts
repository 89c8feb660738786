/** Passwords of proxies where a person, a file or a log sees them. */

/** Stands for a password. One that is these three characters is written %2A%2A%2A. */
export const HIDDEN = "***";

/** A proxy's URL, or what was meant as one, without what may be a password. */
export function hideLogin(text: string): string {
  const [, scheme = "", login] = /^([^:/@]*:\/\/)?([\s\S]*)@/.exec(text) ?? [];
  if (login === undefined) return text;
  const colon = login.indexOf(":");
  const user = colon < 0 ? "" : login.slice(0, colon + 1);
  return `${scheme}${user}${HIDDEN}${text.slice(text.lastIndexOf("@"))}`;
}
