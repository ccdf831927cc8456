// The run's metrics, and its report where one was written.

import { $, ask, askText, el, number } from "./dom.js";

const NAMES = { "recall@5": "Recall@5", "recall@10": "Recall@10", "ndcg@5": "NDCG@5", "ndcg@10": "NDCG@10" };
let shown = false;

export async function drawMetrics(run) {
  if (shown) return;
  shown = true;
  $("facts").replaceChildren(...facts(run).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  try {
    const { splits, has_report: hasReport } = await ask("/v1/evaluation");
    drawTable(splits);
    if (hasReport) await drawReport();
    else $("report-note").textContent = "No report was written yet: letterrec report RUN makes one.";
  } catch (error) {
    if (error.status !== 404) shown = false;
    $("metrics-note").textContent = error.message;
  }
}

export const modelOf = (run) =>
  run.levels.length ? `${run.recommender} on ${run.tokenizer} identifiers` : run.recommender;

function facts(run) {
  return [
    ["data", `${run.name}: ${number(run.users)} users, ${number(run.items)} items`],
    ["model", modelOf(run)], ["encoder", run.encoder ?? "none"], ["made", run.created.replace("T", " ").slice(0, 16)],
    ["LetterRec", run.letterrec], ["edits since", number(run.generation)],
  ];
}

function drawTable(splits) {
  const names = Object.keys(splits[0].metrics);
  const cell = (value, error) => (error ? `${value.toFixed(4)} ± ${(1.96 * error).toFixed(4)}` : value.toFixed(4));
  const row = (name, users, values, errors = {}) =>
    el("tr", {}, el("th", { scope: "row" }, name),
      ...names.map((key) => el("td", {}, users && key in values ? cell(values[key], errors[key]) : "-")));
  $("metrics-table").replaceChildren(
    el("thead", {}, el("tr", {}, el("th", {}), ...names.map((name) => el("th", { scope: "col" }, NAMES[name] ?? name)))),
    el("tbody", {}, ...splits.flatMap((split) => [
      row(`${split.split}, ${number(split.users)} users`, split.users, split.metrics, split.standard_errors),
      row("popularity", split.users, split.popularity),
    ])));
  $("metrics-note").textContent = "After ± half of the 95 % confidence interval, over users.";
}

// The report's own styles hold inside it alone; its script does not run here.
async function drawReport() {
  const page = new DOMParser().parseFromString(await askText("/v1/report"), "text/html");
  const host = $("report");
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  const flush = el("style", {}, "main { padding: 0; max-width: none; }");
  root.replaceChildren(...page.querySelectorAll("style"), flush, page.querySelector("main"));
  root.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link) {
      event.preventDefault();
      root.getElementById(link.getAttribute("href").slice(1))?.scrollIntoView();
    }
    const button = event.target.closest(".buttons button");
    if (button) choose(button);
  });
  $("report-note").textContent = "";
}

function choose(button) {
  const all = [...button.parentElement.children];
  for (const other of all) other.setAttribute("aria-pressed", String(other === button));
  button.closest(".choice").querySelectorAll(":scope > .view").forEach((view, i) => {
    view.hidden = all[i] !== button;
  });
}
