/** The embedding program that has a say about each flow: asked at once, and heard later where it takes its time. */
import type { Logger } from "../engine/boundary.ts";
import type { Admit } from "../engine/network/admission.ts";
import { QUESTION_TICKETS } from "../engine/network/destinations.ts";

/** A new TCP connection, or the first datagram to a remote. */
export interface FlowRequest {
  /** Of the flow. */
  readonly protocol: "tcp" | "udp";
  /** The guest's own, of IPv4 dotted or of IPv6. */
  readonly guestAddress: string;
  /** Where the guest wants to go. */
  readonly remoteAddress: string;
  /** The port there, 1 to 65535. */
  readonly remotePort: number;
}

/**
 * Decides whether a flow may be. Called for every new TCP connection, and for UDP once per remote address and port in the
 * time a mapping lives; never per packet. A promise holds the guest's SYN, of which 512 may wait at a time; datagrams to a
 * remote that is not decided about are dropped. What throws, rejects, takes two minutes or is not true refuses.
 *
 * @example
 * ```ts
 * import { type Allow, createEngine } from "sluice";
 *
 * // A ticket system, a person: whoever may take a while.
 * const ask = async (question: string): Promise<boolean> => question.endsWith(":443");
 *
 * const allow: Allow = ({ protocol, remoteAddress, remotePort }) =>
 *   protocol === "tcp" && ask(`${remoteAddress}:${remotePort}`);
 * const engine = await createEngine({ qemuListen: "unix:/tmp/vm.sock", allow });
 * await engine.stop();
 * ```
 */
export type Allow = (flow: FlowRequest) => boolean | Promise<boolean>;

/** Answers that are awaited at once. */
const OPEN_MAX = 512;
/** No answer by then is a no: no guest's SYN lives much longer. */
const PATIENCE_MS = 120_000;
/** Remotes of UDP that are remembered: those asked about, and those nobody has sent to since the answer. */
const REMOTES_MAX = 1024;

export class AskedProgram {
  /** Told of each answer about a connection that came later. */
  decided: (ticket: number, isAllowed: boolean) => void = () => {};
  private open = 0;
  private ticket = 0;
  /** Remotes of UDP: the answer, or undefined as long as there is none. */
  private readonly remotes = new Map<string, boolean | undefined>();

  constructor(
    private readonly allow: Allow,
    private readonly log: Logger,
  ) {}

  /** For the core: an answer, or the ticket under which it comes. */
  readonly admit: Admit = (protocol, guestAddress, remoteAddress, remotePort) => {
    const remote = protocol === "udp" ? `${guestAddress} ${remoteAddress} ${remotePort}` : undefined;
    if (remote !== undefined && this.remotes.has(remote)) {
      const answer = this.remotes.get(remote);
      if (answer === undefined) return this.ticket;
      this.remotes.delete(remote);
      return answer;
    }
    try {
      const said = this.allow({ protocol, guestAddress, remoteAddress, remotePort });
      return said instanceof Promise ? this.expect(said, remote) : said === true;
    } catch (error) {
      return this.failed(error);
    }
  };

  private failed(error: unknown): false {
    const message = error instanceof Error ? error.message : String(error);
    this.log.error(`allow() failed, the flow is refused: ${message}`);
    return false;
  }

  /** Returns the ticket of an answer that is to come. */
  private expect(said: Promise<boolean>, remote: string | undefined): number | false {
    const heard = said.catch((error: unknown) => this.failed(error));
    if (this.open >= OPEN_MAX) return this.failed(new Error(`${OPEN_MAX} answers are awaited already`));
    this.ticket = (this.ticket + 1) % QUESTION_TICKETS;
    const { ticket } = this;
    this.open++;
    if (remote !== undefined) this.remember(remote, undefined);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(resolve, PATIENCE_MS, false).unref();
    });
    void Promise.race([heard, late]).then((answer) => {
      clearTimeout(timer);
      this.open--;
      if (remote === undefined) this.decided(ticket, answer === true);
      else this.remember(remote, answer === true);
    });
    return ticket;
  }

  /** The oldest is forgotten: it is asked about anew. */
  private remember(remote: string, answer: boolean | undefined): void {
    this.remotes.set(remote, answer);
    const [oldest] = this.remotes.keys();
    if (this.remotes.size > REMOTES_MAX && oldest !== undefined) this.remotes.delete(oldest);
  }
}
