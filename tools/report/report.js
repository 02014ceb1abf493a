/* The script of report.html: draws a run from its report.json, which stands in the page as data.
 *
 * Bars and lines are drawn by Chart.js; timeline, treemap, ranges and maps by this file, as SVG. Text from the data is
 * only ever set as text, never as HTML. What the data lack is left out: no section without numbers.
 * For tests: every plot carries data-drawn="yes" once it stands; <html> carries how many there are (data-plots),
 * whether the page is wider than the window (data-overflow), how many open tables are wider than their place
 * (data-clipped), and the message if something went wrong (data-failed).
 */
"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const main = document.querySelector("main");
  const plots = []; /* {box, draw, chart, width} */

  /* ---- small tools ------------------------------------------------------------------------------------- */

  const get = (path, from) => path.split(".").reduce((at, key) => (at == null ? undefined : at[key]),
                                                     from === undefined ? data : from);
  const known = (value) => typeof value === "number" && isFinite(value);
  const sum = (list) => list.reduce((total, value) => total + (known(value) ? value : 0), 0);

  function build(tag, attributes, children, space) {
    const node = space ? document.createElementNS(space, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== undefined && value !== null) { node.setAttribute(name, value); }
    }
    for (const child of [].concat(children === undefined ? [] : children)) {
      if (child !== null) { node.append(child); }
    }
    return node;
  }
  const el = (tag, attributes, children) => build(tag, attributes, children);
  const svg = (tag, attributes, children) => build(tag, attributes, children, "http://www.w3.org/2000/svg");

  const prefixes = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"],
      [1e-9, "n"],
                    [1e-12, "p"], [1e-15, "f"], [1e-18, "a"]];
  function digits(x) {
    const size = Math.abs(x);
    return size >= 999.5 ? x.toFixed(0) : size >= 99.95 ? x.toFixed(0) : size >= 9.995 ? x.toFixed(1) : x.toFixed(2);
  }
  /* "12.3 µJ" */
  function si(value, unit) {
    if (!known(value)) { return "not known"; }
    if (value === 0) { return "0 " + unit; }
    const at = prefixes.find((p) => Math.abs(value) >= 0.9995 * p[0]) || prefixes[prefixes.length - 1];
    return digits(value / at[0]) + " " + at[1] + unit;
  }
  /* For axes: "50 µs", not "50.0 µs". */
  const short = (format) => (value) => format(value).replace(/(\.\d*?)0+(?=\s)/, "$1").replace(/\.(?=\s)/, "");
  const mm2 = (value) => (known(value) ? Number(value.toPrecision(3)).toLocaleString("en") + " mm²" : "not known");
  const counted = (count, name) => whole(count) + " " + name + (count === 1 ? "" : "s");
  const percent = (share) => (!known(share) ? "not known" : share > 0 && share < 0.001 ? "< 0.1 %"
                              : (100 * share).toFixed(share < 0.1 ? 1 : 0) + " %");
  const whole = (value) => (known(value) ? Math.round(value).toLocaleString("en") : "not known");
  const compact = (value) => (known(value) && value >= 1e5 ? si(value, "").trim() : whole(value));
  const bytes = (value) => si(value, "B");
  const plain = (name) => name.replace(/_/g, " ");
  const styled = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const colour = (name) => styled("--" + name) || styled(name === "critical path" ? "--accent" : "--other");

  /* Black or white, whatever is easier to read on that colour ("#rrggbb"). */
  function inkOn(name) {
    const c = colour(name), light = [1, 3, 5].map((i) => Math.pow(parseInt(c.slice(i, i + 2), 16) / 255, 2.2));
    return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2] > 0.3 ? "#14171a" : "#ffffff";
  }

  /* ---- page ---------------------------------------------------------------------------------------------- */

  function section(id, title, intro) {
    const grid = el("div", {class: "grid"});
    main.append(el("section", {id: id, "aria-labelledby": id + "-title"},
                   [el("h2", {id: id + "-title"}, title), el("p", {class: "quiet"}, intro), grid]));
    document.querySelector("nav ul").append(el("li", {}, el("a", {href: "#" + id}, title)));
    return grid;
  }

  function card(grid, title, note, wide) {
    const box = el("figure", {class: wide ? "card wide" : "card"}, [el("h3", {}, title),
                                                                   note ? el("p", {class: "note"}, note) : null]);
    grid.append(box);
    return box;
  }

  /* head: names; a name that begins with "#" is a column of numbers. */
  function table(head, rows, tall, stacked) {
    const numeric = head.map((name) => name[0] === "#");
    const cell = (tag, value, i) => el(tag, {class: numeric[i] ? "number" : null, scope: tag === "th" ? "col" : null,
                                             "data-name": tag === "td" ? head[i].replace("#", "") : null}, value);
    return el("div", {class: tall ? "scroll tall" : "scroll", tabindex: "0", role: "region", "aria-label": "table"},
              el("table", {class: stacked ? "stacked" : null}, [
                el("thead", {}, el("tr", {}, head.map((name, i) => cell("th", name.replace("#", ""), i)))),
                el("tbody", {}, rows.map((row) => el("tr", {}, row.map((value, i) => cell("td", value, i)))))]));
  }

  const numbers = (head, rows) => el("details", {}, [el("summary", {}, "numbers"),
      table(head, rows, rows.length > 14)]);

  /* A box for a plot; draw(box) fills it, and is called again when width or colours change. */
  function plot(into, label, height, draw) {
    const box = el("div", {class: "plot", role: "img", "aria-label": label, style: height ? "height:" + height + "px"
                                                                                          : null});
    into.append(box);
    plots.push({box: box, draw: draw, width: 0});
  }

  function legend(into, names) {
    into.append(el("ul", {class: "legend"}, names.map((name) =>
      el("li", {}, [el("i", {style: "background:var(--" + name + ", var(--other))"}), plain(name)]))));
  }

  /* ---- Chart.js ------------------------------------------------------------------------------------------- */

  function axis(title, format, more) {
    return Object.assign({title: {display: true, text: title, color: colour("quiet")}, grid: {color: colour("line")},
                          ticks: {callback: (v) => short(format)(v), maxTicksLimit: 7, maxRotation: 0}}, more);
  }

  function chart(into, label, height, config) {
    plot(into, label, height, function (box) {
      const canvas = el("canvas", {"aria-hidden": "true"});
      box.append(canvas);
      Chart.defaults.color = colour("quiet");
      Chart.defaults.borderColor = colour("line");
      Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
      const made = config();
      made.options = Object.assign({animation: false, responsive: true, maintainAspectRatio: false}, made.options);
      made.options.plugins = Object.assign({legend: {display: false}}, made.options.plugins);
      return new Chart(canvas, made);
    });
  }

  /* The value behind the end of each horizontal bar. */
  function writeEnds(made, format) {
    const pen = made.ctx;
    pen.save();
    pen.font = "11.5px " + Chart.defaults.font.family;
    pen.fillStyle = colour("ink");
    pen.textBaseline = "middle";
    made.getDatasetMeta(0).data.forEach((bar, i) => pen.fillText(format(made.data.datasets[0].data[i]), bar.x + 6,
        bar.y));
    pen.restore();
  }

  /* One horizontal bar per row [name, value], longest first; parts: they are parts of a whole. */
  function bars(into, label, rows, format, title, parts) {
    const shown = rows.filter((row) => known(row[1]) && row[1] > 0).sort((a, b) => b[1] - a[1]);
    const total = sum(shown.map((row) => row[1]));
    chart(into, label, 56 + 26 * shown.length, () => ({
      type: "bar",
      data: {labels: shown.map((row) => plain(row[0])),
             datasets: [{data: shown.map((row) => row[1]), maxBarThickness: 16, minBarLength: 2,
                         backgroundColor: shown.map((row) => colour(row[0]))}]},
      options: {indexAxis: "y",
                layout: {padding: {right: 62}},
                scales: {x: axis(title, format, {ticks: {callback: (v) => short(format)(v),
                    maxTicksLimit: window.innerWidth < 500 ? 4 : 5,
                                                         maxRotation: 0}}),
                         y: {grid: {display: false}, ticks: {autoSkip: false}}},
                plugins: {tooltip: {callbacks: {label: (at) => format(at.parsed.x) +
                                                (parts ? " (" + percent(at.parsed.x / total) + ")" : "")}}}},
      plugins: [{id: "ends", afterDatasetsDraw: (made) => writeEnds(made, format)}],
    }));
    into.append(parts ? numbers(["", "#" + title, "#share"],
                                shown.map((row) => [plain(row[0]), format(row[1]), percent(row[1] / total)]))
                      : numbers(["", "#" + title], shown.map((row) => [plain(row[0]), format(row[1])])));
  }

  /* Stacked: series {name: [values]}, over labels. area: lines filled, else bars. */
  function stack(into, label, labels, series, format, xTitle, yTitle, area) {
    const names = Object.keys(series).filter((name) => series[name].some((v) => known(v) && v > 0));
    chart(into, label, 280, () => ({
      type: area ? "line" : "bar",
      data: {labels: labels, datasets: names.map((name) => ({
        label: plain(name), data: series[name], backgroundColor: colour(name), borderColor: colour(name),
        borderWidth: area ? 1 : 0, pointRadius: 0, fill: area ? "stack" : undefined, maxBarThickness: 34}))},
      options: {interaction: {mode: "index", intersect: false},
                scales: {x: {stacked: true, title: {display: true, text: xTitle}, grid: {display: false},
                             ticks: {maxRotation: 0, autoSkipPadding: 12}},
                         y: axis(yTitle, format, {stacked: true, beginAtZero: true})},
                plugins: {tooltip: {filter: (at) => at.parsed.y > 0, itemSort: (a, b) => b.parsed.y - a.parsed.y,
                                    callbacks: {label: (at) => at.dataset.label + ": " + format(at.parsed.y)}}}},
    }));
    if (names.length > 1) { legend(into, names); }
    into.append(numbers([xTitle].concat(names.map((name) => "#" + plain(name))),
                        labels.map((at, i) => [String(at)].concat(names.map((name) => format(series[name][i]))))));
  }

  /* Lines over x: series [{name, x, y, colour, dashed}]. */
  function lines(into, label, series, xTitle, yTitle, format, xFormat = whole) {
    chart(into, label, 260, () => ({
      type: "line",
      data: {datasets: series.map((s) => ({label: s.name, data: s.x.map((x, i) => ({x: x, y: s.y[i]})),
                                           borderColor: colour(s.colour), backgroundColor: colour(s.colour),
                                           borderWidth: 2, pointRadius: s.x.length < 3 ? 3 : 0,
                                           borderDash: s.dashed ? [5, 4] : []}))},
      options: {interaction: {mode: "nearest", axis: "x", intersect: false},
                scales: {x: axis(xTitle, xFormat, {type: "linear", grid: {display: false},
                                                   ticks: {callback: (v) => short(xFormat)(v), maxRotation: 0}}),
                         y: axis(yTitle, format, {beginAtZero: true})},
                plugins: {tooltip: {callbacks: {title: (at) => xTitle + " " + xFormat(at[0].parsed.x),
                                                label: (at) => at.dataset.label + ": " + format(at.parsed.y)}}}},
    }));
    into.append(numbers([xTitle].concat(series.map((s) => "#" + s.name)),
                        series[0].x.map((x, i) => [xFormat(x)].concat(series.map((s) => format(s.y[i]))))));
  }

  /* ---- head ------------------------------------------------------------------------------------------------ */

  function range(quantity, format) {
    const q = get("uncertainty." + quantity);
    return q && known(q.p10) ? "p10 to p90: " + format(q.p10) + " to " + format(q.p90) : "";
  }

  /* Of one prompt; of many requests the median, and the slowest of twenty. */
  function latency(name, key) {
    const q = get("serving." + key);
    return q ? [name + ", p50", si(q.p50, "s"), "p95: " + si(q.p95, "s") + "; " + counted(get("serving.requests"),
                                                                                         "request")]
             : [name, si(get("latency." + key), "s"), range(key, (v) => si(v, "s"))];
  }

  function head() {
    const chip = get("chip.name"), model = String(data.model || "");
    const folders = model.split("/").filter((name) => name && name !== "config.json");
    document.querySelector("h1").textContent = (folders.pop() || "a model") + " on " +
                                               (chip || "the digital reference");
    document.title = document.querySelector("h1").textContent + " - mho report";
    document.querySelector("header.top p").textContent =
      whole(data.prompt_tokens) + " prompt tokens, " + whole(data.generated_tokens) + " generated" +
      (data.shapes_only ? "; shapes only, no values were computed" : "") + ". " + (get("config.about") || "");
    const bits = get("efficiency.input_bits") + " x " + get("efficiency.output_bits") + " bits";
    const list = [
      ["energy per token", si(get("energy.per_token_J"), "J"), range("energy_per_token_J", (v) => si(v, "J"))],
      latency("time to first token", "ttft_s"),
      latency("time per output token", "tpot_s"),
      ["area", mm2(get("area.total_mm2")), range("area_mm2", mm2)],
      ["machine", compact(get("mapping.tiles")) + " tiles", counted(get("mapping.chips"), "chip") + " of " +
       whole(get("mapping.tiles_per_chip")) + " tiles, " + percent(get("mapping.utilisation")) + " of cells used"],
      ["efficiency of the tiles", known(get("efficiency.tiles_TOPS_per_W"))
        ? digits(get("efficiency.tiles_TOPS_per_W")) + " TOPS/W" : "not known",
       "2 operations per MAC, " + bits + "; tiles only, dynamic"],
    ];
    if (data.energy) {
      document.querySelector("header.top").append(el("dl", {class: "figures"}, list.map((f) =>
        el("div", {class: "figure"}, [el("dt", {}, f[0]), el("dd", {}, f[1]), el("dd", {class: "small"}, f[2])]))));
    }
    if ((data.flags || []).length) {
      document.querySelector("header.top").append(
        el("div", {class: "flags", role: "note"}, [el("h3", {}, "Read this first"),
                                                   el("ul", {}, data.flags.map((f) => el("li", {}, f)))]));
    }
  }

  /* ---- requests ------------------------------------------------------------------------------------------------ */

  function serving() {
    const of = data.serving;
    if (!of) { return; }
    const grid = section("requests", "Requests", counted(of.requests, "request") + ", at most " +
                         whole(of.most_in_flight) + " in flight; " + whole(of.tokens_per_s) + " tokens/s, " +
                         whole(of.requests_per_s) + " requests/s.");
    const columns = [["queueing_s", "#queueing"], ["ttft_s", "#first token"], ["tpot_s", "#per token"],
                     ["latency_s", "#whole"]].filter(([key]) => of[key]);
    card(grid, "Times", "queueing: from arrival to admission; time to first token and of the whole request: from " +
         "arrival on; per token: between two output tokens", true)
      .append(table([""].concat(columns.map(([, name]) => name)), ["mean", "p50", "p95", "p99", "max"]
        .map((q) => [q].concat(columns.map(([key]) => si(of[key][q], "s"))))));
  }

  /* ---- energy and time --------------------------------------------------------------------------------------- */

  const layerNames = (rows) => rows.map((row, i) => (i + 1 === rows.length ? "outside" : String(i)));

  function energy() {
    const parts = get("energy.by_component"), tokens = get("energy.tokens"),
        rows = get("energy.by_layer_and_component");
    if (!parts || !known(get("energy.total_J"))) { return; }
    const grid = section("energy", "Energy", si(get("energy.total_J"), "J") + " for " + whole(tokens) + " tokens. " +
                         "Counts of operations times the constants below, static power times the time.");
    bars(card(grid, "By component", "joules per token; mean over all tokens, prompt included"),
         "energy per token by component", Object.entries(parts).map(([name, joules]) => [name, joules / tokens]),
         (v) => si(v, "J"), "energy per token", true);
    if (rows) {
      const series = {};
      Object.keys(rows[0]).filter((name) => name !== "static")
        .forEach((name) => { series[name] = rows.map((row) => row[name] / tokens); });
      stack(card(grid, "By layer", "joules per token, static power left out (" + si(parts.static / tokens, "J") +
                 "); outside: embedding, head, sampling"),
            "energy per token by layer and component", layerNames(rows), series, (v) => si(v, "J"), "layer",
            "energy per token");
    }
  }

  function time() {
    const classes = get("time.resources"), rows = get("time.by_layer"), makespan = get("time.makespan_s");
    if (!classes || !known(makespan)) { return; }
    const grid = section("time", "Time", si(makespan, "s") + " for " + whole(get("time.steps")) + " steps. " +
                         "The critical path is the chain of operations that the end of the run waited for; " +
                         "its parts add up.");
    bars(card(grid, "By component", "seconds of the critical path"), "critical path by component",
         Object.entries(classes).map(([name, c]) => [name, c.critical_path_s]), (v) => si(v, "s"), "critical path",
             true);
    if (rows) {
      const waits = get("time.waiting_for_clocks_s") + get("time.waiting_for_arrivals_s");
      stack(card(grid, "By layer", "outside: embedding, head, sampling" +
                 (waits > 0 ? "; waiting for clocks and arrivals left out (" + si(waits, "s") + ")" : "")),
            "critical path by layer", layerNames(rows),
            {"critical path": rows}, (v) => si(v, "s"), "layer", "critical path");
    }
    bars(card(grid, "Utilisation", "share of the time that the busiest unit of a kind worked"),
         "utilisation of the busiest unit of each kind",
         Object.entries(classes).map(([name, c]) => [name, c.busiest_utilisation]), percent, "utilisation");
    bars(card(grid, "Waiting", "time that operations were ready but their unit was not free, summed"),
         "waiting by component", Object.entries(classes).map(([name, c]) => [name, c.wait_s]), (v) => si(v, "s"),
         "waiting");
  }

  /* ---- timeline ------------------------------------------------------------------------------------------------ */

  const REQUESTS_SHOWN = 40;

  /* Lanes of things that do not overlap: each event into the first lane of its group that is free. */
  function lanes(events) {
    const groups = new Map();
    events.forEach((event) => {
      const key = event.group;
      if (!groups.has(key)) { groups.set(key, {key: key, name: event.name, ends: []}); }
      const group = groups.get(key);
      let lane = group.ends.findIndex((end) => end <= event.start * (1 + 1e-12));
      if (lane < 0) { lane = group.ends.push(0) - 1; }
      group.ends[lane] = event.start + event.hold;
      event.lane = lane;
    });
    return [...groups.values()];
  }

  /* Pixels of the widest of these labels. */
  function widest(names, box) {
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = "11.5px " + getComputedStyle(box).fontFamily;
    return Math.max(...names.map((name) => pen.measureText(name).width));
  }

  function drawTimeline(box, events, length) {
    const groups = lanes(events), width = box.clientWidth, step = 15, right = width - 8;
    const left = Math.ceil(widest(groups.map((group) => group.name), box)) + 10;
    const x = (t) => left + (right - left) * t / length;
    let y = 4;
    groups.forEach((group) => { group.y = y; y += group.ends.length * step + 7; });
    const picture = svg("svg", {viewBox: "0 0 " + width + " " + (y + 22), height: y + 22});
    for (let i = 0, ticks = width < 500 ? 2 : 6; i <= ticks; i++) {
      const at = x(length * i / ticks);
      picture.append(svg("line", {x1: at, x2: at, y1: 0, y2: y, stroke: "var(--line)"}),
                     svg("text", {x: at, y: y + 14, "text-anchor": i === ticks ? "end" : i ? "middle" : "start"},
                         i ? si(length * i / ticks, "s") : "0"));
    }
    const byKey = new Map(groups.map((group) => [group.key, group]));
    groups.forEach((group) => picture.append(svg("text", {x: 0, y: group.y + 11}, group.name)));
    events.forEach((event) => {
      const wide = Math.max(1, x(event.start + event.hold) - x(event.start) - 0.4), top = byKey.get(event.group).y;
      picture.append(svg("rect", {x: x(event.start), y: top + event.lane * step, width: wide, height: step - 3, rx: 1,
                                  fill: "var(--" + event.kind + ", var(--other))"},
                         svg("title", {}, event.tip)));
      if (wide > 7 * event.operation.length + 6) {
        picture.append(svg("text", {style: "fill:" + inkOn(event.kind), x: x(event.start) + 3, y: top +
            event.lane * step + 10,
                                    "pointer-events": "none"}, event.operation));
      }
    });
    box.append(picture);
  }

  /* Requests one below the other: from arrival to admission, to the first token, to the last one. */
  function requestsOverTime() {
    const all = get("serving.by_request") || [], shown = all.slice(0, REQUESTS_SHOWN);
    if (!shown.length) { return; }
    const parts = [["waiting", "arrival_s", "admitted_s"], ["prompt", "admitted_s", "first_token_s"],
                   ["tokens", "first_token_s", "last_token_s"]];
    const begin = Math.min(...shown.map((q) => q.arrival_s)), end = Math.max(...shown.map((q) => q.last_token_s));
    const events = shown.flatMap((q, i) => parts.filter(([, from, to]) => q[to] > q[from]).map(([kind, from, to]) => ({
      kind: kind, group: i, name: "request " + i, operation: "", start: q[from] - begin, hold: q[to] - q[from],
      tip: "request " + i + ", " + kind + ": " + si(q[to] - q[from], "s") + " from " + si(q[from], "s"),
    })));
    const grid = section("timeline", "Timeline", "Every request from its arrival to its last token. What worked for " +
                         "them is in trace.json, which ui.perfetto.dev opens.");
    const box = card(grid, "Requests", (shown.length < all.length ? "the first " + shown.length + " of " : "all ") +
                     whole(all.length) + ": waiting for admission, prompt until the first token, further tokens; " +
                     "from " + si(begin, "s") + " on", true);
    legend(box, parts.map((part) => part[0]));
    plot(box, "requests over time", 0, (into) => drawTimeline(into, events, end - begin));
    box.append(numbers(["request", "#arrival", "#waiting", "#first token after", "#last token after"],
      shown.map((q, i) => [String(i), si(q.arrival_s, "s"), si(q.admitted_s - q.arrival_s, "s"),
                           si(q.first_token_s - q.arrival_s, "s"), si(q.last_token_s - q.arrival_s, "s")])));
  }

  function timeline() {
    const last = data.last_step;
    if (!last) { requestsOverTime(); }
    if (!last || !last.rows.length) { return; }
    const chips = new Set(last.rows.map((row) => row[1])).size, apart = chips <= 4;
        /* else units of all chips together */
    const order = Object.keys(get("time.resources") || {});
    const events = last.rows.map((row) => ({
      kind: row[0], group: row[0] + (apart ? " " + row[1] : ""), chip: apart ? row[1] : 0,
      name: plain(row[0]) + (apart && chips > 1 ? ", chip " + row[1] : ""), operation: row[2], start: row[5],
          hold: row[6],
      tip: row[2] + (row[3] >= 0 ? ", layer " + row[3] : "") + ", chip " + row[1] + ", token " + row[4] + ": " +
          si(row[6], "s") + " from " +
           si(row[5], "s"),
    })).sort((a, b) => a.chip - b.chip || order.indexOf(a.kind) - order.indexOf(b.kind) || a.start - b.start);
    const end = Math.max(...events.map((event) => event.start + event.hold));
    const grid = section("timeline", "Timeline", "The last step: " + whole(last.tokens) +
        (last.tokens > 1 ? " tokens" : " token") +
                         " after " + whole(last.tokens_before) + ", " + si(last.length_s, "s") + ". " +
                         "More of the run is in trace.json, which ui.perfetto.dev opens.");
    const zoom = el("select", {id: "zoom"}, [1, 2, 4, 8, 16].map((z) =>
        el("option", {value: z}, z === 1 ? "all" : "1/" + z)));
    const box = card(grid, "What worked when", whole(events.length) + " of " + whole(last.events) +
                     " events" + (end < 0.999 * last.length_s ? ", the first " + si(end, "s") : ""), true);
    box.append(el("div", {class: "controls"}, [el("label", {for: "zoom"}, "show"), zoom, "from the beginning"]));
    plot(box, "operations of the last step over time", 0, (into) => {
      const until = end / Number(zoom.value);
      drawTimeline(into, events.filter((event) => event.start < until).map((event) =>
        Object.assign({}, event, {hold: Math.min(event.hold, until - event.start)})), until);
    });
    const mine = plots[plots.length - 1];
    zoom.addEventListener("change", () => redraw(mine));
    box.append(numbers(["unit", "operation", "#start", "#length"], events.slice(0, 200).map((event) =>
      [event.name, event.tip.split(":")[0], si(event.start, "s"), si(event.hold, "s")])));
  }

  /* ---- roofline ------------------------------------------------------------------------------------------------ */

  const given = (value) => (value && typeof value === "object" ? value.value : value);

  /* Kinds of matrices and attention as points {name, kind, x: operations per byte, y: operations/s while at work}. */
  function rooflinePoints(times, kinds) {
    const width = get("config.buffer.value_bits") / 8, roles = new Map();
    (get("mapping.matrices") || []).forEach((m) => {
      const t = times.get(m.name), role = m.name.split(".").pop();
      if (t) {
        const at = roles.get(role) || {operations: 0, bytes: 0, seconds: 0};
        at.operations += 2 * m.inputs * m.outputs;
        at.bytes += (m.inputs + m.outputs) * width;
        at.seconds += t;
        roles.set(role, at);
      }
    });
    const points = [...roles].map(([role, at]) => ({name: role, kind: "tiles", x: at.operations / at.bytes,
                                                    y: at.operations / at.seconds}));
    const macs = get("counts.attention.count"), seconds = get("time.resources.attention.busy_s");
    if (kinds.attention && macs > 0 && seconds > 0) {
      points.push({name: "attention", kind: "attention", x: 2 * macs / (get("counts.kv_memory.count") / 8),
                   y: 2 * macs / seconds});
    }
    return points;
  }

  /* What tiles and attention units of all chips can do: {kind, memory, peak: operations/s, bandwidth: bytes/s}. */
  function roofs(times) {
    const chips = get("mapping.chips"), all = [...times.values()], mean = sum(all) / all.length;
    const analog = (get("mapping.matrices") || []).filter((m) => m.analog);
    const tiles = sum(analog.map((m) => 2 * m.inputs * m.outputs / (times.get(m.name) || mean)));
    const lanes = get("config.attention.lanes") * get("config.attention.count") * given(get("config.clock_GHz")) * 1e9;
    return [
      {kind: "tiles", memory: "buffer", peak: tiles,
          bandwidth: chips * given(get("config.buffer.bandwidth_GBps")) * 1e9},
      {kind: "attention", memory: "kv_memory", peak: 2 * lanes * chips,
       bandwidth: chips * given(get("config.kv.bandwidth_GBps")) * 1e9},
    ].filter((roof) => roof.peak > 0 && roof.bandwidth > 0);
  }

  function roofline(grid) {
    const rows = (get("time.by_resource.rows") || []).filter((row) => row.matrix && row.events);
    const times = new Map(rows.map((row) => [row.matrix, row.busy_s / row.events])),
        limits = times.size ? roofs(times) : [];
    const kinds = Object.fromEntries(limits.map((roof) => [roof.kind, roof]));
    const points = limits.length ? rooflinePoints(times, kinds) : [];
    if (!points.length || !kinds.tiles) { return; }
    const reach = (roof, x) => Math.min(roof.peak, roof.bandwidth * x), per = (v) => si(v, "op/s");
    const low = Math.min(...points.map((p) => p.x), ...limits.map((r) => r.peak / r.bandwidth)) / 4;
    const high = Math.max(...points.map((p) => p.x), ...limits.map((r) => r.peak / r.bandwidth)) * 4;
    const least = Math.min(...points.map((p) => p.y)) / 3;
    const box = card(grid, "Roofline", "What a kind of matrix reaches while its tiles work, beside what all chips " +
                     "could: the slope is the bandwidth of the memory, the flat part all units at once. " +
                     "2 operations per MAC, " +
                     get("efficiency.input_bits") + " x " + get("efficiency.output_bits") + " bits; bytes: between " +
                     "tiles and buffer, KV memory and attention unit");
    const lines = limits.map((roof) => ({type: "line", label: plain(roof.kind) + ", " + plain(roof.memory),
      data: [low, roof.peak / roof.bandwidth, high].map((x) => ({x: x, y: reach(roof, x)})),
      borderColor: colour(roof.kind), borderWidth: 2, pointRadius: 0, tension: 0}));
    const dots = points.map((p) => ({type: "scatter", label: plain(p.name), data: [{x: p.x, y: p.y}], pointRadius: 5,
                                     backgroundColor: colour(p.kind), borderColor: colour("card"), borderWidth: 1}));
    const decades = (format) => (v) => (Math.abs(Math.log10(v) % 1) < 1e-6 ? short(format)(v) : null);
    chart(box, "roofline: operations per byte against operations per second", 320, () => ({
      type: "scatter", data: {datasets: dots.concat(lines)},
      options: {scales: {x: axis("operations per byte", compact, {type: "logarithmic", min: low, max: high,
                                   ticks: {callback: decades((v) => String(Number(v.toPrecision(1)))),
                                       maxRotation: 0}}),
                         y: axis("operations per second", per, {type: "logarithmic", min: least,
                                   ticks: {callback: decades(per), maxRotation: 0}})},
                plugins: {tooltip: {callbacks: {
                  label: (at) => at.dataset.label + ": " + digits(at.parsed.x) + " op/B, " + per(at.parsed.y)}}}},
      plugins: [{id: "names", afterDatasetsDraw: (made) => writeNames(made, points)}],
    }));
    legend(box, Object.keys(kinds));
    box.append(numbers(["", "#operations per byte", "#reached", "#attainable", "#share"], points.map((p) => {
      const most = reach(kinds[p.kind], p.x);
      return [plain(p.name), digits(p.x), per(p.y), per(most), percent(p.y / most)];
    })));
  }

  /* The name beside each point; of points at one place only the first few fit, one below the other. */
  function writeNames(made, points) {
    const pen = made.ctx, written = [];
    pen.save();
    pen.font = "11.5px " + Chart.defaults.font.family;
    pen.fillStyle = colour("ink");
    pen.textBaseline = "middle";
    points.forEach((p, i) => {
      const at = made.getDatasetMeta(i).data[0], wide = pen.measureText(plain(p.name)).width;
      const right = at.x + 8 + wide > made.chartArea.right, x = right ? at.x - 8 - wide : at.x + 8;
      const free = [0, 13, -13, 26, -26, 39, -39, 52].map((d) => at.y + d)
        .find((y) => !written.some((w) => Math.abs(w.y - y) < 12 && x < w.x + w.wide + 4 && w.x < x + wide + 4));
      if (free !== undefined && free < made.chartArea.bottom) {
        pen.fillText(plain(p.name), x, free);
        written.push({x: x, y: free, wide: wide});
      }
    });
    pen.restore();
  }

  /* ---- what bounds a token ------------------------------------------------------------------------------------- */

  function bound() {
    const steps = data.steps, classes = get("time.resources"), tokens = get("energy.tokens");
    if (!steps || !classes || !known(get("time.makespan_s"))) { return; }
    const many = new Set(steps.request || []).size > 1; /* requests; their contexts are not one line */
    const at = steps.tokens.map((count, i) => (count === 1 && !many ? i : -1)).filter((i) => i >= 0);
    const pick = (list) => at.map((i) => list[i]);
    const grid = section("bound", "What bounds a token", "A token cannot take less time than its critical path, and " +
                         "tokens cannot follow each other faster than the busiest unit works on one.");
    bars(card(grid, "Limit of each kind of unit", "time that the busiest unit works per token: with enough tokens in " +
              "flight, the longest of these is the time per token"), "work of the busiest unit per token",
         Object.entries(classes).map(([name, c]) => [name, c.busiest_utilisation * get("time.makespan_s") / tokens]),
         (v) => si(v, "s"), "work per token");
    roofline(grid);
    if (at.length > 1) {
      const context = pick(steps.tokens_before).map((n) => n + 1), series = {};
      Object.entries(steps.critical_path_s).forEach(([name, list]) => { series[name] = pick(list); });
      const memory = at.map((i) => sum(["attention", "kv_memory"].map((n) => steps.critical_path_s[n][i])));
      const over = memory.findIndex((v, i) => v > steps.critical_path_s.tiles[at[i]]);
      stack(card(grid, "Time per token over the context", over < 0
                 ? "attention and KV memory stay below the tiles in this run: " +
                   percent(memory[at.length - 1] / sum(Object.values(series).map((list) => list[at.length - 1]))) +
                   " of a token's time at the end"
                 : "attention and KV memory take longer than the tiles from a context of " + whole(context[over]) +
                   " tokens on"),
            "critical path of one token over the length of the context", context, series, (v) => si(v, "s"),
            "tokens of context", "time per token", true);
      lines(card(grid, "Energy per token over the context", "static power included"),
            "energy of one token over the length of the context",
            [{name: "energy per token", x: context, y: pick(steps.energy_J), colour: "accent"}], "tokens of context",
            "energy per token", (v) => si(v, "J"));
    }
    const after = many ? steps.end_s : steps.tokens_before.map((n, i) => n + steps.tokens[i]);
    const room = get("config.kv.capacity_KiB") * 1024 * get("mapping.chips");
    const series = [{name: "KV cache", x: after, y: steps.kv_bits.map((v) => v / 8), colour: "kv_memory"}];
    if (known(room) && room < 20 * Math.max(...series[0].y)) {
      series.push({name: "capacity of all chips", x: after, y: after.map(() => room), colour: "quiet", dashed: true});
    }
    lines(card(grid, "Growth of the KV cache", known(room) ? "the chips hold " + bytes(room) : ""),
          many ? "size of the KV cache of all requests over time" : "size of the KV cache over the tokens", series,
          many ? "time" : "tokens", "bytes", bytes, many ? (v) => si(v, "s") : whole);
  }

  /* ---- area ---------------------------------------------------------------------------------------------------- */

  /* Squarified: rows of rectangles as square as can be. items [{name, value}], largest first. */
  function squarify(items, x, y, width, height) {
    const out = [], scale = width * height / sum(items.map((item) => item.value));
    let rest = items.map((item) => ({item: item, area: item.value * scale}));
    const worst = (row, side) => {
      const total = sum(row.map((r) => r.area)), thick = total / side;
      return Math.max(...row.map((r) => Math.max(thick * thick / r.area, r.area / (thick * thick))));
    };
    while (rest.length) {
      const side = Math.min(width, height);
      let count = 1;
      const better = (n) => worst(rest.slice(0, n + 1), side) <= worst(rest.slice(0, n), side);
      while (count < rest.length && better(count)) { count++; }
      const row = rest.slice(0, count), thick = sum(row.map((r) => r.area)) / side;
      let along = 0;
      row.forEach((r) => {
        const long = r.area / thick;
        out.push(width < height ? {item: r.item, x: x + along, y: y, w: long, h: thick}
                                : {item: r.item, x: x, y: y + along, w: thick, h: long});
        along += long;
      });
      if (width < height) { y += thick; height -= thick; } else { x += thick; width -= thick; }
      rest = rest.slice(count);
    }
    return out;
  }

  function area() {
    const parts = get("area.by_component"), total = get("area.total_mm2");
    if (!parts || !known(total)) { return; }
    const items = Object.entries(parts).filter((p) => p[1] > 0).map((p) => ({name: p[0], value: p[1]}))
      .sort((a, b) => b.value - a.value);
    const box = card(section("area", "Area", mm2(total) + " on " + counted(get("mapping.chips"), "chip") + "; " +
                             (get("conventions.area") || "") + "."), "By component", "", true);
    plot(box, "area by component", 0, (into) => {
      const width = into.clientWidth, height = Math.min(320, width * 0.7);
      const picture = svg("svg", {viewBox: "0 0 " + width + " " + height, height: height});
      squarify(items, 0, 0, width, height).forEach((r) => {
        const text = [plain(r.item.name), mm2(r.item.value), percent(r.item.value / total)];
        picture.append(svg("rect", {x: r.x, y: r.y, width: Math.max(0, r.w - 2), height: Math.max(0, r.h - 2), rx: 2,
                                    fill: "var(--" + r.item.name + ", var(--other))"},
                           svg("title", {}, text.join(", "))));
        if (r.h > 20 && r.w > 6.4 * text[0].length + 12) {
          text.slice(0, r.h > 52 ? 3 : r.h > 36 ? 2 : 1).filter((line) => r.w > 6.4 * line.length + 12)
            .forEach((line, i) => picture.append(svg("text", {style: "fill:" + inkOn(r.item.name), x: r.x + 7,
                                                              y: r.y + 16 + 15 * i}, line)));
        }
      });
      into.append(picture);
    });
    box.append(numbers(["component", "#area", "#share"],
                       items.map((item) => [plain(item.name), mm2(item.value), percent(item.value / total)])));
  }

  /* ---- uncertainty --------------------------------------------------------------------------------------------- */

  /* rows [{name, low, high, middle}], relative to the nominal value 1. */
  function ranges(into, label, rows) {
    plot(into, label, 0, (box) => {
      const width = box.clientWidth, left = width < 420 ? 152 : 190, right = width - 14, step = 24;
      const low = Math.min(1, ...rows.map((r) => r.low)), high = Math.max(1, ...rows.map((r) => r.high));
      const pad = 0.04 * (high - low || 1), x = (v) => left + (right - left) * (v - low + pad) / (high - low + 2 * pad);
      const bottom = rows.length * step + 4, picture = svg("svg", {viewBox: "0 0 " + width + " " + (bottom + 20),
                                                                   height: bottom + 20});
      [low, 1, high].filter((v, i, all) => all.findIndex((o) => Math.abs(x(o) - x(v)) < 54) === i || v === 1)
        .filter((v) => v === 1 || Math.abs(x(v) - x(1)) >= 54).forEach((v) => {
          picture.append(svg("line", {x1: x(v), x2: x(v), y1: 0, y2: bottom,
              stroke: v === 1 ? "var(--quiet)" : "var(--line)"}),
                         svg("text", {x: x(v), y: bottom + 14, "text-anchor": "middle"},
                             v === 1 ? "as given" : "x " + digits(v)));
        });
      rows.forEach((r, i) => {
        const y = i * step + 13;
        const most = Math.floor((left - 10) / 6.3);
        const name = r.name.length > most ? r.name.slice(0, most - 1) + "…" : r.name;
        picture.append(svg("text", {class: "ink", x: 0, y: y + 4}, [name, svg("title", {}, r.tip)]),
                       svg("rect", {x: x(r.low), y: y - 5, width: Math.max(1.5, x(r.high) - x(r.low)), height: 10,
                           rx: 2,
                                    fill: "var(--accent)", opacity: 0.75}, svg("title", {}, r.tip)));
        if (known(r.middle)) {
          picture.append(svg("line", {x1: x(r.middle), x2: x(r.middle), y1: y - 8, y2: y + 8, stroke: "var(--ink)",
                                      "stroke-width": 2}));
        }
      });
      box.append(picture);
    });
  }

  const quantities = [["energy_per_token_J", "Energy per token", (v) => si(v, "J")],
      ["tpot_s", "Time per output token", (v) => si(v, "s")],
                      ["ttft_s", "Time to first token", (v) => si(v, "s")], ["area_mm2", "Area", mm2]];

  function uncertainty() {
    const all = quantities.filter(([key]) => known(get("uncertainty." + key + ".p50")));
    if (!all.length) { return; }
    const grid = section("uncertainty", "Uncertainty", "Constants with a spread, drawn at random: " +
                         (get("uncertainty.method") || "") + ".");
    const box = card(grid, "p10 to p90 of the results",
        "relative to the result with all constants as given; the line is the median", true);
    ranges(box, "p10 to p90 of the results", all.map(([key, name, format]) => {
      const q = get("uncertainty." + key);
      return {name: name, low: q.p10 / q.nominal, high: q.p90 / q.nominal, middle: q.p50 / q.nominal,
              tip: format(q.p10) + ", " + format(q.p50) + ", " + format(q.p90)};
    }));
    box.append(numbers(["", "#as given", "#p10", "#p50", "#p90"], all.map(([key, name, format]) => {
      const q = get("uncertainty." + key);
      return [name, format(q.nominal), format(q.p10), format(q.p50), format(q.p90)];
    })));
    all.forEach(([key, name, format]) => {
      const q = get("uncertainty." + key), rows = (q.assumptions || []).filter((a) => a.share > 0.0005);
      if (!rows.length) { return; }
      const one = card(grid, "What moves it: " + name.toLowerCase(),
          "one constant at its p10 and p90, all others as given");
      ranges(one, "assumptions that move the result: " + name, rows.map((a) => ({
        name: a.key, low: Math.min(a.p10, a.p90) / q.nominal, high: Math.max(a.p10, a.p90) / q.nominal,
        tip: a.key + ": " + format(a.p10) + " to " + format(a.p90) + "; " + a.kind + ", " + a.source})));
      one.append(numbers(["constant", "#p10", "#p90", "#share", "source"], rows.map((a) =>
        [a.key, format(a.p10), format(a.p90), percent(a.share), a.kind + ": " + a.source])));
    });
  }

  /* ---- placement ----------------------------------------------------------------------------------------------- */

  const CHIPS_SHOWN = 6, TILES_SHOWN = 8192;

  /* For every tile of the first chips the matrix that lies on it. */
  function tilesOf(matrices, perChip, chips) {
    const tiles = new Array(perChip * chips).fill(null);
    matrices.forEach((m) => {
      for (let i = 0; known(m.first_tile) && i < m.tiles && m.first_tile + i < tiles.length; i++) {
        tiles[m.first_tile + i] = m;
      }
    });
    return tiles;
  }

  function drawChips(box, tiles, perChip, chips) {
    const width = box.clientWidth, across = Math.min(chips, width < 500 ? 1 : width < 900 ? 2 : 3);
    const columns = Math.ceil(Math.sqrt(perChip)), gap = 18;
    const side = Math.min(320, (width - gap * (across - 1)) / across);
    const cell = side / columns, lines = Math.ceil(perChip / columns), high = lines * cell + 26;
    const picture = svg("svg", {viewBox: "0 0 " + width + " " + high * Math.ceil(chips / across),
                                height: high * Math.ceil(chips / across)});
    for (let chip = 0; chip < chips; chip++) {
      const left = (chip % across) * (side + gap), top = Math.floor(chip / across) * high;
      picture.append(svg("text", {x: left, y: top + 12}, "chip " + chip));
      for (let i = 0; i < perChip; i++) {
        const m = tiles[chip * perChip + i];
        const place = {x: left + (i % columns) * cell, y: top + 18 + Math.floor(i / columns) * cell,
                       width: Math.max(0.5, cell - (cell > 6 ? 1.5 : 0.3)),
                           height: Math.max(0.5, cell - (cell > 6 ? 1.5 : 0.3))};
        picture.append(m ? svg("rect", Object.assign(place, {fill: "var(--accent)", 
                                                             opacity: 0.15 + 0.85 * m.utilisation}),
                               svg("title", {}, m.name + ": " + percent(m.utilisation) + " of the cells of its tiles"))
                         : svg("rect", Object.assign(place, {fill: "var(--soft)"}), svg("title", {}, "not in use")));
      }
    }
    box.append(picture);
  }

  function placement() {
    const matrices = get("mapping.matrices"), perChip = get("mapping.tiles_per_chip"), all = get("mapping.chips");
    if (!matrices || !all) { return; }
    const chips = Math.max(1, Math.min(all, CHIPS_SHOWN, Math.floor(TILES_SHOWN / perChip)));
    const grid = section("placement", "Placement", whole(get("mapping.tiles")) + " tiles of " +
        get("mapping.tile_rows") +
                         " x " + get("mapping.tile_columns") + " on " + counted(all, "chip") + "; " +
                         percent(get("mapping.utilisation")) + " of their cells hold weights.");
    const box = card(grid, "Tiles", (all > chips ? "the first " + chips + " of " + whole(all) + " chips; " : "") +
                     "the darker, the more of its cells are in use; grey: not in use", true);
    if (perChip <= TILES_SHOWN) {
      const tiles = tilesOf(matrices, perChip, chips);
      plot(box, "use of the tiles of the chips", 0, (into) => drawChips(into, tiles, perChip, chips));
    }
    box.append(numbers(["matrix", "#inputs", "#outputs", "#tiles", "#first chip", "#cells in use"], matrices.map((m) =>
      [m.name, whole(m.inputs), whole(m.outputs), m.analog ? whole(m.tiles) : "digital",
       m.analog ? String(m.first_chip) : "", m.analog ? percent(m.utilisation) : ""])));
    links(grid);
  }

  /* Where nodes and switches stand, in steps of a grid: a mesh as it is; the leaves of a tree in groups of four, every
   * switch in the middle of what hangs below it. */
  function positions(network) {
    const at = [], columns = network.columns || Math.ceil(Math.sqrt(network.nodes));
    const most = Math.max(network.nodes - 1, ...network.links.map((l) => Math.max(l[0], l[1])));
    let nodes = network.topology === "mesh" ? most + 1 : 1;
    while (nodes < network.nodes) { nodes *= 4; } /* a tree has room for a power of four */
    for (let node = 0; node < nodes; node++) {
      let x = node % columns, y = Math.floor(node / columns);
      if (network.topology === "htree") {
        x = 0;
        y = 0;
        for (let bit = 0; bit < 8; bit++) {
          x |= ((node >> (2 * bit)) & 1) << bit;
          y |= ((node >> (2 * bit + 1)) & 1) << bit;
        }
      }
      at[node] = [x, y];
    }
    for (let node = most; node >= nodes; node--) { /* the root of a tree is the first of its switches */
      const below = network.links.filter((l) => l[1] === node && at[l[0]]).map((l) => at[l[0]]);
      at[node] = [sum(below.map((p) => p[0])) / below.length, sum(below.map((p) => p[1])) / below.length];
    }
    return at;
  }

  function drawLinks(into, network, most) {
    const at = positions(network), across = 1 + Math.max(...at.map((p) => p[0]));
    const high = 1 + Math.max(...at.map((p) => p[1]));
    const width = into.clientWidth, step = Math.min(64, width / across);
    const picture = svg("svg", {viewBox: "0 0 " + width + " " + high * step, height: high * step});
    const place = (node) => at[node].map((v) => (v + 0.5) * step);
    network.links.forEach((l) => {
      const [x1, y1] = place(l[0]), [x2, y2] = place(l[1]), length = Math.hypot(x2 - x1, y2 - y1) || 1;
      const dx = -(y2 - y1) / length * 2.5, dy = (x2 - x1) / length * 2.5, share = l[2] / most;
      picture.append(svg("line", {x1: x1 + dx, y1: y1 + dy, x2: x2 + dx, y2: y2 + dy, "stroke-width": 1 + 5 * share,
                                  stroke: share ? "var(--network)" : "var(--line)", 
                                  opacity: share ? 0.25 + 0.75 * share : 1},
                         svg("title", {}, l[0] + " to " + l[1] + ": " + whole(l[2]) + " flits")));
    });
    at.forEach((unused, node) => {
      const [x, y] = place(node);
      picture.append(svg("circle", {cx: x, cy: y, r: Math.min(node < network.nodes ? 5 : 3, step / 7),
          fill: "var(--quiet)"},
                         svg("title", {}, node < network.nodes ? "core " + node : "router")));
    });
    into.append(picture);
  }

  function links(grid) {
    const network = data.network;
    if (!network || !(network.links || []).length) { return; }
    const most = Math.max(1, ...network.links.map((l) => l[2]));
    const box = card(grid, "Load of the links", plain(network.topology) +
        " of chip 0: flits when every matrix multiplies " +
                     "once for one token; the busiest link carries " + whole(most) + ", which is the widest line",
                         true);
    if (network.topology !== "bus" && network.links.every((l) => l[0] < 10000 && l[1] < 10000)) {
      plot(box, "load of the links of a chip", 0, (into) => drawLinks(into, network, most));
    }
    box.append(numbers(["from", "to", "#flits"], network.links.filter((l) => l[2])
      .sort((a, b) => b[2] - a[2]).map((l) => [String(l[0]), String(l[1]), whole(l[2])])));
  }

  /* ---- constants ----------------------------------------------------------------------------------------------- */

  function constants() {
    const rows = data.constants;
    if (!rows || !rows.length) { return; }
    const count = (kind) => rows.filter((row) => row.kind === kind).length;
    const grid = section("constants", "Constants", rows.length + " physical constants: " +
                         ["measured", "published", "fitted", "assumed"]
                           .map((kind) => count(kind) + " " + kind).join(", ") + ".");
    const box = card(grid, "Every constant with its source", "spread: factors on the value, p10 and p90", true);
    const search = el("input", {type: "search", id: "search", placeholder: "key or source"});
    const kinds = el("select", {id: "kind"}, ["all", "measured", "published", "fitted", "assumed"]
      .map((kind) => el("option", {}, kind)));
    const result = el("div", {}), found = el("span", {"aria-live": "polite"});
    const show = () => {
      const word = search.value.toLowerCase();
      const left = rows.filter((row) => (kinds.value === "all" || row.kind === kinds.value) &&
                               (row.key + " " + row.source).toLowerCase().includes(word));
      found.textContent = left.length + " of " + rows.length;
      result.replaceChildren(table(["key", "#value", "unit", "kind", "spread", "source"], left.map((row) => [
        el("code", {}, row.key), known(row.value) ? String(Number(row.value.toPrecision(6))) : "list", row.unit,
        el("span", {class: "kind " + row.kind}, row.kind),
        row.spread && (row.spread[0] !== 1 || row.spread[1] !== 1) ? row.spread[0] + " to " + row.spread[1] : "",
        row.source || ""]), true, true));
    };
    search.addEventListener("input", show);
    kinds.addEventListener("change", show);
    box.append(el("div", {class: "controls"}, [el("label", {for: "search"}, "find"), search,
        el("label", {for: "kind"}, "kind"), kinds, found]), result);
    show();
    if ((data.acting || []).length) {
      card(grid, "Costs that act in place of them", "scaled to node or supply, or from a cost model", true)
        .append(table(["key", "#value", "unit", "source"], data.acting.map((row) =>
          [row.key, String(Number(row.value.toPrecision(6))), row.unit, row.source]), true, true));
    }
  }

  /* ---- the run itself ------------------------------------------------------------------------------------------ */

  const quoted = (word) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : "'" + word.replace(/'/g, "'\\''") + "'");

  /* A tree as YAML, for reading. */
  function yaml(value, indent) {
    if (typeof value === "string") { return " " + JSON.stringify(value); }
    if (value === null || typeof value !== "object") { return " " + String(value); }
    if (Array.isArray(value)) { return " " + JSON.stringify(value); }
    if (value.kind && value.source) { return " " + JSON.stringify(value); }
    return Object.entries(value).map(([key, v]) => "\n" + "  ".repeat(indent) + key + ":" +
        yaml(v, indent + 1)).join("");
  }

  function about() {
    const grid = section("about", "About this run", "What is left out, what was run, and how to run it again.");
    const missing = card(grid, "Not modelled", "");
    missing.append(el("ul", {class: "plain"}, (data.not_modelled || []).map((line) => el("li", {}, line))));
    const effects = Object.entries(get("chip.effects") || {});
    if (effects.length) {
      card(grid, "Effects", "").append(table(["effect", "state"],
          effects.map(([name, on]) => [plain(name), on ? "on" : "off"])));
    }
    const words = ["mho"].concat(get("host.arguments") || []).map(quoted).join(" ");
    const again = card(grid, "Run it again", "mho " + data.mho + ", commit " + (get("host.commit") || "unknown") +
        ", seed " + data.seed +
                       ", configuration " + data.config_hash, true);
    const copy = el("button", {type: "button"}, "copy");
    copy.addEventListener("click", () => {
      const done = () => { copy.textContent = "copied"; };
      if (navigator.clipboard) { navigator.clipboard.writeText(words).then(done, () => {}); }
    });
    again.append(el("pre", {tabindex: "0"}, words), copy);
    if (data.config) {
      again.append(el("details", {}, [el("summary", {}, "complete configuration"),
          el("pre", {tabindex: "0"}, yaml(data.config, 0).trim())]));
    }
    if (typeof data.text === "string" && data.text) {
      again.append(el("details", {}, [el("summary", {}, "what the model wrote"),
          el("pre", {class: "text", tabindex: "0"}, data.text)]));
    }
    const conventions = Object.entries(data.conventions || {});
    if (conventions.length) {
      again.append(el("details", {}, [el("summary", {}, "conventions"),
                                      table(["", ""], conventions.map(([name, v]) => [plain(name), String(v)]))]));
    }
    if (data.divergence) {
      again.append(el("p", {class: "note"}, "Beside the digital reference: the likeliest token agrees at " +
                      percent(data.divergence.top1_agreement) + " of the positions, KL " +
                          digits(data.divergence.kl_nats) + " nats."));
    }
    if (get("trace.events_left_out")) {
      again.append(el("p", {class: "note"}, "trace.json holds the first " + whole(data.trace.events) + " events; " +
                      whole(data.trace.events_left_out) + " more found no room."));
    }
  }

  /* ---- drawing ------------------------------------------------------------------------------------------------- */

  function redraw(p) {
    if (p.chart) { p.chart.destroy(); }
    p.box.replaceChildren();
    p.width = p.box.clientWidth;
    p.chart = p.draw(p.box);
    p.box.setAttribute("data-drawn", "yes");
  }

  function fail(message) { root.setAttribute("data-failed", message); }

  window.addEventListener("error", (event) => fail(event.message));
  [head, serving, energy, time, timeline, bound, area, uncertainty, placement, constants, about]
    .forEach((part) => part());
  plots.forEach(redraw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(redraw));
  const observer = new ResizeObserver((entries) => requestAnimationFrame(() => entries.forEach((entry) => {
    const p = plots.find((one) => one.box === entry.target);
    if (!p.chart && Math.abs(p.width - p.box.clientWidth) > 0.5) { redraw(p); }
  })));
  plots.forEach((p) => observer.observe(p.box));
  root.setAttribute("data-plots", plots.length);
  root.setAttribute("data-overflow", root.scrollWidth > root.clientWidth ? "yes" : "no");
  root.setAttribute("data-clipped", [...document.querySelectorAll("main .scroll")]
    .filter((box) => !box.closest("details:not([open])") && box.scrollWidth > box.clientWidth).length);
})();
