/* What steers a run from its page, where report/server.py serves it: an order is asked about, sent, and followed to its end. */
"use strict";
(() => {
  const bar = document.getElementById("steer"), ask = document.getElementById("ask"), source = document.getElementById("graph-data");
  const token = location.pathname.split("/")[1], POLL = 700; // ms
  const part = (words) => bar.querySelector(words), field = (name) => ask.querySelector(`[name="${name}"]`);
  const nodes = new Map((source ? JSON.parse(source.textContent).nodes : []).map((one) => [one.record.id, { ...one.record, title: one.title }]));

  // ------------------------------------------------------------------------------------------------ what may be done with a node
  const EDITS = {
    rename: ["Name it", "What you call it. An empty one takes the name away."],
    annotate: ["Note", "What you want to remember. An empty one takes the note away."],
    merge: ["Merge", "Both become one unit of the network, and what follows is compensated. Several can be chosen."],
    split: ["Split", "One variant of the unit for each class, which can go their own ways once the network learns on."],
    forget: ["Forget", "It is held at its mean for ever, or its family is taken out of the model."],
  };
  const open = (node) => !["merged", "forgotten"].includes(node.state);
  const fits = (node) => ["rename", "annotate", ...(!open(node) ? [] : node.kind === "unit" ? ["merge", ...(node.state === "split" ? [] : ["split"]), "forget"] :
    node.kind === "feature" ? ["merge", "forget"] : node.kind === "generalized" && !node.state ? ["forget"] : [])];

  function button(words, order, why) {
    const made = Object.assign(document.createElement("button"), { type: "button", className: "steer", textContent: words });
    Object.assign(made.dataset, { order: JSON.stringify(order), why });
    return made;
  }

  function offer(place, id) {
    const node = nodes.get(id);
    if (node) place.replaceChildren(...fits(node).map((action) => button(EDITS[action][0], { action, nodes: [id] }, EDITS[action][1])));
  }
  for (const place of document.querySelectorAll(".steers[data-node]")) offer(place, place.dataset.node);
  const aside = document.querySelector("#live aside");
  if (aside) new MutationObserver(() => {
    if (!aside.dataset.node || aside.querySelector(".steers")) return;
    const place = Object.assign(document.createElement("div"), { className: "steers" });
    offer(place, aside.dataset.node);
    aside.querySelector("h3").after(place);
    enable();
  }).observe(aside, { childList: true });

  // ------------------------------------------------------------------------------------------------ asking and sending
  const LEARNS = "The network learns on under this decision, which takes minutes. The opposite one leads back.";
  let order = null, running = false;
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest("button[data-order]");
    if (!pressed || running) return;
    order = JSON.parse(pressed.dataset.order);
    const node = nodes.get((order.nodes || [])[0]), named = order.action === "rename" || order.action === "annotate";
    document.getElementById("ask-what").textContent = (pressed.dataset.title || pressed.textContent) + (node ? `: ${node.title}` : "");
    ask.querySelector(".why").textContent = pressed.dataset.why || LEARNS;
    ask.querySelector("pre").textContent = pressed.dataset.command || "";
    ask.querySelector("pre").hidden = !pressed.dataset.command;
    const text = field("text"), others = field("nodes");
    text.parentElement.hidden = !named;
    text.previousElementSibling.textContent = order.action === "rename" ? "its name" : "the note";
    text.maxLength = order.action === "rename" ? 200 : 2000;
    text.value = (named && node && node[order.action === "rename" ? "name" : "note"]) || "";
    others.required = order.action === "merge";
    others.parentElement.hidden = !others.required;
    const mergeable = (one) => one.id !== node.id && one.stage === node.stage && ["unit", "feature"].includes(one.kind) && open(one);
    const found = others.required ? [...nodes.values()].filter(mergeable) : [];
    found.sort((a, b) => (b.kind === node.kind) - (a.kind === node.kind) || a.title.localeCompare(b.title, "en", { numeric: true }));
    others.replaceChildren(...found.map((one) => new Option(`${one.title} (${one.kind})`, one.id)));
    ask.returnValue = "";
    ask.showModal();
    if (named) text.select(); else field("run").focus();
  });

  ask.addEventListener("close", () => {
    if (ask.returnValue !== "run") return;
    if (["rename", "annotate"].includes(order.action)) order.text = field("text").value;
    if (order.action === "merge") order.nodes = [...order.nodes, ...[...field("nodes").selectedOptions].map((one) => one.value)];
    send("run", order);
  });
  part("[name=stop]").addEventListener("click", () => send("stop", {}));

  async function send(where, content) {
    try {
      const headers = { "Content-Type": "application/json", "X-Conceptnet-Token": token };
      const answer = await fetch(where, { method: "POST", headers, body: JSON.stringify(content) });
      const found = await answer.json();
      if (!answer.ok) return say([found.error, found.mend].filter(Boolean).join(". "), true);
      poll();
    } catch { gone(); }
  }

  // ------------------------------------------------------------------------------------------------ following
  let said = 0, number = 0, ended = Number(bar.dataset.ended), waiting = 0, asking = false;
  const log = part(".log");

  async function poll() {
    clearTimeout(waiting);
    if (asking) return;
    asking = true;
    try {
      const answer = await fetch(`log?since=${said}`, { headers: { "X-Conceptnet-Token": token } });
      if (!answer.ok) throw new Error(answer.status);
      show(await answer.json());
    } catch { gone(); } finally { asking = false; }
  }

  function show(state) {
    if (state.ended !== ended) return location.reload();
    if (state.number !== number) { // another command than the lines before are of
      [number, said, log.textContent] = [state.number, 0, ""];
      waiting = setTimeout(poll, 0);
      return;
    }
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 30;
    if (state.lines.length) log.append(state.lines.join("\n") + "\n");
    said = state.said;
    if (atEnd) log.scrollTop = log.scrollHeight;
    const last = log.textContent.trimEnd().split("\n");
    running = state.running;
    part("details").hidden = !state.command;
    part("[name=stop]").hidden = !running;
    part("[name=stop]").textContent = ["Stop", "Stop at once"][state.stops] || "Stopping…";
    part("summary").textContent = state.command;
    if (running) say(`${state.stops ? "Stopping. " : ""}${last.at(-1) || "Starting…"}`);
    else if (state.command) {
      const how = state.code === 0 ? "Done" : state.code === 130 ? "Stopped" : "Failed";
      const wrong = last.findLastIndex((line) => /^(error|bug|stopped)\b/.test(line)), mend = last[wrong + 1] || "";
      const words = state.code !== 0 ? (wrong < 0 ? last.at(-1) : last[wrong] + (mend.startsWith("  ") ? `. ${mend.trim()}` : "")) :
        / learn( |$)/.test(state.command) ? "this page shows what came out." : last.find((line) => /^(\d+\. |undone: )/.test(line)) || last[0];
      say(`${how} after ${state.seconds} s: ${words}`, how === "Failed");
    }
    enable();
    waiting = setTimeout(poll, running ? POLL : 6 * POLL);
  }

  function say(words, failed = false) {
    part(".state").textContent = words;
    part(".state").classList.toggle("failed", failed);
  }

  function gone() {
    say("The server has ended. Start it again: conceptnet-ml report RUN --serve", true);
    running = true;
    enable();
  }

  function enable() {
    for (const one of document.querySelectorAll("button[data-order]")) one.disabled = running;
  }

  poll();
})();
