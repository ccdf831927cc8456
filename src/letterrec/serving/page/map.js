// Embeddings on their first principal components, flat or in space.

import { $, ask, colours, el, loadPlotly, number, tell } from "./dom.js";

export function fillMapChoices(run) {
  const choices = [];
  if (run.encoder) choices.push(["items", "items by content"]);
  if (!run.tokenizer.startsWith("given"))
    run.levels.forEach((_, i) => choices.push([`codes ${i + 1}`, `codes of level ${i + 1}`]));
  $("map-of").replaceChildren(...choices.map(([value, text]) => el("option", { value }, text)));
  $("map-of").addEventListener("change", () => drawMap().catch(tell));
  for (const radio of document.getElementsByName("dims"))
    radio.addEventListener("change", () => drawMap().catch(tell));
}

export async function drawMap() {
  const choice = $("map-of").value;
  if (!choice) {
    $("map-note").textContent = "This run has no embeddings to show.";
    return;
  }
  const [of, level = "1"] = choice.split(" ");
  const space = document.querySelector("[name=dims]:checked").value === "3";
  const [Plotly, map] = await Promise.all([loadPlotly(), ask(`/v1/map?of=${of}&level=${level}`)]);
  const { soft, line, accent, card } = colours();
  const largest = Math.max(1, ...map.size);
  const codes = of === "codes";
  const shade = codes ? map.size : map.code.map((code) => (code * 47) % 360);
  const trace = {
    type: space ? "scatter3d" : "scatter", mode: "markers", x: map.x, y: map.y,
    text: map.label.map((label, i) => tooltip(label, map.code[i], map.size[i], codes)),
    hovertemplate: "%{text}<extra></extra>",
    marker: {
      size: codes ? map.size.map((n) => (space ? 4 : 6) + 12 * Math.sqrt(n / largest)) : (space ? 3 : 5),
      color: shade, opacity: codes ? 0.9 : 0.75,
      line: { width: codes && !space ? 1 : 0, color: card },
      ...(codes ? { colorscale: [[0, line], [1, accent]] } : { colorscale: wheel(), cmin: 0, cmax: 360 }),
    },
  };
  if (space) trace.z = map.z;
  const axis = (i) => ({
    title: { text: `PC ${i + 1} (${(100 * map.explained[i]).toFixed(0)} %)` }, color: soft,
    gridcolor: line, zerolinecolor: line, showbackground: false,
  });
  const layout = {
    margin: space ? { l: 0, r: 0, t: 0, b: 0 } : { l: 55, r: 10, t: 10, b: 45 },
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { color: soft }, hoverlabel: { align: "left" },
    ...(space ? { scene: { xaxis: axis(0), yaxis: axis(1), zaxis: axis(2) } } : { xaxis: axis(0), yaxis: axis(1) }),
  };
  if (space !== drawnInSpace) Plotly.purge("map-plot");
  drawnInSpace = space;
  await Plotly.react("map-plot", [trace], layout, { displaylogo: false, responsive: true });
  const shown = map.x.length < map.total ? `${number(map.x.length)} of ${number(map.total)}` : number(map.total);
  $("map-note").textContent = codes
    ? `${shown} codes; the larger and stronger in colour, the more items have it`
    : `${shown} items; the colour is the first code`;
}

let drawnInSpace = null;

function tooltip(label, code, size, codes) {
  const safe = label.replace(/[<>&]/g, (c) => ({ "<": "&lt;", ">": "&gt;", "&": "&amp;" })[c]);
  const short = safe.length > 90 ? `${safe.slice(0, 90)}…` : safe;
  return codes ? `code ${code}: ${size} items<br>${short}` : `${short}<br>first code ${code}`;
}

function wheel() {
  return Array.from({ length: 13 }, (_, i) => [i / 12, `hsl(${i * 30} 55% 52%)`]);
}
