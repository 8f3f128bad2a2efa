// node client.mjs URL COMPRESSION [CA-FILE]

import { readFileSync } from "node:fs";
import WebSocket from "ws";
import { attach, obey, tell } from "./session.mjs";

const [url, compression, ca] = process.argv.slice(2);

const ws = new WebSocket(url, {
  perMessageDeflate: JSON.parse(compression),
  ca: ca === undefined ? undefined : readFileSync(ca),
});
attach(ws);
let answer;
ws.on("upgrade", ({ headers }) => (answer = headers["sec-websocket-extensions"]));
ws.on("open", () => tell({ event: "open", extensions: ws.extensions, answer }));
obey(() => ws);
