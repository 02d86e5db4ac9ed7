// One small chart for every figure of the report: lines, bands, bars, dots and rules over one pair of axes. It is drawn
// at the width it is given, and again when that changes, so that its text stays readable on a phone.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const DAY = 86400;
const SECONDS = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10800, 21600, 43200, DAY, 2 * DAY, 7 * DAY, 14 * DAY];
const MONTHS = [1, 3, 6, 12, 24, 60, 120, 240, 600, 1200];
const MONTH_NAMES = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

function svg(parent, tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function html(parent, tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function number(value, digits = 3) {
  if (value === null || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) return value.toExponential(digits - 1).replaceAll("-", "−");
  const decimals = size === 0 ? 0 : Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return value.toFixed(decimals).replace("-", "−");
}

function niceTicks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw * 0.999);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    ticks.push([i * step, (i * step).toFixed(decimals).replace("-", "−")]);
  }
  return ticks;
}

function logTicks(low, high, count) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const m of [1, 2, 5]) {
      const value = m * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) ticks.push([value, number(value, 1)]);
    }
  }
  if (ticks.length < 2) return niceTicks(low, high, count);
  return ticks.filter((_, i) => i % Math.ceil(ticks.length / (count + 1)) === 0);
}

function pad(value) {
  return String(value).padStart(2, "0");
}

function stamp(seconds, long = true) {
  const at = new Date(seconds * 1000);
  const day = `${at.getUTCDate()} ${MONTH_NAMES[at.getUTCMonth()]}${long ? ` ${at.getUTCFullYear()}` : ""}`;
  const clock = `${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}`;
  const rest = at.getUTCSeconds() ? `:${pad(at.getUTCSeconds())}` : "";
  return clock === "00:00" && !rest ? day : `${day}, ${clock}${rest}`;
}

function timeTicks(low, high, count) {
  const step = SECONDS.find((s) => (high - low) / s <= count);
  const ticks = [];
  if (step) {
    // Weeks are counted from a Monday; the epoch was a Thursday.
    const phase = step >= 7 * DAY ? 4 * DAY : 0;
    for (let t = Math.ceil((low - phase) / step) * step + phase; t <= high; t += step) {
      const at = new Date(t * 1000);
      const clock = `${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}${step < 60 ? `:${pad(at.getUTCSeconds())}` : ""}`;
      const midnight = t % DAY === 0;
      ticks.push([t, midnight ? `${at.getUTCDate()} ${MONTH_NAMES[at.getUTCMonth()]}` : clock]);
    }
    return ticks;
  }
  const months = MONTHS.find((m) => (high - low) / (m * 30.44 * DAY) <= count) ?? 2400;
  const first = new Date(low * 1000);
  let index = Math.ceil((first.getUTCFullYear() * 12 + first.getUTCMonth()) / months) * months;
  for (; ; index += months) {
    const t = Date.UTC(Math.floor(index / 12), index % 12, 1) / 1000;
    if (t > high) return ticks;
    const year = Math.floor(index / 12);
    if (t >= low) ticks.push([t, months % 12 === 0 ? `${year}` : `${MONTH_NAMES[index % 12]} ${year}`]);
  }
}

function extent(spec, axis) {
  const values = [];
  for (const mark of spec.marks) {
    if (mark.hidden || ((mark.free || mark.kind === "spans") && axis === "y")) continue;
    const keys = axis === "x" ? ["x", "x0", "x1"] : ["y", "lo", "hi"];
    for (const key of keys) values.push(...[mark[key] ?? []].flat());
  }
  const finite = values.filter((v) => v !== null && Number.isFinite(v));
  const given = spec[axis];
  let low = given.min ?? finite.reduce((a, b) => Math.min(a, b), Infinity);
  let high = given.max ?? finite.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!(low <= high)) [low, high] = [0, 1];
  if (low === high) [low, high] = given.kind === "log" ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
  const room = (given.kind === "log" ? 0 : (high - low)) * (axis === "y" || given.pad ? 0.05 : 0);
  // Words at the top of an upright rule need air between them and the lines.
  const noted = axis === "y" && spec.marks.some((mark) => mark.kind === "rule" && mark.text && mark.x !== undefined);
  const above = noted ? 3 * room : room;
  return [given.min === undefined ? low - room : low, given.max === undefined ? high + above : high];
}

function scale(axis, low, high, from, to) {
  const f = axis.kind === "log" ? Math.log10 : (v) => v;
  const [a, b] = [f(low), f(high)];
  return (value) => from + ((f(value) - a) / (b - a)) * (to - from);
}

function path(xs, ys, px, py) {
  let drawn = "";
  let pen = false;
  xs.forEach((x, i) => {
    const known = ys[i] !== null && ys[i] !== undefined;
    if (known) drawn += `${pen ? "L" : "M"}${px(x).toFixed(1)} ${py(ys[i]).toFixed(1)}`;
    pen = known;
  });
  return drawn;
}

// Shapes as well as colours tell models apart; each is given by its corners on a circle.
const SHAPES = { square: [4, 45], diamond: [4, 0], triangle: [3, -90], star: [3, 90] };

function drawDot(group, mark, cx, cy, r) {
  const shape = SHAPES[mark.shape];
  const style = `dot ${mark.style}`;
  if (!shape) return svg(group, "circle", { cx, cy, r, class: style });
  const [corners, turn] = shape;
  const points = Array.from({ length: corners }, (_, i) => {
    const angle = ((turn + (360 * i) / corners) * Math.PI) / 180;
    return `${(cx + 1.25 * r * Math.cos(angle)).toFixed(1)},${(cy + 1.25 * r * Math.sin(angle)).toFixed(1)}`;
  });
  return svg(group, "polygon", { points: points.join(" "), class: style });
}

function drawMark(group, mark, px, py, frame) {
  const style = mark.style;
  if (mark.kind === "line") {
    svg(group, "path", { d: path(mark.x, mark.y, px, py), class: `line ${style}` });
    // A truth between two gaps would be invisible as a line.
    const lonely = mark.y.map((v, i) => v !== null && mark.y[i - 1] == null && mark.y[i + 1] == null);
    mark.x.forEach((x, i) => {
      if (mark.y[i] !== null && (mark.dots || lonely[i])) {
        svg(group, "circle", { cx: px(x), cy: py(mark.y[i]), r: mark.dots ?? 2, class: `dot ${style}` });
      }
    });
  } else if (mark.kind === "band") {
    const known = (i) => mark.lo[i] !== null && mark.hi[i] !== null;
    if (mark.x.length === 1 && known(0)) {
      const [x, top] = [px(mark.x[0]) - 6, py(mark.hi[0])];
      svg(group, "rect", { x, y: top, width: 12, height: py(mark.lo[0]) - top, class: `band ${style}` });
    }
    // An area for each stretch that is known: one over all would lie across the gaps.
    for (let first = 0, i = 0; i <= mark.x.length; i++) {
      if (i < mark.x.length && known(i)) continue;
      if (i - first > 1) {
        const [x, hi, lo] = [mark.x, mark.hi, mark.lo].map((values) => values.slice(first, i));
        const [upper, lower] = [path(x, hi, px, py), path(x.reverse(), lo.reverse(), px, py)];
        svg(group, "path", { d: `${upper}L${lower.slice(1)}Z`, class: `band ${style}` });
      }
      first = i + 1;
    }
  } else if (mark.kind === "bars") {
    mark.y.forEach((y, i) => {
      if (y === null) return;
      const [left, right, top, base] = [px(mark.x0[i]), px(mark.x1[i]), py(y), py(Math.max(0, frame.low))];
      const width = Math.max(1, right - left - 1);
      svg(group, "rect", { x: left, y: top, width, height: Math.max(0, base - top), class: `bar ${style}` });
    });
  } else if (mark.kind === "spans") {
    mark.x0.forEach((x0, i) => {
      // A span of one row must not vanish.
      const width = Math.max(3, px(mark.x1[i]) - px(x0));
      const x = (px(x0) + px(mark.x1[i]) - width) / 2;
      const box = { x, y: frame.top, width, height: frame.bottom - frame.top };
      const area = svg(group, "rect", { ...box, class: `span ${style}` });
      if (mark.tips?.[i]) svg(area, "title", {}, mark.tips[i]);
    });
  } else if (mark.kind === "dots") {
    mark.x.forEach((x, i) => {
      if (x === null) return;
      drawDot(group, mark, px(x), py(mark.y[i]), mark.radius ?? 4);
    });
  } else if (mark.kind === "rule") {
    const upright = mark.x !== undefined;
    const [x1, x2] = upright ? [px(mark.x), px(mark.x)] : [frame.left, frame.right];
    const [y1, y2] = upright ? [frame.top, frame.bottom] : [py(mark.y), py(mark.y)];
    svg(group, "line", { x1, x2, y1, y2, class: `rule ${style}` });
    if (!mark.text) return;
    const flip = upright && x1 + 7 * mark.text.length > frame.right;
    const at = upright
      ? { x: x1 + (flip ? -5 : 5), y: frame.top + 12 + 16 * (mark.row ?? 0), "text-anchor": flip ? "end" : "start" }
      : { x: frame.right - 4, y: y1 - 5, "text-anchor": "end" };
    svg(group, "text", { ...at, class: "note" }, mark.text);
  } else if (mark.kind === "diagonal") {
    const [a, b] = [mark.from, mark.to];
    svg(group, "line", { x1: px(a), y1: py(a), x2: px(b), y2: py(b), class: `rule ${style}` });
  }
}

function legend(box, spec, redraw) {
  const bar = html(box, "div", "legend");
  const named = spec.marks.filter((mark) => mark.name && !mark.silent);
  for (const mark of named.sort((a, b) => (a.rank ?? 1) - (b.rank ?? 1))) {
    const button = html(bar, "button", "key");
    button.type = "button";
    const sample = svg(button, "svg", { width: 26, height: 12, "aria-hidden": "true" });
    const area = { band: "band", bars: "bar", spans: "span" }[mark.kind];
    if (area) {
      svg(sample, "rect", { x: 1, y: 1, width: 24, height: 10, class: `${area} ${mark.style}` });
    } else if (mark.kind === "dots") {
      drawDot(sample, mark, 13, 6, Math.min(5, mark.radius ?? 4));
    } else {
      svg(sample, "line", { x1: 1, x2: 25, y1: 6, y2: 6, class: `line ${mark.style}` });
    }
    button.append(mark.name);
    button.setAttribute("aria-pressed", String(!mark.hidden));
    button.title = "show or hide";
    button.addEventListener("click", () => {
      mark.hidden = !mark.hidden;
      button.setAttribute("aria-pressed", String(!mark.hidden));
      spec.toggled?.(mark);
      redraw();
    });
  }
}

function readings(spec, at) {
  const rows = [];
  for (const mark of spec.marks) {
    if (mark.hidden || !mark.name) continue;
    if (mark.kind === "spans") {
      const i = mark.x0.findIndex((left, k) => left <= at && at <= mark.x1[k]);
      if (i >= 0) rows.push([mark, mark.tips?.[i] ?? "here"]);
    } else if (mark.kind === "bars") {
      const i = mark.x0.findIndex((left, k) => left <= at && at <= mark.x1[k]);
      if (i >= 0) rows.push([mark, (mark.tips?.[i] ?? number(mark.y[i]))]);
    } else if (spec.y.kind === "category" && mark.kind === "dots") {
      const i = mark.y.indexOf(at);
      if (i >= 0) rows.push([mark, number(mark.x[i])]);
    } else if (mark.kind === "band") {
      const i = mark.x.indexOf(at);
      if (i >= 0 && mark.lo[i] !== null) rows.push([mark, `${number(mark.lo[i])} … ${number(mark.hi[i])}`]);
    } else if (mark.x?.indexOf) {
      const i = mark.x.indexOf(at);
      if (i >= 0 && mark.y[i] !== null) rows.push([mark, number(mark.y[i], mark.digits)]);
    }
  }
  return rows;
}

function stops(spec) {
  if (spec.y.kind === "category") return spec.y.labels.map((_, i) => i);
  const found = new Set();
  for (const mark of spec.marks) {
    if (mark.hidden || !mark.name || mark.kind === "spans") continue;
    if (mark.kind === "bars") mark.x0.forEach((left, i) => found.add((left + mark.x1[i]) / 2));
    else if (mark.x?.forEach) mark.x.forEach((x) => found.add(x));
  }
  return [...found].sort((a, b) => a - b);
}

function tooltip(box, canvas, spec, frame, px, py) {
  const tip = html(box, "div", "tip");
  tip.setAttribute("role", "status");
  tip.hidden = true;
  const rows = spec.y.kind === "category";
  const places = stops(spec);
  const hair = svg(canvas, "line", { class: "hair", visibility: "hidden" });
  let current = -1;
  const show = (index) => {
    current = Math.max(0, Math.min(places.length - 1, index));
    const at = places[current];
    const found = at === undefined ? [] : readings(spec, at);
    if (!found.length) return hide();
    tip.replaceChildren();
    const title = rows ? spec.y.labels[at] : spec.x.kind === "time" ? stamp(at) : `${Number.isInteger(at) ? at : number(at)} ${spec.x.unit ?? ""}`;
    html(tip, "b", "", spec.bins ? "" : title);
    for (const [mark, text] of found) {
      const row = html(tip, "div", "reading");
      html(row, "span", "", mark.name);
      html(row, "span", "value", text);
    }
    tip.hidden = false;
    const [cx, cy] = rows ? [frame.right, py(at)] : [px(at), frame.top];
    const ends = rows ? { x1: frame.left, x2: frame.right, y1: cy, y2: cy } : { x1: cx, x2: cx, y1: frame.top, y2: frame.bottom };
    for (const [name, value] of Object.entries({ ...ends, visibility: "visible" })) hair.setAttribute(name, value);
    const left = cx + 12 + tip.offsetWidth > frame.right + 12 ? cx - 12 - tip.offsetWidth : cx + 12;
    tip.style.left = `${Math.max(0, left)}px`;
    const top = rows ? cy + 10 : frame.top + 4;
    tip.style.top = `${canvas.offsetTopInBox + top}px`;
  };
  function hide() {
    tip.hidden = true;
    hair.setAttribute("visibility", "hidden");
  }
  const nearest = (event) => {
    const area = canvas.getBoundingClientRect();
    const [p, position] = rows ? [event.clientY - area.top, py] : [event.clientX - area.left, px];
    let best = 0;
    places.forEach((place, i) => {
      if (Math.abs(position(place) - p) < Math.abs(position(places[best]) - p)) best = i;
    });
    show(best);
  };
  canvas.addEventListener("pointermove", nearest);
  canvas.addEventListener("pointerdown", nearest);
  canvas.addEventListener("pointerleave", hide);
  canvas.addEventListener("blur", hide);
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    show(current + move);
  });
}

function chart(box, spec) {
  const draw = () => {
    const width = Math.max(240, box.clientWidth);
    box.replaceChildren();
    if (spec.legend !== false) legend(box, spec, draw);
    const height = spec.height;
    const canvas = svg(box, "svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0 });
    canvas.setAttribute("aria-label", spec.label);
    canvas.offsetTopInBox = canvas.getBoundingClientRect().top - box.getBoundingClientRect().top;
    const rows = spec.y.kind === "category";
    const [xLow, xHigh] = extent(spec, "x");
    const [yLow, yHigh] = rows ? [-0.5, spec.y.labels.length - 0.5] : extent(spec, "y");
    const ticker = spec.y.kind === "log" ? logTicks : niceTicks;
    const letters = Math.max(8, Math.min(22, Math.floor(width / 32)));
    const shorten = (name) => (name.length > letters ? `${name.slice(0, letters - 1)}…` : name);
    const yTicks = rows
      ? spec.y.labels.map((name, i) => [i, shorten(name)])
      : (spec.y.ticks ?? ticker(yLow, yHigh, Math.max(2, Math.floor(height / 60))));
    const widest = yTicks.reduce((most, [, text]) => Math.max(most, text.length), 0);
    const frame = { left: Math.max(14 + 7 * widest, spec.y.left ?? 0), right: width - 14, top: spec.y.label ? 24 : 10, bottom: height - (spec.x.label ? 42 : 24), low: yLow };
    const px = scale(spec.x, xLow, xHigh, frame.left, frame.right);
    const py = scale(spec.y, yLow, yHigh, rows ? frame.top : frame.bottom, rows ? frame.bottom : frame.top);
    const count = Math.max(2, Math.floor((frame.right - frame.left) / 72));
    const xTicker = { time: timeTicks, log: logTicks }[spec.x.kind] ?? niceTicks;
    const xTicks = (spec.x.ticks ?? xTicker(xLow, xHigh, count)).filter(([x]) => x >= xLow && x <= xHigh);
    for (const [y, text] of yTicks) {
      svg(canvas, "line", { x1: frame.left, x2: frame.right, y1: py(y), y2: py(y), class: "grid" });
      svg(canvas, "text", { x: frame.left - 7, y: py(y) + 4, class: "tick", "text-anchor": "end" }, text);
    }
    for (const [x, text] of xTicks) {
      svg(canvas, "line", { x1: px(x), x2: px(x), y1: frame.bottom, y2: frame.bottom + 5, class: "axis" });
      const edge = px(x) + 4 * text.length > width ? "end" : "middle";
      svg(canvas, "text", { x: edge === "end" ? width : px(x), y: frame.bottom + 18, class: "tick", "text-anchor": edge }, text);
    }
    svg(canvas, "line", { x1: frame.left, x2: frame.right, y1: frame.bottom, y2: frame.bottom, class: "axis" });
    const middle = (frame.left + frame.right) / 2;
    svg(canvas, "text", { x: middle, y: height - 5, class: "title", "text-anchor": "middle" }, spec.x.label ?? "");
    if (spec.y.label) svg(canvas, "text", { x: 0, y: 12, class: "title" }, spec.y.label);
    const group = svg(canvas, "g", {});
    for (const mark of spec.marks) if (!mark.hidden) drawMark(group, mark, px, py, frame);
    tooltip(box, canvas, spec, frame, px, py);
  };
  draw();
  let width = box.clientWidth;
  new ResizeObserver(() => {
    if (box.clientWidth === width) return;
    width = box.clientWidth;
    draw();
  }).observe(box);
  return draw;
}
