// Conveniences only: every page does all of its work without them.
"use strict";

document.documentElement.classList.add("js");

for (const select of document.querySelectorAll("[data-submits]")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

for (const chart of document.querySelectorAll("[data-chart]")) {
  describeDays(chart);
}

/** Shows, for the day under the pointer, its row of the chart's own table. */
function describeDays(chart) {
  const rows = chart.querySelectorAll("[data-chart-table] tbody tr");
  const heads = [...chart.querySelectorAll("[data-chart-table] thead th")].map((head) => head.textContent);
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  chart.append(tip);

  for (const day of chart.querySelectorAll("[data-day]")) {
    day.querySelector("title").remove();
    day.addEventListener("pointerenter", () => {
      tip.replaceChildren(...describe(rows[day.dataset.day - 1], heads));
      tip.hidden = false;
      place(tip, day, chart);
    });
    day.addEventListener("pointerleave", () => { tip.hidden = true; });
  }
}

function describe(row, heads) {
  const cells = [...row.children].map((cell) => cell.textContent);
  const title = document.createElement("strong");
  title.textContent = cells[0];
  const list = document.createElement("dl");
  cells.forEach((amount, column) => {
    if (column === 0 || (amount === "$0.00" && column < cells.length - 1)) return;
    const name = document.createElement("dt");
    const value = document.createElement("dd");
    name.textContent = heads[column];
    value.textContent = amount;
    list.append(name, value);
  });
  return [title, list];
}

/** Puts the tip beside the column, on the side that has room. */
function place(tip, day, chart) {
  const frame = chart.getBoundingClientRect();
  const column = day.querySelector(".hit").getBoundingClientRect();
  const right = column.right - frame.left + 8;
  const left = column.left - frame.left - tip.offsetWidth - 8;
  tip.style.left = `${right + tip.offsetWidth <= frame.width ? right : Math.max(0, left)}px`;
  tip.style.top = `${column.top - frame.top + 8}px`;
}
