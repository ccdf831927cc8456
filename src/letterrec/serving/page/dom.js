// Small helpers: elements, requests to the server, identifiers. Text is only ever set as text.

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

// Where a path of the server is for this page: a proxy may have both under a path of their own.
export const address = (path) => new URL(path.replace(/^\//, ""), document.baseURI).href;

export async function ask(path, body) {
  return (await answered(path, body)).json();
}

export async function askText(path) {
  return (await answered(path)).text();
}

// Items whose titles hold all these words.
export async function search(words, limit) {
  return (await ask(`/v1/search?limit=${limit}&q=${encodeURIComponent(words)}`)).items;
}

async function answered(path, body) {
  const headers = {};
  const token = keptToken();
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(address(path), {
    method: body === undefined ? "GET" : "POST",
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.status === 401) {
    // A token that another request has brought since then is tried before anyone is asked.
    if (token === keptToken()) await askForToken(token ? "That token is wrong." : "");
    return answered(path, body);
  }
  if (!response.ok || response.status === 202) { // 202: not yet
    const { detail } = await response.json();
    throw Object.assign(new Error(detail), { status: response.status });
  }
  return response;
}

export const hasToken = () => keptToken() !== null;

// The server takes printable ASCII only, and a header can carry no more than Latin-1.
const isToken = (text) => /^[\x20-\x7e]+$/.test(text);

function keptToken() {
  const token = sessionStorage.getItem("token");
  if (token === null || isToken(token)) return token;
  sessionStorage.removeItem("token");
  return null;
}

let asking = null;
function askForToken(problem) {
  sessionStorage.removeItem("token");
  asking ??= new Promise((resolve, reject) => {
    const dialog = $("token-dialog");
    const form = dialog.querySelector("form");
    const say = (words) => {
      $("token-problem").hidden = !words;
      $("token-problem").textContent = words;
    };
    const check = (event) => {
      const token = $("token").value.trim();
      if (isToken(token)) return sessionStorage.setItem("token", token);
      event.preventDefault();
      say(token
        ? "A token has letters, digits and signs of ASCII only; this one has others. Copy it again."
        : "Type or paste the token.");
    };
    form.addEventListener("submit", check);
    dialog.addEventListener("close", () => {
      form.removeEventListener("submit", check);
      $("token").value = "";
      asking = null;
      if (keptToken()) resolve();
      else reject(new Error("This server asks for a token; load the page again to give one."));
    }, { once: true });
    say(problem);
    dialog.showModal();
  });
  return asking;
}

export function tell(error) {
  const box = $("problem");
  box.hidden = !error;
  box.textContent = error ? `${error.message ?? error}` : "";
}

// Does something once nothing was typed into a field for so many milliseconds.
export function whenTyped(field, wait, act) {
  let timer = 0;
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(act, wait);
  });
}

export function codesOf(identifier) {
  return [...identifier.matchAll(/<(?:[a-z]|l\d+)_(\d+)>/g)].map((m) => Number(m[1]));
}

export const letter = (level) => (level < 26 ? String.fromCharCode(97 + level) : `l${level}`);

export function codePill(level, code, shared = false) {
  return el("span", { class: `code l${level % 6}${shared ? " shared" : ""}` }, `${letter(level)} ${code}`);
}

export function codePills(identifier, shared = []) {
  const pills = codesOf(identifier).map((code, level) => codePill(level, code, shared[level]));
  return el("span", { class: "codes", title: identifier }, ...pills);
}

// An item's image, where it has one that is on https or on this server.
export function thumbnail(item) {
  if (!item.image || !URL.canParse(item.image, document.baseURI)) return null;
  const address = new URL(item.image, document.baseURI);
  if (address.protocol !== "https:" && address.origin !== location.origin) return null;
  const image = el("img", { class: "thumb", src: address.href, alt: item.title, loading: "lazy", width: 48, height: 48 });
  image.addEventListener("error", () => image.remove());
  return image;
}

export const number = (value) => value.toLocaleString("en");

let plotly = null;
export function loadPlotly() {
  plotly ??= new Promise((resolve, reject) => {
    const script = el("script", { src: "static/plotly.js" });
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => reject(new Error("the plots could not be loaded")));
    document.head.append(script);
  });
  return plotly;
}

export function colours() {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(name).trim();
  return {
    ink: get("--ink"), soft: get("--soft"), line: get("--line"), card: get("--card"),
    accent: get("--accent"), focus: get("--focus"), bad: get("--bad"), levels: [0, 1, 2, 3, 4, 5].map((i) => get(`--l${i}`)),
  };
}
