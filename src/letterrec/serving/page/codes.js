// How codes are used, level by level, and the tree that they make.

import { $, ask, codePill, codesOf, colours, el, letter, loadPlotly, number, search, tell, whenTyped } from "./dom.js";
import { showItem } from "./recommend.js";

let root = null; // the first column, once it grows
let wanted = null; // the item to show, from another view
let kept = null; // identifiers of the items that the filter found; null without a filter

export async function drawCodes(run) {
  if (!root) {
    root = grow([], $("tree"), run);
    whenTyped($("tree-filter"), 150, () => filter().catch(tell));
  }
  const item = wanted;
  wanted = null;
  if (item) root.then(() => lead(item, run)).catch(tell);
  else root.catch(tell);
  await drawLevels(run);
}

document.addEventListener("item-in-codes", (event) => { wanted = event.detail; });

// Opens the branches down to an item.
async function lead(item, run) {
  $("tree-filter").value = "";
  kept = null;
  sift();
  let column = $("tree").firstChild;
  for (const [depth, code] of item.codes.entries()) {
    const button = column.querySelector(`button[data-code="${code}"]`);
    if (!button) throw new Error(`${item.title} is not in the tree.`);
    open(button);
    if (depth + 1 === item.codes.length || button.dataset.last) button.focus();
    else column = await grow(item.codes.slice(0, depth + 1), $("tree"), run);
  }
  for (const button of $("tree").querySelectorAll("button.open")) {
    const list = button.closest("ul");
    const [own, around] = [button.getBoundingClientRect(), list.getBoundingClientRect()];
    list.scrollTop += own.top - around.top - (list.clientHeight - own.height) / 2;
  }
  $("tree").scrollLeft = $("tree").scrollWidth;
  $("tree-note").textContent = `The way to ${item.title} is open.`;
}

function open(button) {
  for (const other of button.closest(".branch").querySelectorAll("button")) {
    other.classList.toggle("open", other === button);
    if (!other.dataset.last) other.setAttribute("aria-expanded", String(other === button));
  }
}

async function filter() {
  const words = $("tree-filter").value.trim();
  const found = words ? await search(words, 50) : null;
  if (words !== $("tree-filter").value.trim()) return;
  kept = found?.map((item) => codesOf(item.identifier)) ?? null;
  sift();
  const count = found?.length === 50 ? "the first 50 items" : `${found?.length} item${found?.length === 1 ? "" : "s"}`;
  $("tree-note").textContent = found ? `Branches with ${found.length ? count : "nothing"}.` : "";
}

// Hides the branches that lead to none of the items that the filter found.
function sift() {
  for (const button of $("tree").querySelectorAll("button")) {
    const prefix = button.dataset.prefix.split(",").map(Number);
    const leads = (codes) => prefix.every((code, level) => code < 0 || codes[level] === code);
    button.parentElement.hidden = kept !== null && !kept.some(leads);
  }
}

async function drawLevels(run) {
  const { levels, soft, line } = colours();
  if (!$("levels").children.length) {
    $("levels").replaceChildren(...run.levels.map((level, i) =>
      el("figure", {},
        el("figcaption", {}, codeName(i), ` ${level.used} of ${level.size} used, ${level.entropy.toFixed(2)} bits`),
        el("div", { class: "chart", id: `chart-${i}`, role: "img",
          "aria-label": `Items per code at level ${i + 1}, most used first` }))));
  }
  const Plotly = await loadPlotly();
  run.levels.forEach((level, i) => {
    const counts = [...level.counts].sort((a, b) => b - a);
    const even = counts.reduce((a, b) => a + b, 0) / counts.length;
    Plotly.react(`chart-${i}`, [
      { type: "bar", y: counts, marker: { color: levels[i % 6] }, hovertemplate: "%{y} items<extra></extra>" },
      { type: "scatter", mode: "lines", x: [0, counts.length - 1], y: [even, even],
        line: { color: soft, width: 1, dash: "dot" }, hoverinfo: "skip" },
    ], {
      margin: { l: 38, r: 4, t: 8, b: 22 }, showlegend: false, bargap: 0,
      paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { color: soft, size: 11 },
      xaxis: { showgrid: false, zeroline: false }, yaxis: { gridcolor: line, zeroline: false, rangemode: "tozero" },
    }, { displayModeBar: false, responsive: true });
  });
}

const codeName = (level) => el("b", {}, `Level ${level + 1} (${letter(level)}):`);

async function grow(prefix, tree, run) {
  const depth = prefix.length;
  const node = await ask(`/v1/tree?prefix=${prefix.join(",")}`);
  while (tree.children.length > depth) tree.lastChild.remove();
  const most = Math.max(...node.children.map((child) => child.items));
  const pills = prefix.map((code, level) => codePill(level, code));
  const title = depth ? ["below ", el("span", { class: "codes" }, ...pills)] : ["all items"];
  const list = el("ul", {}, ...node.children.map((child) =>
    el("li", {}, branch(child, depth, most, [...prefix, child.code], tree, run))));
  const column = el("div", { class: "branch", role: "group", "aria-label": `Level ${depth + 1}` },
    el("h3", {}, ...title, ` · ${number(node.items)}`), list);
  tree.append(column);
  sift();
  if (depth) column.scrollIntoView({ block: "nearest", inline: "nearest" });
  return column;
}

function branch(child, depth, most, prefix, tree, run) {
  const last = depth + 1 === run.levels.length || child.code < 0;
  const enter = async () => {
    open(button);
    return last ? showItem(child.item_ids[0]) : grow(prefix, tree, run);
  };
  const button = el("button", {
    type: "button", "aria-expanded": last ? null : "false",
    "data-code": child.code, "data-prefix": prefix.join(","), "data-last": last ? "true" : null,
    onclick: () => enter().catch(tell),
    onkeydown: (event) => move(event, button, enter),
  },
    child.code < 0 ? el("span", { class: "code" }, "end") : codePill(depth, child.code),
    el("span", { class: "bar" }, el("i", { style: `width:${(100 * child.items) / most}%` })),
    el("span", { class: "size" }, number(child.items)),
    el("span", { class: "sample" }, child.titles.join(" · ")));
  return button;
}

function move(event, button, enter) {
  const entry = button.parentElement;
  const column = button.closest(".branch");
  const beside = (step) => {
    let other = entry[step];
    while (other?.hidden) other = other[step];
    other?.firstChild.focus();
  };
  if (event.key === "ArrowDown") beside("nextElementSibling");
  else if (event.key === "ArrowUp") beside("previousElementSibling");
  else if (event.key === "ArrowRight")
    enter().then((next) => next?.querySelector("button")?.focus()).catch(tell);
  else if (event.key === "ArrowLeft")
    column.previousElementSibling?.querySelector('[aria-expanded="true"]')?.focus();
  else return;
  event.preventDefault();
}
