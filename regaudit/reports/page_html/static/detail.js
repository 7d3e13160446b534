// Everything known of one layer, in a sheet beside the page.
const sheet = el("dialog", { "aria-labelledby": "sheet-title" });

function openLayer(model, k, neighbours) {
  const layer = model.layers[k];
  const place = neighbours.indexOf(k);
  for (const canvas of sheet.querySelectorAll("canvas")) forget(canvas);
  const turn = (step, label, sign) => {
    const button = el("button", { type: "button", "aria-label": label, disabled: neighbours[place + step] === undefined }, sign);
    button.addEventListener("click", () => openLayer(model, neighbours[place + step], neighbours));
    return button;
  };
  const close = el("button", { type: "button", "aria-label": "Close" }, "✕");
  close.addEventListener("click", () => sheet.close());
  const title = el("h2", { id: "sheet-title", tabindex: "-1" }, layer.name, " ", el("small", {}, layer.role));
  const pictures = el("div", { class: "pictures" });
  sheet.replaceChildren(el("div", { class: "sheet" }, el("header", {}, title, turn(-1, "Previous layer", "↑"), turn(1, "Next layer", "↓"), close),
    seen(layer), facts(layer), pictures, numbers(model, layer), missing(model, layer)));
  if (!sheet.open) sheet.showModal();
  sheet.scrollTop = 0;
  title.focus({ preventScroll: true });
  picture(pictures, layer);
}

function facts(layer) {
  const all = [["shape", (layer.shape ?? []).join("×") || "scalar"], ...(layer.facts ?? [])];
  return el("dl", { class: "facts-list" }, ...all.flatMap(([key, text]) => [el("dt", {}, key), el("dd", {}, text)]));
}

function seen(layer) {
  const kinds = { error: "error", warn: "warn", info: "note" };
  const found = (layer.findings ?? []).map(([severity, name, text]) =>
    el("article", { class: `topic ${kinds[severity]}` }, el("span", { class: `kind ${kinds[severity]}` }, name), el("p", {}, text)));
  const effects = (layer.effects ?? []).map(([name, confidence, text, pro, contra]) =>
    el("article", { class: "topic seen" }, el("span", { class: "kind seen" }, name), el("span", { class: "faint" }, ` confidence ${confidence}`), el("p", {}, text),
      evidence("For", pro), evidence("Against", contra)));
  return el("div", {}, ...found, ...effects);
}

function evidence(label, items) {
  if (!items.length) return null;
  const line = ([measure, value, expected, text]) =>
    el("li", {}, measureLink(measure), ` ${precise(value)}${expected === null ? "" : `, expected ${precise(expected)}`}${text ? ` (${text})` : ""}`);
  return el("div", { class: "evidence" }, `${label}:`, el("ul", {}, ...items.map(line)));
}

function picture(box, layer) {
  if (!layer.profile) return;
  const place = (title) => {
    const canvas = el("canvas", { role: "img" });
    box.append(el("figure", {}, el("figcaption", {}, el("strong", {}, title)), el("div", { class: "canvas" }, canvas)));
    return canvas;
  };
  histogram(place("Weights, in units of their rms"), layer);
  if (layer.profile.ranks.length > 1) spectrum(place("Singular values"), layer, layer.value);
}

function numbers(model, layer) {
  const families = new Map();
  for (const [k, value] of Object.entries(layer.values ?? {})) {
    const measure = model.measures[k];
    const family = measure.split(".")[0];
    families.set(family, [...(families.get(family) ?? []), el("tr", {}, el("th", { scope: "row" }, measureLink(measure)), el("td", { class: "number", "data-m": measure }, precise(value)), el("td", { class: "faint" }, layer.details?.[k] ?? ""))]);
  }
  const one = ([family, rows]) => [el("h3", {}, family), el("table", {}, el("tbody", {}, ...rows))];
  return el("div", {}, ...[...families].flatMap(one));
}

function missing(model, layer) {
  if (!layer.skips) return null;
  const line = ([reason, ...measures]) => el("li", {}, `${model.reasons[reason]}: `, el("span", { class: "faint" }, measures.map((k) => model.measures[k]).join(", ")));
  return el("details", {}, el("summary", {}, "What could not be measured, and why"), el("ul", {}, ...layer.skips.map(line)));
}

function startSheet() {
  document.body.append(sheet);
  sheet.addEventListener("click", (event) => { if (event.target === sheet) sheet.close(); });
  sheet.addEventListener("close", hideTip);
}
