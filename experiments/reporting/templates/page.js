"use strict";

const CONFIG = {
  responsive: true,
  displayModeBar: false, // one of its buttons would upload the chart
};

function draw(chart, view) {
  Plotly.react(chart, view.data, view.layout, CONFIG);
}

for (const group of document.querySelectorAll(".views")) {
  const chart = group.querySelector(".chart");
  const buttons = [...group.querySelectorAll("button")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const other of buttons) {
        other.setAttribute("aria-pressed", String(other === button));
      }
      draw(chart, JSON.parse(button.dataset.figure));
    });
  }
}

for (const chart of document.querySelectorAll(".chart")) {
  draw(chart, JSON.parse(chart.dataset.figure));
}

// A click on a heading sorts by its column, a second click in reverse order.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.tabIndex = 0;
    const sort = () => {
      const direction = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction < 0 ? "descending" : "ascending");
      const body = table.tBodies[0];
      const value = (row) => row.cells[column].dataset.value ?? "";
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return direction * order;
      });
      body.append(...rows);
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter") sort();
    });
  });
}
