/** Writes the "newc" archives that Linux unpacks as its first file system (kernel: driver-api/early-userspace/buffer-format). */

export interface CpioEntry {
  /** Without a leading slash. */
  readonly name: string;
  /** Type and permissions as in stat(2), such as 0o100755. */
  readonly mode: number;
  readonly content?: Uint8Array;
}

const HEADER_LENGTH = 110;

function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}

function encodeEntry({ name, mode, content = new Uint8Array() }: CpioEntry, inode: number): Buffer {
  // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length + 1, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}${name}\0`;
  return Buffer.concat([
    Buffer.from(header, "latin1"),
    padding(HEADER_LENGTH + name.length + 1),
    content,
    padding(content.length),
  ]);
}

/** An archive of the entries; directories come before what is in them. Archives may follow each other in one file. */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const encoded = [...entries, { name: "TRAILER!!!", mode: 0 }].map((entry, i) => encodeEntry(entry, i + 1));
  return Buffer.concat(encoded);
}
