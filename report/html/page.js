"use strict";
// The page reads one JSON object: a tree for the map, tables for the other
// views, the builds of the past. Texts go into the page as text, never as
// markup: names come from files that may lie.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const make = (tag, cls, text) => {
    const e = document.createElement(tag);
    if (cls) e.className = cls;
    if (text !== undefined) e.textContent = text;
    return e;
  };
  const number = (n) => n.toLocaleString("en-US");
  const share = (x) => (x < 0 ? "−" : "") + (x !== 0 && Math.abs(x) < 0.0005 ? "<0.1" : (Math.abs(x) * 100).toFixed(1)) + "%";

  // What the colours mean: the labels of the report in a few families.
  const families = [
    ["code", "code", ["code", "plt", "init"]], ["rodata", "constants", ["rodata"]], ["relro", "constants with addresses", ["relro", "got"]],
    ["unwind", "unwind tables", ["unwind", "lsda"]], ["data", "statics", ["data", "tls", "bss", "tbss"]],
    ["tables", "tables of the linker", ["relocations", "dynamic linking", "symbol table", "symbol names", "ELF header", "program headers", "section headers", "note", "other"]],
    ["debug", "debug info", ["debug info"]], ["padding", "padding", ["padding"]],
  ];
  const familyOf = data.labels.map((l) => (families.find((f) => f[2].includes(l)) || families[5])[0]);

  // Header.
  document.title = data.title + " · size report";
  $("title").textContent = data.title;
  $("subtitle").textContent = data.subtitle;
  const figure = (name, value, more) => {
    const d = make("div");
    d.append(make("dt", "", name));
    const dd = make("dd", "", value + " ");
    if (more) dd.append(make("small", "", more));
    d.append(dd);
    $("figures").append(d);
  };
  figure("file", number(data.size), "bytes");
  if (data.loaded) figure("loaded", number(data.loaded), "bytes");
  if (data.folded) figure("folded away", number(data.tree.b - data.tree.a), "bytes");

  // The tree: parents and paths.
  const all = [];
  const link = (node, parent, depth) => {
    node.p = parent;
    node.d = depth;
    node.u = node.u || 0;
    all.push(node);
    for (const c of node.c || []) link(c, node, depth + 1);
  };
  link(data.tree, null, 0);
  const path = (node) => {
    const list = [];
    for (let n = node; n; n = n.p) list.unshift(n);
    return list;
  };

  let at = data.tree, when = "a", what = data.loaded ? "loaded" : "file", query = "";
  const size = (n) => (when === "b" ? n.b : n.a) - (what === "loaded" ? n.u : 0);

  // Squarified treemap (Bruls, Huizing, van Wijk 2000): rows along the shorter
  // side, as long as the worst box of the row gets no narrower.
  const layout = (nodes, x, y, w, h, put) => {
    let total = 0;
    for (const n of nodes) total += size(n);
    if (total <= 0 || w < 1 || h < 1) return;
    const scale = (w * h) / total;
    let i = 0;
    while (i < nodes.length) {
      const side = Math.min(w, h);
      let sum = 0, worst = Infinity, j = i;
      while (j < nodes.length) {
        const next = sum + size(nodes[j]) * scale;
        const first = size(nodes[i]) * scale, last = size(nodes[j]) * scale;
        const ratio = Math.max((side * side * first) / (next * next), (next * next) / (side * side * last));
        if (j > i && ratio > worst) break;
        worst = ratio;
        sum = next;
        j++;
      }
      const thick = sum / side;
      let along = 0;
      for (let k = i; k < j; k++) {
        const long = (size(nodes[k]) * scale) / thick;
        if (w >= h) put(nodes[k], x, y + along, thick, long);
        else put(nodes[k], x + along, y, long, thick);
        along += long;
      }
      if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
      i = j;
    }
  };

  const shown = (node) => (node.c || []).filter((c) => size(c) > 0).sort((a, b) => size(b) - size(a));
  const matches = (node) => query !== "" && node.n.toLowerCase().includes(query);
  const describe = (n) => path(n).slice(1).map((x) => x.n).join(" › ") + ": " + number(size(n)) + " bytes, " + share(size(n) / Math.max(1, size(data.tree))) + " of " + (what === "loaded" ? "what is loaded" : "the file") + (n.b > n.a ? "; " + number(n.b - n.a) + " folded away" : "");

  const extent = () => { const box = $("tree").getBoundingClientRect(); return box.width + "×" + box.height; };
  let drawn = "";
  const draw = (focus) => {
    const tree = $("tree");
    tree.replaceChildren();
    crumbs();
    legend();
    $("status").textContent = describe2(at);
    const box = tree.getBoundingClientRect();
    drawn = extent();
    let tiles = 0;
    const place = (parent, nodes, x, y, w, h, depth) => layout(nodes, x, y, w, h, (n, left, top, width, height) => {
      if (width < 3 || height < 3 || tiles > 2500) return;
      tiles++;
      const isGroup = !!n.c;
      const inner = isGroup && depth < 2 && width > 60 && height > 44;
      const e = make("div", "tile " + (inner ? "group" : "leaf"));
      e.style.cssText = `left:${left}px;top:${top}px;width:${width}px;height:${height}px;--fill:var(--${familyOf[n.k]})`;
      e.node = n;
      e.tabIndex = depth === 0 ? 0 : -1;
      e.setAttribute("role", "treeitem");
      e.setAttribute("aria-label", describe(n));
      e.title = describe(n);
      if (query !== "") e.classList.add(matches(n) ? "found" : hasMatch(n) || (n.p && above(n)) ? "part" : "dim");
      if (when === "b" && !inner && n.b > n.a) {
        const gone = make("div", "gone");
        gone.style.height = (100 * (n.b - n.a)) / size(n) + "%";
        e.append(gone);
      }
      const text = make("span");
      if (inner) {
        const bytes = number(size(n));
        const name = fit(label(n), width - 12);
        text.append(name);
        if (textWidth(name + "  " + bytes) < width - 12) text.append(make("small", "", bytes));
      } else {
        const lines = labelLines(n, width - 12, Math.floor((height - 6) / lineHeight));
        lines.forEach((line, i) => text.append(...(i ? [make("br"), line] : [line])));
      }
      if (text.firstChild) e.append(text);
      parent.append(e);
      if (inner) place(e, shown(n), 2, 19, width - 6, height - 23, depth + 1);
    });
    place(tree, shown(at).length ? shown(at) : [at], 0, 0, box.width, box.height, 0);
    const first = [...tree.querySelectorAll(".tile")].find((e) => e.node === focus) || (focus ? tree.querySelector(".tile") : null);
    if (first) first.focus({ preventScroll: true });
  };
  const describe2 = (n) => (n === data.tree ? number(size(n)) + " bytes " + (what === "loaded" ? "are loaded" : "in the file") : describe(n));

  // Names in boxes. What the boxes around say already is left out, then what
  // stands in angle brackets, then all but the last part of a path.
  const pen = document.createElement("canvas").getContext("2d");
  const lineHeight = 14.4, widths = new Map();
  const textWidth = (s) => {
    if (!widths.has(s)) {
      pen.font = "12px " + getComputedStyle(document.body).fontFamily;
      widths.set(s, pen.measureText(s).width);
    }
    return widths.get(s);
  };
  const label = (n) => {
    let before = "";
    for (const p of path(n).slice(1, -1)) before = p.n === "std" && before === "" ? "" : before + p.n + "::";
    for (; before !== ""; before = before.replace(/[^:]*::$/, "")) if (n.n.startsWith(before)) return n.n.slice(before.length);
    const method = n.n.match(/^<(.*) as (.*)>::([^:]*)$/);
    return method ? last(method[1]) + " as " + last(method[2]) + "::" + method[3] : n.n;
  };
  const last = (name) => name.replace(/<.*>/g, "<…>").split("::").pop();
  const fit = (s, width) => {
    if (textWidth(s) <= width) return s;
    s = s.replace(/<.+>/g, "<…>");
    if (textWidth(s) <= width) return s;
    while (s.length > 3 && textWidth(s + "…") > width) s = s.slice(0, -1);
    return s.length > 3 || textWidth(s + "…") <= width ? s.trimEnd() + "…" : "";
  };
  const labelLines = (n, width, most) => {
    if (most < 1 || width < 18) return [];
    const bytes = number(size(n)), name = label(n);
    const withBytes = (lines) => (textWidth(bytes) <= width && lines.length < most ? [...lines, make("small", "", bytes)] : lines);
    if (textWidth(name) <= width) return withBytes([name]);
    // A path may break between its parts, words between each other.
    for (const s of [name, name.replace(/<.+>/g, "<…>")]) {
      const lines = [""];
      for (const part of s.split(/(?<=::)|(?<= )/)) {
        if (lines[lines.length - 1] === "" || textWidth(lines[lines.length - 1] + part) <= width) lines[lines.length - 1] += part;
        else lines.push(part);
      }
      if (lines.length <= most && lines.every((l) => textWidth(l.trimEnd()) <= width)) return withBytes(lines);
    }
    const short = fit(last(name), width);
    return short === "" ? [] : withBytes([short]);
  };
  let matchCache = new Map();
  const hasMatch = (n) => {
    if (!matchCache.has(n)) matchCache.set(n, matches(n) || (n.c || []).some(hasMatch));
    return matchCache.get(n);
  };
  const above = (n) => { for (let p = n.p; p; p = p.p) if (matches(p)) return true; return false; };

  // The legend: what there is in what is shown, and how much of it.
  const legend = () => {
    const sums = {};
    const add = (n) => {
      if (n.c) n.c.forEach(add);
      else sums[familyOf[n.k]] = (sums[familyOf[n.k]] || 0) + size(n);
    };
    add(at);
    $("legend").replaceChildren();
    for (const [key, name] of families) {
      if (!(sums[key] > 0)) continue;
      const s = make("span"), i = make("i");
      i.style.setProperty("--fill", `var(--${key})`);
      s.append(i, name, make("small", "", " " + share(sums[key] / size(at))));
      s.title = number(sums[key]) + " bytes";
      $("legend").append(s);
    }
  };

  const crumbs = () => {
    const list = path(at);
    $("crumbs").replaceChildren();
    list.forEach((n, i) => {
      if (i) $("crumbs").append(make("span", "", "›"));
      const name = i ? n.n : "all";
      if (n === at) { $("crumbs").append(make("b", "", name)); return; }
      const b = make("button", "", name);
      b.onclick = () => go(n, list[i + 1]);
      $("crumbs").append(b);
    });
  };
  const go = (node, focus) => { at = node; draw(focus || node); };
  const enter = (node) => {
    if (node.c) go(node, shown(node)[0]);
    else $("status").textContent = describe(node);
  };

  $("tree").addEventListener("click", (ev) => {
    const e = ev.target.closest(".tile");
    if (e) enter(e.node);
  });
  const point = (ev) => {
    const e = ev.target.closest && ev.target.closest(".tile");
    if (e) $("status").textContent = describe(e.node);
  };
  $("tree").addEventListener("mouseover", point);
  $("tree").addEventListener("focusin", point);
  $("tree").addEventListener("keydown", (ev) => {
    const e = ev.target.closest(".tile");
    if (!e) return;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (ev.key === "Enter" || ev.key === " ") enter(e.node);
    else if ((ev.key === "Escape" || ev.key === "Backspace") && at.p) go(at.p, at);
    else if (moves[ev.key]) {
      const [dx, dy] = moves[ev.key], r = e.getBoundingClientRect();
      const cx = r.left + r.width / 2, cy = r.top + r.height / 2;
      let best = null, least = Infinity;
      for (const o of e.parentElement.children) {
        if (o === e || !o.classList.contains("tile")) continue;
        const q = o.getBoundingClientRect();
        const x = q.left + q.width / 2 - cx, y = q.top + q.height / 2 - cy;
        const forward = x * dx + y * dy, aside = Math.abs(x * dy) + Math.abs(y * dx);
        if (forward > 1 && forward + 2 * aside < least) { least = forward + 2 * aside; best = o; }
      }
      if (best) best.focus();
    } else return;
    ev.preventDefault();
  });

  // Search: the boxes that match, and a list of them, the largest first.
  const search = () => {
    query = $("search").value.trim().toLowerCase();
    matchCache = new Map();
    const found = $("found");
    found.replaceChildren();
    found.hidden = query === "";
    if (query !== "") {
      const list = all.filter((n) => n.p && matches(n) && size(n) > 0).sort((a, b) => size(b) - size(a));
      for (const n of list.slice(0, 200)) {
        const li = make("li"), b = make("button");
        b.append(make("b", "", number(size(n))), make("span", "", path(n).slice(1).map((x) => x.n).join(" › ")));
        b.onclick = () => go(n.c ? n : n.p, n);
        li.append(b);
        found.append(li);
      }
      const sum = list.filter((n) => !above(n)).reduce((s, n) => s + size(n), 0);
      draw();
      $("status").textContent = number(list.length) + " match, " + number(sum) + " bytes";
      return;
    }
    draw();
  };
  $("search").addEventListener("input", search);
  $("search").addEventListener("keydown", (ev) => { if (ev.key === "Escape") { $("search").value = ""; search(); } });

  for (const radio of document.querySelectorAll("#when input")) radio.onchange = () => { when = radio.value; search(); };
  for (const radio of document.querySelectorAll("#what input")) {
    radio.checked = radio.value === what;
    radio.onchange = () => { what = radio.value; if (size(at) <= 0) at = data.tree; search(); };
  }
  $("when").hidden = !data.folded;
  $("what").hidden = !data.loaded;

  // Tables. Kinds of columns are numbered as report.ColumnKind.
  const isText = (kind) => kind === 0 || kind === 1 || kind > 6;
  const cell = (v, kind) => {
    if (v === null || v === undefined) return "";
    if (isText(kind)) return v;
    if (kind === 5) return share(v);
    if (kind === 6) return "0x" + v.toString(16);
    if (kind === 4) return (v > 0 ? "+" : v < 0 ? "−" : "") + number(Math.abs(v));
    return number(v);
  };
  // The rows in the order that is asked for; sums stay at the end.
  const order = (t) => {
    const rows = t.rows.map((_, i) => i);
    if (t.sorted === undefined) return rows;
    const k = t.sorted, text = isText(t.columns[k].kind);
    const compare = (a, b) => (text ? String(a || "").localeCompare(String(b || "")) : (a || 0) - (b || 0));
    return rows.sort((a, b) => t.kinds[a] - t.kinds[b] || (t.kinds[a] ? 0 : compare(t.rows[a][k], t.rows[b][k]) * (t.down ? -1 : 1)) || a - b);
  };
  let open = null;
  const tables = () => {
    const wanted = $("filter").value.trim().toLowerCase();
    $("content").replaceChildren();
    for (const t of open.tables) {
      $("content").append(make("h2", "", t.title));
      const table = make("table"), head = make("tr");
      (t.columns || []).forEach((c, k) => {
        const th = make("th", isText(c.kind) ? "" : "n"), b = make("button", "", c.title);
        if (t.sorted === k) th.setAttribute("aria-sort", t.down ? "descending" : "ascending");
        b.title = "sort by " + c.title;
        b.onclick = () => {
          t.down = t.sorted === k ? !t.down : !isText(c.kind);
          t.sorted = k;
          tables();
          $("content").querySelectorAll("table")[open.tables.filter((x) => x.rows.length).indexOf(t)].querySelectorAll("th button")[k].focus();
        };
        th.append(b);
        head.append(th);
      });
      table.append(make("thead"));
      table.tHead.append(head);
      const body = make("tbody");
      const largest = (t.columns || []).map((c, k) => (c.kind === 5 ? Math.max(...t.rows.map((r, i) => (t.kinds[i] ? 0 : Math.abs(r[k] || 0)))) : 0));
      for (const i of order(t)) {
        const row = t.rows[i];
        const texts = row.map((v, c) => cell(v, t.columns[c].kind));
        if (wanted && !t.kinds[i] && !texts.some((s) => String(s).toLowerCase().includes(wanted))) continue;
        const tr = make("tr", ["", "rest", "total"][t.kinds[i]]);
        texts.forEach((text, c) => {
          const kind = t.columns[c].kind;
          const td = make("td", !isText(kind) ? "n" : kind === 1 ? "name" : kind > 6 ? "prose" : "word");
          // A path may break between its parts.
          String(text).split("::").forEach((part, k) => td.append(...(k ? ["::", make("wbr"), part] : [part])));
          if (kind === 5 && largest[c] > 0 && !t.kinds[i] && row[c]) {
            td.classList.add("share");
            td.style.setProperty("--part", (100 * Math.abs(row[c])) / largest[c] + "%");
          }
          if (kind === 4 && row[c]) td.classList.add(row[c] > 0 ? "up" : "down");
          tr.append(td);
        });
        body.append(tr);
      }
      table.append(body);
      const wide = make("div", "wide");
      if (t.rows.length) wide.append(table);
      $("content").append(wide);
      for (const n of t.notes || []) $("content").append(make("p", "", n));
    }
  };
  $("filter").addEventListener("input", tables);

  // History: a curve of the file and of what is loaded.
  const curve = () => {
    const h = data.history || [], ns = "http://www.w3.org/2000/svg";
    const W = 1000, H = 320, L = 90, R = 20, T = 20, B = 50;
    const el = (tag, attrs, text) => {
      const e = document.createElementNS(ns, tag);
      for (const k in attrs) e.setAttribute(k, attrs[k]);
      if (text !== undefined) e.textContent = text;
      return e;
    };
    const svg = el("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "Size by build" });
    const values = h.map((p) => p.loaded || p.file);
    let lo = Math.min(...values), hi = Math.max(...values);
    if (hi === lo) { hi *= 1.01; lo *= 0.99; }
    const x = (i) => L + ((W - L - R) * i) / Math.max(1, h.length - 1), y = (v) => T + ((H - T - B) * (hi - v)) / (hi - lo);
    for (const v of [lo, (lo + hi) / 2, hi]) {
      svg.append(el("line", { x1: L, x2: W - R, y1: y(v), y2: y(v), stroke: "var(--line)" }));
      svg.append(el("text", { x: L - 8, y: y(v) + 4, "text-anchor": "end" }, number(Math.round(v))));
    }
    svg.append(el("polyline", { points: values.map((v, i) => `${x(i)},${y(v)}`).join(" "), fill: "none", stroke: "var(--accent)", "stroke-width": 2 }));
    h.forEach((p, i) => {
      const dot = el("circle", { cx: x(i), cy: y(values[i]), r: 4, fill: "var(--accent)" });
      dot.append(el("title", {}, `${p.when} ${p.commit}: ${number(values[i])} bytes`));
      svg.append(dot);
      if (i === 0 || i === h.length - 1 || h.length < 9) svg.append(el("text", { x: x(i), y: H - 24, "text-anchor": i === 0 ? "start" : i === h.length - 1 ? "end" : "middle" }, p.commit || p.when.slice(0, 10)));
    });
    const table = make("table"), head = make("tr");
    for (const [title, cls] of [["when", ""], ["commit", ""], ["file", "n"], ["loaded", "n"], ["change", "n"]]) head.append(make("th", cls, title));
    table.append(make("thead"), make("tbody"));
    table.tHead.append(head);
    for (let i = h.length - 1; i >= 0; i--) {
      const tr = make("tr"), change = i > 0 ? values[i] - values[i - 1] : null;
      tr.append(make("td", "", h[i].when.replace("T", " ").replace("Z", "")), make("td", "name", h[i].commit), make("td", "n", number(h[i].file)), make("td", "n", number(h[i].loaded)), make("td", "n " + (change > 0 ? "up" : change < 0 ? "down" : ""), cell(change, 4)));
      table.tBodies[0].append(tr);
    }
    const wide = make("div", "wide");
    wide.append(table);
    $("history").replaceChildren(make("h2", "", h[0].loaded ? "Loaded bytes by build" : "Bytes by build"), svg, wide);
  };

  // Tabs.
  const tabs = [{ name: "map", title: "Map" }, ...data.views];
  if ((data.history || []).length) tabs.push({ name: "history", title: "History" });
  const choose = (name, focus) => {
    for (const b of $("tabs").children) {
      b.setAttribute("aria-selected", b.name === name);
      b.tabIndex = b.name === name ? 0 : -1;
      if (focus && b.name === name) b.focus();
    }
    open = tabs.find((t) => t.name === name);
    history.replaceState(null, "", "#" + name); // so that a link can name a view
    $("map").hidden = name !== "map";
    $("history").hidden = name !== "history";
    $("tables").hidden = name === "map" || name === "history";
    if (name === "map") draw();
    else if (name === "history") curve();
    else { $("tables").setAttribute("aria-label", open.title); tables(); }
  };
  for (const t of tabs) {
    const b = make("button", "", t.title);
    b.name = t.name;
    b.setAttribute("role", "tab");
    b.onclick = () => choose(t.name);
    $("tabs").append(b);
  }
  document.addEventListener("keydown", (ev) => {
    const typing = ev.target.matches("input[type=search]");
    if (typing || ev.ctrlKey || ev.metaKey || ev.altKey) return;
    const now = tabs.indexOf(open);
    if (ev.key === "/") { ($("map").hidden ? $("filter") : $("search")).focus(); ev.preventDefault(); }
    else if (ev.key === "[" || ev.key === "]") choose(tabs[(now + (ev.key === "]" ? 1 : tabs.length - 1)) % tabs.length].name, true);
    else if (ev.key === "Escape" && !$("map").hidden && at.p && !ev.defaultPrevented) go(at.p, at);
  });
  // The map fills what the window, the legend and a scroll bar leave.
  let timer = 0;
  const fill = () => { if (!$("map").hidden && extent() !== drawn) draw(document.activeElement.node); };
  new ResizeObserver(() => { clearTimeout(timer); timer = setTimeout(fill, 80); }).observe($("tree"));
  const named = () => (tabs.some((t) => "#" + t.name === location.hash) ? location.hash.slice(1) : "map");
  addEventListener("hashchange", () => choose(named()));
  choose(named());
})();
