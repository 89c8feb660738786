/**
 * A host without a network: every connection is refused as unreachable, every datagram is lost. For the replay of
 * somebody's capture, which must not send anything anywhere.
 */
import { EAGAIN, EINVAL, ENETUNREACH, ENOTCONN, type HostNetwork } from "../engine/boundary.ts";

export class UnreachableNetwork implements HostNetwork {
  private handles = 0;
  /** Connections and datagrams that would have left. */
  connections = 0;
  datagrams = 0;

  tcpConnect(): number {
    this.connections++;
    return ENETUNREACH;
  }

  tcpConnectService(): number {
    this.connections++;
    return ENETUNREACH;
  }

  tcpConnectOperator(): number {
    this.connections++;
    return ENETUNREACH;
  }

  connectResult(): number {
    return ENETUNREACH;
  }

  tcpAccept(): number {
    return EAGAIN;
  }

  tcpReceive(): number {
    return EAGAIN;
  }

  tcpSend(): number {
    return EAGAIN;
  }

  tcpShutdown(): void {}

  tcpStatus(): number {
    return ENOTCONN;
  }

  tcpProbe(): number {
    return ENOTCONN;
  }

  tcpClose(): void {}

  /** Handles have to differ; nothing is behind them. */
  udpOpen(): number {
    this.handles = (this.handles + 1) & 0xffffff;
    return this.handles;
  }

  udpSend(): void {
    this.datagrams++;
  }

  udpSendFrom(): void {
    this.datagrams++;
  }

  udpFlush(): number {
    return 0;
  }

  udpReceive(): number {
    return 0;
  }

  udpReceiveLocal(): number {
    return 0;
  }

  udpConnect(): number {
    return EINVAL;
  }

  udpToGroups(): void {}

  udpClose(): void {}
}
