// Make a history, see what follows it and why.

import { fillFields, readAddress, sharedNow, showHistory } from "./address.js";
import { $, ask, codePills, codesOf, el, letter, number, search, tell, thumbnail, whenTyped } from "./dom.js";
import { startSharing } from "./sharing.js";

const MOST_SHOWN = 50; // recommendations
const LATEST = 10; // items of a history that are shown before the earlier ones are asked for
const MOST_ASKED = 1000; // items of a history that the server takes

let items = []; // oldest first; each with its behaviour where the run tells them apart
let behaviours = []; // kinds of interactions that the run knows
let usual = ""; // the behaviour of an item that is added
let unfolded = false;
let exampleUser = ""; // until the run is known
let answered = []; // the items that are recommended now
let lost = []; // ids of the address that the catalogue does not have
let latest = 0; // number of the latest request: answers that come late are dropped

export function startRecommending() {
  startSearch();
  startSharing(asked);
  $("user-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const user = $("user").value.trim() || exampleUser;
    if (user) loadUser(user).catch(tell);
  });
  $("clear").addEventListener("click", () => setHistory([]));
  $("k").addEventListener("change", () => { boundK(); change(); });
  $("earlier").addEventListener("click", () => { unfolded = !unfolded; drawHistory(); });
  $("exclude-seen").addEventListener("change", change);
  whenTyped($("wish"), 150, change);
  $("behaviour").addEventListener("change", change);
  $("domain").addEventListener("change", change);
  $("item").querySelector(".close").addEventListener("click", () => $("item").close());
}

export function fillExamples(run) {
  exampleUser = run.example_user;
  $("wish-box").hidden = !run.follows_instructions;
  fillBehaviours(run);
  $("user").placeholder = `such as ${exampleUser}`;
  const buttons = run.example_items.slice(0, 4).map((item) =>
    el("button", { type: "button", class: "ghost", title: item.title, onclick: () => add(item) },
      `+ ${item.title}`));
  $("examples").replaceChildren(...buttons);
  $("domain").replaceChildren(el("option", { value: "" }, "all domains"),
    ...run.domains.map(({ name, items: n }) => el("option", { value: name }, `${name} (${number(n)} items)`)));
  $("domain-choice").hidden = run.domains.length < 2;
  refresh();
}

export const shownNow = () => ({ history: items, recommended: answered });

// Takes over the history that the address names; one that is shown already stays.
export async function openAddress() {
  const { asked } = readAddress();
  if (asked.toString() === sharedNow()) return;
  fillFields(asked);
  boundK();
  const history = asked.getAll("item").slice(-MOST_ASKED);
  if (!history.length) return setHistory([]);
  const { history: named, skipped } = await ask("/v1/recommend", { history, explain: true, k: 1 });
  const by = asked.getAll("by");
  const kinds = by.length === history.length ? by.filter((_, i) => !skipped.includes(history[i])) : [];
  setHistory(
    named.map((item, i) => (behaviours.includes(kinds[i]) ? { ...item, behaviour: kinds[i] } : withUsual(item))),
    skipped);
}

const withUsual = (item) => (usual ? { ...item, behaviour: usual } : item);

function fillBehaviours(run) {
  behaviours = run.behaviours;
  usual = run.targets[0] ?? behaviours[0] ?? "";
  const targets = run.targets.length ? run.targets.join(" or ") : "any of these";
  $("behaviour").replaceChildren(
    el("option", { value: "" }, targets),
    ...behaviours.filter((name) => name !== targets).map((name) => el("option", { value: name }, name)));
  $("behaviour-choice").hidden = !run.reads_behaviours;
}

// How likely each behaviour is the next one stands behind its name.
function showOdds(odds) {
  for (const option of $("behaviour").options) {
    const name = option.value || (option.textContent in (odds ?? {}) ? option.textContent : null);
    const share = odds?.[name];
    if (name) option.label = share === undefined ? name : `${name} (${percent(share)} likely next)`;
  }
}

function add(item) {
  const had = items.some((other) => other.item === item.item && other.behaviour === (usual || undefined));
  if (!had) setHistory([...items, withUsual(item)]);
}

function behaviourOf(item, place) {
  if (!behaviours.length) return null;
  const choice = el("select", {
    "aria-label": `Behaviour of ${item.title}`,
    onchange: (event) => setHistory(items.with(place, { ...item, behaviour: event.target.value })),
  }, ...behaviours.map((name) => el("option", { value: name, selected: name === item.behaviour }, name)));
  return choice;
}

// The focus goes to what has taken the place of the removed one.
function remove(place) {
  const shown = $("history").children.length;
  const at = [...$("history").querySelectorAll(".remove")].indexOf(document.activeElement);
  setHistory(items.filter((_, j) => j !== place));
  const buttons = $("history").querySelectorAll(".remove");
  if (at >= 0 && shown) (buttons[Math.min(at, buttons.length - 1)] ?? $("search")).focus();
}

function setHistory(next, unknown = []) {
  items = next;
  lost = unknown;
  if (items.length <= LATEST) unfolded = false;
  $("examples").hidden = items.length > 0;
  drawHistory();
  change();
}

function drawHistory() {
  const earlier = Math.max(0, items.length - LATEST);
  const first = unfolded ? 0 : earlier;
  const entries = items.slice(first).map((item, i) =>
    el("li", {},
      thumbnail(item),
      el("span", { class: "title" }, itemLink(item), " ", codePills(item.identifier)),
      behaviourOf(item, first + i),
      el("button", {
        type: "button", class: "ghost remove", "aria-label": `Remove ${item.title}`,
        onclick: () => remove(first + i),
      }, "✕")));
  $("past").hidden = !items.length;
  $("history").replaceChildren(...entries.reverse());
  $("history").classList.toggle("unfolded", unfolded);
  $("earlier").hidden = !earlier;
  $("earlier").textContent = unfolded ? "Fold the earlier ones" : `${number(earlier)} earlier`;
  $("earlier").setAttribute("aria-expanded", String(unfolded));
}

function boundK() {
  const field = $("k");
  const asked = field.value.trim();
  const wanted = asked === "" ? 10 : Math.round(Number(asked));
  const k = Math.min(MOST_SHOWN, Math.max(1, wanted));
  const note = $("k-note");
  note.hidden = asked === String(k);
  note.textContent = note.hidden ? "" : `1 to ${MOST_SHOWN} are shown here: ${k} instead of ${asked || "none"}.`;
  field.value = String(k);
}

// What went wrong before is over when something is changed, not when a late answer comes.
function change() {
  tell(null);
  showHistory(items);
  refresh();
}

// What is asked of the server for what the page shows.
function asked() {
  const history = items.slice(-MOST_ASKED);
  return {
    history: history.map((item) => item.item), k: Number($("k").value) || 10,
    exclude_seen: $("exclude-seen").checked, explain: true, ...(wish() && { instruction: wish() }),
    ...(behaviours.length && { behaviours: history.map((item) => item.behaviour) }),
    ...($("behaviour").value && { behaviour: $("behaviour").value }),
    ...($("domain").value && { domain: $("domain").value }),
  };
}

async function loadUser(user) {
  const answer = await ask("/v1/recommend", { user, explain: true, k: 1 });
  unfolded = false;
  const kinds = answer.behaviours;
  setHistory(kinds ? answer.history.map((item, i) => ({ ...item, behaviour: kinds[i] })) : answer.history);
}

// What is wanted, in words; null where nothing is, or no letter or digit of it is typed yet.
function wish() {
  const words = $("wish").value.trim();
  return !$("wish-box").hidden && /[\p{L}\p{N}]/u.test(words) ? words : null;
}

async function refresh() {
  const mine = ++latest;
  const instruction = wish();
  try {
    const answer = await ask("/v1/recommend", asked());
    if (mine !== latest) return;
    answered = answer.items;
    show(answer.items, answer.skipped.length, instruction, answer.note);
    showOdds(answer.next_behaviour);
    document.dispatchEvent(new Event("answered"));
  } catch (error) {
    if (mine === latest) tell(error);
  }
}

function show(found, skipped, instruction, note) {
  const count = items.length === 1 ? "1 item" : `${items.length} items`;
  const wished = instruction ? ` and “${instruction}”` : "";
  $("status").textContent = items.length
    ? `${found.length} for a history of ${count}${wished}`
    : instruction ? `${found.length} for “${instruction}”, without a history`
      : "Without a history: what is most popular. Find an item to begin.";
  if (note) $("status").textContent += `: ${note}`;
  if (skipped) $("status").textContent += `; ${skipped} of them no longer in the catalogue, left out`;
  if (lost.length) $("status").textContent += `; the catalogue does not have, of this address: ${lost.join(", ")}`;
  if (!found.length) $("status").textContent +=
    `. Everything else is in the history${$("domain").value ? ", of another domain" : ""}, ` +
    (instruction ? "blocked, deleted or ruled out." : "blocked or deleted.");
  const weight = (item) => (item.log_probability === null ? Math.max(item.score, 0) : Math.exp(item.score));
  const best = (found[0] && weight(found[0])) || 1;
  $("answers").replaceChildren(...found.map((item, i) => {
    const scored = item.log_probability === null;
    const why = item.because?.[0];
    return el("li", {},
      el("span", { class: "rank" }, `${i + 1}`),
      el("span", { class: "title" }, thumbnail(item), itemLink(item)),
      el("span", { class: "score", title: scored ? "score" : "probability, and its natural logarithm" },
        scored ? item.score.toPrecision(3) : `${percent(weight(item))} (${item.score.toFixed(2)})`),
      el("span", { class: "bar" }, el("i", { style: `width:${(100 * weight(item)) / best}%` })),
      el("span", { class: "detail" },
        codePills(item.identifier, why?.shared), el("span", { class: "id" }, item.item)),
      item.because ? explain(item) : null);
  }));
}

// What carried the recommendation: the parts of its probability, largest first.
function explain(item) {
  const named = item.because.filter((why) => why.share >= 0.005).slice(0, 3);
  const parts = named.map((why) => [why.share, tie(why)]);
  if (item.recommender !== null) {
    parts.push([item.recommender, ["the recommender's own"]]);
    const rest = 1 - parts.reduce((sum, [share]) => sum + share, 0);
    if (rest >= 0.005) parts.push([rest, ["other items of the history"]]);
    parts.sort(([a], [b]) => b - a);
    return lines(parts.map(([share, words]) => [`${Math.round(100 * share)} % `, ...words]));
  }
  return item.because.length ? lines([tie(item.because[0])]) : null;
}

const lines = (each) =>
  el("span", { class: "why" }, ...each.flatMap((words, i) => (i ? [" · ", ...words] : words)));

// What an item of the history has to do with the recommended one.
function tie(why) {
  const name = el("b", {}, why.title);
  if (why.followed) return ["followed ", name, why.followed === 1 ? " once" : ` in ${number(why.followed)} histories`];
  const shared = why.shared.flatMap((equal, level) => (equal ? [letter(level)] : []));
  if (why.share && why.similarity !== null) return ["similar to ", name];
  if (shared.length) return [`shares ${shared.length === 1 ? "code" : "codes"} ${shared.join(", ")} with `, name];
  return ["by way of ", name];
}

const percent = (p) => (p >= 0.001 ? `${(100 * p).toFixed(1)} %` : `${(100 * p).toPrecision(1)} %`);

function itemLink(item) {
  return el("button", { type: "button", class: "link", onclick: () => showItem(item.item).catch(tell) }, item.title);
}

export async function showItem(id) {
  const item = await ask(`/v1/items/${id.split("/").map(encodeURIComponent).join("/")}`);
  $("item-title").textContent = item.title;
  const facts = [item.interactions === 1 ? "1 interaction" : `${item.interactions} interactions`];
  if (item.added) facts.push("added after training");
  if (!$("domain-choice").hidden) facts.push(item.domain);
  if (item.state !== "active") facts.push(item.state);
  const neighbours = item.neighbours.map((other) =>
    el("li", {}, itemLink(other), codePills(other.identifier, sharedWith(item, other))));
  $("item-body").replaceChildren(
    thumbnail(item) ?? "",
    el("p", {}, codePills(item.identifier), " ", el("span", { class: "id" }, item.item)),
    el("p", { class: "quiet" }, facts.join(" · ")),
    el("p", { class: "text" }, item.text ?? ""),
    el("div", { class: "actions" },
      el("button", { type: "button", onclick: () => { add(item); $("item").close(); } }, "Add to the history"),
      item.codes.length ? elsewhere(item, "codes", "Show in the tree") : null,
      item.codes.length ? elsewhere(item, "map", "Show on the map") : null),
    el("h2", { style: "margin-top:1.1rem" }, "Near in code space"),
    neighbours.length ? el("ul", {}, ...neighbours) : el("p", { class: "quiet" }, "No item shares a code."));
  if (!$("item").open) $("item").showModal();
  $("item").scrollTop = 0;
}

// A button that leads to an item in another view.
function elsewhere(item, view, text) {
  const go = () => {
    $("item").close();
    document.dispatchEvent(new CustomEvent(`item-in-${view}`, { detail: item }));
    document.dispatchEvent(new CustomEvent("view", { detail: view }));
  };
  return el("button", { type: "button", class: "ghost", onclick: go }, text);
}

function sharedWith(item, other) {
  return codesOf(other.identifier).map((code, level) => code === item.codes[level]);
}

function startSearch() {
  const input = $("search");
  const list = $("found");
  let found = [];
  let active = -1;
  let asked = 0;

  const close = () => {
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const choose = (i) => {
    add(found[i]);
    input.value = "";
    close();
    input.focus();
  };
  const mark = (i) => {
    active = i;
    [...list.children].forEach((option, j) => {
      option.setAttribute("aria-selected", String(j === i));
      if (j === i) option.scrollIntoView({ block: "nearest" });
    });
    input.setAttribute("aria-activedescendant", `found-${i}`);
  };
  const look = async () => {
    const words = input.value.trim();
    const mine = ++asked;
    if (!words) return close();
    const answer = await search(words, 12);
    if (mine !== asked) return;
    found = answer;
    list.replaceChildren(...found.map((item, i) =>
      el("li", {
        role: "option", id: `found-${i}`, "aria-selected": "false",
        onmousedown: (event) => { event.preventDefault(); choose(i); },
      }, thumbnail(item), el("span", { class: "title" }, item.title), " ", codePills(item.identifier))));
    if (!found.length) list.append(el("li", { class: "none", role: "option", "aria-disabled": "true" }, "nothing found"));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    active = -1;
  };
  whenTyped(input, 120, () => look().catch(tell));
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return close();
    if (list.hidden || !found.length) return;
    if (event.key === "ArrowDown") mark((active + 1) % found.length);
    else if (event.key === "ArrowUp") mark((active + found.length - (active < 0 ? 0 : 1)) % found.length);
    else if (event.key === "Enter") choose(Math.max(0, active));
    else return;
    event.preventDefault();
  });
}
