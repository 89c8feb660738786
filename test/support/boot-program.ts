/** A boot program for a PC's BIOS: says a line on the first serial port and ends QEMU. */

/** Where a network boot program is loaded, and its entry. */
const ORIGIN = 0x7c00;
/** QEMU arguments for the end: the status is then this. */
export const EXIT_DEVICE = ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"];
export const EXIT_STATUS = (0x10 << 1) | 1;

/** `octets` long; the line lies at its end, so that it is said only if all of the program is there. */
export function bootProgram(line: string, octets: number): Uint8Array {
  const text = Buffer.from(`${line}\r\n\0`);
  const textAt = ORIGIN + octets - text.length;
  const code = [
    ...[0xfa, 0x31, 0xc0, 0x8e, 0xd8], // cli; xor ax, ax; mov ds, ax
    ...[0xbe, textAt & 255, textAt >> 8], // mov si, text
    ...[0xba, 0xf8, 0x03], // mov dx, 0x3f8
    ...[0xfc, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8], // cld; lodsb; test al, al; jz +3; out dx, al; jmp lodsb
    ...[0xb0, 0x10, 0xe6, 0xf4], // mov al, 0x10; out 0xf4, al
    ...[0xf4, 0xeb, 0xfd], // hlt; jmp
  ];
  const program = new Uint8Array(octets);
  program.set(code);
  program.set(text, octets - text.length);
  return program;
}
