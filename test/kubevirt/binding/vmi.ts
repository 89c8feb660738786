/** VirtualMachineInstances as a launcher sends them, with one interface that is bound to sluice. */

export interface NicFields {
  readonly name?: string;
  readonly [field: string]: unknown;
}

export interface VmiFields {
  readonly pod?: object;
  readonly metadata?: object;
  readonly spec?: object;
  readonly devices?: object;
}

/** A VMI whose last interface is `nic`; before it one that is somebody else's. */
export function vmiOf(nic: NicFields = {}, { pod = {}, metadata, spec, devices }: VmiFields = {}): object {
  const name = nic.name ?? "default";
  return {
    metadata: { name: "web", namespace: "lab", uid: "8c1f4a0e-0000-4000-8000-000000000001", ...metadata },
    spec: {
      domain: {
        cpu: { cores: 1, futureField: true },
        devices: {
          interfaces: [
            { name: "lan", sriov: {}, madeUp: "of another plugin" },
            { name, binding: { name: "sluice" }, futureField: 1, ...nic },
          ],
          ...devices,
        },
      },
      networks: [
        { name: "lan", multus: { networkName: "lan" } },
        { name, pod },
      ],
      ...spec,
    },
    status: { phase: "Scheduled" },
  };
}
