/** SO_PEEK_OFF (socket(7)): a socket of TCP that is read without being emptied, each time from where the last read ended. */
import { IPPROTO_TCP, SO_PEEK_OFF, SO_PROTOCOL, SOL_SOCKET } from "./linux.ts";
import { native } from "./native.ts";

/** False where the kernel has no such thing for TCP (before Linux 6.9), and for a Unix socket. */
export function startPeeking(fd: number): boolean {
  if (native.getOption(fd, SOL_SOCKET, SO_PROTOCOL) !== IPPROTO_TCP) return false;
  return native.setOption(fd, SOL_SOCKET, SO_PEEK_OFF, 0) === 0;
}

export function stopPeeking(fd: number): void {
  native.setOption(fd, SOL_SOCKET, SO_PEEK_OFF, -1);
}
