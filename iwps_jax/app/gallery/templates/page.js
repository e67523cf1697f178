"use strict";
(() => {
  const SKIP = "skip", UNSURE = "unsure", MOST_FOUND = 50;
  const at = (id) => document.getElementById(id);
  const { key, side, classes, cards } = JSON.parse(at("data").textContent);
  const title = document.title;
  const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

  // State: answers by number of the card; what to undo; the current card.
  let answers = cards.map((card) => card.label || null);
  let past = [];
  let current = 0;
  let isKept = true; // in the browser's storage
  let isSaved = true; // in a file

  // Storage: a page opened from a file, or in a private window, may have none.

  function keep() {
    try {
      localStorage.setItem(key, JSON.stringify({ answers, past, current }));
      isKept = true;
    } catch {
      isKept = false;
      warn("This browser does not store your answers: save them before you close or reload this page.");
    }
  }

  function recall() {
    try {
      const kept = JSON.parse(localStorage.getItem(key));
      if (!kept || !Array.isArray(kept.answers) || kept.answers.length !== cards.length) return;
      const known = new Set([...classes, SKIP, UNSURE]);
      const clean = (answer) => (known.has(answer) ? answer : null);
      answers = kept.answers.map(clean);
      past = (kept.past || []).filter(([index]) => index in cards)
        .map(([index, answer]) => [index, clean(answer)]);
      current = kept.current in cards ? kept.current : 0;
    } catch {
      // As if nothing had been kept; the first answer tells whether it can be.
    }
  }

  function warn(text) {
    at("warning").textContent = text;
    at("warning").hidden = false;
    measure();
  }

  const keyOf = keysOfClasses(classes);
  const classOf = new Map([...keyOf].map(([name, letter]) => [letter, name]));

  // Building

  function image(picture, alt, place) {
    if (picture.flaw !== undefined) return element("span", { className: "flaw", title: picture.flaw, textContent: picture.flaw });
    const made = element("img", { src: picture.url, alt, decoding: "async", draggable: false });
    // As large as the place, also where that needs more pixels than there are.
    const scale = place / Math.max(picture.width, picture.height);
    made.width = Math.max(1, Math.round(picture.width * scale));
    made.height = Math.max(1, Math.round(picture.height * scale));
    return made;
  }

  function facts(card) {
    const made = element("div", { className: "facts" });
    made.append(element("div", { className: "id", title: card.id, textContent: card.id }));
    if (card.predicted !== undefined) {
      const sure = card.confidence === undefined ? "" : ` ${percent(card.confidence)}`;
      made.append(element("div", { className: "predicted" },
        element("span", { className: "faint", textContent: "predicted " }),
        element("b", { textContent: card.predicted }),
        element("span", { className: "faint", textContent: sure })));
    }
    if (card.score !== undefined || card.method !== undefined) {
      const score = card.score === undefined ? "" : brief(card.score);
      const text = [card.method, score].filter(Boolean).join(" ");
      made.append(element("div", { className: "faint", textContent: text, title: "method and score" }));
    }
    if (card.hurts !== undefined) {
      const rows = card.hurts.map(([row, change]) => `${row} (${signed(change)})`).join(", ");
      const text = `Would hurt holdout rows ${rows}`;
      const trained = `If the head learned ${card.predicted ?? "the prediction"} for this sample, the loss of these holdout rows would change by the numbers in brackets`;
      made.append(element("div", { className: "faint hurts", textContent: text, title: trained }));
    }
    return made;
  }

  function build(card, index) {
    const pictures = element("div", { className: "pictures" },
      element("div", { className: "place" }, image(card.picture, `image of ${card.id}`, side)));
    if (card.neighbor) {
      const { id, label, picture } = card.neighbor;
      pictures.append(element("figure", { title: `nearest labeled: ${id}` },
        element("div", { className: "place" },
          image(picture, `nearest labeled example, ${id}`, Math.round(side * 0.55))),
        element("figcaption", {}, "nearest: ", element("b", { textContent: label }))));
    }
    const made = element("li", { className: "card", tabIndex: -1, id: `card-${index}` },
      pictures, facts(card), element("div", { className: "chip" }));
    made.addEventListener("click", () => go(index));
    made.addEventListener("focus", () => { if (index !== current) go(index); });
    return made;
  }

  // Showing

  const shown = cards.map(build);
  const buttons = new Map();

  function showCard(index) {
    const card = cards[index], answer = answers[index], made = shown[index];
    const isCurrent = index === current;
    made.classList.toggle("current", isCurrent);
    made.tabIndex = isCurrent ? 0 : -1;
    if (isCurrent) made.setAttribute("aria-current", "true");
    else made.removeAttribute("aria-current");
    const kind = answer === null ? "" : answer === SKIP ? "skipped" : answer === card.predicted ? "agreed" : "changed";
    made.dataset.answer = kind;
    made.querySelector(".chip").textContent = answer === null ? "" : answer === SKIP ? "skipped" : `✓ ${answer}`;
    const said = answer === null ? "not labeled" : answer === SKIP ? "skipped" : `labeled ${answer}`;
    const predicted = card.predicted === undefined ? "" : `, predicted ${card.predicted}`;
    const nearest = card.neighbor ? `, nearest labeled example is ${card.neighbor.label}` : "";
    made.setAttribute("aria-label", `${index + 1} of ${cards.length}: ${card.id}${predicted}${nearest}, ${said}`);
  }

  function showRest() {
    const skipped = answers.filter((answer) => answer === SKIP).length;
    const labeled = answers.filter((answer) => answer !== null).length - skipped;
    at("bar").max = cards.length;
    at("bar").value = labeled + skipped;
    at("count").textContent = `${labeled} of ${cards.length} labeled` + (skipped ? `, ${skipped} skipped` : "");
    document.title = `${labeled + skipped}/${cards.length} ${title}`;
    const answer = answers[current], predicted = cards[current].predicted;
    for (const [name, button] of buttons) {
      button.setAttribute("aria-pressed", String(name === answer));
      button.classList.toggle("expected", name === predicted);
    }
    at("skip").setAttribute("aria-pressed", String(answer === SKIP));
    at("accept").disabled = predicted === undefined;
    at("undo").disabled = past.length === 0;
    at("save").disabled = labeled + skipped === 0;
  }

  function go(index) {
    const before = current;
    current = Math.max(0, Math.min(cards.length - 1, index));
    showCard(before);
    showCard(current);
    showRest();
    measure();
    shown[current].focus({ preventScroll: true });
    shown[current].scrollIntoView({ block: "nearest" });
    keep();
  }

  const say = (text) => { at("said").textContent = text; };

  // Answering

  function next() {
    const open = (index) => answers[index] === null;
    const indices = cards.map((_, step) => (current + 1 + step) % cards.length);
    return indices.find(open);
  }

  function answer(label) {
    past.push([current, answers[current]]);
    answers[current] = label;
    isSaved = false;
    showCard(current);
    const id = cards[current].id, open = next();
    go(open ?? current);
    say(`${id}: ${label}. ${at("count").textContent}.` + (open === undefined ? " All picks have an answer: save them." : ""));
  }

  function accept() {
    if (cards[current].predicted !== undefined) answer(cards[current].predicted);
  }

  function undo() {
    if (past.length === 0) return;
    const [index, before] = past.pop();
    answers[index] = before;
    isSaved = false;
    go(index);
    say(`${cards[index].id}: undone. ${at("count").textContent}.`);
  }

  function save() {
    if (answers.every((answer) => answer === null)) return say("Nothing is labeled yet.");
    const rows = answers.flatMap((answer, index) => (answer === null ? [] : [[cards[index].id, answer]]));
    const url = URL.createObjectURL(new Blob([csvOf([["id", "label"], ...rows])], { type: "text/csv;charset=utf-8" }));
    const link = element("a", { href: url, download: "labels.csv" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
    isSaved = true;
    say(`labels.csv with ${rows.length} answers was saved.`);
  }

  // Moving

  function columns() {
    const top = shown[0].offsetTop;
    const below = shown.findIndex((card) => card.offsetTop !== top);
    return below === -1 ? cards.length : below;
  }

  function moveBy(rows) {
    const wide = columns(), last = cards.length - 1;
    const index = current + rows * wide;
    if (index < 0) return;
    // The last row may be short.
    const isBelow = Math.floor(last / wide) > Math.floor(current / wide);
    if (index <= last) go(index);
    else if (isBelow) go(last);
  }

  // Finding a class by its name

  let found = [], chosen = 0;

  function find() {
    at("query").value = "";
    search();
    at("finder").showModal();
    at("query").focus();
  }

  function search() {
    const query = at("query").value.trim().toLowerCase();
    const place = (name) => name.toLowerCase().indexOf(query);
    const rank = (name) => (name.toLowerCase() === query ? 0 : place(name) === 0 ? 1 : 2);
    const matching = classes.filter((name) => place(name) !== -1);
    matching.sort((a, b) => rank(a) - rank(b)); // stable: else in the classes' order
    found = matching.slice(0, MOST_FOUND);
    chosen = 0;
    const more = matching.length - found.length;
    at("found").replaceChildren(...found.map((name, index) => {
      const option = element("li", { id: `found-${index}`, role: "option", textContent: name });
      if (keyOf.has(name)) option.append(element("kbd", { textContent: keyOf.get(name) }));
      option.addEventListener("click", () => choose(index));
      return option;
    }));
    if (more > 0) at("found").append(element("li", { className: "faint", role: "presentation", textContent: `and ${more} more` }));
    if (found.length === 0) at("found").append(element("li", { className: "faint", role: "presentation", textContent: "no class has this name" }));
    mark();
  }

  function mark() {
    [...at("found").children].forEach((option, index) => {
      if (index >= found.length) return;
      option.setAttribute("aria-selected", String(index === chosen));
      if (index === chosen) option.scrollIntoView({ block: "nearest" });
    });
    if (found.length) at("query").setAttribute("aria-activedescendant", `found-${chosen}`);
    else at("query").removeAttribute("aria-activedescendant");
  }

  function choose(index) {
    if (!(index in found)) return;
    at("finder").close();
    answer(found[index]);
  }

  // Listening

  function onFinderKey(event) {
    if (event.isComposing) return;
    // The Enter that closes this must not answer the next pick as well.
    if (event.key === "Enter") event.stopPropagation();
    if (event.key === "ArrowDown") chosen = Math.min(chosen + 1, Math.max(found.length - 1, 0));
    else if (event.key === "ArrowUp") chosen = Math.max(chosen - 1, 0);
    else if (event.key === "Enter" && !event.repeat) choose(chosen);
    else return;
    event.preventDefault();
    mark();
  }

  const MOVES = {
    ArrowLeft: () => go(current - 1),
    ArrowRight: () => go(current + 1),
    ArrowUp: () => moveBy(-1),
    ArrowDown: () => moveBy(1),
    Home: () => go(0),
    End: () => go(cards.length - 1),
  };

  const ACTS = {
    Enter: accept,
    "-": () => answer(SKIP),
    Delete: () => answer(SKIP),
    Backspace: undo,
    "/": find,
    "?": toggleLegend,
    " ": () => {}, // would scroll away from the current card
  };

  function actOf(event) {
    const withControl = isMac ? event.metaKey : event.ctrlKey;
    if (withControl && !event.altKey && !event.shiftKey) {
      return { s: save, z: undo }[event.key.toLowerCase()];
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
    if (event.key in MOVES) return MOVES[event.key];
    const isOnButton = event.target.closest("button") !== null;
    if (isOnButton && (event.key === "Enter" || event.key === " ")) return undefined;
    const label = pressedClass(event, classOf);
    if (label !== undefined) return () => answer(label);
    return ACTS[event.key];
  }

  function onKey(event) {
    if (event.isComposing) return;
    if (at("finder").open) {
      // The page below waits; saving is always possible.
      if (!((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s")) return;
    }
    const act = actOf(event);
    if (act === undefined) return;
    event.preventDefault();
    // A key that is held moves on, but answers once.
    if (!event.repeat || event.key in MOVES) act();
  }

  function toggleLegend() {
    const isHidden = at("legend").toggleAttribute("hidden");
    at("keys").setAttribute("aria-expanded", String(!isHidden));
    measure();
  }

  function measure() {
    // What the bars at the top and at the bottom cover is not where a card may stop.
    const root = document.documentElement.style;
    root.setProperty("--above", `${document.querySelector("header").offsetHeight + 12}px`);
    root.setProperty("--below", `${document.querySelector("footer").offsetHeight + 12}px`);
  }

  function onButton(id, act) {
    at(id).addEventListener("click", act);
  }

  // Starting

  document.documentElement.style.setProperty("--side", `${side}px`);
  document.body.classList.toggle("many", classes.length > 20);
  document.body.classList.toggle("pairs", cards.some((card) => card.neighbor));
  at("cards").append(...shown);
  for (const [name, letter] of keyOf) {
    const button = element("button", { type: "button", title: name, "aria-keyshortcuts": letter },
      element("kbd", { textContent: letter }),
      name === letter ? null : element("span", { textContent: name }));
    button.addEventListener("click", () => answer(name));
    buttons.set(name, button);
    at("classes").append(button);
  }
  const keyless = classes.length - keyOf.size;
  if (keyless > 0) at("classes").append(element("span", { className: "faint", textContent: `and ${keyless} more: /` }));
  onButton("undo", undo);
  onButton("save", save);
  onButton("keys", toggleLegend);
  onButton("accept", accept);
  onButton("skip", () => answer(SKIP));
  onButton("find", find);
  at("query").addEventListener("input", search);
  at("query").addEventListener("keydown", onFinderKey);
  at("finder").addEventListener("close", () => shown[current].focus({ preventScroll: true }));
  at("finder").addEventListener("click", (event) => { if (event.target === at("finder")) at("finder").close(); });
  document.addEventListener("keydown", onKey);
  window.addEventListener("resize", measure);
  window.addEventListener("storage", (event) => {
    // The same page in another tab.
    if (event.key !== key) return;
    recall();
    shown.forEach((_, index) => showCard(index));
    showRest();
  });
  window.addEventListener("beforeunload", (event) => {
    if (!isKept && !isSaved) event.preventDefault();
  });
  if (isMac) document.querySelectorAll("kbd").forEach((made) => { made.textContent = made.textContent.replace("Ctrl ", "⌘ "); });
  recall();
  shown.forEach((_, index) => showCard(index));
  go(current);
})();
