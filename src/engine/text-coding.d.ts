/**
 * TextEncoder and TextDecoder (Encoding Standard), as much of them as the core uses: DHCP's texts are UTF-8. They are
 * all that it takes of what the language itself does not have, and do no input or output.
 */
export {};

declare global {
  class TextEncoder {
    encode(input?: string): Uint8Array<ArrayBuffer>;
  }

  class TextDecoder {
    decode(input?: Uint8Array): string;
  }
}
