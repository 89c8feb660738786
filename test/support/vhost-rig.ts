/** A vhost-user session and a front-end of it in one process, without an event loop: each message is handled at once. */
import type { VhostLink } from "../../src/host/link/vhost-link.ts";
import { VhostSession } from "../../src/host/link/vhost-session.ts";
import { native } from "../../src/host/native/native.ts";
import { LinkRig } from "./link-rig.ts";
import { type FrontEndOptions, VhostFrontEnd } from "./vhost-front-end.ts";

export class VhostRig extends LinkRig {
  link: VhostLink | null = null;
  attached = 0;
  /** Why the link was taken out, and how sessions ended. */
  readonly detached: string[] = [];
  readonly ended: string[] = [];
  pokes = 0;
  session!: VhostSession;
  front!: VhostFrontEnd;

  constructor(options: { mtu?: number; offload?: boolean; batch?: number } & FrontEndOptions = {}) {
    super({ offload: true, ...options });
    this.connect(options);
  }

  /** Another front-end, in place of the one there was. */
  connect(options: FrontEndOptions = {}): VhostFrontEnd {
    const [ours, theirs] = native.socketPair("stream");
    const { arena, descriptors, counters, log, mtu, offload } = this;
    this.session = new VhostSession(
      ours,
      "test",
      {
        attach: (link) => {
          this.link = link;
          this.attached++;
        },
        detach: (reason) => {
          this.link = null;
          this.detached.push(reason);
        },
        poke: () => {
          this.pokes++;
        },
        releasing: () => {},
        ended: (reason) => this.ended.push(reason),
      },
      { arena, descriptors, counters, log, mtu, offload, tellsMtu: mtu !== 1500 },
    );
    this.front = new VhostFrontEnd(theirs, options);
    this.front.onSent = this.session.readable;
    return this.front;
  }

  /** The link; throws while none is attached. */
  get attachedLink(): VhostLink {
    if (this.link === null) throw new Error(`no link is attached: ${this.ended} ${this.log.lines}`);
    return this.link;
  }

  /** What the event loop does with a link that failed. */
  tend(): string {
    const failure = this.link?.failure ?? "";
    if (failure !== "") {
      this.link = null;
      this.session.linkFailed();
    }
    return failure;
  }

  close(): void {
    this.session.close();
    this.front.close();
  }
}
