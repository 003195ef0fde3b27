"use strict";
(() => {
  const $ = id => document.getElementById(id);
  const words = JSON.parse(document.body.dataset.words);
  const say = (key, ...values) => values.reduce((text, v) => text.replace(/%[sd]/, () => v), words[key]);
  const known = (v, show) => v === null ? "n/a" : show(v);
  const whole = v => Math.round(v).toLocaleString("en");
  const time = v => v < 1 ? (v * 1000).toFixed(0) + " ms" : v.toFixed(2) + " s";
  const clock = s => s < 60 ? Math.round(s) + " s" : s < 3600 ? Math.floor(s / 60) + " min " + Math.round(s % 60) + " s" : Math.floor(s / 3600) + " h " + Math.round(s % 3600 / 60) + " min";
  const load = v => Number(v.toPrecision(4)).toLocaleString("en");
  const signs = {good: "✓", bad: "✕", again: "↻", note: "·", end: "■"};
  let over = false, source, heard = Date.now();

  // Only what differs is written: nothing flickers, and what a reader has selected stays.
  function put(id, text) { if ($(id).textContent !== text) $(id).textContent = text; }
  function make(tag, name, ...inside) {
    const e = document.createElement(tag);
    if (name) e.className = name;
    e.append(...inside);
    return e;
  }

  function bracket(b) {
    // A single load has neither a limit in between nor a curve.
    $("bracket").hidden = $("curves").hidden = b === null;
    if (b === null) return;
    const {low, high} = b, loads = b.tried.map(t => t.load);
    put("bracket-text", low === null && high === null ? say("open") : high === null ? say("above", load(low)) : low === null ? say("below", load(high)) : say("between", load(low), load(high)));
    const least = Math.min(...loads, 1), top = Math.max(...loads, 2 * least), end = high === null ? 2 * top : top;
    const place = v => 100 * Math.log(v / least) / Math.log(end / least);
    const from = low === null ? 0 : place(low), to = high === null ? 100 : place(high);
    $("inside").hidden = low === null && high === null;
    $("inside").style.left = from + "%";
    $("inside").style.width = Math.max(to - from, 0) + "%";
    $("marks").replaceChildren(...b.tried.map(t => {
      const m = make("div", t.held ? "mark" : "mark bad");
      m.style.left = place(t.load) + "%";
      return m;
    }));
    put("low-end", load(least));
    put("high-end", high === null ? say("noEnd") : load(end));
  }

  function workers(rows) {
    $("workers").hidden = rows.length === 0;
    $("worker-rows").replaceChildren(...rows.map(w => make("tr", w.trouble ? "tone-bad" : "", make("td", "", w.name),
      make("td", "num", whole(w.share)), make("td", "num", whole(w.in_flight)), make("td", "", w.trouble || say("healthy")))));
  }

  function state(s) {
    put("link", s.ended ? say("over", clock(s.elapsed)) : say("live", clock(s.elapsed)));
    put("now", s.now);
    put("next", s.next);
    const bar = $("done");
    if (s.share === null) bar.removeAttribute("value"); else bar.value = s.share;
    put("in_flight", whole(s.in_flight));
    put("tokens", known(s.tokens_per_second, whole));
    put("ttft", known(s.ttft, time));
    put("ended", whole(s.ok) + " / " + whole(s.failed));
    put("left", known(s.left, v => say("about", clock(v))));
    put("all", whole(s.requests));
    put("all-left", s.most === null ? "" : s.most_left === null ? say("most", whole(s.most)) : say("mostTime", whole(s.most), clock(s.most_left)));
    put("waiting", known(s.waiting, whole));
    put("kv", known(s.kv, v => (100 * v).toFixed(0) + " %"));
    bracket(s.bracket);
    workers(s.workers);
  }

  // New curves take the place of the old, but what was unfolded or has the focus keeps it.
  function charts(html) {
    const box = $("charts"), open = [...box.querySelectorAll("details")].map(d => d.open);
    const controls = () => [...box.querySelectorAll("summary,[tabindex]")];
    const focus = controls().indexOf(document.activeElement);
    box.innerHTML = html;
    box.querySelectorAll("details").forEach((d, i) => { d.open = open[i] === true; });
    if (focus >= 0 && controls()[focus]) controls()[focus].focus({preventScroll: true});
  }

  function events(list) {
    $("events").replaceChildren(...list.map(v => {
      const text = make("p", "", v.load ? make("strong", "", v.load) : "", v.load && v.text ? say("colon") : "", v.text);
      const sign = make("span", "sign", signs[v.kind] || signs.note);
      sign.setAttribute("aria-hidden", "true");
      return make("li", v.kind, make("time", "", new Date(v.at).toLocaleTimeString([], {hour12: false})), sign, text);
    }));
  }

  function connect() {
    source = new EventSource("events" + location.search);
    source.addEventListener("state", e => { heard = Date.now(); state(JSON.parse(e.data)); });
    source.addEventListener("steps", e => {
      const s = JSON.parse(e.data);
      if (s.charts) charts(s.charts);
      events(s.events);
    });
    source.addEventListener("report", () => { over = true; source.close(); location.reload(); });
    source.addEventListener("ended", () => { over = true; source.close(); });
    source.onerror = () => { if (!over) put("link", say("lost")); };
  }
  connect();
  // A connection that died without a word is given up and made anew.
  setInterval(() => {
    if (over || Date.now() - heard < 5000) return;
    put("link", say("lost"));
    heard = Date.now();
    source.close();
    connect();
  }, 1000);
})();
