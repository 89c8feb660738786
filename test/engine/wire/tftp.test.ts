/** TFTP's messages (RFC 1350, RFC 2347). */
import { describe, expect, it } from "vitest";
import * as tftp from "../../../src/engine/wire/tftp.ts";

const request = (text: string, opcode = 1): Uint8Array =>
  Uint8Array.from([0, opcode, ...Buffer.from(text, "utf8")]);

function read(text: string) {
  const found = tftp.readRequest(request(text));
  return found && { ...found, options: Object.fromEntries(found.options) };
}

describe("a request", () => {
  it("has a file and a mode, and options", () => {
    expect(read("boot/pxelinux.0\0octet\0")).toEqual({ file: "boot/pxelinux.0", mode: "octet", options: {} });
    expect(read("A\0OCTET\0BLKSIZE\x001468\0Tsize\x000\0")).toEqual({
      file: "A",
      mode: "octet",
      options: { blksize: "1468", tsize: "0" },
    });
    expect(read("\0\0")).toEqual({ file: "", mode: "", options: {} });
    expect(read("é\0octet\0")).toMatchObject({ file: "é" });
  });

  it("is taken by the first of equal options, in letters of either case", () => {
    expect(read("a\0octet\0blksize\x00512\0BLKSIZE\x001024\0tsize\x000\0")?.options).toEqual({
      blksize: "512",
      tsize: "0",
    });
  });

  it.each([
    ["without an end", "a\0octet"],
    ["without a mode", "a\0"],
    ["with an option without a value", "a\0octet\0blksize\0"],
    ["with half an option behind one", "a\0octet\0blksize\x00512\0tsize\0"],
  ])("is none %s", (_name, text) => {
    expect(read(text)).toBeNull();
  });

  it("is none where it is empty, or names a file in octets that are no text", () => {
    expect(tftp.readRequest(new Uint8Array(0))).toBeNull();
    expect(tftp.readRequest(Uint8Array.of(0, 1))).toBeNull();
    expect(tftp.readRequest(Uint8Array.of(0, 1, 97, 0xff, 0, 111, 0))).toBeNull();
  });

  it("has 512 octets at most", () => {
    const of = (octets: number) => request(`${"a".repeat(octets - 9)}\0octet\0`);
    expect(of(512)).toHaveLength(512);
    expect(tftp.readRequest(of(512))?.file).toBe("a".repeat(503));
    expect(tftp.readRequest(of(513))).toBeNull();
  });
});

it("headers are an opcode and a number", () => {
  const view = new DataView(new ArrayBuffer(8));
  tftp.writeDataHeader(view, 2, 0xabcd);
  expect([...new Uint8Array(view.buffer)]).toEqual([0, 0, 0, 3, 0xab, 0xcd, 0, 0]);
  expect([tftp.opcode(view, 2), tftp.block(view, 2)]).toEqual([3, 0xabcd]);
});

it("an error is a code and text with an end", () => {
  expect([...tftp.errorMessage(tftp.FILE_NOT_FOUND, "no")]).toEqual([0, 5, 0, 1, 110, 111, 0]);
});

it("options are acknowledged by name and value", () => {
  expect([...tftp.optionAcknowledgment([["a", "1"]])]).toEqual([0, 6, 97, 0, 49, 0]);
  expect(
    Buffer.from(
      tftp
        .optionAcknowledgment(
          new Map([
            ["blksize", "8"],
            ["tsize", "9"],
          ]),
        )
        .subarray(2),
    ).toString(),
  ).toBe("blksize\x008\0tsize\x009\0");
  expect([...tftp.optionAcknowledgment([])]).toEqual([0, 6]);
});
