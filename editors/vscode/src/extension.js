"use strict";

const { workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

/** Start `mpcompile server` for specs in both syntaxes. */
async function activate() {
  const command = workspace.getConfiguration("mpcompile").get("command", "mpcompile");
  const server = { command, args: ["server"] };
  const documentSelector = ["mpcompile", "mpcompile-yaml", "yaml"].map((language) => ({ scheme: "file", language }));
  client = new LanguageClient("mpcompile", "mpcompile", server, { documentSelector });
  await client.start();
}

/** Stop the server. */
async function deactivate() {
  await client?.stop();
}

module.exports = { activate, deactivate };
