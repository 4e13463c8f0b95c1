"use strict";

const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { version } = require("./package.json");

const read = (name) => fs.readFileSync(path.join(__dirname, "public", name), "utf8").replaceAll("{{version}}", version);

const FILES = {
  "/": ["text/html; charset=utf-8", read("index.html")],
  "/login": ["text/html; charset=utf-8", read("login.html")],
  "/login.js": ["text/javascript; charset=utf-8", read("login.js")],
};

const server = http.createServer((request, response) => {
  const found = FILES[request.url.split("?")[0]];
  const [type, body] = found || ["text/plain; charset=utf-8", "Not found\n"];
  response.writeHead(found ? 200 : 404, { "Content-Type": type, "Content-Length": Buffer.byteLength(body) });
  response.end(request.method === "HEAD" ? undefined : body);
});

// Longer than nginx keeps an idle connection, so that it is nginx who closes it.
server.keepAliveTimeout = 75000;
server.listen(3000, "0.0.0.0", () => console.log(`frontend ${version} listens on port 3000`));

process.on("SIGTERM", () => server.close(() => process.exit(0)) && server.closeIdleConnections());
