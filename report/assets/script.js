"use strict";
(function () {
  const tip = document.getElementById("tip");
  const live = document.getElementById("live");
  const say = JSON.parse(document.documentElement.dataset.say || "{}");

  // Every chart as its series of points: place in the drawing, values as text.
  function read(svg) {
    const list = [];
    for (const g of svg.querySelectorAll("g.series")) {
      const points = [];
      for (const p of g.querySelectorAll(".pt")) {
        const at = p.transform.baseVal.numberOfItems ? p.transform.baseVal.getItem(0).matrix.e : boxCentre(p);
        points.push({ x: at, step: p.dataset.k, label: p.dataset.x, value: p.dataset.v, el: p });
      }
      const line = g.querySelector("path[data-v]");
      if (line) {
        const xs = line.getAttribute("d").slice(1).split("L").map((s) => parseFloat(s));
        const vs = line.dataset.v.split("|"), labels = line.dataset.x.split("|");
        xs.forEach((x, i) => points.push({ x: x, label: labels[i], value: vs[i] }));
      }
      if (points.length) list.push({ name: g.dataset.name, colour: getComputedStyle(g).color, points: points });
    }
    return list;
  }
  function boxCentre(el) {
    const b = el.getBBox();
    return b.x + b.width / 2;
  }
  function box(svg) { return svg.dataset.box.split(" ").map(Number); }

  // Linked highlighting: a step is marked in every chart and table at once.
  function mark(step) {
    for (const el of document.querySelectorAll(".on")) el.classList.remove("on");
    if (step === undefined || step === "-1") return;
    for (const el of document.querySelectorAll('[data-k="' + step + '"]')) el.classList.add("on");
  }

  function showTip(chart, x, clientX, clientY) {
    let best = null;
    for (const s of chart.series) for (const p of s.points) {
      const d = Math.abs(p.x - x);
      if (!best || d < best.d) best = { d: d, p: p };
    }
    if (!best) return;
    const at = best.p;
    tip.replaceChildren();
    const head = document.createElement("b");
    head.textContent = at.label;
    tip.append(head);
    let text = at.label;
    for (const s of chart.series) {
      const p = s.points.find((q) => Math.abs(q.x - at.x) < 0.06 && q.step === at.step);
      if (!p || !p.value) continue;
      const row = document.createElement("span"), name = document.createElement("i"), value = document.createElement("em");
      name.textContent = s.name;
      value.textContent = p.value;
      value.style.fontStyle = "normal";
      value.style.fontWeight = "600";
      name.style.borderLeft = "4px solid " + s.colour;
      name.style.paddingLeft = "7px";
      row.append(name, value);
      tip.append(row);
      text += ", " + s.name + " " + p.value;
    }
    tip.hidden = false;
    const w = tip.offsetWidth, h = tip.offsetHeight;
    tip.style.left = Math.max(8, Math.min(innerWidth - w - 8, clientX + (clientX + w + 30 > innerWidth ? -w - 16 : 16))) + "px";
    tip.style.top = Math.max(8, Math.min(innerHeight - h - 8, clientY - h / 2)) + "px";
    cross(chart, at.x);
    mark(at.step);
    chart.at = at;
    return text;
  }
  function cross(chart, x) {
    if (!chart.line) {
      chart.line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      chart.line.setAttribute("class", "cross");
      chart.svg.append(chart.line);
    }
    const b = box(chart.svg), px = toScreen(chart, x);
    chart.line.setAttribute("x1", px);
    chart.line.setAttribute("x2", px);
    chart.line.setAttribute("y1", b[1]);
    chart.line.setAttribute("y2", b[3]);
    chart.line.style.display = px < b[0] - 1 || px > b[2] + 1 ? "none" : "";
  }
  function hideTip(chart) {
    tip.hidden = true;
    if (chart.line) chart.line.style.display = "none";
    mark();
  }

  // Zoom: the plot is drawn once; a zoom is an affine map of it.
  function toScreen(chart, x) { return chart.zoom ? x * chart.zoom.sx + chart.zoom.tx : x; }
  function toPlot(chart, x) { return chart.zoom ? (x - chart.zoom.tx) / chart.zoom.sx : x; }
  function apply(chart) {
    const z = chart.zoom || { sx: 1, sy: 1, tx: 0, ty: 0 }, b = box(chart.svg);
    const plot = chart.svg.querySelector("g.plot");
    plot.setAttribute("transform", "matrix(" + [z.sx, 0, 0, z.sy, z.tx, z.ty].join(" ") + ")");
    for (const p of plot.querySelectorAll("g.pt[transform]")) {
      const m = p.transform.baseVal.getItem(0).matrix;
      p.setAttribute("transform", "translate(" + m.e + " " + m.f + ") scale(" + 1 / z.sx + " " + 1 / z.sy + ")");
    }
    for (const t of chart.svg.querySelectorAll(".xt>g")) {
      if (t.dataset.at === undefined) t.dataset.at = t.transform.baseVal.getItem(0).matrix.e;
      const x = t.dataset.at * z.sx + z.tx;
      t.setAttribute("transform", "translate(" + x + " " + b[3] + ")");
      t.style.display = x < b[0] - 1 || x > b[2] + 1 ? "none" : "";
    }
    for (const n of chart.svg.querySelectorAll("[data-px]")) {
      const x = n.dataset.px * z.sx + z.tx;
      n.setAttribute("x", chart.zoom ? x : n.dataset.x0);
      n.style.display = x < b[0] || x > b[2] ? "none" : "";
    }
    for (const n of chart.svg.querySelectorAll("[data-py]")) {
      const y = n.dataset.py * z.sy + z.ty;
      n.setAttribute("y", chart.zoom ? y - 6 : n.dataset.y0);
      n.style.display = y < b[1] || y > b[3] ? "none" : "";
    }
    ticks(chart, z, b);
  }
  function ticks(chart, z, b) {
    const holder = chart.svg.querySelector(".yt");
    if (!chart.ticks) chart.ticks = [...holder.children];
    if (!chart.zoom) return holder.replaceChildren(...chart.ticks);
    const [lo, hi, log] = chart.svg.dataset.y.split(" ");
    const min = +lo, max = +hi, isLog = log === "true";
    const value = (y) => {
      const f = (b[3] - (y - z.ty) / z.sy) / (b[3] - b[1]);
      return isLog ? min * Math.pow(max / min, f) : min + f * (max - min);
    };
    const place = (v) => {
      const f = isLog ? Math.log(v / min) / Math.log(max / min) : (v - min) / (max - min);
      return (b[3] - f * (b[3] - b[1])) * z.sy + z.ty;
    };
    const from = value(b[3]), to = value(b[1]);
    const raw = (to - from) / 5, unit = Math.pow(10, Math.floor(Math.log10(raw)));
    const step = [1, 2, 5, 10].map((f) => f * unit).find((s) => s >= raw);
    const out = [];
    for (let v = Math.ceil(from / step) * step; v <= to; v += step) {
      const t = chart.ticks[0].cloneNode(true);
      t.setAttribute("transform", "translate(0 " + place(v) + ")");
      t.querySelector("text").textContent = v.toLocaleString("en-US", { maximumSignificantDigits: 4 });
      out.push(t);
    }
    holder.replaceChildren(...out);
  }
  function zoomTo(chart, x0, y0, x1, y1) {
    const b = box(chart.svg), old = chart.zoom || { sx: 1, sy: 1, tx: 0, ty: 0 };
    const kx = (b[2] - b[0]) / (x1 - x0), ky = (b[3] - b[1]) / (y1 - y0);
    chart.zoom = { sx: old.sx * kx, tx: (old.tx - x0) * kx + b[0], sy: old.sy * ky, ty: (old.ty - y0) * ky + b[1] };
    apply(chart);
    if (!chart.reset) {
      chart.reset = document.createElement("button");
      chart.reset.type = "button";
      chart.reset.className = "reset";
      chart.reset.textContent = say.reset || "Reset zoom";
      chart.reset.addEventListener("click", () => reset(chart));
    }
    chart.svg.parentNode.append(chart.reset);
  }
  function reset(chart) {
    chart.zoom = null;
    apply(chart);
    chart.reset.remove();
  }
  function local(svg, e) {
    const m = svg.getScreenCTM().inverse();
    return new DOMPoint(e.clientX, e.clientY).matrixTransform(m);
  }

  function follow(chart) {
    const svg = chart.svg;
    let start = null, rect = null;
    svg.addEventListener("pointermove", (e) => {
      const p = local(svg, e), b = box(svg);
      if (start) return stretch(p, b);
      if (p.x < b[0] - 12 || p.x > b[2] + 12) return hideTip(chart);
      showTip(chart, toPlot(chart, p.x), e.clientX, e.clientY);
    });
    svg.addEventListener("pointerleave", () => { if (!start) hideTip(chart); });
    svg.addEventListener("pointerdown", (e) => {
      if (e.pointerType !== "mouse" || e.button !== 0) return;
      const p = local(svg, e), b = box(svg);
      if (p.x < b[0] || p.x > b[2] || p.y < b[1] || p.y > b[3]) return;
      start = p;
      svg.setPointerCapture(e.pointerId);
      e.preventDefault();
    });
    function stretch(p, b) {
      if (!rect) {
        rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        rect.setAttribute("class", "select");
        svg.append(rect);
      }
      const x = Math.max(b[0], Math.min(b[2], p.x)), y = Math.max(b[1], Math.min(b[3], p.y));
      rect.setAttribute("x", Math.min(x, start.x));
      rect.setAttribute("y", Math.min(y, start.y));
      rect.setAttribute("width", Math.abs(x - start.x));
      rect.setAttribute("height", Math.abs(y - start.y));
    }
    svg.addEventListener("pointerup", () => {
      if (rect) {
        const x = +rect.getAttribute("x"), y = +rect.getAttribute("y"), w = +rect.getAttribute("width"), h = +rect.getAttribute("height");
        rect.remove();
        if (w > 12 && h > 12) zoomTo(chart, x, y, x + w, y + h);
      }
      start = rect = null;
    });
    svg.addEventListener("dblclick", () => { if (chart.zoom) reset(chart); });
    // Arrow keys walk from load to load.
    svg.setAttribute("tabindex", "0");
    svg.addEventListener("keydown", (e) => {
      const dir = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      if (e.key === "Escape") { if (chart.zoom) reset(chart); hideTip(chart); }
      if (!dir) return;
      e.preventDefault();
      const xs = [...new Set(chart.series.flatMap((s) => s.points.map((p) => p.x)))].sort((a, b) => a - b);
      let i = chart.at ? xs.indexOf(chart.at.x) + dir : 0;
      i = Math.max(0, Math.min(xs.length - 1, i));
      const r = svg.getBoundingClientRect();
      live.textContent = showTip(chart, xs[i], r.left + (toScreen(chart, xs[i]) / 560) * r.width, r.top + r.height / 2) || "";
    });
    svg.addEventListener("blur", () => hideTip(chart));
  }

  for (const svg of document.querySelectorAll("svg.chart")) {
    const chart = { svg: svg, series: null };
    // Read on first use: a hidden variant has no layout yet.
    const ready = () => { if (!chart.series) chart.series = read(svg); };
    svg.addEventListener("pointerenter", ready);
    svg.addEventListener("focus", ready);
    follow(chart);
    // The script's own tooltip replaces the browser's.
    for (const t of svg.querySelectorAll("title")) t.remove();
  }
  for (const row of document.querySelectorAll("tr[data-k]")) {
    row.addEventListener("pointerenter", () => mark(row.dataset.k));
    row.addEventListener("pointerleave", () => mark());
  }
  const code = document.getElementById("command");
  if (code && navigator.clipboard) {
    const copy = document.createElement("button");
    copy.type = "button";
    copy.className = "reset";
    copy.textContent = say.copy || "Copy";
    copy.addEventListener("click", () => navigator.clipboard.writeText(code.textContent));
    code.closest(".command").append(copy);
  }
})();
