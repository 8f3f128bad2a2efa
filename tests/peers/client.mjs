// node client.mjs URL COMPRESSION [CA-FILE]

import { readFileSync } from "node:fs";
import WebSocket from "ws";
import { attach, obey, tell } from "./session.mjs";

const [url, compression, ca] = process.argv.slice(2);

const ws = new WebSocket(url, {
  perMessageDeflate: compression === "true",
  ca: ca === undefined ? undefined : readFileSync(ca),
});
attach(ws);
ws.on("open", () => tell({ event: "open", extensions: ws.extensions }));
obey(() => ws);
