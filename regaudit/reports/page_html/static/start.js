// Bring each model of the page to life.
const FIRST_MEASURES = ["kernel.growth", "kernel.rms", "activity.rms"]; // of the chart against depth, the first that there is

function valuesOf(model) {
  const numbered = Object.fromEntries(model.measures.map((measure, k) => [measure, k]));
  for (const layer of model.layers) layer.value = (measure) => layer.values?.[numbered[measure]];
}

// Draw when it comes into view: a closed section has no size, and a page of many charts opens at once.
const waiting = new Map(); // figure -> how it is drawn

function whenSeen(figure, action) {
  waiting.set(figure, action);
  seeing.observe(figure);
}

function drawNow(figure) {
  seeing.unobserve(figure);
  waiting.get(figure)?.();
  waiting.delete(figure);
}

const seeing = new IntersectionObserver((entries) => {
  for (const each of entries) if (each.isIntersecting) drawNow(each.target);
}, { rootMargin: "400px" });

function startDepth(figure, model, open) {
  const counts = model.measures.map((measure) => model.layers.filter((layer) => layer.value(measure) !== undefined).length);
  const measures = model.measures.filter((_, k) => counts[k] > 1);
  if (!measures.length) return;
  const select = figure.querySelector("select");
  const families = Map.groupBy ? Map.groupBy(measures, (each) => each.split(".")[0]) : new Map([["all", measures]]);
  for (const [family, those] of families) select.append(el("optgroup", { label: family }, ...those.map((each) => el("option", { value: each }, each))));
  select.value = FIRST_MEASURES.find((each) => measures.includes(each)) ?? measures[0];
  const show = () => {
    figure.querySelector(".explained").textContent = tells(select.value);
    depth(figure.querySelector("canvas"), model, select.value, open);
  };
  select.addEventListener("change", show);
  figure.hidden = false;
  whenSeen(figure, show);
}

function startCurves(figure, outcomes) {
  const groups = [...new Set(outcomes.map((each) => each.group))].filter((group) => outcomes.some((each) => each.group === group && each.strength > 0));
  if (!groups.length) return;
  const select = figure.querySelector("select");
  select.append(...groups.map((each) => el("option", { value: each }, each)));
  // The group with the most points tells most of a curve: full trainings are few.
  const points = (group) => outcomes.filter((each) => each.group === group).length;
  select.value = groups.reduce((most, each) => (points(each) > points(most) ? each : most));
  figure.querySelector("figcaption").hidden = groups.length < 2;
  const show = () => curves(figure.querySelector("canvas"), outcomes, select.value);
  select.addEventListener("change", show);
  figure.hidden = false;
  whenSeen(figure, show);
}

function startModel(script) {
  const model = JSON.parse(script.textContent);
  const place = script.parentElement;
  valuesOf(model);
  for (const figure of place.querySelectorAll("[data-curves]")) startCurves(figure, model[figure.dataset.curves]);
  const table = place.querySelector("table.layers");
  if (!table) return;
  const shown = () => [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => Number(row.dataset.i));
  const open = (k) => openLayer(model, k, shown().includes(k) ? shown() : model.layers.map((_, i) => i));
  makeSortable(table);
  makeFilterable(place.querySelector(".filters"), table);
  startDepth(place.querySelector(".depth"), model, open);
  table.addEventListener("click", (event) => {
    const button = event.target.closest(".open");
    if (button) open(Number(button.closest("tr").dataset.i));
  });
}

function startCopy() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.closest(".apply").querySelector("code").textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not allowed here";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
}

// A link to a place in a closed part opens it; paper shows everything.
function startOpening() {
  const reveal = () => {
    let place = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (; place; place = place.parentElement) if (place.localName === "details") place.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();
  addEventListener("beforeprint", () => {
    for (const each of document.querySelectorAll("details.model-part")) each.open = true;
    for (const figure of [...waiting.keys()]) drawNow(figure);
    for (const { chart } of drawn.values()) chart.resize();
  });
}

document.addEventListener("DOMContentLoaded", () => {
  startSheet();
  startTips();
  for (const script of document.querySelectorAll("script.data")) startModel(script);
  startTheme();
  startCopy();
  startOpening();
});
