// How codes are used, level by level, and the tree that they make.

import { $, ask, codePill, colours, el, letter, loadPlotly, number, tell } from "./dom.js";
import { showItem } from "./recommend.js";

let grown = false;

export async function drawCodes(run) {
  if (!grown) {
    grown = true;
    grow([], $("tree"), run).catch(tell);
  }
  await drawLevels(run);
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
  if (depth) column.scrollIntoView({ block: "nearest", inline: "nearest" });
  return column;
}

function branch(child, depth, most, prefix, tree, run) {
  const last = depth + 1 === run.levels.length || child.code < 0;
  const open = async () => {
    if (last) return showItem(child.item_ids[0]);
    for (const other of button.closest(".branch").querySelectorAll("button"))
      other.setAttribute("aria-expanded", String(other === button));
    return grow(prefix, tree, run);
  };
  const button = el("button", {
    type: "button", "aria-expanded": last ? null : "false",
    onclick: () => open().catch(tell),
    onkeydown: (event) => move(event, button, open),
  },
    child.code < 0 ? el("span", { class: "code" }, "end") : codePill(depth, child.code),
    el("span", { class: "bar" }, el("i", { style: `width:${(100 * child.items) / most}%` })),
    el("span", { class: "size" }, number(child.items)),
    el("span", { class: "sample" }, child.titles.join(" · ")));
  return button;
}

function move(event, button, open) {
  const entry = button.parentElement;
  const column = button.closest(".branch");
  if (event.key === "ArrowDown") entry.nextElementSibling?.firstChild.focus();
  else if (event.key === "ArrowUp") entry.previousElementSibling?.firstChild.focus();
  else if (event.key === "ArrowRight")
    open().then((next) => next?.querySelector("button")?.focus()).catch(tell);
  else if (event.key === "ArrowLeft")
    column.previousElementSibling?.querySelector('[aria-expanded="true"]')?.focus();
  else return;
  event.preventDefault();
}
