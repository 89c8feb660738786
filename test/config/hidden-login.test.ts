/** A proxy's URL is shown without its password, whatever else is wrong with it. */
import { expect, it } from "vitest";
import { hideLogin } from "../../src/config/hidden-login.ts";

it.each([
  ["socks5://127.0.0.1:1080", "socks5://127.0.0.1:1080"],
  ["", ""],
  ["socks5://me:secret@127.0.0.1:1080", "socks5://me:***@127.0.0.1:1080"],
  ["socks5://secret@127.0.0.1:1080", "socks5://***@127.0.0.1:1080"],
  ["socks5://:secret@127.0.0.1:1080", "socks5://:***@127.0.0.1:1080"],
  ["socks5://me:@127.0.0.1:1080", "socks5://me:***@127.0.0.1:1080"],
  ["socks5://me:se:cret@127.0.0.1:1080", "socks5://me:***@127.0.0.1:1080"],
  ["socks5://me:se@cret@127.0.0.1:1080", "socks5://me:***@127.0.0.1:1080"],
  ["socks5://me:se\ncret@127.0.0.1:1080", "socks5://me:***@127.0.0.1:1080"],
  ["://me:secret@127.0.0.1", "://me:***@127.0.0.1"],
  // No scheme: what stands where one would is a user's name.
  ["me:secret@127.0.0.1:1080", "me:***@127.0.0.1:1080"],
  ["secret@127.0.0.1", "***@127.0.0.1"],
  ["@", "***@"],
  // What is in front of the slashes may be a login itself.
  ["me:secret://x@127.0.0.1", "me:***@127.0.0.1"],
  ["me@secret://x@127.0.0.1", "me@secret:***@127.0.0.1"],
  ["a/b://secret@127.0.0.1", "a/b:***@127.0.0.1"],
])("%j is shown as %j", (text, shown) => {
  expect(hideLogin(text)).toBe(shown);
});
