// The frame of the page: tabs, theme, what is served. Each view lives in a module of its own.

import { readAddress, showView } from "./address.js";
import { $, ask, number, tell } from "./dom.js";
import { fillExamples, openAddress, startRecommending } from "./recommend.js";
import { drawCodes } from "./codes.js";
import { drawMap, fillMapChoices } from "./map.js";
import { drawMetrics, modelOf } from "./metrics.js";

const views = ["recommend", "codes", "map", "metrics"];
let run = null;
let shown = "recommend";

function show(view, focus = false) {
  shown = view;
  for (const name of views) {
    const tab = $(`tab-${name}`);
    tab.setAttribute("aria-selected", String(name === view));
    tab.tabIndex = name === view ? 0 : -1;
    $(name).hidden = name !== view;
    if (focus && name === view) tab.focus();
  }
  showView(view);
  draw();
}

function draw() {
  if (!run) return;
  if (shown === "codes") drawCodes(run).catch(tell);
  if (shown === "map") drawMap().catch(tell);
  if (shown === "metrics") drawMetrics(run).catch(tell);
}

// Other views ask for one of them: an item is shown in the tree or on the map.
document.addEventListener("view", (event) => show(event.detail));

// The map marks what is recommended, which may come after it.
document.addEventListener("answered", () => { if (shown === "map") draw(); });

function startTabs() {
  views.forEach((view, i) => {
    const tab = $(`tab-${view}`);
    tab.addEventListener("click", () => show(view));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) show(views[(i + step + views.length) % views.length], true);
      else if (event.key === "Home") show(views[0], true);
      else if (event.key === "End") show(views.at(-1), true);
      else return;
      event.preventDefault();
    });
  });
  addEventListener("hashchange", () => {
    const { view } = readAddress();
    openAddress().catch(tell);
    if (views.includes(view)) show(view);
  });
}

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const theme = localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    draw();
  };
  dark.addEventListener("change", apply);
  $("theme").addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", next);
    apply();
  });
  apply();
}

async function start() {
  startTheme();
  startTabs();
  startRecommending();
  run = await ask("/v1/run");
  const added = run.added ? `, ${number(run.added)} added since` : "";
  $("run").textContent =
    `${run.name} · ${number(run.items)} items${added} · ${number(run.users)} users · ${modelOf(run)}`;
  document.title = `${run.name} · LetterRec`;
  if (!run.levels.length) for (const view of views.splice(1, 2)) $(`tab-${view}`).hidden = true;
  fillExamples(run);
  fillMapChoices(run);
  const wanted = readAddress().view;
  await openAddress();
  show(views.includes(wanted) ? wanted : "recommend");
}

start().catch(tell);
