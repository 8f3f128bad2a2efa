// One connection as lines of JSON: what happens goes to stdout, what to do comes on stdin.

import { createInterface } from "node:readline";

export function tell(event) {
  process.stdout.write(JSON.stringify(event) + "\n");
}

const bytes = (text) => Buffer.from(text, "base64");

export function attach(ws) {
  ws.on("message", (data, isBinary) =>
    tell(
      isBinary
        ? { event: "message", bytes: data.toString("base64") }
        : { event: "message", text: data.toString() },
    ),
  );
  ws.on("ping", (data) => tell({ event: "ping", bytes: data.toString("base64") }));
  ws.on("pong", (data) => tell({ event: "pong", bytes: data.toString("base64") }));
  ws.on("close", (code, reason) => tell({ event: "close", code, reason: reason.toString() }));
  ws.on("error", (error) => tell({ event: "error", text: String(error) }));
}

const verbs = {
  // parts: the fragments of one message; ping: what goes out before the last of them.
  send(ws, { binary, parts, ping }) {
    parts.forEach((part, i) => {
      const fin = i === parts.length - 1;
      if (fin && ping !== null) {
        ws.ping(bytes(ping));
      }
      ws.send(bytes(part), { binary, fin });
    });
  },
  ping(ws, { payload }) {
    ws.ping(bytes(payload));
  },
  close(ws, { code, reason }) {
    if (code === null) {
      ws.close();
    } else {
      ws.close(code, reason);
    }
  },
};

// Obeys until stdin ends, and ends with it.
export function obey(connection) {
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    const order = JSON.parse(line);
    verbs[order.verb](connection(), order);
  });
  lines.on("close", () => process.exit(0));
}
