"use strict";
(() => {
  const $ = id => document.getElementById(id);
  const source = new EventSource("events" + location.search);
  const number = (v, digits) => v === null ? "n/a" : v.toFixed(digits);
  const time = v => v === null ? "n/a" : v < 1 ? (v * 1000).toFixed(0) + " ms" : v.toFixed(2) + " s";
  const clock = s => s < 60 ? Math.round(s) + " s" : Math.floor(s / 60) + " min " + Math.round(s % 60) + " s";
  let over = false;

  function facts(rows) {
    $("facts").replaceChildren(...rows.map(([name, value]) => {
      const div = document.createElement("div"), dt = document.createElement("dt");
      const dd = document.createElement("dd"), strong = document.createElement("strong");
      dt.textContent = name; strong.textContent = value;
      dd.append(strong); div.append(dt, dd);
      return div;
    }));
  }

  function bracket(low, high, top) {
    $("bracket").hidden = low === null && high === null;
    $("bracket-text").textContent = high === null ? "above " + low : low === null ? "below " + high : "between " + low + " and " + high;
    const end = high === null ? 2 * top : Math.max(top, 2); // with no upper end, as much again is open
    const place = v => 100 * Math.log(v) / Math.log(end);
    const from = low === null ? 0 : place(low), to = high === null ? 100 : place(high);
    $("inside").setAttribute("x", from);
    $("inside").setAttribute("width", Math.max(to - from, 1));
    $("low-end").textContent = "1";
    $("high-end").textContent = high === null ? "no upper end yet" : end;
  }

  source.addEventListener("state", e => {
    const s = JSON.parse(e.data);
    $("link").textContent = "live, " + clock(s.elapsed) + " so far";
    $("now").textContent = s.now;
    const bar = $("done");
    if (s.share === null) bar.removeAttribute("value"); else bar.value = s.share;
    facts([["In flight", s.in_flight], ["Done / failed in this step", s.ok + " / " + s.failed],
      ["Output tokens/s, answers of the last 5 s", number(s.tokens_per_second, 0)], ["Mean TTFT, answers of the last 5 s", time(s.ttft)],
      ["Left of this step", s.left === null ? "n/a" : "about " + clock(s.left)],
      ["Server: waiting", number(s.waiting, 0)], ["Server: KV cache used", s.kv === null ? "n/a" : (100 * s.kv).toFixed(0) + " %"]]);
    bracket(s.low, s.high, s.top);
  });
  source.addEventListener("steps", e => {
    const s = JSON.parse(e.data);
    if (s.charts) $("charts").innerHTML = s.charts;
    $("events").replaceChildren(...s.events.map(v => {
      const li = document.createElement("li"), at = document.createElement("time");
      at.textContent = new Date(v.at).toLocaleTimeString([], {hour12: false});
      li.append(at, v.text);
      return li;
    }));
  });
  source.addEventListener("over", () => { over = true; source.close(); location.reload(); });
  source.onerror = () => { if (!over) $("link").textContent = "the connection is lost; what is shown is what was known last"; };
})();
