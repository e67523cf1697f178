// What cards show of their samples; nothing here knows which is current or answered.

const FEW_LETTERS = 700, FEW_LINES = 14, FEW_VALUES = 14, FEW_LETTERS_OF_VALUE = 200;

function imageOf(picture, alt, place) {
  if (picture.flaw !== undefined) return element("span", { className: "flaw", title: picture.flaw, textContent: picture.flaw });
  const made = element("img", { alt, decoding: "async", draggable: false });
  // As large as the place, also where that needs more pixels than there are.
  const scale = place / Math.max(picture.width, picture.height);
  made.width = Math.max(1, Math.round(picture.width * scale));
  made.height = Math.max(1, Math.round(picture.height * scale));
  made.src = picture.url;
  return made;
}

function beginning(text, most) {
  // As much as fits, up to the end of a word where there are words; null if all fits.
  const lines = text.split("\n", FEW_LINES + 1);
  let end = lines.length > FEW_LINES ? lines.slice(0, FEW_LINES).join("\n").length : text.length;
  if (end > most) {
    end = most;
    const space = text.lastIndexOf(" ", end);
    if (space > most / 2) end = space;
    else if (/[\ud800-\udbff]/.test(text[end - 1])) end -= 1;
  }
  return end < text.length ? text.slice(0, end) : null;
}

function folding(whole, part, name) {
  // A node that shows a part until somebody asks for the whole.
  const made = element("div", { className: "fold" });
  const button = element("button", { type: "button", className: "more" });
  const show = (isOpen) => {
    button.textContent = isOpen ? "Show less" : `Show ${name}`;
    button.setAttribute("aria-expanded", String(isOpen));
    made.replaceChildren(isOpen ? whole() : part(), button);
  };
  button.addEventListener("click", () => show(button.getAttribute("aria-expanded") !== "true"));
  show(false);
  return made;
}

function textOf(text) {
  const shown = (words) => element("div", { className: "text", dir: "auto", textContent: words });
  const first = beginning(text, FEW_LETTERS);
  if (first === null) return shown(text);
  return folding(() => shown(text), () => shown(`${first} …`), `all ${text.length.toLocaleString("en")} characters`);
}

function cellOf(value, isWhole) {
  if (value === undefined || value === "") return element("td", { className: "faint", textContent: "empty" });
  const first = isWhole ? null : beginning(value, FEW_LETTERS_OF_VALUE);
  return element("td", { dir: "auto", textContent: first === null ? value : `${first} …` });
}

function tableOf(values, example) {
  // Names and values; beside them those of the nearest labeled example.
  const others = example && new Map(example.values);
  const all = [...values.map(([name, value]) => [name, value, others?.get(name)])];
  const isLong = ([, ...cells]) => cells.some((cell) => cell !== undefined && beginning(cell, FEW_LETTERS_OF_VALUE) !== null);
  const table = (isWhole) => {
    const lines = (isWhole ? all : all.slice(0, FEW_VALUES)).map(([name, value, other]) => element("tr", {},
      element("th", { scope: "row", dir: "auto", textContent: name }), cellOf(value, isWhole),
      others ? cellOf(other, isWhole) : null));
    const head = others && element("thead", {}, element("tr", {}, element("td"),
      element("th", { scope: "col", textContent: "this row" }),
      element("th", { scope: "col", title: `nearest labeled sample: ${example.id}` }, "nearest labeled: ",
        element("strong", { dir: "auto", textContent: example.label }))));
    return element("table", {}, head ?? null, element("tbody", {}, ...lines));
  };
  if (all.length <= FEW_VALUES && !all.some(isLong)) return table(true);
  return folding(() => table(true), () => table(false), `all of ${all.length} ${all.length === 1 ? "value" : "values"}`);
}

function contentOf(sample, alt, place) {
  if (sample.text !== undefined) return textOf(sample.text);
  return element("div", { className: "place" }, imageOf(sample.picture, alt, place));
}

function kindOf(sample) {
  return ["text", "values"].find((kind) => sample[kind] !== undefined) ?? "picture";
}

function sampleOf(card, example, side) {
  if (card.values !== undefined) return element("div", { className: "sample" }, tableOf(card.values, example));
  const made = element("div", { className: "sample" }, contentOf(card, `image of ${card.id}`, side));
  if (example === undefined) return made;
  const small = Math.round(side * 0.55);
  made.append(element("figure", { title: `nearest labeled sample: ${example.id}` },
    element("figcaption", {}, "nearest labeled: ", element("b", { dir: "auto", textContent: example.label })),
    contentOf(example, `nearest labeled example, ${example.id}`, small)));
  return made;
}

// Facts: every value has a caption.

function fact(caption, ...value) {
  return element("div", {}, element("dt", { textContent: caption }), element("dd", { dir: "auto" }, ...value));
}

function factsOf(card) {
  const made = element("dl", { className: "facts" });
  const hasPrediction = card.predicted !== undefined;
  made.append(fact("predicted", hasPrediction ? element("b", { dir: "auto", textContent: card.predicted })
    : element("span", { className: "none", title: "nothing was predicted for this sample", textContent: "— nothing yet" })));
  if (hasPrediction && card.confidence !== undefined) made.append(fact("confidence", percent(card.confidence)));
  if (card.score !== undefined) made.append(fact("score", brief(card.score)));
  if (card.method !== undefined) made.append(fact(card.method.includes(",") ? "methods" : "method", card.method));
  if (card.hurts !== undefined) {
    const rows = card.hurts.map(([row, change]) => `row ${row} by ${signed(change)}`).join(", ");
    const shown = fact("changes the loss of holdout", rows);
    shown.title = `If the head learned ${card.predicted ?? "the prediction"} for this sample, the loss of these holdout rows would change by so much`;
    made.append(shown);
  }
  const id = fact("id", card.id);
  id.className = "id";
  id.title = card.id;
  made.append(id);
  return made;
}

function describe(card, example, answer, place) {
  // What a screen reader says of a card.
  const predicted = card.predicted === undefined ? ", nothing predicted" : `, predicted ${card.predicted}`;
  const nearest = example ? `, nearest labeled example is ${example.label}` : "";
  return `${place}: ${card.id}${predicted}${nearest}, ${answer}`;
}
