// Embeddings on a map, flat or in space: what they are of, and where what is shown elsewhere is.

import { $, ask, colours, el, loadPlotly, number, search, tell, whenTyped } from "./dom.js";
import { shownNow } from "./recommend.js";

const OTHERS = 6; // place of the kind that all others share
const ADDED = 200; // added items shown, at most
const MARKED = 50; // items of a history shown, at most
const FOUND = 30;

let drawn = 0; // number of the latest drawing: maps that come late are dropped
let drawnInSpace = null;
let sought = null; // the item to show, from another view
let found = [];

export function fillMapChoices(run) {
  const choices = [];
  if (run.encoder) choices.push(["items", "items by content"]);
  if (!run.tokenizer.startsWith("given"))
    run.levels.forEach((_, i) => choices.push([`codes ${i + 1}`, `codes of level ${i + 1}`]));
  $("map-of").replaceChildren(...choices.map(([value, text]) => el("option", { value }, text)));
  const redraw = () => drawMap().catch(tell);
  for (const id of ["map-of", "map-method", "map-colour"]) $(id).addEventListener("change", redraw);
  for (const radio of document.getElementsByName("dims")) radio.addEventListener("change", redraw);
  $("map-find").addEventListener("input", () => { sought = null; });
  whenTyped($("map-find"), 200, () => find().then(redraw).catch(tell));
}

document.addEventListener("item-in-map", (event) => {
  sought = event.detail;
  found = [event.detail];
  $("map-find").value = "";
  if ($("map-of").options.length) $("map-of").selectedIndex = 0;
});

async function find() {
  const words = $("map-find").value.trim();
  found = words ? await search(words, FOUND) : [];
}

export async function drawMap() {
  const choice = $("map-of").value;
  if (!choice) {
    $("map-note").textContent = "This run has no embeddings to show.";
    return;
  }
  const mine = ++drawn;
  const [of, level = "1"] = choice.split(" ");
  const codes = of === "codes";
  const method = $("map-method").value;
  const flat = method === "tsne";
  const space = !flat && document.querySelector("[name=dims]:checked").value === "3";
  document.querySelector("fieldset.switch").disabled = flat;
  const [Plotly, map] = await Promise.all([
    loadPlotly(), patiently(`/v1/map?of=${of}&level=${level}&method=${method}`, () => mine === drawn)]);
  const marks = codes ? [] : await places(method);
  if (mine !== drawn) return;
  fillColours(map);
  const look = colours();
  const points = codes ? [codePoints(map, look, space)] : itemPoints(map, look, space);
  const traces = [...points, ...marks.map((mark) => markPoints(mark, look, space))];
  if (space !== drawnInSpace) Plotly.purge("map-plot");
  drawnInSpace = space;
  await Plotly.react("map-plot", traces, layout(map, look, space), { displaylogo: false, responsive: true });
  note(map, marks, codes);
}

// A map that takes seconds is asked for until it is there.
async function patiently(path, wanted) {
  for (;;) {
    try {
      return await ask(path);
    } catch (error) {
      if (error.status !== 202 || !wanted()) throw error;
      $("map-note").textContent = "The map is being computed …";
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

// Where the items of the history, the recommended, the added and the found ones are.
async function places(method) {
  const { history, recommended } = shownNow();
  const sets = [
    ["history", history.slice(-MARKED)], ["recommended", history.length ? recommended : []], ["found", found],
  ].map(([name, items]) => [name, new Set(items.map((item) => item.item))]);
  const ids = [...new Set(sets.flatMap(([, items]) => [...items]))];
  const query = ids.map((id) => `&item=${encodeURIComponent(id)}`).join("");
  const { items } = await patiently(`/v1/map/items?method=${method}&added=${ADDED}${query}`, () => true);
  const marks = sets.map(([name, wanted]) => ({ name, items: items.filter((item) => wanted.has(item.item)) }));
  return [{ name: "added", items: items.filter((item) => item.added) }, ...marks].filter((mark) => mark.items.length);
}

function fillColours(map) {
  const before = $("map-colour").value;
  $("map-colour-choice").hidden = !map.colours.length;
  $("map-colour").replaceChildren(...map.colours.map(({ title }) =>
    el("option", { value: title, selected: title === before }, title)));
}

const trace = (space, more) => ({
  type: space ? "scatter3d" : "scatter", mode: "markers", hovertemplate: "%{text}<extra></extra>", ...more,
});

function codePoints(map, { line, accent, card }, space) {
  const largest = Math.max(1, ...map.size);
  return trace(space, {
    x: map.x, y: map.y, ...(space && { z: map.z }), showlegend: false,
    text: map.label.map((label, i) => `code ${map.code[i]}: ${map.size[i]} items<br>${brief(label)}`),
    marker: {
      size: map.size.map((n) => (space ? 4 : 6) + 12 * Math.sqrt(n / largest)),
      color: map.size, opacity: 0.9, colorscale: [[0, line], [1, accent]],
      colorbar: { title: { text: "items" }, thickness: 10, len: 0.6 },
      line: { width: space ? 0 : 1, color: card },
    },
  });
}

// A trace for each kind, so that the legend names it and can hide it.
function itemPoints(map, { levels, soft }, space) {
  const kinds = map.colours.find(({ title }) => title === $("map-colour").value);
  return kinds.names.map((name, kind) => {
    const rows = kinds.of_each.flatMap((own, i) => (own === kind ? [i] : []));
    const take = (column) => rows.map((i) => column[i]);
    return trace(space, {
      name: brief(name, 40), x: take(map.x), y: take(map.y), ...(space && { z: take(map.z) }),
      text: rows.map((i) => `${brief(map.label[i])}<br>first code ${map.code[i]}`),
      marker: { size: space ? 3 : 5, opacity: kind < OTHERS ? 0.75 : 0.4, color: kind < OTHERS ? levels[kind] : soft },
    });
  });
}

const SIGNS = { added: "diamond-open", history: "circle-open", recommended: "square-open", found: "x" };

function markPoints({ name, items }, { ink, focus, bad }, space) {
  const few = items.length <= 12;
  const color = { added: ink, history: focus, recommended: ink, found: bad }[name];
  return trace(space, {
    name: `${name} (${items.length})`, mode: few && name === "found" ? "markers+text" : "markers",
    x: items.map((item) => item.x), y: items.map((item) => item.y), ...(space && { z: items.map((item) => item.z) }),
    text: items.map((item) => brief(item.title, few && name === "found" ? 30 : 90)), textposition: "top center",
    hovertemplate: `%{text}<br>${name}<extra></extra>`,
    marker: {
      symbol: SIGNS[name], size: space ? 7 : 12, color, line: { width: name === "found" ? 0 : 2.5, color },
    },
  });
}

function layout(map, { soft, line }, space) {
  const axis = (i) => ({
    title: { text: map.explained.length ? `PC ${i + 1} (${(100 * map.explained[i]).toFixed(0)} %)` : "" }, color: soft,
    gridcolor: line, zerolinecolor: line, showbackground: false, showticklabels: map.explained.length > 0,
  });
  return {
    margin: space ? { l: 0, r: 0, t: 0, b: 0 } : { l: 55, r: 10, t: 10, b: 45 },
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { color: soft }, hoverlabel: { align: "left" },
    legend: { orientation: "h", y: space ? 0 : -0.2, yanchor: "top", itemsizing: "constant" },
    ...(space ? { scene: { xaxis: axis(0), yaxis: axis(1), zaxis: axis(2) } } : { xaxis: axis(0), yaxis: axis(1) }),
  };
}

function note(map, marks, codes) {
  const shown = map.x.length < map.total ? `${number(map.x.length)} of ${number(map.total)}` : number(map.total);
  const words = $("map-find").value.trim();
  const lacking = words && !codes && !marks.some(({ name }) => name === "found") ? `; nothing found for “${words}”` : "";
  const here = sought && !codes ? `; “${sought.title}” is marked` : "";
  $("map-note").textContent = codes
    ? `${shown} codes; the larger and stronger in colour, the more items have it`
    : `${shown} items; the colour is the ${$("map-colour").value}${lacking}${here}`;
}

function brief(text, most = 90) {
  const short = text.length > most ? `${text.slice(0, most)}…` : text;
  return short.replace(/[<>&]/g, (c) => ({ "<": "&lt;", ">": "&gt;", "&": "&amp;" })[c]);
}
