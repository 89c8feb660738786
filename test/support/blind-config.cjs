/** Preloaded: a Node that does not say how it was built. */
Object.defineProperty(process, "config", { value: {} });
