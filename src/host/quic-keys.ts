/**
 * The cryptography of QUIC's Initial packets by OpenSSL: keys from the connection id that a client has chosen (RFC 9001
 * section 5.2, RFC 9369 section 3.3), header protection (section 5.4.3) and AEAD_AES_128_GCM (section 5.3).
 */
import { createCipheriv, createDecipheriv, createHmac } from "node:crypto";
import {
  QUIC_HEADER_KEY_AT,
  QUIC_IV_AT,
  QUIC_IV_OCTETS,
  QUIC_KEYS_OCTETS,
  QUIC_TAG_OCTETS,
  type QuicKeys,
} from "../engine/boundary.ts";

const SECRET_OCTETS = 32;
/** What the label of each is called in versions 1 and 2, and their salts. */
const LABELS = ["quic ", "quicv2 "] as const;
const SALTS = [
  Buffer.from("38762cf7f55934b34d179ae6a4c80cadccbb7f0a", "hex"),
  Buffer.from("0dede3def700a6db819381be6e269dcbf9bd2ed9", "hex"),
] as const;

function hmac(key: Uint8Array, data: Uint8Array): Buffer {
  return createHmac("sha256", key).update(data).digest();
}

/** HKDF-Expand-Label (RFC 8446 section 7.1) without context, of no more octets than one HMAC gives. */
function expandLabel(secret: Uint8Array, label: string, octets: number): Buffer {
  const full = Buffer.from(`tls13 ${label}`, "latin1");
  const info = Buffer.concat([Buffer.of(0, octets, full.length), full, Buffer.of(0, 1)]);
  return hmac(secret, info).subarray(0, octets);
}

export class HostQuicKeys implements QuicKeys {
  derive(isVersion2: boolean, id: Uint8Array, keys: Uint8Array): void {
    const [salt, label] = isVersion2 ? [SALTS[1], LABELS[1]] : [SALTS[0], LABELS[0]];
    const secret = expandLabel(hmac(salt, id), "client in", SECRET_OCTETS);
    keys.set(expandLabel(secret, `${label}key`, QUIC_IV_AT));
    keys.set(expandLabel(secret, `${label}iv`, QUIC_IV_OCTETS), QUIC_IV_AT);
    keys.set(expandLabel(secret, `${label}hp`, QUIC_KEYS_OCTETS - QUIC_HEADER_KEY_AT), QUIC_HEADER_KEY_AT);
  }

  headerMask(keys: Uint8Array, sample: Uint8Array, mask: Uint8Array): void {
    const cipher = createCipheriv("aes-128-ecb", keys.subarray(QUIC_HEADER_KEY_AT), null);
    mask.set(cipher.setAutoPadding(false).update(sample));
  }

  open(
    keys: Uint8Array,
    nonce: Uint8Array,
    header: Uint8Array,
    sealed: Uint8Array,
    opened: Uint8Array,
  ): boolean {
    const octets = sealed.length - QUIC_TAG_OCTETS;
    const decipher = createDecipheriv("aes-128-gcm", keys.subarray(0, QUIC_IV_AT), nonce);
    decipher.setAAD(header).setAuthTag(sealed.subarray(octets));
    const plain = decipher.update(sealed.subarray(0, octets));
    try {
      decipher.final();
    } catch {
      return false;
    }
    opened.set(plain);
    return true;
  }
}
