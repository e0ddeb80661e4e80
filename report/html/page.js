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
  const share = (x) => (x !== 0 && Math.abs(x) < 0.0005 ? "<0.1" : (x * 100).toFixed(1)) + "%";

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

  const draw = (focus) => {
    const tree = $("tree");
    tree.replaceChildren();
    const box = tree.getBoundingClientRect();
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
      if (width > 34 && height > 16) {
        if (height > 48 && width > 70) e.classList.add("tall");
        const text = make("span");
        // A path may break between its parts, not within a word.
        shortName(n, width).split("::").forEach((part, i) => text.append(...(i ? ["::", make("wbr"), part] : [part])));
        if (width > 90) text.append(make("small", "", number(size(n))));
        e.append(text);
      }
      parent.append(e);
      if (inner) place(e, shown(n), 2, 19, width - 6, height - 23, depth + 1);
    });
    place(tree, shown(at).length ? shown(at) : [at], 0, 0, box.width, box.height, 0);
    crumbs();
    $("status").textContent = describe2(at);
    const first = [...tree.querySelectorAll(".tile")].find((e) => e.node === focus) || (focus ? tree.querySelector(".tile") : null);
    if (first) first.focus({ preventScroll: true });
  };
  const describe2 = (n) => (n === data.tree ? number(size(n)) + " bytes " + (what === "loaded" ? "are loaded" : "in the file") : describe(n));
  const shortName = (n, width) => {
    if (n.n.length * 6 < width * 3) return n.n;
    // The last part of a path is what tells functions apart.
    const m = n.n.replace(/<.*>/g, "‹›").split("::");
    return m.length > 1 ? "…" + m.slice(-2).join("::") : n.n;
  };
  let matchCache = new Map();
  const hasMatch = (n) => {
    if (!matchCache.has(n)) matchCache.set(n, matches(n) || (n.c || []).some(hasMatch));
    return matchCache.get(n);
  };
  const above = (n) => { for (let p = n.p; p; p = p.p) if (matches(p)) return true; return false; };

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
  for (const [key, name] of families) {
    const s = make("span"), i = make("i");
    i.style.setProperty("--fill", `var(--${key})`);
    s.append(i, name);
    $("legend").append(s);
  }

  // Tables.
  const cell = (v, kind) => {
    if (v === null || v === undefined) return "";
    if (kind === 0 || kind === 1) return v;
    if (kind === 5) return share(v);
    if (kind === 6) return "0x" + v.toString(16);
    if (kind === 4) return (v > 0 ? "+" : v < 0 ? "−" : "") + number(Math.abs(v));
    return number(v);
  };
  let open = null;
  const tables = () => {
    const wanted = $("filter").value.trim().toLowerCase();
    $("content").replaceChildren();
    for (const t of open.tables) {
      $("content").append(make("h2", "", t.title));
      const table = make("table"), head = make("tr");
      for (const c of t.columns || []) head.append(make("th", c.kind > 1 ? "n" : "", c.title));
      table.append(make("thead"));
      table.tHead.append(head);
      const body = make("tbody");
      t.rows.forEach((row, i) => {
        const texts = row.map((v, c) => cell(v, t.columns[c].kind));
        if (wanted && !t.kinds[i] && !texts.some((s) => String(s).toLowerCase().includes(wanted))) return;
        const tr = make("tr", ["", "rest", "total"][t.kinds[i]]);
        texts.forEach((text, c) => {
          const kind = t.columns[c].kind;
          const td = make("td", kind > 1 ? "n" : kind === 1 ? "name" : "", text);
          if (kind === 4 && row[c]) td.classList.add(row[c] > 0 ? "up" : "down");
          tr.append(td);
        });
        body.append(tr);
      });
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
    $("history").replaceChildren(make("h2", "", h[0].loaded ? "Loaded bytes by build" : "Bytes by build"), svg);
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
  let timer = 0;
  addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(() => { if (!$("map").hidden) draw(); }, 80); });
  choose("map");
})();
