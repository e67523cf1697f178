(() => {
  const SKIP = "skip", UNSURE = "unsure", AHEAD = "1500px 0px";
  const at = (id) => document.getElementById(id);
  const { key, side, grows, classes: given, examples, cards } = JSON.parse(at("data").textContent);
  const title = document.title;
  const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

  // State: answers by number of the card; what to undo; the current card; new classes.
  let answers = cards.map((card) => card.label || null);
  let past = [];
  let current = 0;
  let isKept = true; // in the browser's storage
  let isSaved = false; // in a file, all that is answered
  const classes = [...given];
  const keyOf = keysOfClasses(classes);
  const classOf = new Map([...keyOf].map(([name, letter]) => [letter, name]));
  const buttons = new Map();

  // Storage: a page opened from a file, or in a private window, may have none.

  function keep() {
    try {
      const added = classes.slice(given.length);
      localStorage.setItem(key, JSON.stringify({ answers, past, current, added, isSaved }));
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
      for (const name of grows && Array.isArray(kept.added) ? kept.added : []) {
        if (typeof name === "string" && name && !classes.includes(name)) addClass(name);
      }
      const known = new Set([...classes, SKIP, UNSURE]);
      const clean = (answer) => (known.has(answer) ? answer : null);
      answers = kept.answers.map(clean);
      past = (kept.past || []).filter(([index]) => index in cards)
        .map(([index, answer]) => [index, clean(answer)]);
      current = kept.current in cards ? kept.current : 0;
      isSaved = kept.isSaved === true;
    } catch {
      // As if nothing had been kept; the first answer tells whether it can be.
    }
  }

  function warn(text) {
    at("warning").textContent = text;
    at("warning").hidden = false;
  }

  // Cards: all have a place on the page; what they show is made when they come near.

  const shells = cards.map((_, index) => element("li", { className: "card", tabIndex: -1, id: `card-${index}` }));
  const chips = new Map();
  const numberOf = (card) => Number(card.id.slice("card-".length));
  const exampleOf = (card) => (card.neighbor === undefined ? undefined : examples[card.neighbor]);
  const watched = "oncontentvisibilityautostatechange" in shells[0] ? null
    : new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) fill(numberOf(entry.target));
    }, { rootMargin: AHEAD });

  function fill(index) {
    if (chips.has(index)) return;
    const card = cards[index], chip = element("div", { className: "chip", dir: "auto" });
    chips.set(index, chip);
    shells[index].append(sampleOf(card, exampleOf(card), side), factsOf(card), chip);
    watched?.unobserve(shells[index]);
    showAnswer(index);
  }

  function showAnswer(index) {
    const answer = answers[index], predicted = cards[index].predicted;
    const kind = answer === null ? "" : answer === SKIP || answer === UNSURE ? "skipped"
      : predicted === undefined ? "labeled" : answer === predicted ? "agreed" : "changed";
    shells[index].dataset.answer = kind;
    const shown = { [SKIP]: "skipped", [UNSURE]: "unsure" }[answer] ?? (answer === null ? "" : `✓ ${answer}`);
    if (chips.has(index)) chips.get(index).textContent = shown;
    const said = answer === null ? "not labeled" : kind === "skipped" ? shown : `labeled ${answer}`;
    shells[index].setAttribute("aria-label", describe(cards[index], exampleOf(cards[index]), said, `${index + 1} of ${cards.length}`));
  }

  function showPlace(index) {
    const made = shells[index], isCurrent = index === current;
    made.classList.toggle("current", isCurrent);
    made.tabIndex = isCurrent ? 0 : -1;
    if (isCurrent) made.setAttribute("aria-current", "true");
    else made.removeAttribute("aria-current");
  }

  function showRest() {
    const counts = { [SKIP]: 0, [UNSURE]: 0 };
    let labeled = 0, open = 0;
    for (const answer of answers) {
      if (answer === null) open += 1;
      else if (answer in counts) counts[answer] += 1;
      else labeled += 1;
    }
    const done = cards.length - open;
    at("bar").max = cards.length;
    at("bar").value = done;
    at("count").textContent = `${labeled} of ${cards.length} labeled`
      + (counts[SKIP] ? `, ${counts[SKIP]} skipped` : "") + (counts[UNSURE] ? `, ${counts[UNSURE]} unsure` : "");
    document.title = `${done}/${cards.length} ${title}`;
    const answer = answers[current], predicted = cards[current].predicted;
    for (const [name, button] of buttons) {
      button.setAttribute("aria-pressed", String(name === answer));
      button.classList.toggle("expected", name === predicted);
    }
    at("skip").setAttribute("aria-pressed", String(answer === SKIP));
    at("accept").disabled = predicted === undefined;
    at("undo").disabled = past.length === 0;
    at("save").disabled = done === 0;
    at("done").hidden = open > 0;
    at("end").textContent = isSaved
      ? "labels.csv is saved. Give it to: iwps label labels.csv"
      : "Every pick has an answer. Now save them, and give the file to: iwps label labels.csv";
    at("finish").hidden = isSaved;
  }

  // Moving

  function select(index) {
    const before = current;
    current = Math.max(0, Math.min(cards.length - 1, index));
    fill(current);
    showPlace(before);
    showPlace(current);
    showRest();
    keep();
  }

  function reveal() {
    const room = window.innerHeight - heights[0] - heights[1];
    const block = shells[current].offsetHeight > room ? "start" : "nearest";
    shells[current].scrollIntoView({ block });
  }

  function go(index) {
    select(index);
    shells[current].focus({ preventScroll: true });
    reveal();
    // Cards that come near after a long way are filled in the next frame, and move it.
    requestAnimationFrame(() => { reveal(); requestAnimationFrame(reveal); });
  }

  function columns() {
    const top = shells[0].offsetTop;
    const below = shells.findIndex((card) => card.offsetTop !== top);
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

  // Answering

  const say = (text) => { at("said").textContent = text; };

  function nextOpen() {
    for (let step = 1; step <= cards.length; step += 1) {
      const index = (current + step) % cards.length;
      if (answers[index] === null) return index;
    }
    return undefined;
  }

  function answer(label) {
    past.push([current, answers[current]]);
    answers[current] = label;
    isSaved = false;
    showAnswer(current);
    const id = cards[current].id, open = nextOpen();
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
    showAnswer(index);
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
    keep();
    showRest();
    say(`labels.csv with ${rows.length} ${rows.length === 1 ? "answer" : "answers"} was saved.`);
  }

  // Classes

  function addClass(name) {
    classes.push(name);
    const letter = keyOfNewClass(name, keyOf);
    if (letter === undefined) return showMore();
    keyOf.set(name, letter);
    classOf.set(letter, name);
    addButton(name, letter);
  }

  function addButton(name, letter) {
    const button = element("button", { type: "button", "aria-keyshortcuts": letter },
      element("kbd", { textContent: letter }),
      name === letter ? null : element("span", { dir: "auto", textContent: name }));
    button.addEventListener("click", () => answer(name));
    buttons.set(name, button);
    at("classes").insertBefore(button, at("others"));
  }

  function showMore() {
    const keyless = classes.length - keyOf.size;
    const new_ = grows ? "a new class" : "";
    const more = keyless > 0 ? `${keyless} more ${keyless === 1 ? "class" : "classes"}` : "";
    at("others").hidden = !more && !new_;
    at("others").firstChild.textContent = [more, new_].filter(Boolean).join(", ") + ": ";
  }

  const find = makeFinder({
    at, grows, others: [SKIP, UNSURE], names: () => classes, keyOf: () => keyOf,
    choose: (name, isNew) => { if (isNew) addClass(name); answer(name); },
    close: () => shells[current].focus({ preventScroll: true }),
  });

  // Listening

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
    "/": () => find(),
    "?": toggleLegend,
    // Would scroll away from the current card.
    " ": () => { shells[current].querySelector(".more")?.click(); reveal(); },
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
  }

  const bars = ["header", "footer"].map((tag) => document.querySelector(tag));
  const heights = [];

  function measure() {
    // What the bars at the top and at the bottom cover is not where a card may stop.
    // To set a property of the root costs time on each card: only if it differs.
    bars.forEach((bar, at) => {
      const height = bar.offsetHeight + 12;
      if (heights[at] === height) return;
      heights[at] = height;
      document.documentElement.style.setProperty(["--above", "--below"][at], `${height}px`);
    });
  }

  function onButton(id, act) {
    at(id).addEventListener("click", act);
  }

  // Starting

  document.documentElement.style.setProperty("--side", `${side}px`);
  document.body.classList.add(`of-${kindOf(cards[0])}`);
  document.body.classList.toggle("many", classes.length > 20);
  document.body.classList.toggle("pairs", examples.length > 0);
  for (const [name, letter] of keyOf) addButton(name, letter);
  showMore();
  recall();
  shells.forEach((shell, index) => { showAnswer(index); watched?.observe(shell); });
  at("cards").append(...shells);
  at("cards").addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    if (card && !event.target.closest(".more")) go(numberOf(card));
  });
  at("cards").addEventListener("focusin", (event) => {
    const index = numberOf(event.target.closest(".card"));
    if (index !== current) select(index);
  });
  // Browsers tell which cards come near; old ones have to be asked, which takes longer.
  at("cards").addEventListener("contentvisibilityautostatechange", (event) => {
    if (!event.skipped) fill(numberOf(event.target));
  }, true);
  onButton("undo", undo);
  onButton("save", save);
  onButton("finish", save);
  onButton("keys", toggleLegend);
  onButton("accept", accept);
  onButton("skip", () => answer(SKIP));
  onButton("find", () => find());
  document.addEventListener("keydown", onKey);
  window.addEventListener("storage", (event) => {
    // The same page in another tab.
    if (event.key !== key) return;
    recall();
    shells.forEach((_, index) => { showAnswer(index); showPlace(index); });
    showRest();
  });
  window.addEventListener("beforeunload", (event) => {
    if (!isKept && !isSaved && past.length) event.preventDefault();
  });
  window.addEventListener("beforeprint", () => cards.forEach((_, index) => fill(index)));
  if (isMac) document.querySelectorAll("kbd").forEach((made) => { made.textContent = made.textContent.replace("Ctrl ", "⌘ "); });
  measure();
  new ResizeObserver(measure).observe(bars[0]);
  new ResizeObserver(measure).observe(bars[1]);
  go(current);
})();
