const NS = "http://www.w3.org/2000/svg";
const drawIn = (svg, width, height) => {
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  return (tag, attributes, text) => {
    const node = document.createElementNS(NS, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return svg.appendChild(node);
  };
};

// Every run as a line through its settings to its error.
(() => {
  const svg = document.getElementById("lines");
  if (!svg || !data.runs.length) return;
  const W = 1100, H = 400, top = 56, bottom = H - 30, make = drawIn(svg, W, H);
  const columns = data.axes.length + 1;
  const x = k => 60 + k * (W - 160) / Math.max(1, columns - 1);
  const place = (k, code) => { const n = data.axes[k].values.length; return n < 2 ? (top + bottom) / 2 : bottom - code * (bottom - top) / (n - 1); };
  const losses = data.runs.map(r => r.loss), low = Math.min(...losses), high = Math.max(...losses);
  const height = loss => high > low ? bottom - (loss - low) * (bottom - top) / (high - low) : (top + bottom) / 2;
  const limit = [...losses].sort((a, b) => a - b)[Math.max(0, Math.ceil(losses.length / 10) - 1)];
  const off = data.axes.map(() => new Set()), paths = [];
  const chosen = document.getElementById("chosen");
  data.runs.forEach((run, i) => {
    const nudge = k => ((i * 7 + k * 13) % 11 - 5);
    const points = run.at.map((code, k) => [x(k), place(k, code) + nudge(k)]).concat([[x(columns - 1), height(run.loss)]]);
    const d = points.map(([px, py], k) => k ? `C${(points[k - 1][0] + px) / 2},${points[k - 1][1]} ${(points[k - 1][0] + px) / 2},${py} ${px},${py}` : `M${px},${py}`).join("");
    const path = make("path", { d, class: run.loss <= limit ? "top" : "" });
    path.addEventListener("mouseenter", () => { chosen.textContent = `${run.name}: ${run.loss.toPrecision(4)}`; });
    paths.push(path);
    path.appendChild(document.createElementNS(NS, "title")).textContent = `${run.name}: ${run.loss.toPrecision(4)}`;
  });
  const filter = () => paths.forEach((path, i) => path.classList.toggle("out", data.runs[i].at.some((code, k) => off[k].has(code))));
  data.axes.forEach((axis, k) => {
    make("line", { x1: x(k), x2: x(k), y1: top, y2: bottom, class: "axis" });
    make("text", { x: x(k), y: 18, "text-anchor": "middle", "font-weight": 600 }, axis.name);
    axis.values.forEach((value, code) => {
      const label = make("text", { x: x(k) + 6, y: place(k, code) - 8, class: "value", tabindex: 0, role: "button" }, value);
      const toggle = () => { off[k].has(code) ? off[k].delete(code) : off[k].add(code); label.classList.toggle("off"); filter(); };
      label.addEventListener("click", toggle);
      label.addEventListener("keydown", event => { if (event.key === "Enter") toggle(); });
    });
  });
  make("line", { x1: x(columns - 1), x2: x(columns - 1), y1: top, y2: bottom, class: "axis" });
  make("text", { x: x(columns - 1), y: 18, "text-anchor": "middle", "font-weight": 600 }, data.metric);
  make("text", { x: x(columns - 1) + 6, y: bottom }, low.toPrecision(4));
  if (high > low) make("text", { x: x(columns - 1) + 6, y: top }, high.toPrecision(4));
})();

// The forecasts of a series; the values are read by pointing.
(() => {
  const box = document.getElementById("forecasts");
  if (!box || !forecasts.length) return;
  box.hidden = false;
  const svg = box.querySelector("svg"), select = document.getElementById("chosen-series");
  const value = document.getElementById("forecast-value"), about = document.getElementById("forecast-about");
  const W = 1100, H = 260, left = 60, right = W - 10, top = 12, bottom = H - 28;
  forecasts.forEach((series, k) => select.add(new Option(series.name, k)));
  select.parentElement.hidden = forecasts.length < 2;
  const show = () => {
    const series = forecasts[select.value], n = series.times.length, make = drawIn(svg, W, H);
    const values = [...series.actual, ...series.forecast].filter(v => v !== null);
    const low = Math.min(...values), high = Math.max(...values);
    const x = i => n < 2 ? (left + right) / 2 : left + i * (right - left) / (n - 1);
    const y = v => high > low ? bottom - (v - low) * (bottom - top) / (high - low) : (top + bottom) / 2;
    about.textContent = series.about;
    for (const v of high > low ? [low, (low + high) / 2, high] : [low]) {
      make("line", { x1: left, x2: right, y1: y(v), y2: y(v), class: "axis" });
      make("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, String(Number(v.toPrecision(3))));
    }
    make("text", { x: left, y: H - 6 }, series.times[0]);
    if (n > 1) make("text", { x: right, y: H - 6, "text-anchor": "end" }, series.times[n - 1]);
    for (const name of ["actual", "forecast"]) {
      const d = series[name].map((v, i) => v === null ? "" : `${i && series[name][i - 1] !== null ? "L" : "M"}${x(i)},${y(v)}`).join("");
      make("path", { d, class: name });
    }
    const line = make("line", { y1: top, y2: bottom, class: "pointer" });
    let at = n - 1;
    const read = i => {
      at = Math.max(0, Math.min(n - 1, i));
      line.setAttribute("x1", x(at)); line.setAttribute("x2", x(at));
      value.textContent = `${series.times[at]}: actual ${series.actual[at] ?? "-"}, forecast ${series.forecast[at] ?? "-"}`;
    };
    svg.onpointermove = event => {
      const rect = svg.getBoundingClientRect();
      read(Math.round(((event.clientX - rect.left) * W / rect.width - left) / (right - left) * (n - 1)));
    };
    svg.onkeydown = event => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) { event.preventDefault(); read(at + step); }
    };
  };
  svg.setAttribute("tabindex", 0);
  select.onchange = show;
  show();
})();

// Tables are sorted by the column whose header is clicked, and once more the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const key = row => cell => {
    const text = row.cells[cell]?.textContent.trim() ?? "", number = parseFloat(text.replace(/,/g, ""));
    return Number.isNaN(number) ? text.toLowerCase() : number;
  };
  [...table.tHead.rows[0].cells].forEach((head, k) => {
    head.tabIndex = 0;
    const sort = () => {
      const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
      const rows = [...body.rows].map(row => [key(row)(k), row]);
      // Texts, such as a dash for no value, stand behind the numbers.
      rows.sort(([a], [b]) => typeof a !== typeof b ? (typeof a === "number" ? -1 : 1) : turn * (a < b ? -1 : a > b ? 1 : 0));
      body.append(...rows.map(([, row]) => row));
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
}
document.getElementById("all-runs")?.addEventListener("click", event => {
  document.getElementById("leaderboard").classList.add("all");
  event.target.parentElement.remove();
});
addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });
