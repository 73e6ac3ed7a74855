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

  // phases are shaded in turn, their names stand above; whiskers are 95 % intervals
  function marked(marks, whiskers) {
    const each = (u, f) => marks.forEach(([x, name], n) => {
      const { left, width } = u.bbox;
      const clamp = (v) => Math.max(left, Math.min(left + width, v));
      const from = clamp(u.valToPos(x, "x", true));
      const to = n + 1 < marks.length ? clamp(u.valToPos(marks[n + 1][0], "x", true)) : left + width;
      if (to > from) f(from, to, name, n);
    });
    return { hooks: {
      drawClear: [(u) => {
        const { ctx, bbox } = u, scale = devicePixelRatio || 1;
        ctx.save();
        ctx.font = `${11 * scale}px system-ui`; ctx.textAlign = "left"; ctx.textBaseline = "alphabetic";
        each(u, (from, to, name, n) => {
          if (n % 2) { ctx.fillStyle = colour("--shade"); ctx.fillRect(from, bbox.top, to - from, bbox.height); }
          ctx.fillStyle = colour("--soft");
          if (ctx.measureText(name).width < to - from) ctx.fillText(name, from + 2 * scale, bbox.top - 6 * scale);
        });
        ctx.restore();
      }],
      draw: [(u) => {
        const { ctx } = u, scale = devicePixelRatio || 1;
        ctx.save();
        whiskers.forEach(({ line, at }, n) => {
          if (!u.series[at].show) return;
          ctx.strokeStyle = colour(NAMES[line.hue % NAMES.length]); ctx.lineWidth = 1.5 * scale;
          line.x.forEach((x, k) => {
            // side by side, so that none hides another
            const px = u.valToPos(x, "x", true) + (n - (whiskers.length - 1) / 2) * Math.min(5, 14 / Math.max(1, whiskers.length - 1)) * scale;
            const [low, high] = [line.low[k], line.high[k]].map((v) => u.valToPos(v, "y", true));
            ctx.beginPath(); ctx.moveTo(px, low); ctx.lineTo(px, high);
            for (const y of [low, high]) { ctx.moveTo(px - 3 * scale, y); ctx.lineTo(px + 3 * scale, y); }
            ctx.stroke();
          });
        });
        ctx.restore();
      }],
    } };
  }

  const short = (v) => (Math.abs(v) >= 1e6 ? `${+(v / 1e6).toFixed(1)}M` : Math.abs(v) >= 1e3 ? `${+(v / 1e3).toFixed(1)}k` : v.toLocaleString("en"));

  function draw(target, title, lines, marks, xlabel, height, share) {
    const series = [{ label: xlabel, value: (_, v) => (v === null || v === undefined ? "" : short(v)) }], bands = [], whiskers = [];
    lines.forEach((line, n) => {
      const name = NAMES[line.hue % NAMES.length];
      const edge = line.edge;
      series.push({
        show: !line.hidden, label: line.label, stroke: edge ? "transparent" : colour(name), width: edge ? 0 : 2,
        dash: DASHES[line.dash % DASHES.length], spanGaps: true,
        points: { show: !edge && (line.points || line.x.length < 3), size: 7, fill: colour("--card") },
        value: (_, v) => (v === null || v === undefined ? "–" : Number(v.toPrecision(3)).toString()),
      });
      if (edge === "high") bands.push({ series: [n + 1, n + 2], fill: colour(name) + "26" });
      if (line.low) whiskers.push({ line, at: n + 1 });
    });
    const font = "12px system-ui, sans-serif";
    const axis = { stroke: colour("--soft"), font, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const rows = aligned(lines);
    const lasts = () => rows.map((row) => { for (let n = row.length - 1; n >= 0; n--) if (row[n] !== null && row[n] !== undefined) return n; return null; });
    // away from the pointer, the names say the last values
    const rest = (u) => { if (u.cursor.left === undefined || u.cursor.left < 0) u.setLegend({ idxs: lasts() }, false); };
    const range = share ? { range: [0, 1] } : { range: (u, low, high) => {
      const pad = ((high - low) || Math.abs(high) || 1) * 0.08;
      return [low >= 0 && low < high / 2 ? 0 : low - pad, high + pad];
    } };
    const plot = new uPlot({
      width: Math.max(280, target.clientWidth), height, series, bands, padding: [marks.length ? 24 : 10, 12, 0, 0],
      scales: { x: { time: false }, y: range },
      axes: [{ ...axis, values: (_, ticks) => ticks.map(short), size: 34 }, { ...axis, size: 46 }],
      cursor: { points: { size: 8 } },
      plugins: [marked(marks, whiskers), { hooks: { ready: [rest], setCursor: [rest] } }],
    }, rows, target);
    // edges of bands have no name of their own
    lines.forEach((line, n) => { if (line.edge) plot.root.querySelectorAll(".u-series")[n + 1].style.display = "none"; });
    plot.root.querySelectorAll(".u-series").forEach((tr, n) => {
      const marker = tr.querySelector(".u-marker"), line = lines[n - 1];
      if (!line) { if (marker) marker.style.display = "none"; return; }
      // a dash is told apart without colour
      if (marker) marker.style.cssText = `border-top:3px ${["solid", "dashed", "dotted", "dashed", "dotted"][line.dash % 5]} ${colour(NAMES[line.hue % NAMES.length])}`;
      const th = tr.querySelector("th");
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
    const place = (title, about, lines, share) => {
      if (!lines.some((line) => line.y.some((v) => v !== null && v !== undefined))) return;
      const figure = el("div", null, "chart"), target = el("div");
      figure.append(el("h3", title), el("p", about), target);
      box.append(figure);
      draw(target, title, lines, data.runs[0].marks, "at step", 240, share);
    };
    const stages = [];
    data.runs.forEach((run, r) => Object.entries(run.stages).forEach(([name, entry], n) => {
      const arm = name.endsWith("skill") ? 1 : 0;
      const look = { label: several ? `${run.name}: ${name}` : name, hue: several ? r : arm, dash: n, points: true };
      // of several runs, the plain policies first; a click on a name shows the rest
      stages.push({ ...look, ...entry, hidden: several && arm === 1 });
    }));
    place("Success in evaluation", "Each split and arm before training, after each phase, and at the end; whiskers are 95 % intervals.", stages, true);
    for (const chart of data.charts) {
      const lines = [];
      data.runs.forEach((run, r) => chart.series.forEach(([metric, label], n) => {
        const entry = run.metrics[metric];
        if (!entry) return;
        const look = { label: several ? `${run.name}: ${label}` : label, hue: several ? r : n, dash: n };
        if (chart.smooth && !several) lines.push(...banded(entry, run.x, look));
        else lines.push({ ...look, x: run.x, y: entry.mean || entry.y });
      }));
      place(chart.title, chart.about, lines, chart.share);
    }
  }

  function skillChart(details) {
    const target = details.querySelector(".skillchart");
    const entry = data.runs[details.dataset.run].skills[details.dataset.skill];
    target.replaceChildren();
    plots = plots.filter(([, box]) => box !== target);
    if (!entry || !entry.x.length) { target.append(el("p", "No group yet.")); return; }
    draw(target, "Utility", banded(entry, entry.x, { label: "u", hue: 0, dash: 0 }), [], "at group", 200, false);
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

  let current = null;  // the pair that is open
  const verdict = (e) => (e ? (e.success ? "won" : "lost") : "–");

  function filter() {
    shown = every.filter(fits);
    list.replaceChildren(...shown.slice(0, LIMIT).map((pair) => {
      const item = el("li"), link = el("a");
      link.href = `#${pair.id}`;
      link.addEventListener("click", () => { if (link.hash === location.hash) follow(); });  // a pair that was closed
      const facts = el("small");
      for (const name of ["plain", "skill"]) {
        const e = pair.arms[name];
        if (e) facts.append(el("span", `${e.success ? "✓" : "✗"} ${name} ${verdict(e)}`, verdict(e)));
      }
      facts.append(el("span", `${several ? data.runs[pair.run].name + ", " : ""}${pair.when}, ${pair.where}`));
      if (isTaught(pair)) facts.append(el("span", "distilled"));
      link.append(pair.goal, facts);
      item.append(link);
      return item;
    }));
    const more = shown.length > LIMIT ? `; the first ${LIMIT} are listed` : "";
    const only = skillFilter ? `, only those that showed skill ${skillFilter} (change a filter to see all)` : "";
    if (current && !shown.includes(current)) {
      current = null;
      $("pair").replaceChildren(el("p", shown.length ? "The pair that was open is not among these: choose one." : "No pair fits these filters.", "soft"));
    }
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

  // what the agent read at its first turn; the plain arm's is the same without the block
  function prompt(messages, block, name) {
    const box = el("details", null, "prompt"), pre = el("pre");
    const shows = name === "skill" && block;
    box.open = Boolean(shows);
    box.append(el("summary", `prompt of the first turn${shows ? ", the skill marked" : ""}`));
    for (const [role, content] of messages) {
      pre.append(el("span", role, "role"));
      const at = block ? content.indexOf(block) : -1;
      if (at < 0) pre.append(content);
      else { pre.append(content.slice(0, at)); if (shows) { const begin = block.length - block.trimStart().length; pre.append(block.slice(0, begin), el("mark", block.slice(begin))); } pre.append(content.slice(at + block.length)); }
      pre.append("\n");
    }
    box.append(pre);
    return box;
  }

  function arm(name, episode, pair) {
    const box = el("div", null, `arm ${name}`), head = el("h4", `${name} arm: `), turns = episode.turns.length;
    head.append(el("span", episode.success ? "✓ won" : "✗ lost", episode.success ? "won" : "lost"));
    head.append(`, ${episode.stop.replace("_", " ")}, ${turns} turn${turns === 1 ? "" : "s"}${episode.score === undefined ? "" : `, score ${episode.score}`}`);
    box.append(head);
    if (pair.prompt && pair.prompt.length) box.append(prompt(pair.prompt, pair.block, name));
    else if (name === "skill" && pair.block) {
      box.append(el("p", "Its prompts show this block in addition:", "meta"), el("pre", pair.block.trim(), "block"));
    }
    if (name === "skill" && pair.again && pair.again.length) {
      box.append(el("p", `What was won with ${episode.skills.length > 1 ? "these skills" : "this skill"} in ${pair.when} was distilled again in iteration${pair.again.length > 1 ? "s" : ""} ${pair.again.join(", ")}.`, "meta"));
    }
    episode.turns.forEach((turn, n) => {
      const part = el("div", null, "turn"), facts = [`turn ${n + 1}`];
      if (turn.A !== undefined) facts.push(`advantage ${turn.A >= 0 ? "+" : ""}${turn.A.toFixed(3)}`);
      if (turn.u !== undefined) facts.push(`uptake ${turn.u >= 0 ? "+" : ""}${turn.u.toFixed(2)} nats a token`);
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
    current = pair;
    const box = $("pair"), grid = el("div", null, "arms");
    box.replaceChildren(el("h3", pair.goal), el("p", `${several ? data.runs[pair.run].name + ": " : ""}${pair.when}, ${pair.where}; ${pair.kind}; task ${pair.task}`, "soft"));
    for (const name of ["plain", "skill"]) if (pair.arms[name]) grid.append(arm(name, pair.arms[name], pair));
    box.append(grid);
  }

  let followed = null;  // the link that was followed last

  function follow() {
    followed = location.hash;
    const name = decodeURIComponent(followed.slice(1));
    const pair = every.find((p) => p.id === name);
    if (pair) { open(pair); mark(); $("pair").scrollIntoView({ block: "nearest" }); return; }
    const details = name.startsWith("skill-") && $(name);
    if (details) { details.open = true; details.scrollIntoView(); }
  }

  function step(by) {
    if (!shown.length) return;
    const at = shown.findIndex((p) => `#${p.id}` === location.hash);
    go(shown[Math.max(0, Math.min(shown.length - 1, at < 0 ? 0 : at + by))]);
  }

  function go(pair) {
    location.hash = pair.id;
    follow();
  }

  form.addEventListener("input", () => { skillFilter = ""; filter(); });
  form.addEventListener("submit", (e) => e.preventDefault());
  // a browser tells of a new link later: by then the filters may have closed the pair that go() opened
  addEventListener("hashchange", () => { if (location.hash !== followed) follow(); });
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || /INPUT|SELECT|TEXTAREA/.test(e.target.tagName)) return;
    if (e.key === "j") step(1);
    if (e.key === "k") step(-1);
  });
  document.querySelectorAll("details.skill").forEach((details) => {
    details.addEventListener("toggle", () => { if (details.open) skillChart(details); });
    details.querySelector(".seen").addEventListener("click", () => {
      form.reset(); skillFilter = details.dataset.skill; filter();
      if (shown.length) go(shown[0]); else { location.hash = "episodes"; }
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

  // ---- a run that goes on: look for news, and load the page again with what was chosen
  const stamp = document.body.dataset.live, follower = $("live"), KEPT = "siri-view";
  if (stamp) {
    try {
      const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
      if (kept) {
        for (const [name, value] of Object.entries(kept.form)) if (form.elements[name]) form.elements[name].value = value;
        form.elements.taught.checked = kept.taught;
        kept.open.forEach((id) => { const details = $(id); if (details) details.open = true; });
        addEventListener("load", () => scrollTo(0, kept.y));
        sessionStorage.removeItem(KEPT);
      }
    } catch { /* a browser without a session store forgets the filters */ }
    let following = true;
    const say = (text) => { follower.textContent = text; };
    follower.addEventListener("click", () => {
      following = !following;
      follower.setAttribute("aria-pressed", String(following));
      say(following ? "● following" : "○ paused");
    });
    setInterval(async () => {
      if (!following || document.hidden || form.contains(document.activeElement)) return;
      try {
        const answer = await fetch("/stamp", { cache: "no-store" });
        if (!answer.ok) { say("○ cannot read the run"); return; }
        if ((await answer.text()) === stamp) { say("● following"); return; }
        const open = [...document.querySelectorAll("details.skill[open]")].map((details) => details.id);
        const chosen = Object.fromEntries(["run", "when", "kind", "arm", "outcome", "words"].map((name) => [name, form.elements[name].value]));
        sessionStorage.setItem(KEPT, JSON.stringify({ form: chosen, taught: form.elements.taught.checked, open, y: scrollY }));
        location.reload();
      } catch { say("○ server gone"); }
    }, 2000);
  }

  filter();
  charts();
  if (every.length && !location.hash) open(every[0]);
  follow();
})();
