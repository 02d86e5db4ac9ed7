// Wires the page: every figure from its specification, and the forecast viewer with its choice of series and origin.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);

function unpack(window, view) {
  const h = window.history.length;
  const past = window.x.slice(0, h);
  const ahead = window.x.slice(h);
  const last = window.history[h - 1] ?? null;
  // The truth goes on from the last known value, so that its line does not break at the origin.
  const truth = { x: h ? [past[h - 1], ...ahead] : ahead, y: h ? [last, ...window.y] : window.y };
  const marks = [];
  view.levels.forEach((level, i) => {
    const [lo, hi] = window.bands[i];
    marks.push({ kind: "band", name: `${level}% band`, rank: 0.5, style: `s-carrousel b${i}`, x: ahead, lo, hi });
  });
  marks.push({ kind: "line", name: "Truth before", silent: true, style: "s-truth past", x: past, y: window.history });
  view.models.slice(1).forEach((model, i) => {
    const y = window.forecasts[i + 1];
    if (y) marks.push({ kind: "line", name: model.name, style: model.style, x: ahead, y, hidden: !view.shown.has(model.name) });
  });
  marks.push({ kind: "line", name: "Truth", rank: 0, style: "s-truth", ...truth, dots: ahead.length <= 60 ? 2 : undefined });
  const own = view.models[0];
  marks.push({ kind: "line", name: own.name, rank: 0, style: own.style, x: ahead, y: window.forecasts[0], dots: ahead.length === 1 ? 5 : undefined });
  marks.push({ kind: "rule", style: "s-now", x: h ? past[h - 1] : ahead[0], text: "forecast made here" });
  return marks;
}

function viewer(view) {
  const root = document.getElementById("viewer");
  const at = (name) => root.querySelector(`[data-part=${name}]`);
  const [select, slider, label, text] = ["series", "origin", "when", "window"].map(at);
  view.shown = new Set(view.default);
  view.lines.forEach((line, i) => {
    const option = html(select, "option", "", line.name);
    option.value = i;
  });
  at("chooser").hidden = view.lines.length < 2;
  const spec = {
    height: 380,
    label: "Forecast with its bands beside the truth",
    x: { kind: view.time ? "time" : "linear", label: "" },
    y: { label: "" },
    marks: [],
    toggled: (mark) => (mark.hidden ? view.shown.delete(mark.name) : view.shown.add(mark.name)),
  };
  let redraw = null;
  const show = () => {
    const line = view.lines[Number(select.value)];
    const window = line.windows[Number(slider.value)];
    spec.marks = unpack(window, view);
    spec.y.label = view.target ?? line.name;
    spec.label = `${line.name}: forecast made at ${window.when}. ${window.text}`;
    label.textContent = window.when;
    text.textContent = window.text;
    for (const pick of ["typical", "best", "worst"]) {
      at(pick).setAttribute("aria-pressed", String(line.picks[pick] === Number(slider.value)));
    }
    if (redraw) redraw();
    else redraw = chart(at("chart"), spec);
  };
  const go = (origin) => {
    slider.value = origin;
    show();
  };
  const choose = () => {
    const line = view.lines[Number(select.value)];
    slider.max = line.windows.length - 1;
    go(line.picks.typical);
  };
  select.addEventListener("change", choose);
  slider.addEventListener("input", show);
  at("earlier").addEventListener("click", () => go(Number(slider.value) - 1));
  at("later").addEventListener("click", () => go(Number(slider.value) + 1));
  for (const pick of ["typical", "best", "worst"]) {
    at(pick).addEventListener("click", () => go(view.lines[Number(select.value)].picks[pick]));
  }
  choose();
}

for (const [id, spec] of Object.entries(DATA.figures)) chart(document.getElementById(id), spec);
if (DATA.viewer) viewer(DATA.viewer);
document.documentElement.dataset.drawn = "yes";
