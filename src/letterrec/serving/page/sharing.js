// What is shown, taken elsewhere: the request as a command, the history as a link.

import { $, hasToken } from "./dom.js";

export function startSharing(asked) {
  $("copy-curl").addEventListener("click", () => copy(command(asked()), "The command"));
  $("copy-link").addEventListener("click", () => copy(location.href, "The link"));
}

function command(body) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const token = hasToken() ? ' -H "Authorization: Bearer $TOKEN"' : "";
  const address = new URL("v1/recommend", document.baseURI).href;
  return `curl -s ${quoted(address)}${token} -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(body))}`;
}

async function copy(text, what) {
  $("copied").hidden = false;
  try {
    await navigator.clipboard.writeText(text);
    $("copied").textContent = `${what} is copied.`;
  } catch { // the browser lets pages without https copy nothing by themselves
    $("copied").textContent = "Copy it here:";
  }
  const field = $("copied-text");
  field.value = text;
  field.hidden = false;
  field.select();
}
