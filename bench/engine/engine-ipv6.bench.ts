import { timeCore } from "./core-suite.ts";

timeCore(6, 1440, 1452);
