/* The concept graph to walk in. The order of the nodes comes from graph_layout.py; what a reader filters is packed and
   drawn here, on a canvas. Without this script, or without a canvas, the drawing beside it stays. */
"use strict";
(() => {
  const live = document.getElementById("live"), source = document.getElementById("graph-data");
  const base = live && live.querySelector("canvas.base"), over = live && live.querySelector("canvas.over");
  const pen = base && base.getContext("2d"), upper = over && over.getContext("2d");
  if (!pen || !upper || !source) return;

  // ------------------------------------------------------------------------------------------------ the graph
  const data = JSON.parse(source.textContent), { nodes, edges, sizes } = data;
  const { gap: GAP, frame: FRAME, tile: TILE } = sizes;
  const PHONE = 560; // px; in a narrower sheet all of it opens in view, boxes hold their picture alone
  let WIDTH = sizes.width, ACROSS = sizes.across, small = false, tight = false;
  const FINE = 0.22, TEXT = 0.45, HEAD = 26; // zooms from which boxes and words are drawn; px of the columns' names
  const LEGIBLE = 0.8, MANY = 300; // the zoom at which it opens, unless it shows so many nodes that the whole says more
  const READ = 9 / 13; // the zoom at which letters still have 9 px: narrower boxes are taken where all of it opens in view by that
  const BOLD = 300; // the strongest lines in view have their width; of more, the weaker are a dot wide, forty times as quick
  const SLOW = 8, SLICE = 6; // ms: a drawing that takes longer is moved as a picture while the next is made, so much a frame
  const ids = new Map(), strongest = {};
  nodes.forEach((node, number) => {
    Object.assign(node, { number, id: node.record.id, kind: node.record.kind, out: [], in: [] });
    node.text = [node.id, node.title, node.record.label, node.record.note, node.record.reason].join("\n").toLowerCase();
    ids.set(node.id, node);
  });
  edges.forEach((edge, number) => {
    Object.assign(edge, { number, source: nodes[edge.source], target: nodes[edge.target] });
    edge.strength = edge.weight ?? edge.score ?? null;
    edge.sort = `${edge.kind} ${edge.source.kind} ${edge.target.kind}`;
    strongest[edge.sort] = Math.max(strongest[edge.sort] || 0, Math.abs(edge.strength || 0));
    edge.source.out.push(edge);
    edge.target.in.push(edge);
  });
  for (const edge of edges) {
    edge.part = Math.abs(edge.strength || 0) / (strongest[edge.sort] || 1);
    edge.line = edge.kind !== "built_from" ? "tie" : edge.weight < 0 ? "against" : "for";
    edge.wide = edge.line === "tie" ? 1.2 : 0.8 + Math.round(7 * Math.sqrt(edge.part)) / 2;
  }

  // ------------------------------------------------------------------------------------------------ the state, and its address
  const OPENS = { node: "", q: "", class: "", kind: "", stage: "", show: data.opens, weight: 0, more: 0, pin: "", at: "" };
  const state = { ...OPENS };
  const field = (name) => live.querySelector(`[name="${name}"]`);
  const part = (words) => live.querySelector(words);

  function read() {
    const hash = decode(location.hash.slice(1)), given = new URLSearchParams(hash);
    if (hash.startsWith("node-")) return follow({ node: hash.slice(5) });
    if (Object.keys(OPENS).some((name) => given.has(name))) follow(Object.fromEntries(given));
  }

  function decode(text) {
    try { return text.includes("=") ? text : decodeURIComponent(text); } catch { return text; }
  }

  function follow(given) {
    for (const name of Object.keys(OPENS)) {
      const value = given[name] ?? OPENS[name];
      state[name] = typeof OPENS[name] === "number" ? Math.min(1, Math.max(0, Number(value) || 0)) : String(value);
    }
    const asked = [state.node, ...state.pin.split(",")], gone = [...new Set(asked.filter((id) => id && !ids.has(id)))];
    if (!ids.has(state.node)) state.node = "";
    state.pin = state.pin.split(",").filter((id) => ids.has(id)).join(",");
    if (gone.length) Object.assign(state, { ...OPENS, show: 1 });
    for (const name of ["class", "kind", "stage"])
      if (![...field(name).options].some((one) => one.value === state[name])) state[name] = "";
    arrange();
    missed(gone.length ? `No concept of this run is called ${gone.map((id) => `“${id}”`).join(", ")}: here is the whole graph. Find one by its name above.` : "");
    const at = state.at.split(",").map(Number);
    if (at.length === 3 && at.every(Number.isFinite)) Object.assign(view, { x: at[0], y: at[1], z: clamp(at[2]) });
    else if (state.node) centre(ids.get(state.node));
    else if (gone.length) fit();
    else open();
    draw();
    live.scrollIntoView({ block: "start" });
  }

  function missed(words) { // what the address asks for and is not there
    part(".missed").textContent = words;
    part(".missed").hidden = !words;
  }

  let writing = 0, touched = false; // a page that was only opened keeps its address
  for (const kind of ["pointerdown", "click", "keydown", "wheel", "input"]) live.addEventListener(kind, () => { touched = true; }, { capture: true, passive: true });
  function write() {
    clearTimeout(writing);
    if (!touched) return;
    writing = setTimeout(() => {
      state.at = [view.x.toFixed(0), view.y.toFixed(0), view.z.toFixed(3)].join(",");
      const kept = Object.entries(state).filter(([name, value]) => String(value) !== String(OPENS[name]));
      history.replaceState(null, "", "#" + new URLSearchParams(kept.length ? kept : [["node", ""]]));
    }, 250);
  }

  // ------------------------------------------------------------------------------------------------ what is shown
  let shown = [], drawn = [], lanes = [], box = { x: 0, y: 0, width: 1, height: 1 };

  function passes(node) {
    return node.share < state.show + (state.show >= 1) && (!state.kind || node.kind === state.kind) &&
      (!state.stage || node.record.stage === state.stage) && (!state.class || served.has(node));
  }

  let served = new Set();
  function serve() { // nodes of the class, and units of no class that lie below one
    served = new Set(nodes.filter((one) => [...(one.record.classes || []), one.record.label].includes(state.class) && one.kind !== "unit"));
    for (const node of served)
      for (const edge of node.out) if (edge.target.kind === "unit" || served.has(edge.source)) if (!(edge.target.record.classes || []).length) served.add(edge.target);
  }

  function pinned() { // the pinned ones with their families, what they are built from, and what rests on them
    const found = new Set();
    for (const id of state.pin.split(",").filter(Boolean)) {
      const node = ids.get(id);
      for (const one of nodes) if (one.column === node.column && one.block === node.block) found.add(one);
      for (const [way, end] of [["out", "target"], ["in", "source"]]) {
        const ahead = [node], seen = new Set(ahead);
        while (ahead.length)
          for (const edge of ahead.pop()[way])
            if (edge.kind === "built_from" && weighs(edge) && !seen.has(edge[end])) { seen.add(edge[end]); ahead.push(edge[end]); }
        seen.forEach((one) => found.add(one));
      }
    }
    return found;
  }

  const weighs = (edge) => edge.part >= state.weight || edge.line === "tie";

  function arrange() {
    if (state.class) serve();
    const kept = state.pin ? pinned() : null;
    shown = nodes.filter((node) => node.id === state.node || state.pin.includes(node.id) || ((!kept || kept.has(node)) && passes(node)));
    pack();
    drawn = edges.filter((edge) => edge.source.lane && edge.target.lane && weighs(edge) && (edge.line !== "tie" || state.more) && !inFrame(edge));
    drawn.sort((a, b) => a.wide - b.wide || a.line.localeCompare(b.line)); // those of one look are drawn at once
    edges.forEach((edge) => { edge.way = null; }); // those of a chosen node are drawn besides
    spoiled = true;
    show();
  }

  function pack() { // as graph_layout.pack_columns, but columns of very many nodes in several lanes, dealt out in turn
    for (const node of nodes) node.lane = null;
    const columns = [];
    let block = null;
    for (const node of shown) {
      if (!block || block.column !== node.column) columns.push([]);
      if (!block || block.column !== node.column || block.block !== node.block)
        columns.at(-1).push(block = { column: node.column, block: node.block, nodes: [] });
      block.nodes.push(node);
    }
    const frame = (some) => (some.nodes.length > 1 ? FRAME : 0);
    const tall = (some) => some.reduce((all, one) => all + 2 * frame(one) + one.nodes.reduce((sum, node) => sum + node.height + GAP, 0), 0);
    const most = Math.max(700, Math.sqrt((small ? 1.4 : 0.66) * (WIDTH + ACROSS) * tall(columns.flat()))); // so that it is half as wide again as high
    lanes = columns.flatMap((blocks) => {
      const count = blocks.length < 12 ? 1 : Math.ceil(tall(blocks) / most / 1.2); // few blocks leave few gaps for edges
      return Array.from({ length: count }, (_, turn) => ({ column: blocks[0].column, blocks: blocks.filter((_one, row) => row % count === turn) }));
    });
    let top = 0, bottom = 0;
    lanes.forEach((one, place) => {
      Object.assign(one, { place, x: place * (WIDTH + ACROSS) });
      let y = (GAP - tall(one.blocks)) / 2;
      one.gaps = [y - GAP];
      for (const some of one.blocks) {
        some.y = y;
        y += frame(some);
        for (const node of some.nodes) { node.lane = one; node.x = one.x; node.y = y; node.middle = y + node.height / 2; y += node.height + GAP; }
        y += frame(some);
        some.height = y - GAP - some.y;
        one.gaps.push(y - GAP / 2);
      }
      one.gaps[one.gaps.length - 1] += GAP / 2;
      top = Math.min(top, one.gaps[0]); bottom = Math.max(bottom, y);
    });
    box = { x: -FRAME, y: top, width: Math.max(WIDTH, lanes.length * (WIDTH + ACROSS) - ACROSS) + 2 * FRAME, height: bottom - top };
  }

  function way(edge) { // as graph_layout.route: numbers of curves (6) and straight pieces (2), after the start
    if (edge.way) return edge.way;
    const turned = edge.source.lane.place < edge.target.lane.place, found = []; // an analogy within a stage
    const [start, end] = turned ? [edge.source, edge.target] : [edge.target, edge.source];
    let x = start.x + WIDTH, y = start.middle;
    if (start.lane === end.lane) {
      const bow = x + ACROSS * 0.55;
      return (edge.way = [x, y, [[bow, y, bow, end.middle, x, end.middle]]]);
    }
    const curve = (x2, y2) => { const middle = (x + x2) / 2; found.push([middle, y, middle, y2, x2, y2]); x = x2; y = y2; };
    for (let place = start.lane.place + 1; place < end.lane.place; place++) {
      const lane = lanes[place], wanted = start.middle + (end.middle - start.middle) * (lane.x - start.x) / (end.x - start.x);
      curve(lane.x - FRAME, between(lane.gaps, wanted) + (edge.number % 5 - 2) * 2);
      x = lane.x + WIDTH + FRAME;
      found.push([x, y]);
    }
    curve(end.x, end.middle);
    return (edge.way = [start.x + WIDTH, start.middle, found]);
  }

  function between(gaps, wanted) {
    if (wanted <= gaps[0] || wanted >= gaps[gaps.length - 1]) return wanted;
    let low = 0, high = gaps.length - 1;
    while (high - low > 1) { const middle = (low + high) >> 1; if (gaps[middle] < wanted) low = middle; else high = middle; }
    return wanted - gaps[low] < gaps[high] - wanted ? gaps[low] : gaps[high];
  }

  // ------------------------------------------------------------------------------------------------ drawing
  const view = { x: 0, y: 0, z: 1 }; // the middle of the sheet in the graph's px, and the zoom
  let colours = {}, sheet = { width: 1, height: 1, ratio: 1 }, sprite = null;

  function paint() {
    const style = getComputedStyle(document.documentElement), names = ["paper", "card", "ink", "soft", "line", "tint", "learned", "wrong"];
    colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue("--" + name).trim()]));
    Object.assign(colours, { for: colours.learned, against: colours.wrong, tie: colours.soft });
  }

  function place(context, at, ratio) { // from the graph's px to the canvas's
    context.setTransform(at.z * ratio, 0, 0, at.z * ratio, (sheet.width / 2 - at.x * at.z) * ratio, (sheet.height / 2 - at.y * at.z) * ratio);
  }

  function window_(at) {
    const x = sheet.width / 2 / at.z, y = sheet.height / 2 / at.z;
    return { left: at.x - x, right: at.x + x, top: at.y - y, bottom: at.y + y };
  }

  function trace(context, edge, straight) {
    const [x, y, pieces] = way(edge);
    context.moveTo(x, y);
    if (straight && edge.source.lane !== edge.target.lane) return context.lineTo(...pieces.at(-1).slice(-2));
    for (const piece of pieces) piece.length > 2 ? context.bezierCurveTo(...piece) : context.lineTo(...piece);
  }

  function inside(edge, seen) {
    const a = edge.source, b = edge.target;
    return Math.max(a.y, b.y) + 64 > seen.top - 60 && Math.min(a.y, b.y) < seen.bottom + 60 &&
      Math.max(a.x, b.x) + WIDTH + ACROSS > seen.left && Math.min(a.x, b.x) < seen.right;
  }

  function* lay(context, at, ratio, some, boxes = null) { // in pieces, so that a page with very many edges stays quick
    const seen = window_(at), far = at.z < 0.16;
    place(context, at, ratio);
    if (!far && !boxes) for (const lane of lanes) for (const block of lane.blocks)
      if (block.nodes.length > 1) { context.fillStyle = colours.tint; round(context, lane.x - FRAME, block.y, WIDTH + 2 * FRAME, block.height, 10); context.fill(); }
    let last = "", count = 0;
    const stroke = () => { if (count) context.stroke(); count = 0; };
    const near = some.filter((edge) => inside(edge, seen)), faint = Math.max(0.1, Math.min(0.5, 1200 / near.length));
    for (const [place, edge] of near.entries()) {
      const bold = place >= near.length - BOLD, style = edge.line + edge.wide + bold;
      if (style !== last || count >= 60) {
        stroke();
        if (count === 0) yield;
        last = style;
        context.beginPath();
        context.strokeStyle = colours[edge.line];
        context.globalAlpha = faint * (bold ? 1 : 0.4 + 0.15 * edge.wide);
        context.setLineDash(edge.line === "tie" && bold && !far ? [4, 3] : []);
        context.lineWidth = bold ? Math.max(edge.wide, (0.3 + 0.2 * edge.wide) / at.z) : 0.95 / at.z / ratio;
      }
      trace(context, edge, far);
      count++;
    }
    stroke();
    context.setLineDash([]);
    context.globalAlpha = 1;
    let done = 0;
    for (const node of boxes || shown)
      if (node.x < seen.right && node.x + WIDTH > seen.left && node.y < seen.bottom && node.y + node.height > seen.top) {
        box_(context, node, at.z);
        if (++done % 40 === 0) yield;
      }
  }

  function round(context, x, y, width, height, radius) {
    context.beginPath();
    if (context.roundRect) context.roundRect(x, y, width, height, radius); else context.rect(x, y, width, height);
  }

  function box_(context, node, z) {
    const strong = node.kind === "class" || node.kind === "generalized", away = node.record.state && node.record.state !== "split";
    context.globalAlpha = away ? 0.45 : 1;
    context.fillStyle = z < FINE ? (strong ? colours.learned : colours.soft) : colours.card;
    context.strokeStyle = strong ? colours.learned : colours.line;
    context.lineWidth = strong ? 1.6 : 1;
    if (z < FINE) { context.fillRect(node.x, node.y, WIDTH, node.height); context.globalAlpha = 1; return; }
    round(context, node.x, node.y, WIDTH, node.height, 6);
    context.fill(); context.stroke();
    const side = Math.min(node.height, WIDTH) - 8, x = node.x + (small ? (WIDTH - side) / 2 : 4);
    if (node.tile !== undefined && sprite) {
      const [left, top] = tile(node);
      context.drawImage(sprite, left, top, TILE, TILE, x, node.middle - side / 2, side, side);
    }
    if (z >= TEXT) words(node).forEach(({ text, x, y, last, room }) => {
      context.font = `${last && !tight ? 11 : 13}px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif`;
      context.fillStyle = last ? colours.soft : colours.ink;
      context.fillText(text, x, y, room);
    });
    context.globalAlpha = 1;
  }

  const tile = (node) => [(node.tile % data.row) * TILE, Math.floor(node.tile / data.row) * TILE];

  function words(node) {
    if (small) return node.tile === undefined && node.kind !== "class" ? [{ text: node.lines[0], x: node.x + 4, y: node.middle + 4, last: true, room: WIDTH - 8 }] : [];
    const left = node.tile === undefined ? 10 : node.height + 2, first = node.middle - 7.5 * node.lines.length + 11.5;
    return node.lines.map((text, row) => ({ text, x: node.x + left, y: first + 15 * row, last: row === node.lines.length - 1, room: WIDTH - left - 6 }));
  }

  // A slow drawing is made piece by piece, while the last finished one is moved in its place.
  let picture = document.createElement("canvas"), making = document.createElement("canvas"), pictured = null, job = null;
  let spoiled = true, took = SLOW, asked = 0;

  function draw() {
    delete live.dataset.settled;
    if (!asked) asked = requestAnimationFrame(frame);
    write();
  }

  function frame() {
    asked = 0;
    if (spoiled || (!job && !same(pictured))) start();
    if (job) run(took < SLOW ? Infinity : same(job.view) ? SLOW : SLICE);
    show_();
    if (job || !same(pictured)) asked = asked || requestAnimationFrame(frame);
    else live.dataset.settled = took.toFixed(1);
  }

  const same = (at) => at && at.x === view.x && at.y === view.y && at.z === view.z;

  function start() {
    spoiled = false;
    making.width = base.width; making.height = base.height;
    job = { view: { ...view }, time: 0 };
    job.context = making.getContext("2d", { willReadFrequently: true });
    job.steps = lay(job.context, job.view, sheet.ratio, drawn);
  }

  function run(most) {
    const began = performance.now();
    let done = false;
    while (!done && performance.now() - began < most) {
      done = job.steps.next().done;
      job.context.getImageData(0, 0, 1, 1); // what was asked for is drawn now, and counts
    }
    job.time += performance.now() - began;
    if (!done) return;
    took = job.time;
    pictured = job.view;
    [picture, making] = [making, picture];
    job = null;
    live.dataset.ready ||= Math.round(performance.now());
  }

  function show_() {
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, base.width, base.height);
    if (pictured) {
      const scale = view.z / pictured.z, { ratio } = sheet;
      const x = sheet.width / 2 + (pictured.x - view.x) * view.z, y = sheet.height / 2 + (pictured.y - view.y) * view.z;
      const wide = sheet.width * scale, high = sheet.height * scale;
      pen.drawImage(picture, (x - wide / 2) * ratio, (y - high / 2) * ratio, wide * ratio, high * ratio);
    }
    light();
  }

  let under = null; // the node below the pointer
  function light() { // over all else: a node and its edges, and the columns' names
    upper.setTransform(1, 0, 0, 1, 0, 0);
    upper.clearRect(0, 0, over.width, over.height);
    const node = under || (state.node ? ids.get(state.node) : null);
    if (node && node.lane) {
      upper.globalAlpha = 0.62;
      upper.fillStyle = colours.paper;
      upper.fillRect(0, 0, over.width, over.height);
      upper.globalAlpha = 1;
      const near = around(node), ends = new Set([node, ...near.flatMap((edge) => [edge.source, edge.target])]);
      const lines = near.filter((edge) => !inFrame(edge)).sort((a, b) => a.part - b.part).slice(-600);
      for (const step of lay(upper, view, sheet.ratio, lines, ends)) void step;
      upper.strokeStyle = colours.learned;
      upper.lineWidth = Math.max(2.4, 2 / view.z);
      round(upper, node.x, node.y, WIDTH, node.height, 6);
      upper.stroke();
    }
    upper.setTransform(sheet.ratio, 0, 0, sheet.ratio, 0, 0);
    upper.font = `600 ${small ? 10 : 12}px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif`;
    if (small) name_classes();
    upper.fillStyle = colours.paper;
    upper.globalAlpha = 0.88;
    upper.fillRect(0, 0, sheet.width, HEAD);
    upper.globalAlpha = 1;
    upper.fillStyle = colours.soft;
    let free = 0;
    lanes.forEach((lane, place) => {
      if (place && lanes[place - 1].column === lane.column) return;
      const last = lanes.findLast((one) => one.column === lane.column), full = data.columns[lane.column], name = small ? full.split(": ").at(-1) : full;
      const wide = upper.measureText(name).width, left = sheet.width / 2 + (lane.x - view.x) * view.z;
      const right = sheet.width / 2 + (last.x + WIDTH + ACROSS / 2 - view.x) * view.z;
      const x = Math.max(free, Math.min(Math.max(6, left), right - wide, small ? sheet.width - 4 - wide : Infinity));
      if (right < 20 || left > sheet.width || x + wide > sheet.width - 4 + small || x + wide > right + 10) return;
      upper.fillText(name, x, 17);
      free = x + wide + 10;
    });
  }

  function name_classes() { // in a narrow sheet, whose boxes have no room for words
    for (const node of shown) {
      if (node.kind !== "class" || node.height * view.z < 18) continue;
      const right = sheet.width / 2 + (node.x + WIDTH - view.x) * view.z, bottom = sheet.height / 2 + (node.y + node.height - view.y) * view.z;
      const wide = Math.min(90, upper.measureText(node.title).width);
      upper.fillStyle = colours.paper;
      upper.globalAlpha = 0.88;
      upper.fillRect(right - wide - 4, bottom - 12, wide + 4, 12);
      upper.globalAlpha = 1;
      upper.fillStyle = colours.ink;
      upper.fillText(node.title, right - wide - 2, bottom - 3, 90);
    }
  }

  const around = (node) => [...node.out, ...node.in].filter((edge) => edge.source.lane && edge.target.lane);
  const inFrame = (edge) => edge.kind.endsWith("izes") && edge.source.column === edge.target.column && edge.source.block === edge.target.block;

  // ------------------------------------------------------------------------------------------------ moving
  const clamp = (z) => Math.min(4, Math.max(0.012, z || 1));

  function size() {
    const there = base.getBoundingClientRect();
    if (!there.width || !there.height) return;
    sheet = { width: there.width, height: there.height, ratio: Math.min(2, window.devicePixelRatio || 1) };
    for (const one of [base, over]) { one.width = Math.round(sheet.width * sheet.ratio); one.height = Math.round(sheet.height * sheet.ratio); }
    if (small !== sheet.width < PHONE) { shape(!small); open(); }
    spoiled = true;
    draw();
  }

  function shape(to, narrow = tight) { // boxes with a picture alone, or with words beside it
    [small, tight] = [to, narrow];
    [WIDTH, ACROSS] = small ? [60, 44] : tight ? [152, 44] : [sizes.width, sizes.across];
    arrange();
  }

  function tighten() { // once, by the view that the page opens with: an address with a place means the same place then
    if (small || shown.length > MANY || whole() >= LEGIBLE) return;
    shape(false, true);
    if (whole() < READ) shape(false, false);
  }

  const whole = () => clamp(Math.min(1.2, sheet.width / (box.width + 30), (sheet.height - HEAD) / (box.height + 30)));

  function fit() { Object.assign(view, { x: box.x + box.width / 2, z: whole() }); view.y = box.y + box.height / 2 - HEAD / 2 / view.z; draw(); }

  function open() { // legible, the classes in sight
    fit();
    if (view.z >= (tight ? READ : LEGIBLE) || shown.length > MANY || small) return;
    view.z = LEGIBLE;
    view.x = Math.max(box.x + box.width / 2, box.x + box.width + 12 - sheet.width / 2 / view.z);
    view.y = -HEAD / 2 / view.z;
  }

  function centre(node) {
    if (!node.lane) return;
    Object.assign(view, { x: node.x + WIDTH / 2, y: node.middle, z: Math.max(view.z, 0.7) });
    draw();
  }

  function zoom(factor, x = sheet.width / 2, y = sheet.height / 2) {
    const z = clamp(view.z * factor), dx = x - sheet.width / 2, dy = y - sheet.height / 2;
    view.x += dx / view.z - dx / z;
    view.y += dy / view.z - dy / z;
    view.z = z;
    draw();
  }

  function at(event) {
    const there = base.getBoundingClientRect(), x = event.clientX - there.left, y = event.clientY - there.top;
    return { x, y, node: hit(view.x + (x - sheet.width / 2) / view.z, view.y + (y - sheet.height / 2) / view.z) };
  }

  function hit(x, y) {
    const lane = lanes[Math.floor((x + FRAME) / (WIDTH + ACROSS))];
    if (!lane || x > lane.x + WIDTH) return null;
    for (const block of lane.blocks)
      if (y >= block.y && y <= block.y + block.height) return block.nodes.find((node) => y >= node.y && y <= node.y + node.height) || null;
    return null;
  }

  const fingers = new Map();
  let dragged = 0;
  base.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, event);
    if (fingers.size === 1) dragged = 0;
    base.setPointerCapture(event.pointerId);
  });
  base.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return hover(event.pointerType === "mouse" ? at(event) : null);
    const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
    dragged += Math.abs(dx) + Math.abs(dy);
    if (fingers.size === 2) {
      const other = [...fingers.values()].find((one) => one.pointerId !== event.pointerId);
      const gap = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
      const there = base.getBoundingClientRect();
      zoom(gap(event) / gap(before), (event.clientX + other.clientX) / 2 - there.left, (event.clientY + other.clientY) / 2 - there.top);
    }
    view.x -= dx / view.z / fingers.size;
    view.y -= dy / view.z / fingers.size;
    fingers.set(event.pointerId, event);
    if (dragged > 5) { hover(null); draw(); }
  });
  for (const kind of ["pointerup", "pointercancel"])
    base.addEventListener(kind, (event) => {
      const was = fingers.delete(event.pointerId);
      if (was && kind === "pointerup" && dragged <= 5 && !fingers.size) { const { node } = at(event); choose(node ? node.id : "", false); }
    });
  base.addEventListener("pointerleave", () => hover(null));
  base.addEventListener("dblclick", (event) => { const { x, y } = at(event); zoom(1.8, x, y); });
  base.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && !live.classList.contains("big") && document.activeElement !== base) return;
    event.preventDefault();
    const { x, y } = at(event);
    zoom(Math.exp(-Math.max(-60, Math.min(60, event.deltaY * (event.deltaMode ? 16 : 1))) / 180), x, y);
  }, { passive: false });
  base.addEventListener("keydown", (event) => {
    const step = 60 / view.z, moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves) { view.x += moves[0]; view.y += moves[1]; draw(); }
    else if (event.key === "+" || event.key === "=") zoom(1.25);
    else if (event.key === "-") zoom(0.8);
    else if (event.key === "0") fit();
    else return;
    event.preventDefault();
  });
  live.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (state.node) choose(""); else if (live.classList.contains("big")) field("big").click();
  });

  // ------------------------------------------------------------------------------------------------ words about a node
  function el(tag, given = {}, ...inner) { // text only ever as text
    const made = Object.assign(document.createElement(tag), given);
    made.append(...inner.filter((one) => one !== null));
    return made;
  }

  function thumbs(node, most) {
    const card = document.getElementById("concept-" + node.id);
    const found = [...(card ? card.querySelectorAll("img") : [])].slice(0, most).map((one) => el("img", { src: one.src, alt: one.alt, title: one.alt }));
    if (!found.length && node.tile !== undefined && sprite) {
      const one = el("canvas", { width: TILE, height: TILE });
      one.getContext("2d").drawImage(sprite, ...tile(node), TILE, TILE, 0, 0, TILE, TILE);
      found.push(one);
    }
    return found.length ? el("div", { className: "thumbs" }, ...found) : null;
  }

  const number = (value) => (Math.abs(value) >= 1000 || Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(3)))).replace("-", "−");
  const signed = (value) => (value > 0 ? "+" : "") + number(value);
  const kinds = { class: "a class", feature: "a feature", generalized: "what classes exchange", variant: "what is exchanged, as it looks in one class", unit: "a single unit" };

  function hover(where) {
    const node = where && where.node, tip = part(".tip");
    base.style.cursor = node ? "pointer" : "";
    if (node !== under) {
      under = node;
      tip.hidden = !node;
      if (node) {
        const { effect } = node.record, built = (some) => some.filter((edge) => edge.kind === "built_from").length;
        tip.replaceChildren(el("strong", {}, node.title), el("div", { className: "soft" }, kinds[node.kind]), thumbs(node, 4) || "",
          el("div", {}, effect === undefined ? "" : `Effect: ${number(effect)} logits. `, `${built(node.in)} rest on it, it is built from ${built(node.out)}.`));
      }
      light();
    }
    if (node) {
      const x = where.x + 16 + tip.offsetWidth > sheet.width ? where.x - tip.offsetWidth - 12 : where.x + 16;
      Object.assign(tip.style, { left: Math.max(4, x) + "px", top: Math.max(4, Math.min(where.y + 12, sheet.height - tip.offsetHeight - 6)) + "px" });
    }
  }

  const NAMES = {
    name: "name given to it", note: "note", effect: "effect: fall of its class's lead without it, in logits", auc: "tells its class from the others, AUC",
    accuracy: "tells the classes apart by itself", phi: "φ: answers that change where it is exchanged", iota: "ι: how exchangeable it is, 1 is fully",
    decision: "decision", reason: "why", representation: "exchanged in", swap_cost: "open part of the gates", r_before: "residual accuracy before its round",
    r_after: "residual accuracy after its round", coverage: "gate recall: share of its places that its detector finds, by class", overlap: "overlap of its detector with the gates",
    agreement: "rank agreement of attribution and ablation", spectrum: "where the classes lie on it: 10 % quantile, mean, 90 % quantile",
    classes: "classes", shared_by: "exchanged by", stage: "stage", round: "round", found_in: "found in", units: "units", examples: "images that show it best",
    pictures: "pictures in the run folder", provenance: "found by", parent: "below", state: "after an edit", label: "label", id: "id",
    weight: "weight", low: "from", high: "to", gap: "left unexplained", null: "by chance", untrained: "untrained", score: "score", class_name: "in", other: "plays its part in", edit: "edit",
  };

  function say(value) {
    if (typeof value === "number") return number(value);
    if (Array.isArray(value)) return value.map(say).join(", ");
    return value && typeof value === "object" ? Object.entries(value).map(([name, one]) => `${name}: ${say(one)}`).join("; ") : String(value);
  }

  function list(heading, some, end) {
    if (!some.length) return "";
    const sorted = [...some].sort((a, b) => Math.abs(b.strength || 0) - Math.abs(a.strength || 0)), items = el("ul");
    const more = (from, to) => items.append(...sorted.slice(from, to).map((edge) => {
      const other = edge[end], rest = Object.entries(edge).filter(([name]) => ["effect", "gap", "null", "untrained", "class_name", "other", "edit"].includes(name));
      const strength = edge.strength === null ? null : el("b", { className: edge.line }, signed(edge.strength) + " ");
      const button = el("button", { type: "button", className: "end", onclick: () => choose(other.id, true) }, strength, other.title);
      const span = edge.low === undefined ? "" : `from ${number(edge.low)} to ${number(edge.high)}`;
      const words = [span, ...rest.map(([name, value]) => `${name === "effect" ? "ablated" : NAMES[name]} ${say(value)}`)].filter(Boolean).join(", ");
      return el("li", {}, button, words ? el("small", { className: "soft" }, words) : null);
    }));
    more(0, 20);
    const all = sorted.length > 20 ? el("button", { type: "button", onclick: () => { more(20); all.remove(); } }, `${sorted.length - 20} more`) : "";
    return el("section", {}, el("h4", {}, `${heading} (${sorted.length})`), items, all);
  }

  function panel() {
    const node = ids.get(state.node), aside = part("aside"), hidden = aside.hidden;
    aside.hidden = !node;
    field("pin").hidden = !node && !state.pin;
    const isPinned = node && state.pin.split(",").includes(node.id);
    field("pin").textContent = isPinned || !node ? "Unpin" : "Pin";
    field("pin").setAttribute("aria-pressed", String(Boolean(isPinned)));
    if (hidden !== aside.hidden) size();
    if (!node || aside.dataset.node === node.id) return;
    aside.dataset.node = node.id;
    const record = node.record, known = Object.keys(NAMES).filter((name) => record[name] !== undefined);
    const of = (way, some) => node[way].filter((edge) => some.includes(edge.kind));
    aside.replaceChildren(
      el("div", { className: "tools" }, el("button", { type: "button", onclick: () => centre(node) }, "Show"),
        document.getElementById("concept-" + node.id) ? el("a", { href: "#concept-" + node.id }, "its card") : "",
        el("a", { href: "#node=" + node.id }, "its address"), el("button", { type: "button", ariaLabel: "close", onclick: () => choose("") }, "×")),
      el("h3", {}, node.title), el("p", { className: "soft" }, kinds[node.kind]), thumbs(node, 8) || "",
      list("What rests on it", of("in", ["built_from"]), "source"), list("What it is built from", of("out", ["built_from"]), "target"),
      list("Belongs to what is exchanged", [...of("in", ["generalizes"])], "source"), list("Found as", of("out", ["generalizes"]), "target"),
      list("As it looks in a class", of("in", ["specializes"]), "source"), list("Is a variant of", of("out", ["specializes"]), "target"),
      list("Plays the part of", of("out", ["analogous"]), "target"), list("Its part is played by", of("in", ["analogous"]), "source"),
      list("Became, by an edit", of("out", ["became"]), "target"), list("Was, before an edit", of("in", ["became"]), "source"),
      el("h4", {}, "All that is known of it"),
      el("dl", {}, ...known.flatMap((name) => [el("dt", {}, NAMES[name]), el("dd", {}, say(record[name]))])));
    aside.scrollTop = 0;
  }

  // ------------------------------------------------------------------------------------------------ choosing and filtering
  function choose(id, move = false) {
    const node = ids.get(id), hidden = node && !node.lane, was = state.node && !passes(ids.get(state.node));
    state.node = node ? id : "";
    under = null;
    missed("");
    part(".tip").hidden = true;
    if (hidden || was) arrange(); else show();
    if (node && (move || hidden)) centre(node);
    draw();
  }

  function show() { // the state in the fields, in words and beside the graph
    for (const name of ["q", "class", "kind", "stage"]) if (document.activeElement !== field(name)) field(name).value = state[name];
    field("show").value = Math.round(100 * state.show);
    field("weight").value = Math.round(100 * state.weight);
    field("more").checked = Boolean(state.more);
    field("show").nextElementSibling.textContent = Math.round(100 * state.show) + "\u00a0%";
    field("weight").nextElementSibling.textContent = Math.round(100 * state.weight) + "\u00a0%";
    field("all").textContent = state.show < 1 ? "Show all" : "Show the strongest";
    const built = edges.length;
    part(".state").textContent = `${shown.length} of ${nodes.length} nodes, ${drawn.length} of ${built} edges` +
      (state.show < 1 ? `: those that carry ${Math.round(100 * state.show)}\u00a0% of all influence on the classes` : "") +
      (state.pin ? `; pinned to ${state.pin.split(",").map((id) => ids.get(id).title).join(", ")}` : "") + "." +
      (state.show < 1 || state.more ? "" : " Analogies are behind Filters.") +
      (box.width * (tight ? READ : LEGIBLE) > sheet.width && shown.length <= MANY ? small ? " Tap a box, or spread two fingers." : " More lies to the left: drag, Fit, or Whole window." : "");
    panel();
    write();
  }

  function change(name, value) {
    missed("");
    state[name] = value;
    arrange();
    open();
  }

  for (const [name, values] of [["class", data.classes], ["kind", [...new Set(nodes.map((node) => node.kind))]], ["stage", data.stages]]) {
    field(name).append(...values.map((value) => el("option", { value }, name === "kind" ? { generalized: "exchanged (generalized)" }[value] || value : value)));
    field(name).addEventListener("change", (event) => change(name, event.target.value));
  }
  for (const name of ["show", "weight"])
    field(name).addEventListener("input", (event) => change(name, event.target.value / 100));
  field("more").addEventListener("change", (event) => { state.more = Number(event.target.checked); arrange(); draw(); });
  field("all").addEventListener("click", () => change("show", state.show < 1 ? 1 : data.opens));
  field("filters").addEventListener("click", (event) => {
    const closed = (part(".filters").hidden = !part(".filters").hidden);
    event.target.setAttribute("aria-expanded", String(!closed));
  });
  field("reset").addEventListener("click", () => { Object.assign(state, OPENS); arrange(); open(); draw(); });
  field("pin").addEventListener("click", () => {
    const some = new Set(state.pin.split(",").filter(Boolean));
    if (!state.node) some.clear(); else if (!some.delete(state.node)) some.add(state.node);
    change("pin", [...some].join(","));
  });
  field("in").addEventListener("click", () => zoom(1.3));
  field("out").addEventListener("click", () => zoom(1 / 1.3));
  field("fit").addEventListener("click", fit);
  field("big").addEventListener("click", (event) => {
    const big = live.classList.toggle("big");
    event.target.setAttribute("aria-pressed", String(big));
    event.target.textContent = big ? "Back to the page" : "Whole window";
    size();
    fit();
  });

  function search() {
    const wanted = field("q").value.trim().toLowerCase(), found = part(".found");
    state.q = field("q").value;
    const some = wanted ? nodes.filter((node) => node.text.includes(wanted)).sort((a, b) => a.share - b.share).slice(0, 30) : [];
    found.hidden = !wanted;
    found.replaceChildren(...some.map((node) => el("li", {}, el("button", { type: "button", onclick: () => { found.hidden = true; choose(node.id, true); } }, node.title))),
      some.length ? "" : el("li", { className: "soft" }, "Nothing is called so."));
    write();
  }
  field("q").addEventListener("input", search);
  field("q").addEventListener("keydown", (event) => {
    const first = part(".found button");
    if (event.key === "Enter" && first) { event.preventDefault(); first.click(); }
    if (event.key === "ArrowDown" && first) { event.preventDefault(); first.focus(); }
  });
  document.addEventListener("pointerdown", (event) => { if (!part(".find").contains(event.target)) part(".found").hidden = true; });

  // ------------------------------------------------------------------------------------------------ files
  function save(name, content) {
    const link = el("a", { href: URL.createObjectURL(content), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 5000);
  }

  function png() {
    const scale = Math.min(2, 8000 / Math.max(box.width, box.height + HEAD)), canvas = el("canvas", { width: Math.ceil(box.width * scale), height: Math.ceil(box.height * scale) });
    const context = canvas.getContext("2d"), kept = sheet;
    context.fillStyle = colours.paper;
    context.fillRect(0, 0, canvas.width, canvas.height);
    sheet = { width: canvas.width, height: canvas.height, ratio: 1 };
    for (const step of lay(context, { x: box.x + box.width / 2, y: box.y + box.height / 2, z: scale }, 1, drawn)) void step;
    sheet = kept;
    canvas.toBlob((blob) => save("graph.png", blob));
  }

  function svg() {
    const space = document.querySelector("svg.graph").namespaceURI;
    const make = (tag, given, ...inner) => {
      const made = document.createElementNS(space, tag);
      for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
      made.append(...inner);
      return made;
    };
    const whole = make("svg", { viewBox: [box.x, box.y, box.width, box.height].join(" "), width: box.width, height: box.height, "font-family": "system-ui, sans-serif" },
      make("rect", { x: box.x, y: box.y, width: box.width, height: box.height, fill: colours.paper }));
    for (const lane of lanes) for (const block of lane.blocks) if (block.nodes.length > 1)
      whole.append(make("rect", { x: lane.x - FRAME, y: block.y, width: WIDTH + 2 * FRAME, height: block.height, rx: 10, fill: colours.tint }));
    for (const edge of drawn) {
      const [x, y, pieces] = way(edge), d = `M${x} ${y}` + pieces.map((piece) => (piece.length > 2 ? "C" : "L") + piece.map((one) => Math.round(10 * one) / 10).join(" ")).join("");
      whole.append(make("path", { d, fill: "none", stroke: colours[edge.line], "stroke-width": edge.wide, opacity: 0.5 }));
    }
    for (const node of shown) {
      const strong = node.kind === "class" || node.kind === "generalized", title = make("title", {}, `${node.title} (${node.id})`);
      const group = make("g", {}, title, make("rect", { x: node.x, y: node.y, width: WIDTH, height: node.height, rx: 6, fill: colours.card, stroke: strong ? colours.learned : colours.line }));
      if (node.tile !== undefined && sprite) {
        const one = el("canvas", { width: TILE, height: TILE });
        one.getContext("2d").drawImage(sprite, ...tile(node), TILE, TILE, 0, 0, TILE, TILE);
        group.append(make("image", { href: one.toDataURL("image/png"), x: node.x + 4, y: node.y + 4, width: node.height - 8, height: node.height - 8 }));
      }
      for (const { text, x, y, last } of words(node)) group.append(make("text", { x, y, "font-size": last ? 11 : 13, fill: last ? colours.soft : colours.ink }, text));
      whole.append(group);
    }
    save("graph.svg", new Blob([new XMLSerializer().serializeToString(whole)], { type: "image/svg+xml" }));
  }

  function json() {
    const names = ["kind", "weight", "score", "low", "high", "effect", "gap", "null", "untrained", "class_name", "other", "parent", "edit"];
    const plain = (edge) => ({ source: edge.source.id, target: edge.target.id, ...Object.fromEntries(names.filter((name) => edge[name] !== undefined).map((name) => [name, edge[name]])) });
    const between = edges.filter((edge) => edge.source.lane && edge.target.lane && weighs(edge));
    save("graph.json", new Blob([JSON.stringify({ view: { ...state }, nodes: shown.map((node) => node.record), edges: between.map(plain) }, null, 1)], { type: "application/json" }));
  }
  for (const [name, made] of [["png", png], ["svg", svg]])
    field(name).addEventListener("click", () => { const was = [small, tight]; if (small || tight) shape(false, false); made(); shape(...was); }); // with all their words
  field("json").addEventListener("click", json);

  // ------------------------------------------------------------------------------------------------ the start
  live.hidden = false;
  document.documentElement.classList.add("lively");
  paint();
  const image = document.getElementById("graph-sprite"), loaded = new Image();
  if (image) loaded.src = image.getAttribute("href");
  if (image) loaded.decode().then(() => { sprite = loaded; delete part("aside").dataset.node; panel(); spoiled = true; draw(); }, () => {});
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => { paint(); spoiled = true; draw(); });
  arrange();
  size();
  tighten();
  open();
  new ResizeObserver(size).observe(part(".sheet"));
  window.addEventListener("hashchange", read);
  read();
})();
