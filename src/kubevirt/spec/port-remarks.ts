/** Remarks about ports: names, a service mesh's own ports, and probes of ports behind NAT. */
import { at, isMapping, type Mapping, mappingsOf, type Remark } from "./finding.ts";
import { describeValue, type FieldPath } from "./spec-problem.ts";
import type { VmModel, VmPort } from "./vm-model.ts";
import type { WrittenNic } from "./written-nic.ts";

/** A cluster wants a port's name in lower case (IsValidPortName of Kubernetes). */
export function portNameRemarks(nics: readonly WrittenNic[]): Remark[] {
  return nics.flatMap(({ path, value }) =>
    mappingsOf(value["ports"], [...path, "ports"]).flatMap((port) => {
      const name = port.value["name"];
      if (typeof name !== "string" || name === name.toLowerCase()) return [];
      const message = `a cluster refuses upper case in a port's name: write ${name.toLowerCase()}`;
      return [{ path: [...port.path, "name"], message }];
    }),
  );
}

const INJECT = "sidecar.istio.io/inject";
/** Ports that Istio's proxy listens on in the pod. */
const ISTIO_PORTS = [15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053, 15090];

export function istioRemarks(value: Mapping, nics: readonly WrittenNic[]): Remark[] {
  if (!injectsIstio(value)) return [];
  return nics.flatMap(({ path, value: nic }) => [
    ...mappingsOf(nic["ports"], [...path, "ports"]).flatMap((port) =>
      istioRemark([...port.path, "port"], port.value["port"], port.value["port"]),
    ),
    ...mappingsOf(nic["portRanges"], [...path, "portRanges"]).flatMap((range) =>
      istioRemark(range.path, range.value["start"], range.value["end"]),
    ),
  ]);
}

/** Which of the ports a VM's pod needs for Istio's proxy, where it has one. */
export function istioPorts(value: Mapping, ports: readonly VmPort[]): number[] {
  if (!injectsIstio(value)) return [];
  return ISTIO_PORTS.filter((taken) => ports.some(({ port, end = port }) => taken >= port && taken <= end));
}

function injectsIstio(value: Mapping): boolean {
  const heads = [["metadata"], ["spec", "template", "metadata"]];
  return heads.some((head) =>
    ["annotations", "labels"].some((kind) => String(at(value, [...head, kind, INJECT])) === "true"),
  );
}

function istioRemark(path: FieldPath, start: unknown, end: unknown): Remark[] {
  if (typeof start !== "number" || typeof end !== "number") return [];
  const taken = ISTIO_PORTS.filter((port) => port >= start && port <= end);
  if (taken.length === 0) return [];
  const message = `${taken.join(", ")}: in a pod with Istio's sidecar its proxy has this port, and the guest does not get it`;
  return [{ path, message }];
}

const PROBES = ["livenessProbe", "readinessProbe"];

/** Probes go to the pod's address: behind NAT that is the engine, which forwards declared ports alone. */
export function probeRemarks(spec: Mapping, base: FieldPath, model: VmModel): Remark[] {
  const ports = model.nics.flatMap((nic) => (nic.binding === "slirp" ? nic.ports : []));
  if (!model.nics.some((nic) => nic.binding === "slirp")) return [];
  return PROBES.flatMap((probe) =>
    ["tcpSocket", "httpGet"].flatMap((way) => {
      const target = at(spec, [probe, way]);
      if (!isMapping(target) || target["host"] !== undefined || target["port"] === undefined) return [];
      const path = [...base, probe, way, "port"];
      if (!isDeclared(target["port"], ports)) {
        const message = `a probe of ${describeValue(target["port"])}, which is no TCP port that is forwarded to the guest: it always fails; list it under ports`;
        return [{ path, message }];
      }
      if (way === "httpGet") return [];
      const message =
        "behind NAT a forwarded port is accepted before the guest is asked: this probe succeeds with nothing listening in the guest; ask with httpGet or exec";
      return [{ path, message }];
    }),
  );
}

/** `port` is a number, or the name of a port. */
function isDeclared(port: unknown, ports: readonly VmPort[]): boolean {
  const number = typeof port === "string" && /^\d+$/.test(port) ? Number(port) : port;
  return ports.some(
    ({ name, port: first, end = first, protocol }) =>
      protocol === "tcp" &&
      (typeof number === "number" ? number >= first && number <= end : name !== undefined && name === number),
  );
}
