// What is shown, as an address that can be shared: "#recommend/item=a&item=b&k=20".

import { $ } from "./dom.js";

const FIELDS = { k: "10", behaviour: "", domain: "", wish: "" }; // and their usual values

let view = "recommend";
let shared = "";

export function readAddress() {
  const [name, ...rest] = location.hash.slice(1).split("/");
  return { view: name, asked: new URLSearchParams(rest.join("/")) };
}

export function showView(name) {
  view = name;
  write();
}

export function showHistory(items) {
  const asked = new URLSearchParams();
  for (const item of items) asked.append("item", item.item);
  if (items.some((item) => item.behaviour)) for (const item of items) asked.append("by", item.behaviour ?? "");
  for (const [name, usual] of Object.entries(FIELDS))
    if (($(name)?.value ?? usual) !== usual) asked.append(name, $(name).value);
  if (!$("exclude-seen").checked) asked.append("seen", "1");
  shared = asked.toString();
  write();
}

// Fields get the values that the address names; a choice that there is not stays as it was.
export function fillFields(asked) {
  for (const [name, usual] of Object.entries(FIELDS)) {
    const field = $(name);
    if (!field) continue;
    const before = field.value;
    field.value = asked.get(name) ?? usual;
    if (field.value === "" && usual !== "") field.value = before;
  }
  $("exclude-seen").checked = asked.get("seen") !== "1";
}

export const sharedNow = () => shared;

function write() {
  const hash = `#${view}${shared && `/${shared}`}`;
  if (location.hash !== hash) history.replaceState(null, "", hash);
}
