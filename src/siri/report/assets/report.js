"use strict";
// Everything that comes from a run is set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const el = (tag, text, cls) => {
    const node = document.createElement(tag);
    if (text !== undefined && text !== null) node.textContent = text;
    if (cls) node.className = cls;
    return node;
  };
  const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [4, 8]];
  const NAMES = ["--a", "--b", "--c", "--d", "--soft"];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const several = data.runs.length > 1;
  let plots = [];

  // ---- curves
  // runs have their own x, and a chart has one: all of them, with gaps where a line has no value
  function aligned(lines) {
    const xs = [...new Set(lines.flatMap((line) => line.x))].sort((p, q) => p - q);
    const place = new Map(xs.map((x, n) => [x, n]));
    return [xs, ...lines.map((line) => {
      const row = Array(xs.length).fill(undefined);
      line.x.forEach((x, n) => { row[place.get(x)] = line.y[n]; });
      return row;
    })];
  }

  function marked(marks) {
    return { hooks: { draw: [(u) => {
      const { ctx, bbox } = u;
      const scale = devicePixelRatio || 1;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = colour("--soft");
      ctx.font = `${11 * scale}px system-ui`;
      ctx.textAlign = "left"; ctx.setLineDash([3 * scale, 3 * scale]);
      for (const [x, name] of marks) {
        const at = Math.round(u.valToPos(x, "x", true));
        if (at < bbox.left || at > bbox.left + bbox.width) continue;
        ctx.beginPath(); ctx.moveTo(at, bbox.top); ctx.lineTo(at, bbox.top + bbox.height); ctx.stroke();
        ctx.fillText(name, at + 4 * scale, bbox.top + 11 * scale);
      }
      ctx.restore();
    }] } };
  }

  function draw(target, title, lines, marks, xlabel, height) {
    const series = [{ label: xlabel }], bands = [];
    lines.forEach((line, n) => {
      const name = NAMES[line.hue % NAMES.length];
      const edge = line.edge;
      series.push({
        label: line.label, stroke: edge ? "transparent" : colour(name), width: edge ? 0 : 2,
        dash: DASHES[line.dash % DASHES.length], spanGaps: true,
        points: { show: !edge && (line.points || line.x.length < 3), size: 7 },
        value: (_, v) => (v === null || v === undefined ? "–" : Number(v.toPrecision(4)).toString()),
      });
      if (edge === "high") bands.push({ series: [n + 1, n + 2], fill: colour(name) + "2e" });
    });
    const axis = { stroke: colour("--text"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    const plot = new uPlot({
      width: Math.max(280, target.clientWidth), height, series, bands,
      scales: { x: { time: false } }, axes: [{ ...axis }, { ...axis, size: 56 }], plugins: [marked(marks)],
    }, aligned(lines), target);
    // edges of bands have no name of their own
    lines.forEach((line, n) => { if (line.edge) plot.root.querySelectorAll(".u-series")[n + 1].style.display = "none"; });
    plot.root.querySelectorAll(".u-series th").forEach((th) => {
      th.tabIndex = 0; th.setAttribute("role", "button");
      th.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); th.click(); } });
    });
    plot.root.setAttribute("role", "img");
    plot.root.setAttribute("aria-label", title);
    plots.push([plot, target]);
  }

  function banded(entry, x, look) {
    return [
      { ...look, x, y: entry.high, edge: "high" },
      { ...look, x, y: entry.low, edge: "low" },
      { ...look, x, y: entry.mean || entry.y },
    ];
  }

  function charts() {
    const box = $("charts");
    box.replaceChildren();
    const place = (title, about, lines) => {
      if (!lines.some((line) => line.y.some((v) => v !== null && v !== undefined))) return;
      const figure = el("div", null, "chart"), target = el("div");
      figure.append(el("h3", title), el("p", about), target);
      box.append(figure);
      draw(target, title, lines, data.runs[0].marks, "steps", 240);
    };
    const stages = [];
    data.runs.forEach((run, r) => Object.entries(run.stages).forEach(([name, entry], n) => {
      const look = { label: several ? `${run.name}: ${name}` : name, hue: several ? r : n, dash: several ? n : n, points: true };
      stages.push(...(several ? [{ ...look, x: entry.x, y: entry.y }] : banded(entry, entry.x, look)));
    }));
    place("Success in evaluation", several ? "Each split and arm." : "Each split and arm, with 95 % intervals.", stages);
    for (const chart of data.charts) {
      const lines = [];
      data.runs.forEach((run, r) => chart.series.forEach(([metric, label], n) => {
        const entry = run.metrics[metric];
        if (!entry) return;
        const look = { label: several ? `${run.name}: ${label}` : label, hue: several ? r : n, dash: n };
        if (chart.smooth && !several) lines.push(...banded(entry, run.x, look));
        else lines.push({ ...look, x: run.x, y: entry.mean || entry.y });
      }));
      place(chart.title, chart.about, lines);
    }
  }

  function skillChart(details) {
    const target = details.querySelector(".skillchart");
    const entry = data.runs[details.dataset.run].skills[details.dataset.skill];
    target.replaceChildren();
    plots = plots.filter(([, box]) => box !== target);
    if (!entry || !entry.x.length) { target.append(el("p", "No group yet.")); return; }
    draw(target, "Utility", banded(entry, entry.x, { label: "u", hue: 0, dash: 0 }), [], "groups", 180);
  }

  // ---- episodes
  const every = data.runs.flatMap((run, r) => run.pairs.map((pair, n) => ({ ...pair, run: r, id: `pair-${r}-${n}` })));
  const form = $("filters"), list = $("list");
  const LIMIT = 300;
  let shown = [], skillFilter = "";

  function choices(name, values, word) {
    const select = form.elements[name];
    select.append(new Option(word || "any", ""), ...values.map(([v, text]) => new Option(text, v)));
  }
  const unique = (values) => [...new Set(values)].map((v) => [v, v]);
  choices("run", data.runs.map((run, r) => [String(r), run.name]), "all");
  choices("when", unique(every.map((p) => p.when)));
  choices("kind", unique(every.map((p) => p.kind)));

  const arms = (pair) => Object.values(pair.arms);
  const isTaught = (pair) => arms(pair).some((e) => e.turns.some((t) => t.w && t.w.some((row) => row[1] > 0)));
  const outcomes = {
    won: (p) => arms(p).some((e) => e.success),
    lost: (p) => arms(p).some((e) => !e.success),
    differ: (p) => arms(p).length === 2 && p.arms.plain.success !== p.arms.skill.success,
    helped: (p) => arms(p).length === 2 && !p.arms.plain.success && p.arms.skill.success,
  };

  function fits(pair) {
    const f = form.elements;
    if (f.run.value && String(pair.run) !== f.run.value) return false;
    if (f.when.value && pair.when !== f.when.value) return false;
    if (f.kind.value && pair.kind !== f.kind.value) return false;
    if (f.arm.value === "both" ? arms(pair).length < 2 : f.arm.value && !pair.arms[f.arm.value]) return false;
    if (f.outcome.value && !outcomes[f.outcome.value](pair)) return false;
    if (f.taught.checked && !isTaught(pair)) return false;
    if (skillFilter && !arms(pair).some((e) => e.skills.includes(skillFilter))) return false;
    const words = f.words.value.trim().toLowerCase();
    return !words || JSON.stringify(pair).toLowerCase().includes(words);
  }

  const verdict = (e) => (e ? (e.success ? "won" : "lost") : "–");

  function filter() {
    shown = every.filter(fits);
    list.replaceChildren(...shown.slice(0, LIMIT).map((pair) => {
      const item = el("li"), link = el("a");
      link.href = `#${pair.id}`;
      link.append(pair.goal, el("small", `${several ? data.runs[pair.run].name + ", " : ""}${pair.when}, ${pair.where}; plain ${verdict(pair.arms.plain)}, skill ${verdict(pair.arms.skill)}${isTaught(pair) ? "; distilled" : ""}`));
      item.append(link);
      return item;
    }));
    const more = shown.length > LIMIT ? `; the first ${LIMIT} are listed` : "";
    const only = skillFilter ? `, only those that showed skill ${skillFilter} (change a filter to see all)` : "";
    $("count").textContent = every.length ? `${shown.length} of ${every.length} pairs${only}${more}` : "No episode was kept yet.";
    mark();
  }

  function mark() {
    list.querySelectorAll("a").forEach((link) => {
      if (link.hash === location.hash) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
  }

  function tokens(rows) {
    const box = el("details"), table = el("table"), body = el("tbody"), head = el("tr");
    const n = rows.filter((row) => row[1] > 0).length;
    box.append(el("summary", `${n} of ${rows.length} tokens distilled`));
    for (const name of ["token", "weight", "log-prob before", "after"]) head.append(el("th", name));
    const thead = el("thead"); thead.append(head);
    for (const [piece, w, before, after] of rows) {
      const row = el("tr");
      row.append(el("td", JSON.stringify(piece)), el("td", w.toFixed(2), "n"), el("td", before.toFixed(3), "n"), el("td", after.toFixed(3), "n"));
      body.append(row);
    }
    table.append(thead, body); box.append(table);
    return box;
  }

  function said(turn) {
    const pre = el("pre", null, "said");
    if (!turn.w) { pre.textContent = turn.t; return pre; }
    for (const [piece, w, before, after] of turn.w) {
      const span = el("span", piece, w > 0 ? "tok on" : "tok");
      span.style.setProperty("--w", Math.min(1, w / 2).toFixed(3));
      span.title = `w = ${w}, log-prob ${before} before, ${after} after`;
      pre.append(span);
    }
    return pre;
  }

  function arm(name, episode, block) {
    const box = el("div", null, "arm"), head = el("h4", `${name} arm: `);
    head.append(el("span", episode.success ? "won" : "lost", episode.success ? "won" : "lost"));
    head.append(`, ${episode.stop.replace("_", " ")}, ${episode.turns.length} turns${episode.score === undefined ? "" : `, score ${episode.score}`}`);
    box.append(head);
    if (name === "skill" && block) {
      box.append(el("p", "Its prompts show this block in addition:", "meta"), el("pre", block, "block"));
    }
    episode.turns.forEach((turn, n) => {
      const part = el("div", null, "turn"), facts = [`turn ${n + 1}`];
      if (turn.A !== undefined) facts.push(`advantage ${turn.A >= 0 ? "+" : ""}${turn.A.toFixed(3)}`);
      if (turn.r) facts.push(`reward ${turn.r}`);
      if (turn.invalid) facts.push("refused by the world");
      if (turn.cut) facts.push("cut off at the token limit");
      part.append(el("div", facts.join(", "), "meta"), el("pre", turn.o, "observation"), said(turn));
      if (turn.a !== turn.t) part.append(el("div", `action: ${turn.a}`, "meta"));
      if (turn.w) part.append(tokens(turn.w));
      box.append(part);
    });
    if (episode.final) {
      const part = el("div", null, "turn");
      part.append(el("div", "at the end", "meta"), el("pre", episode.final, "observation"));
      box.append(part);
    }
    return box;
  }

  function open(pair) {
    const box = $("pair"), grid = el("div", null, "arms");
    box.replaceChildren(el("h3", pair.goal), el("p", `${data.runs[pair.run].name}: ${pair.when}, ${pair.where}. Task ${pair.task}, ${pair.kind}.`));
    for (const name of ["plain", "skill"]) if (pair.arms[name]) grid.append(arm(name, pair.arms[name], pair.block));
    box.append(grid);
  }

  function follow() {
    const name = decodeURIComponent(location.hash.slice(1));
    const pair = every.find((p) => p.id === name);
    if (pair) { open(pair); mark(); $("pair").scrollIntoView({ block: "nearest" }); return; }
    const details = name.startsWith("skill-") && $(name);
    if (details) { details.open = true; details.scrollIntoView(); }
  }

  function step(by) {
    if (!shown.length) return;
    const at = shown.findIndex((p) => `#${p.id}` === location.hash);
    location.hash = shown[Math.max(0, Math.min(shown.length - 1, at < 0 ? 0 : at + by))].id;
  }

  form.addEventListener("input", () => { skillFilter = ""; filter(); });
  form.addEventListener("submit", (e) => e.preventDefault());
  addEventListener("hashchange", follow);
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || /INPUT|SELECT|TEXTAREA/.test(e.target.tagName)) return;
    if (e.key === "j") step(1);
    if (e.key === "k") step(-1);
  });
  document.querySelectorAll("details.skill").forEach((details) => {
    details.addEventListener("toggle", () => { if (details.open) skillChart(details); });
    details.querySelector(".seen").addEventListener("click", () => {
      form.reset(); skillFilter = details.dataset.skill; filter();
      if (shown.length) { location.hash = shown[0].id; follow(); } else { location.hash = "episodes"; }
    });
  });

  // ---- light and dark, sizes
  function redraw() {
    plots.forEach(([plot]) => plot.destroy());
    plots = [];
    charts();
    document.querySelectorAll("details.skill[open]").forEach(skillChart);
  }
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => plots.forEach(([plot, box]) => plot.setSize({ width: Math.max(280, box.clientWidth), height: plot.height })), 150); });

  filter();
  charts();
  if (every.length && !location.hash) open(every[0]);
  follow();
})();
