import { timeCore } from "./core-suite.ts";

timeCore(4, 1460, 1472);
