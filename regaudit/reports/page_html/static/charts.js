// Every picture is a function that gives Chart.js its settings, called again when the theme changes.
const drawn = new Map(); // canvas -> { chart, settings }
const SERIES = 6;
const SHAPES = ["circle", "rect", "triangle", "rectRot", "crossRot", "star"];
const MOST_JOINED = 80; // points that a line joins; of more it hides the points
const MOST_DECADES = 1.5; // a range that is wider is shown on a log scale

const series = (i) => color(`series-${(i % SERIES) + 1}`);
const shape = (i) => SHAPES[i % SHAPES.length];

function draw(canvas, settings) {
  drawn.get(canvas)?.chart.destroy();
  Chart.defaults.color = color("soft");
  Chart.defaults.borderColor = color("line");
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  const made = settings();
  const common = { responsive: true, maintainAspectRatio: false, animation: false };
  drawn.set(canvas, { settings, chart: new Chart(canvas, { ...made, options: { ...common, ...made.options }, plugins: [whiskers] }) });
}

function forget(canvas) {
  drawn.get(canvas)?.chart.destroy();
  drawn.delete(canvas);
}

function redrawAll() {
  for (const [canvas, { settings }] of [...drawn]) draw(canvas, settings);
}

// Standard errors as vertical bars: `whiskers` of a dataset holds half their lengths.
const whiskers = {
  id: "whiskers",
  afterDatasetsDraw(chart) {
    const { ctx, scales: { y }, chartArea } = chart;
    chart.data.datasets.forEach((set, k) => {
      if (!set.whiskers || !chart.isDatasetVisible(k)) return;
      ctx.save();
      ctx.beginPath();
      ctx.rect(chartArea.left, chartArea.top, chartArea.width, chartArea.height);
      ctx.clip();
      ctx.strokeStyle = set.borderColor;
      ctx.globalAlpha = 0.6;
      ctx.setLineDash([]);
      chart.getDatasetMeta(k).data.forEach((point, i) => {
        ctx.beginPath();
        ctx.moveTo(point.x, y.getPixelForValue(set.data[i].y - set.whiskers[i]));
        ctx.lineTo(point.x, y.getPixelForValue(set.data[i].y + set.whiskers[i]));
        ctx.stroke();
      });
      ctx.restore();
    });
  },
};

const axis = (text, more = {}) => ({ title: { display: true, text }, ...more, ticks: { maxRotation: 0, ...more.ticks } });
// The ticks of a log scale that are named: 1, 2 and 5 of each decade where there are few, powers of ten where there are many.
function powers(value, _, ticks) {
  const decades = Math.log10(ticks[ticks.length - 1].value / ticks[0].value);
  const lead = Number(value.toExponential(0)[0]);
  if (Math.abs(value / Number(value.toExponential(0)) - 1) > 1e-6 || !(decades > 3 ? [1] : [1, 2, 5]).includes(lead)) return "";
  return value >= 1e-3 && value < 1e5 ? String(Number(value.toPrecision(1))) : plainExponent(value.toExponential(0));
}
const isWide = (values) => values.every((v) => v > 0) && Math.log10(Math.max(...values) / Math.min(...values)) > MOST_DECADES;
const legend = (display = true) => ({ display, position: "bottom", labels: { usePointStyle: true, boxHeight: 7 } });
const say = (canvas, text) => canvas.setAttribute("aria-label", text);

function histogram(canvas, layer) {
  const { counts, reach } = layer.profile;
  const total = counts.reduce((a, b) => a + b, 0);
  const width = (2 * reach) / counts.length;
  const at = (i) => -reach + (i + 0.5) * width;
  const shares = counts.map((count) => count / total);
  const log = Math.max(...shares) > 0.4;
  const law = (density) => Array.from({ length: 105 }, (_, i) => -reach + (i * reach) / 52).map((x) => ({ x, y: width * density(x) }));
  const line = (label, i, density, dash) => ({
    type: "line", label, data: law(density), borderColor: series(i), backgroundColor: series(i), borderWidth: 2, borderDash: dash, pointRadius: 0, pointStyle: "line",
  });
  say(canvas, `Histogram of the weights in units of their rms; ${(100 * shares[(counts.length - 1) / 2]).toFixed(1)}% are within 0.08 rms of 0`);
  draw(canvas, () => ({
    data: {
      datasets: [
        line("Gauss", 1, (x) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI), []),
        line("Laplace", 2, (x) => Math.exp(-Math.SQRT2 * Math.abs(x)) / Math.SQRT2, [5, 4]),
        { type: "bar", label: "weights", data: shares.map((y, i) => ({ x: at(i), y })), backgroundColor: series(0), barPercentage: 1, categoryPercentage: 1, pointStyle: "rect" },
      ],
    },
    options: {
      scales: {
        x: axis("weight / rms", { type: "linear", min: -reach, max: reach, offset: false, grid: { display: false }, ticks: { stepSize: 1 } }),
        y: axis("share", log ? { type: "logarithmic", min: 1e-4, ticks: { callback: powers } } : { beginAtZero: true, ticks: { callback: (v) => `${+(100 * v).toFixed(1)}%` } }),
      },
      plugins: { legend: legend(), tooltip: { mode: "nearest", callbacks: { title: (items) => `${items[0].parsed.x.toFixed(2)} rms`, label: (item) => `${item.dataset.label}: ${(100 * item.parsed.y).toPrecision(2)}%` } } },
    },
  }));
}

// Singular values of m×n noise with this edge, at given ranks (Marchenko and Pastur 1967, in the angle of its density).
function noiseAt(ranks, m, n, edge) {
  const gamma = m / n;
  const nodes = 2048;
  const scale = edge / (1 + Math.sqrt(gamma));
  const values = [];
  let above = 0;
  let next = 0;
  for (let i = 0; i < nodes && next < ranks.length; i++) {
    const theta = ((i + 0.5) * Math.PI) / nodes;
    const x = 1 + gamma + 2 * Math.sqrt(gamma) * Math.cos(theta);
    above += (2 * Math.sin(theta) ** 2) / (nodes * x);
    while (next < ranks.length && above >= (ranks[next] - 0.5) / m) {
      values.push({ x: ranks[next], y: scale * Math.sqrt(x) });
      next += 1;
    }
  }
  return values;
}

function spectrum(canvas, layer, value) {
  const { ranks, sigma } = layer.profile;
  const points = ranks.map((x, i) => ({ x, y: sigma[i] })).filter(({ y }) => y > 0);
  const edge = value("kernel.noise_edge");
  const isWhole = !value("kernel.dead_out_fraction") && !value("kernel.ignored_in_fraction");
  const m = ranks[ranks.length - 1];
  const n = layer.shape.reduce((a, b) => a * b, 1) / m;
  const line = (label, i, data, dash) => ({ label, data, borderColor: series(i), backgroundColor: series(i), borderWidth: 2, borderDash: dash, pointRadius: 0, showLine: true, pointStyle: "line" });
  const datasets = () => {
    const sets = [{ label: "singular values", data: points, borderColor: series(0), backgroundColor: series(0), pointRadius: 2.5, showLine: true, borderWidth: 1 }];
    if (edge) sets.push(line("noise edge", 1, [{ x: 1, y: edge }, { x: m, y: edge }], [6, 4]));
    if (edge && isWhole) sets.push(line("noise of this shape", 2, noiseAt(ranks, m, n, edge), [2, 3]));
    return sets;
  };
  say(canvas, `Singular values from ${short(points[0]?.y ?? 0)} down${edge ? `; ${value("kernel.outlier_count") ?? "some"} above the noise edge ${short(edge)}` : ""}`);
  draw(canvas, () => ({
    type: "scatter",
    data: { datasets: datasets() },
    options: {
      scales: {
        x: axis("rank", { type: "logarithmic", min: 1, max: m, grid: { display: false }, ticks: { callback: powers } }),
        y: axis("singular value", isWide(points.map(({ y }) => y)) ? { type: "logarithmic", ticks: { callback: powers } } : { beginAtZero: true }),
      },
      plugins: { legend: legend(), tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${short(item.parsed.y)} at rank ${item.parsed.x}` } } },
    },
  }));
}

function depth(canvas, model, measure, open) {
  const points = model.layers.flatMap((layer, k) => (layer.value(measure) === undefined ? [] : [{ x: layer.i + 1, y: layer.value(measure), k, role: layer.role }]));
  const roles = [...new Set(points.map(({ role }) => role))];
  const log = isWide(points.map(({ y }) => y));
  say(canvas, `${measure} of ${points.length} layers, from input to output`);
  const datasets = () => [
    ...roles.map((role, i) => ({ label: role, data: points.filter((each) => each.role === role), backgroundColor: series(i), borderColor: series(i), pointStyle: shape(i), pointRadius: points.length > 150 ? 3 : 5, pointHoverRadius: 7 })),
    { label: "in order", hidden: points.length > MOST_JOINED, data: points, showLine: true, pointRadius: 0, pointHitRadius: 0, borderColor: color("line"), borderWidth: 1.5, pointStyle: "line" },
  ];
  draw(canvas, () => ({
    type: "scatter",
    data: { datasets: datasets() },
    options: {
      onClick: (_, hits) => { const hit = hits[0] && drawn.get(canvas).chart.data.datasets[hits[0].datasetIndex].data[hits[0].index]; if (hit) open(hit.k); },
      scales: {
        x: axis("place in the network", { grid: { display: false }, ticks: { precision: 0 }, min: 0.5, max: Math.max(...model.layers.map(({ i }) => i)) + 1.5, afterBuildTicks: (scale) => { scale.ticks = scale.ticks.filter(({ value }) => Number.isInteger(value)); } }),
        y: axis(measure, log ? { type: "logarithmic", ticks: { callback: powers } } : {}),
      },
      plugins: { legend: { ...legend(), labels: { usePointStyle: true, boxHeight: 7, filter: ({ text }) => text !== "in order" } }, tooltip: { callbacks: { label: (item) => `${model.layers[item.raw.k].name}: ${precise(item.parsed.y)}` } } },
    },
  }));
}

function curves(canvas, outcomes, group) {
  const here = outcomes.filter((each) => each.group === group);
  const names = [...new Set(here.map((each) => each.series))].filter((each) => each !== "no penalty");
  const strengths = here.map(({ strength }) => strength).filter((each) => each > 0);
  const none = here.find((each) => each.series === "no penalty");
  const ends = [Math.min(...strengths) / 1.5, Math.max(...strengths) * 1.5];
  say(canvas, `Validation loss against strength for ${names.join(", ")}`);
  const datasets = () => {
    const sets = names.map((name, i) => {
      const those = here.filter((each) => each.series === name).sort((a, b) => a.strength - b.strength);
      return { label: name, data: those.map((each) => ({ x: each.strength, y: each.loss })), whiskers: those.map((each) => each.se), borderColor: series(i), backgroundColor: series(i), pointStyle: shape(i), pointRadius: 5, showLine: true, borderWidth: 2 };
    });
    if (none) sets.push({ label: "no penalty", data: ends.map((x) => ({ x, y: none.loss })), borderColor: color("soft"), backgroundColor: color("soft"), borderDash: [6, 4], borderWidth: 1.5, pointRadius: 0, showLine: true, pointStyle: "line" });
    return sets;
  };
  draw(canvas, () => ({
    type: "scatter",
    data: { datasets: datasets() },
    options: {
      scales: {
        x: axis("strength λ", { type: "logarithmic", min: ends[0], max: ends[1], grid: { display: false }, ticks: { callback: powers } }),
        y: axis("validation loss", isWide(here.map(({ loss }) => loss)) ? { type: "logarithmic", ticks: { callback: powers } } : {}),
      },
      plugins: { legend: legend(), tooltip: { callbacks: { label: (item) => `${item.dataset.label} ${short(item.parsed.x)}: ${short(item.parsed.y)}${item.dataset.whiskers ? ` ± ${short(item.dataset.whiskers[item.dataIndex])}` : ""}` } } },
    },
  }));
}
