import { expect, it } from "vitest";
import { findUser } from "../../src/host/users.ts";

const PASSWD = "root:x:0:0:root:/root:/bin/sh\nqemu:x:64055:994:QEMU:/:/usr/sbin/nologin\n";

it.each([
  ["qemu", { uid: 64055, gid: 994 }],
  ["64055", { uid: 64055, gid: 994 }],
  ["1234", { uid: 1234, gid: 1234 }],
  ["1234:77", { uid: 1234, gid: 77 }],
  ["nobody-here", undefined],
  ["x", undefined],
])("--user %s", (user, ids) => {
  expect(findUser(user, PASSWD)).toEqual(ids);
});
