/** Everything `up` and `down` ask of the machine; tests replace it to make single calls fail. */
import { hostKernel, type Kernel } from "./iproute.ts";
import { endService, type ProcessIdentity, type ServiceRequest, startService } from "./service-process.ts";

export interface Host extends Kernel {
  /** Starts a process in the background; resolves once it is ready. Throws ServiceError. */
  startService(request: ServiceRequest): Promise<void>;
  /** Ends it, if it still runs. Throws ServiceError. */
  endService(process: ProcessIdentity): Promise<void>;
}

/** The machine this runs on, in the network namespace of this process. */
export const thisHost: Host = { ...hostKernel, startService, endService };
