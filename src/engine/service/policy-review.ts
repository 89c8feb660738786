/**
 * Every open flow judged again after a policy was replaced: one that could not begin any more is reset on both sides. So
 * many a turn that a table full of them holds nobody up.
 *
 * One that stays counts for the rule that lets it be now, whose limits may be others. Where flows are to be kept open that is all.
 *
 * Left alone are what others opened to the guest, guest forwards, what ends in the engine, and connections that have yet to
 * show a name: they are judged by what they show.
 */
import { flowEndBy } from "../metrics/flow-end.ts";
import type { LetIn } from "../policy/let-in.ts";
import type { Policy } from "../policy/policy.ts";
import { OVER_TCP, OVER_UDP } from "../policy/targets.ts";
import { copyRemote } from "../transport/path.ts";
import { CLOSED, type TcpConnection } from "../transport/tcp/connection.ts";
import type { TcpContext } from "../transport/tcp/context.ts";
import { abortBoth } from "../transport/tcp/teardown.ts";
import type { UdpMappings } from "../transport/udp/mappings.ts";
import type { MeteredNetwork } from "./metered-network.ts";
import type { QuicNames } from "./names/quic-names.ts";
import type { Detours } from "./ways/detours.ts";

const FLOWS_PER_TURN = 1024;
const NOT_UNDER_WAY = -1;
const EVERY_FLOW = Number.POSITIVE_INFINITY;
const CHANGED = flowEndBy("policy-changed", "sluice");

export interface PolicyReviewParts {
  readonly ctx: TcpContext;
  readonly mappings: UdpMappings;
  readonly policy: Policy;
  readonly letIn: LetIn;
  readonly quic: QuicNames;
  readonly detours: Detours;
  readonly metered: MeteredNetwork | null;
  /** Whether the connection goes to a guest forward. */
  readonly isService: (c: TcpConnection) => boolean;
}

export class PolicyReview {
  private next = NOT_UNDER_WAY;
  /** Flows before this one are kept open. */
  private endsFrom = 0;
  private readonly words = new Int32Array(4);

  constructor(private readonly parts: PolicyReviewParts) {}

  get isUnderWay(): boolean {
    return this.next !== NOT_UNDER_WAY;
  }

  /** From the first flow on. `keepOpen`: no flow ends that the review before would not have ended. */
  begin(keepOpen: boolean): void {
    this.endsFrom = keepOpen ? Math.max(this.endsFrom, this.isUnderWay ? this.next : EVERY_FLOW) : 0;
    this.next = 0;
    if (!keepOpen) this.parts.quic.review();
  }

  work(): void {
    const { ctx, mappings, policy, quic } = this.parts;
    const { flows } = ctx;
    const end = Math.min(this.next + FLOWS_PER_TURN, flows.end);
    for (let id = this.next; id < end; id++) {
      const c = ctx.connections[id];
      if (c?.state !== undefined && c.state !== CLOSED) this.look(c);
      if (id < this.endsFrom) continue;
      mappings.retain(
        id,
        CHANGED,
        (words, port) => policy.holds(words, 0, port, OVER_UDP, false) || quic.leadsTo(words, port),
      );
    }
    this.next = end < flows.end ? end : NOT_UNDER_WAY;
  }

  private look(c: TcpConnection): void {
    const { ctx, policy, letIn, detours, metered, isService } = this.parts;
    if (!c.outbound || c.handle < 0 || isService(c)) return;
    copyRemote(c, this.words);
    const isNamed = letIn.read(c.id, ctx.ledger.serial[c.id], policy.name) && letIn.isShown(c.id);
    const holds = policy.holds(this.words, 0, c.remotePort, OVER_TCP, isNamed);
    const { rule } = policy;
    if (holds && detours.isOnItsWay(c)) metered?.countFor(ctx, c, rule);
    else if (c.id >= this.endsFrom) abortBoth(ctx, c, CHANGED);
  }
}
