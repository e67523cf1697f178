// Finding a class by its name, or naming a new one, with the keyboard alone.

const MOST_FOUND = 300;

// Case and accents do not matter: who types "ecole" finds "École".
const folded = (name) => name.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/\s+/g, " ").trim();

function ranked(names, query) {
  // Those that contain all words; first the name itself, then those that begin so.
  const sought = folded(query), words = sought.split(" ");
  const rank = (name) => (name === sought ? 0 : name.startsWith(sought) ? 1 : name.includes(sought) ? 2 : 3);
  return names.map((name) => [name, folded(name)])
    .filter(([, plain]) => words.every((word) => plain.includes(word)))
    .map(([name, plain]) => [name, rank(plain)])
    .sort((a, b) => a[1] - b[1]) // stable: else in the classes' order
    .map(([name]) => name);
}

function makeFinder({ at, names, others, keyOf, grows, choose, close }) {
  // names(): classes; others: answers that are none; choose(name, isNew).
  let found = [], chosen = 0;

  function newName(matching) {
    const name = at("query").value.replace(/\s+/g, " ").trim();
    const isThere = matching.some((known) => folded(known) === folded(name));
    return grows && name !== "" && !isThere && folded(name) !== "" ? name : null;
  }

  function search() {
    const matching = ranked([...names(), ...others], at("query").value);
    const fresh = newName(matching);
    found = matching.slice(0, MOST_FOUND).map((name) => [name, false]);
    const more = matching.length - found.length;
    if (fresh !== null) found.push([fresh, true]);
    chosen = 0;
    const lines = found.map(([name, isNew], index) => {
      const option = element("li", { id: `found-${index}`, role: "option", "aria-selected": "false" },
        element("span", { dir: "auto", textContent: isNew ? `New class: ${name}` : name }));
      const key = isNew ? undefined : keyOf().get(name);
      if (key !== undefined) option.append(element("kbd", { textContent: key }));
      else if (others.includes(name)) option.append(element("span", { className: "faint", textContent: "no class" }));
      option.dataset.index = index;
      return option;
    });
    const note = (text) => lines.push(element("li", { className: "faint", role: "presentation", textContent: text }));
    if (more > 0) note(`and ${more} more: type on`);
    if (found.length === 0) note(grows ? "type the name of a new class" : "no class has this name");
    at("found").replaceChildren(...lines);
    mark(0);
  }

  function mark(index) {
    const option = (place) => at(`found-${place}`);
    option(chosen)?.setAttribute("aria-selected", "false");
    chosen = index;
    option(chosen)?.setAttribute("aria-selected", "true");
    option(chosen)?.scrollIntoView({ block: "nearest" });
    if (found.length) at("query").setAttribute("aria-activedescendant", `found-${chosen}`);
    else at("query").removeAttribute("aria-activedescendant");
  }

  function take(index) {
    if (!(index in found)) return;
    const [name, isNew] = found[index];
    at("finder").close();
    choose(name, isNew);
  }

  function onKey(event) {
    if (event.isComposing) return;
    // The Enter that closes this must not answer the next pick as well.
    if (event.key === "Enter") event.stopPropagation();
    const last = Math.max(found.length - 1, 0);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
    if (event.key in moves) mark(Math.min(Math.max(chosen + moves[event.key], 0), last));
    else if (event.key === "Enter" && !event.repeat) take(chosen);
    else if (event.key !== "Enter") return;
    event.preventDefault();
  }

  at("query").addEventListener("input", search);
  at("query").addEventListener("keydown", onKey);
  at("found").addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) take(Number(option.dataset.index));
  });
  at("finder").addEventListener("close", close);
  at("finder").addEventListener("click", (event) => { if (event.target === at("finder")) at("finder").close(); });

  return function open() {
    at("query").value = "";
    search();
    at("finder").showModal();
    at("query").focus();
  };
}
