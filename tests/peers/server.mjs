// node server.mjs COMPRESSION [CERT-AND-KEY-FILE]
//
// Prints its port; what comes on stdin is for the connection that was accepted last.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { WebSocketServer } from "ws";
import { attach, obey, tell } from "./session.mjs";

const [compression, file] = process.argv.slice(2);

const pem = file === undefined ? undefined : readFileSync(file);
const server = pem ? createSecureServer({ cert: pem, key: pem }) : createServer();
let last;

new WebSocketServer({ server, perMessageDeflate: JSON.parse(compression) }).on(
  "connection",
  (ws) => {
    last = ws;
    attach(ws);
    tell({ event: "open", extensions: ws.extensions });
  },
);
server.listen(0, "127.0.0.1", () => tell({ event: "listening", port: server.address().port }));
obey(() => last);
